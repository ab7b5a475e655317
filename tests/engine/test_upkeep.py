"""Upkeep: runs that stopped moving are sent again or given up, and nothing dead lies about in the spool."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from strata.catalog.lease import FileLease
from strata.catalog.memory_ledger import MemoryLedger
from strata.catalog.notes import NoteKind
from strata.engine import upkeep as module
from strata.engine.local import copy_here
from strata.engine.upkeep import MAX_RESENT, STALLED_SECONDS, Upkeep
from strata.model.backup_type import BackupType
from strata.model.run import RunState
from strata.model.tier import StorageTier, Tier
from strata.planning.backup import new_run_id
from strata.planning.retention import RetentionService
from strata.planning.tier_strategy import TierStrategy
from strata.testing import SettableClock
from tests.engine.workbench import RUN, Workbench, tiers_of


@pytest.fixture
def clock() -> SettableClock:
    """A clock that can be moved."""
    return SettableClock(datetime.now(UTC))


@pytest.fixture
def bench(folder: Path, clock: SettableClock) -> Workbench:
    """A workbench that lives by that clock, as its ledger does."""
    return Workbench(folder, tiers_of(3, tiers=[Tier.HOT]), clock=clock, ledger=MemoryLedger(clock))


@pytest.fixture
def upkeep(bench: Workbench, clock: SettableClock) -> Upkeep:
    """Its upkeep."""
    strategy = TierStrategy([StorageTier.LOCAL, StorageTier.NETWORK])
    return Upkeep(bench.manager, bench.spool, clock, bench.catalogue, strategy, RetentionService(), [bench.files])


def test_a_run_that_stopped_moving_is_sent_again(bench: Workbench, upkeep: Upkeep, clock: SettableClock) -> None:
    """A run without a sign of life is named once; then it counts as heard of."""
    bench.manager.start(BackupType.FULL, RUN)
    clock.advance(timedelta(hours=1))
    assert [run.run_id for run in upkeep.stalled()] == [RUN]
    assert upkeep.stalled() == []


@pytest.mark.parametrize("minutes", [-10, 10])
def test_a_run_whose_worker_has_another_time_is_sent_again_all_the_same(
    folder: Path, clock: SettableClock, minutes: int
) -> None:
    """Its silence counts by the ledger's clock from its first moment on: not a minute longer, nor at once."""
    other = SettableClock(clock.now() + timedelta(minutes=minutes))
    bench = Workbench(folder, tiers_of(3, tiers=[Tier.HOT]), clock=other, ledger=MemoryLedger(clock))
    strategy = TierStrategy([StorageTier.LOCAL])
    upkeep = Upkeep(bench.manager, bench.spool, other, bench.catalogue, strategy, RetentionService())
    bench.manager.start(BackupType.FULL, RUN)
    assert upkeep.stalled() == []
    clock.advance(timedelta(seconds=STALLED_SECONDS + 1))
    assert [run.run_id for run in upkeep.stalled()] == [RUN]


def test_a_run_that_moves_is_left_alone(bench: Workbench, upkeep: Upkeep, clock: SettableClock) -> None:
    """A stage done lately keeps the sweeper away."""
    bench.manager.start(BackupType.FULL, RUN)
    clock.advance(timedelta(hours=1))
    bench.manager.collect(RUN, Tier.HOT)
    assert upkeep.stalled() == []


