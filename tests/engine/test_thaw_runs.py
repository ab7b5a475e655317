"""Restores out of an archive: planned, asked for once, waited for without worker and lease, then whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from strata.catalog import memory_ledger
from strata.catalog.catalogue import Catalogue
from strata.engine.depot import Depot, Depots
from strata.engine.local import restore_here
from strata.engine.restore_store import RestoreStores
from strata.engine.thaw_runs import LEASE_SECONDS, ThawRuns, Visit
from strata.engine.thawer import Thawer, ThawPolicy
from strata.errors import LeaseHeld, ObjectFrozen, RunFailed, SettingError
from strata.model.plan import RestorePlan
from strata.model.run import Run, RunState, Stage
from strata.model.thaw import Thawed, ThawSpeed
from strata.model.tier import StorageTier, Tier
from strata.planning.thaw import DEFAULT_PRICES, prices_of
from strata.sources.port import RestoreMode
from strata.storage.s3 import S3Store
from strata.storage.thawing import Asked
from strata.testing import MemoryRecord, SettableClock
from tests.engine.workbench import Workbench, tiers_of
from tests.glacier import ACCESS, Glacier

LOOK = 300.0
READY = Visit(ready=True)
AGAIN = Visit(ready=False, again=LOOK)
SURPLUS = Visit(ready=False)


@pytest.fixture
def glacier(moto_endpoint: str, moto_bucket: str) -> Glacier:
    """An empty archive."""
    return Glacier(moto_endpoint, moto_bucket)


@pytest.fixture
def clock() -> SettableClock:
    """A clock that can be moved."""
    return SettableClock(datetime.now(UTC))


@pytest.fixture
def bench(folder: Path, glacier: Glacier, clock: SettableClock) -> Workbench:
    """Two tiers, backed up, changed since, and the backup copied to the archive."""
    bench = Workbench(folder, tiers_of(50, tiers=[Tier.HOT, Tier.COLD]), clock=clock)
    bench.backup()
    glacier.archive(folder / "store", "backups/")
    for source in bench.sources.values():
        source.records["0", b"made since"] = MemoryRecord(b"x")
    store = S3Store(f"s3://{glacier.bucket}/backups", endpoint=glacier.endpoint, attempts=1, **ACCESS)
    archive = Depot.of(StorageTier.ARCHIVE, store, bench.sources, bench.keyring, clock)
    policy = ThawPolicy(ThawSpeed.BULK, 3, prices_of(DEFAULT_PRICES), LOOK)
    depots = {depot.tier: depot for depot in (bench.depot, archive)}
    catalogue = Catalogue({tier: depot.store for tier, depot in depots.items()}, bench.keyring)
    thawer = Thawer(store.url, store.thaw(), archive.restorer, policy)
    bench.manager.restore_stores = RestoreStores(Depots(depots, catalogue), {StorageTier.ARCHIVE: thawer})
    return bench


@pytest.fixture
def thaws(bench: Workbench) -> ThawRuns:
    """What brings its restores through a thaw."""
    return ThawRuns(bench.manager)


@pytest.fixture
def held(bench: Workbench, glacier: Glacier) -> Iterator[None]:
    """Thaws stay on their way for the whole test."""
    with glacier.holding():
        yield


def started(bench: Workbench, run_id: str = "restore", speed: ThawSpeed | None = None) -> RestorePlan:
    """A restore from the archive that has begun."""
    return bench.manager.start_restore("latest", run_id, RestoreMode.EXACT, (), StorageTier.ARCHIVE, speed)


def due(bench: Workbench, monkeypatch: pytest.MonkeyPatch, seconds: float = LOOK) -> None:
    """Let the ledger's clock run to the next visit."""
    later = bench.ledger.clock_ms() + seconds * 1000
    monkeypatch.setattr(bench.ledger, "clock_ms", lambda: later)


def run_of(bench: Workbench, run_id: str = "restore") -> Run:
    """A run that must be known."""
    run = bench.ledger.run(run_id)
    assert run
    return run


def holder(bench: Workbench) -> str | None:
    """Who holds the lease."""
    assert bench.lease
    return bench.lease.holder()


