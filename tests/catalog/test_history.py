"""Failed runs beside the backups: signed, sealed where they would tell of the state, and kept once."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from strata.catalog.history import RunBook
from strata.engine.failures import reason_of
from strata.engine.local import backup_here
from strata.errors import LeaseHeld, StoreUnavailable, StrataError
from strata.model.backup_type import BackupType
from strata.model.run import RunState
from strata.seal.keyring import FileKeyring
from strata.storage.port import ObjectStore
from strata.testing import FlakyStore, SettableClock
from tests.engine.workbench import RUN, Workbench, tiers_of


def failed(folder: Path) -> Workbench:
    """A bench whose backup failed while it read a tier."""
    sources = tiers_of(500)
    for source in sources.values():
        source.dies_after = 1
    bench = Workbench(folder, sources)
    with pytest.raises(StrataError):
        bench.backup()
    return bench


def test_a_run_that_failed_is_told_by_the_store(folder: Path) -> None:
    """With another ledger, the store and the keyring alone say when it failed and why."""
    bench = failed(folder)
    (run,) = RunBook(bench.files, bench.keyring).all()
    assert (run.run_id, run.state, run.code, run.backup_type) == (
        RUN,
        RunState.FAILED,
        "source-unavailable",
        BackupType.FULL,
    )
    assert "stopped answering half way" in reason_of(bench.keyring, run)


def test_the_reason_is_sealed(folder: Path) -> None:
    """Who has the store but no keyring sees the code, not the sentence; another keyring says that it cannot tell."""
    bench = failed(folder)
    data = bench.files.get(f"history/{RUN}.json")
    assert b"source-unavailable" in data
    assert b"half way" not in data
    other = FileKeyring.create(folder / "other.json", bench.clock.now())
    (run,) = RunBook(bench.files, bench.keyring).all()
    assert "does not hold key" in reason_of(other, run)
    assert RunBook(bench.files, other).all() == []


def test_a_forged_run_is_ignored_and_reported(folder: Path) -> None:
    """Edited or under another name it is none; the others are told."""
    bench = failed(folder)
    name = f"history/{RUN}.json"
    bench.files.put("history/another.json", [bench.files.get(name)])
    bench.files.put("history/edited.json", [bench.files.get(name).replace(b"FAILED", b"REFUSED")])
    book = RunBook(bench.files, bench.keyring)
    assert [run.run_id for run in book.all()] == [RUN]
    assert {one.name for one in book.ignored} == {"history/another.json", "history/edited.json"}


def test_a_backup_that_was_made_and_one_that_waited_are_no_failures(folder: Path) -> None:
    """A run that is done leaves no record, nor one that was refused because another was going on."""
    bench = Workbench(folder, tiers_of(3))
    bench.backup()
    bench.manager.start(BackupType.FULL, "first")
    with pytest.raises(LeaseHeld):
        bench.manager.start(BackupType.FULL, "second")
    assert bench.stored("history/") == []


def test_a_plan_that_could_not_be_made_is_told(folder: Path) -> None:
    """A refusal for any other reason means that a backup is missing."""
    bench = Workbench(folder, {})
    with pytest.raises(StrataError):
        backup_here(bench.manager, BackupType.FULL, RUN)
    (run,) = RunBook(bench.files, bench.keyring).all()
    assert (run.state, run.code) == (RunState.REFUSED, "setting")


def test_a_store_that_fails_hides_no_reason(folder: Path) -> None:
    """Where the store is what failed, the run ends with its own reason all the same."""
    sources = tiers_of(3)
    flaky: list[FlakyStore] = []

    def wrap(store: ObjectStore) -> ObjectStore:
        flaky.append(FlakyStore(store, ()))
        return flaky[0]

    bench = Workbench(folder, sources, wrap_store=wrap)
    bench.manager.start(BackupType.FULL, RUN)
    flaky[0].fails = frozenset(range(10_000))
    with pytest.raises(StoreUnavailable):
        bench.backup()
    run = bench.ledger.run(RUN)
    assert run
    assert run.state is RunState.FAILED
    assert bench.stored("history/") == []


def test_runs_are_newest_first(folder: Path) -> None:
    """Failures are told in the order of time."""
    clock = SettableClock()
    bench = Workbench(folder, {}, clock=clock)
    for number in range(3):
        with pytest.raises(StrataError):
            backup_here(bench.manager, BackupType.FULL, f"run-{number}")
        clock.advance(timedelta(hours=1))
    assert [run.run_id for run in RunBook(bench.files, bench.keyring).all()] == ["run-2", "run-1", "run-0"]