def test_a_run_that_ended_is_left_alone(bench: Workbench, upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a backup that exists nor a failed one is ever sent again."""
    monkeypatch.setattr(module, "STALLED_SECONDS", 0)
    bench.backup()
    bench.manager.start(BackupType.FULL, "failed")
    bench.manager.abandon("failed", "because")
    assert upkeep.stalled() == []


def test_a_run_that_nobody_moves_on_is_given_up(
    bench: Workbench, upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After MAX_RESENT times a run fails, with that reason, and its lease is free."""
    monkeypatch.setattr(module, "STALLED_SECONDS", 0)
    bench.manager.start(BackupType.FULL, RUN)
    for _ in range(MAX_RESENT):
        assert [run.run_id for run in upkeep.stalled()] == [RUN]
    assert upkeep.stalled() == []
    run = bench.ledger.run(RUN)
    assert run
    assert run.state is RunState.FAILED
    assert "no worker moved it on" in run.reason
    assert bench.lease
    assert bench.lease.holder() is None


def test_a_run_that_waits_is_sent_again_only_after_its_time(
    bench: Workbench, upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many runs came after it: before it is due it is left alone, then it is sent again."""
    monkeypatch.setattr(module, "STALLED_SECONDS", 0)
    bench.manager.start(BackupType.FULL, RUN)
    bench.ledger.wait(RUN, 1000, "a thaw")
    assert upkeep.stalled() == []
    bench.ledger.wait(RUN, 0, "a thaw")
    monkeypatch.setattr(bench.ledger, "runs", lambda _: [])  # it is older than all that are looked at
    assert [run.run_id for run in upkeep.stalled()] == [RUN]


def test_what_an_ended_run_left_is_swept(bench: Workbench, upkeep: Upkeep) -> None:
    """A run that was ended while its spool did not answer is tidied up later; a living one is not touched."""
    bench.manager.start(BackupType.FULL, RUN)
    bench.manager.collect(RUN, Tier.HOT)
    assert upkeep.sweep_spool() == []
    assert bench.spooled()
    bench.ledger.end(RUN, RunState.FAILED, "because")
    assert upkeep.sweep_spool() == [RUN]
    assert bench.spooled() == []


def test_what_no_ledger_knows_is_swept_after_a_day(bench: Workbench, upkeep: Upkeep, clock: SettableClock) -> None:
    """Staging of a run that another process did by itself is left for a day, then swept."""
    unknown = new_run_id("full", clock.now())
    bench.spool.put_document(unknown, f"{unknown}/a", {})
    assert upkeep.sweep_spool() == []
    clock.advance(timedelta(hours=26))
    assert upkeep.sweep_spool() == [unknown]
    assert bench.spooled() == []


def test_a_folder_in_which_a_dead_run_left_nothing_is_swept(
    bench: Workbench, upkeep: Upkeep, clock: SettableClock, folder: Path
) -> None:
    """Empty, or with half a file that no listing shows."""
    unknown = new_run_id("full", clock.now())
    half = folder / "spool" / unknown / "collect.hot.1" / ".tmp-0123456789abcdef"
    half.parent.mkdir(parents=True)
    half.touch()
    assert upkeep.sweep_spool() == []
    clock.advance(timedelta(hours=26))
    assert upkeep.sweep_spool() == [unknown]
    assert not (folder / "spool" / unknown).exists()


def test_old_backups_that_lie_in_the_spool_are_not_swept(
    bench: Workbench, upkeep: Upkeep, clock: SettableClock, folder: Path
) -> None:
    """Folders that are not named like a run stay, however old: a store that was put into the spool's folder."""
    for name in ("layers/one/a.seg", "manifests/one.json", "backups/manifests/one.json"):
        (folder / "spool" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "spool" / name).write_text("x")
    before = bench.spooled()
    clock.advance(timedelta(days=9))
    assert upkeep.sweep_spool() == []
    assert bench.spooled() == before


def test_the_lease_of_this_machine_is_not_swept(bench: Workbench, upkeep: Upkeep, folder: Path) -> None:
    """The lease file that lies in the spool's folder is no run, and stands in no sweep's way."""
    lease = FileLease(folder / "spool" / ".lease")
    fence = lease.acquire("local", "ann")
    bench.manager.start(BackupType.FULL, RUN)
    bench.manager.collect(RUN, Tier.HOT)
    bench.ledger.end(RUN, RunState.FAILED, "because")
    assert upkeep.sweep_spool() == [RUN]
    assert lease.renew(fence)
    assert (folder / "spool" / ".lease").exists()


# --- copies and stores ------------------------------------------------------------------------------------------------


@pytest.fixture
def copying(bench: Workbench, clock: SettableClock) -> Upkeep:
    """Upkeep where every full backup has a copy in NETWORK."""
    strategy = TierStrategy(
        [StorageTier.LOCAL, StorageTier.NETWORK], {BackupType.FULL: (StorageTier.LOCAL, StorageTier.NETWORK)}
    )
    return Upkeep(bench.manager, bench.spool, clock, bench.catalogue, strategy, RetentionService())


def test_a_copy_that_is_missing_is_named_until_it_is_made(bench: Workbench, copying: Upkeep) -> None:
    """Not while a run makes it, and not when it is there; again where that run failed."""
    bench.backup()
    wanted = [(one.backup_id, one.target) for one in copying.missing_copies()]
    assert wanted == [(RUN, StorageTier.NETWORK)]
    bench.manager.start_copy(RUN, "copy1", StorageTier.NETWORK)
    assert copying.missing_copies() == []
    bench.manager.abandon("copy1", "because")
    assert len(copying.missing_copies()) == 1
    copy_here(bench.manager, RUN, "copy2", StorageTier.NETWORK)
    assert copying.missing_copies() == []


def test_what_is_to_go_is_not_copied(bench: Workbench, copying: Upkeep, clock: SettableClock) -> None:
    """Neither what retention lets go, nor what is marked already."""
    bench.backup()
    clock.advance(timedelta(days=91))
    bench.backup("second")
    assert [one.backup_id for one in copying.missing_copies()] == ["second"]
    bench.catalogue.note(NoteKind.REMOVED, "second", clock.now())
    assert copying.missing_copies() == []


def test_so_many_copies_are_made_at_a_time(bench: Workbench, copying: Upkeep) -> None:
    """The newest first, the others when these are made."""
    for number in range(6):
        bench.backup(f"b{number}")
    assert [one.backup_id for one in copying.missing_copies()] == ["b5", "b4", "b3", "b2"]
    bench.manager.start_copy("b5", "copy", StorageTier.NETWORK)
    assert [one.backup_id for one in copying.missing_copies()] == ["b4", "b3", "b2"]


def test_what_dead_writers_left_in_a_store_goes_when_it_is_old(bench: Workbench, upkeep: Upkeep) -> None:
    """A file half written stays for a day, for its writer may live; whole objects stay for good."""
    bench.backup()
    before = bench.stored()
    old, young = (bench.folder / "store" / "layers" / name for name in (f".tmp-{16 * '0'}", f".tmp-{16 * '1'}"))
    for path in (old, young):
        path.write_bytes(b"half")
    day_ago = (datetime.now(UTC) - timedelta(days=2)).timestamp()
    os.utime(old, (day_ago, day_ago))
    assert upkeep.sweep_stores() == []
    assert (old.exists(), young.exists()) == (False, True)
    assert bench.stored() == before