def finished(bench: Workbench, run_id: str = "restore") -> None:
    """The rest of the restore, which must bring back every record."""
    bench.manager.check(run_id)
    for tier in bench.sources:
        bench.manager.apply(run_id, tier)
    restored = bench.manager.finish(run_id)
    assert [(tier.written + tier.unchanged, tier.removed) for tier in restored.tiers] == [(50, 1), (50, 1)]
    for tier, source in bench.sources.items():
        assert {key: record.value for key, record in source.records.items()} == {
            ("0", tier.encode() + b":%d" % number): b"value %d" % number for number in range(50)
        }


def test_a_restore_from_the_archive_is_planned_before_anything_is_asked_for(bench: Workbench, glacier: Glacier) -> None:
    """The plan names objects, hours and days; no lease is held, and no request was sent."""
    plan = started(bench)
    assert plan.thaw
    assert (plan.thaw.objects, plan.thaw.days, plan.thaw.most_hours) == (2, 3, 12)
    assert plan.thaw.readable > 0
    assert plan.store_url.startswith("s3://")
    assert holder(bench) is None
    assert glacier.asked() == set()
    assert run_of(bench).state is RunState.RUNNING


@pytest.mark.usefixtures("held")
def test_a_thaw_is_waited_for_without_the_lease(bench: Workbench, thaws: ThawRuns, glacier: Glacier) -> None:
    """A visit asks for all that is frozen, and leaves; meanwhile backups can be made."""
    started(bench)
    assert thaws.visit("restore") == AGAIN
    assert len(glacier.asked()) == 2
    run = run_of(bench)
    assert run.wakes_at
    assert run.waits_for.startswith("a thaw: ")
    assert (run.fence, holder(bench)) == (None, None)
    bench.backup("20250102-040506-full-601d01")
    assert run_of(bench).state is RunState.RUNNING


def test_the_restore_goes_on_when_all_is_thawed(
    bench: Workbench, thaws: ThawRuns, glacier: Glacier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After any number of visits, far more than a stage may be tried: the lease, then every record."""
    with glacier.holding():
        started(bench)
        for _ in range(20):
            assert thaws.visit("restore") == AGAIN
            due(bench, monkeypatch)
        first, second = sorted(glacier.asked())
        glacier.finish(first)
        assert thaws.visit("restore") == AGAIN
        assert run_of(bench).waits_for != ""
        due(bench, monkeypatch)
        glacier.finish(second)
        assert thaws.visit("restore") == READY
    assert run_of(bench).fence is not None
    assert holder(bench) is not None
    thawed = Thawed.model_validate_json(bench.ledger.result("restore", Stage.THAW, "") or "")
    assert thawed.until
    finished(bench)
    assert holder(bench) is None


@pytest.mark.usefixtures("held")
def test_a_copy_of_the_message_does_nothing(bench: Workbench, thaws: ThawRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its time a visit neither looks nor comes again; in its time it does."""
    started(bench)
    assert thaws.visit("restore") == AGAIN
    woken = run_of(bench).wakes_at
    assert [thaws.visit("restore") for _ in range(3)] == [SURPLUS] * 3
    assert run_of(bench).wakes_at == woken
    due(bench, monkeypatch)
    assert thaws.visit("restore") == AGAIN


@pytest.mark.usefixtures("held")
def test_another_process_goes_on_with_what_was_asked_for(bench: Workbench, thaws: ThawRuns, glacier: Glacier) -> None:
    """A second restore of the same backup finds the objects on their way: nothing is frozen, and nothing costs."""
    started(bench)
    thaws.visit("restore")
    plan = started(bench, "again")
    assert plan.thaw
    assert (plan.thaw.objects, plan.thaw.thawing, plan.thaw.cost) == (0, 2, 0.0)
    for name in glacier.asked():
        glacier.finish(name)
    assert thaws.visit("again") == READY
    finished(bench, "again")


def test_nothing_is_thawed_where_all_can_be_read(bench: Workbench, thaws: ThawRuns, glacier: Glacier) -> None:
    """Copies that still stay from an earlier thaw: the restore begins at once, with the lease."""
    started(bench)
    assert thaws.visit("restore") == READY
    finished(bench)
    for source in bench.sources.values():
        source.records["0", b"made since"] = MemoryRecord(b"x")
    plan = started(bench, "again")
    assert plan.thaw is None
    assert run_of(bench, "again").fence is not None
    finished(bench, "again")


def test_a_copy_that_expired_while_others_came_is_asked_for_again(
    bench: Workbench, thaws: ThawRuns, glacier: Glacier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thaw that took so long that its first copies are gone begins those anew."""
    with glacier.holding():
        started(bench)
        thaws.visit("restore")
        first, second = sorted(glacier.asked())
        glacier.finish(second)
        glacier.expire(first)
        due(bench, monkeypatch)
        assert thaws.visit("restore") == AGAIN
        assert glacier.asked() == {first, second}
        glacier.finish(first)
        due(bench, monkeypatch)
        assert thaws.visit("restore") == READY
    finished(bench)


def test_a_copy_that_expired_after_the_thaw_fails_before_anything_is_written(
    bench: Workbench, thaws: ThawRuns, glacier: Glacier
) -> None:
    """Nobody worked for days: the check names the object, and the targets are as they were."""
    started(bench)
    assert thaws.visit("restore") == READY
    glacier.expire(min(glacier.asked()))
    with pytest.raises(ObjectFrozen, match="in an archive class"):
        bench.manager.check("restore")
    assert all(("0", b"made since") in source.records for source in bench.sources.values())


def test_a_lease_that_another_run_holds_is_waited_for(
    bench: Workbench, thaws: ThawRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thaw is over and a backup is going on: the restore comes again soon, and begins when it may."""
    started(bench)
    assert bench.lease
    fence = bench.lease.acquire("a-backup", "ann")
    assert thaws.visit("restore") == Visit(ready=False, again=LEASE_SECONDS)
    assert "a-backup" in run_of(bench).waits_for
    bench.lease.release(fence)
    due(bench, monkeypatch, LEASE_SECONDS)
    assert thaws.visit("restore") == READY
    finished(bench)


def test_a_lease_that_ran_out_before_the_restore_began_is_taken_again(bench: Workbench, thaws: ThawRuns) -> None:
    """Workers died right after the thaw: days of waiting are not thrown away for that."""
    started(bench)
    assert thaws.visit("restore") == READY
    fence = run_of(bench).fence
    assert fence
    assert bench.lease
    bench.lease.release(fence)
    assert thaws.visit("restore") == READY
    assert run_of(bench).fence != fence
    finished(bench)


def test_a_visit_that_dies_half_way_is_made_up_for(
    bench: Workbench, thaws: ThawRuns, glacier: Glacier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the first request: the next visit asks for the rest only."""
    thaw = bench.manager.restore_stores.thawers[StorageTier.ARCHIVE]._thaw
    real = thaw.request_all
    started(bench)
    with glacier.holding():
        monkeypatch.setattr(thaw, "request_all", lambda states, *rest: [real(states[:1], *rest), 1 / 0])
        monkeypatch.setattr(memory_ledger, "CLAIM_SECONDS", 0)
        with suppress(ZeroDivisionError):
            thaws.visit("restore")
        assert len(glacier.asked()) == 1
        monkeypatch.setattr(thaw, "request_all", real)
        assert thaws.visit("restore") == AGAIN
        assert len(glacier.asked()) == 2


@pytest.mark.usefixtures("held")
def test_standard_is_asked_for_where_expedited_has_no_capacity(
    bench: Workbench, thaws: ThawRuns, glacier: Glacier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every object is asked for at the speed that can be had, and the run says which that is."""
    plan = started(bench, speed=ThawSpeed.EXPEDITED)
    assert plan.thaw
    assert (plan.thaw.speed, plan.thaw.most_hours) == (ThawSpeed.EXPEDITED, 5 / 60)
    thaw, asked = bench.manager.restore_stores.thawers[StorageTier.ARCHIVE]._thaw, list[ThawSpeed]()
    real = thaw.request

    def request(name: str, days: int, speed: ThawSpeed) -> Asked:
        asked.append(speed)
        return Asked.NOT_AT_THIS_SPEED if speed is ThawSpeed.EXPEDITED else real(name, days, speed)

    monkeypatch.setattr(thaw, "request", request)
    assert thaws.visit("restore") == AGAIN
    assert sorted(asked) == [ThawSpeed.EXPEDITED] * 2 + [ThawSpeed.STANDARD] * 2
    assert len(glacier.asked()) == 2
    assert "standard was asked for" in run_of(bench).waits_for


@pytest.mark.usefixtures("held")
def test_a_thaw_that_never_ends_fails_with_its_reason(
    bench: Workbench, thaws: ThawRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice the published time and a day later, by the ledger's clock, nobody waits any longer."""
    started(bench)
    assert thaws.visit("restore") == AGAIN
    due(bench, monkeypatch, seconds=47 * 3600)
    assert thaws.visit("restore") == AGAIN
    due(bench, monkeypatch, seconds=2 * 3600)
    with pytest.raises(RunFailed, match="should have ended by"):
        thaws.visit("restore")


def test_a_run_that_was_given_up_is_not_gone_on_with(bench: Workbench, thaws: ThawRuns) -> None:
    """A message that comes after the end takes no lease."""
    started(bench)
    bench.manager.abandon("restore", "because")
    with pytest.raises(RunFailed, match="because"):
        thaws.visit("restore")
    assert holder(bench) is None


def test_a_restore_in_this_process_rests_between_visits(bench: Workbench, glacier: Glacier) -> None:
    """It tells how long it rests, and goes on by itself."""
    rests = []

    def rest(seconds: float) -> None:
        rests.append(seconds)
        if len(rests) == 3:
            for name in glacier.asked():
                glacier.finish(name)
        bench.ledger._entries["restore"].run = run_of(bench).model_copy(update={"wakes_at": None})  # type: ignore[attr-defined]

    with glacier.holding():
        restored = restore_here(
            bench.manager,
            "latest",
            "restore",
            RestoreMode.EXACT,
            (),
            storage_tier=StorageTier.ARCHIVE,
            rest=rest,
        )
    assert rests == [LOOK] * 3
    assert [tier.removed for tier in restored.tiers] == [1, 1]
    assert holder(bench) is None


@pytest.mark.usefixtures("held")
def test_a_backup_that_is_waited_for_is_known_to_whoever_removes_backups(
    bench: Workbench, thaws: ThawRuns, glacier: Glacier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its start until the run has ended, though it holds no lease."""
    plan = started(bench)
    assert thaws.awaited() == {plan.backup_id}
    assert thaws.visit("restore") == AGAIN
    assert thaws.awaited() == {plan.backup_id}
    for name in glacier.asked():
        glacier.finish(name)
    due(bench, monkeypatch)
    assert thaws.visit("restore") == READY
    assert thaws.awaited() == {plan.backup_id}
    finished(bench)
    assert thaws.awaited() == frozenset()


@pytest.mark.usefixtures("held")
def test_a_store_that_does_not_answer_is_waited_for_too(
    bench: Workbench, thaws: ThawRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage of the store in the middle of days of waiting fails nothing; the run says what it waits for."""
    started(bench)
    gone = S3Store("s3://gone/backups", endpoint="http://127.0.0.1:1", attempts=1, **ACCESS)
    monkeypatch.setattr(bench.manager.restore_stores.thawers[StorageTier.ARCHIVE], "_thaw", gone.thaw())
    assert thaws.visit("restore") == AGAIN
    assert "cannot be reached" in run_of(bench).waits_for
    assert run_of(bench).state is RunState.RUNNING


def test_a_store_that_is_not_configured_is_refused(bench: Workbench) -> None:
    """A sentence names the setting."""
    with pytest.raises(SettingError, match="there is no CLOUD store here"):
        bench.manager.start_restore("latest", "other", RestoreMode.EXACT, (), StorageTier.CLOUD)


def test_a_usual_restore_still_takes_the_lease_first(bench: Workbench) -> None:
    """Without a thaw nothing has changed: two restores cannot go on at a time."""
    plan = bench.manager.start_restore("latest", "usual", RestoreMode.EXACT, ())
    assert plan.thaw is None
    with pytest.raises(LeaseHeld):
        bench.manager.start_restore("latest", "another", RestoreMode.EXACT, ())
