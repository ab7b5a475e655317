"""The manager: every method may be called again, by anybody, at any time; what fails leaves nothing behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import redis

from strata.catalog.lease import FileLease, RedisLease
from strata.catalog.ledger import Claim
from strata.catalog.memory_ledger import MemoryLedger
from strata.catalog.redis_ledger import RedisLedger
from strata.engine.admission import who
from strata.engine.manager import CHUNKS
from strata.engine.recorder import stage_seconds
from strata.errors import (
    BackupNotFound,
    BrokerUnavailable,
    IntegrityError,
    KeyringError,
    LeaseHeld,
    LeaseLost,
    RunFailed,
    SettingError,
    SourceUnavailable,
    StoreUnavailable,
)
from strata.model.backup_type import RULES, BackupType
from strata.model.layer import LayerKind
from strata.model.run import Run, RunState, Stage, StageRow
from strata.model.tier import Tier
from strata.seal.keyring import FileKeyring, Purpose
from strata.sources.port import RestoreMode
from strata.storage.filesystem import Durability, FilesystemStore
from strata.testing import FlakyStore, MemoryRecord, Moment
from tests.engine.workbench import RUN, Workbench, tiers_of

LABEL = "hot/segment/0"


@pytest.fixture
def bench(folder: Path) -> Workbench:
    """Two tiers with a few records."""
    return Workbench(folder, tiers_of(5, tiers=[Tier.HOT, Tier.COLD]))


def run_of(bench: Workbench, run_id: str = RUN) -> Run:
    """A run that must be known."""
    run = bench.ledger.run(run_id)
    assert run
    return run


def holder(bench: Workbench) -> str | None:
    """Who holds the lease."""
    assert bench.lease
    return bench.lease.holder()


def every_stage(bench: Workbench, run_id: str = RUN) -> list[Callable[[], object]]:
    """The stages of a backup of this workbench, in their order; labels are those of its objects."""
    manager = bench.manager
    labels = [f"{tier}/{kind}/0" for tier in bench.sources for kind in ("segment", "index")]
    units = [(stage, label) for label in labels for stage in (manager.compress, manager.encrypt, manager.store)]
    return [
        lambda: manager.start(BackupType.FULL, run_id),
        *(partial(manager.collect, run_id, tier) for tier in bench.sources),
        lambda: manager.merge(run_id),
        *(partial(stage, run_id, label) for stage, label in units),
        lambda: manager.verify(run_id),
        lambda: manager.record(run_id),
    ]


# --- beginning ----------------------------------------------------------------------------------------------------


def test_a_backup_that_is_started_twice_is_started_once(bench: Workbench) -> None:
    """The second start gives the same plan, with the same key, and asks for no second lease."""
    first = bench.manager.start(BackupType.FULL, RUN)
    assert bench.manager.start(BackupType.FULL, RUN) == first
    assert bench.manager.plan(RUN) == first
    assert run_of(bench).state is RunState.RUNNING
    assert (holder(bench) or "").startswith(RUN)


def test_starts_that_race_start_one_backup(folder: Path, hot_url: str) -> None:
    """However many workers are handed one start at the same moment, all get one plan, and the run goes on."""
    with redis.Redis.from_url(hot_url) as client:
        bench = Workbench(folder, tiers_of(5, tiers=[Tier.HOT]), ledger=RedisLedger(client), lease=RedisLease(client))
        together = threading.Barrier(8)

        def start(_: int) -> str:
            together.wait()
            return bench.manager.start(BackupType.FULL, RUN).model_dump_json()

        with ThreadPoolExecutor(8) as pool:
            plans = set(pool.map(start, range(8)))
        assert plans == {run_of(bench).plan}
        for stage in every_stage(bench):
            stage()
        assert run_of(bench).state is RunState.DONE
        assert holder(bench) is None


def test_a_start_whose_worker_died_is_started_by_the_next(folder: Path, hot_url: str) -> None:
    """A worker killed between the lease and the ledger: the same start, delivered again, is not refused by itself."""
    with redis.Redis.from_url(hot_url) as client:
        bench = Workbench(folder, tiers_of(5, tiers=[Tier.HOT]), ledger=RedisLedger(client), lease=RedisLease(client))
        RedisLease(client).acquire(RUN, "the dead")
        for stage in every_stage(bench):
            stage()
        assert run_of(bench).state is RunState.DONE


def test_an_id_that_a_stored_backup_has_is_refused(folder: Path) -> None:
    """Though the ledger has forgotten it: nothing passes for recorded that is not, and the backup stays as it is."""
    made = Workbench(folder, tiers_of(5, tiers=[Tier.HOT])).backup()
    bench = Workbench(folder, tiers_of(6, tiers=[Tier.HOT]))
    before = {name: bench.files.get(name) for name in bench.stored("layers/")}
    with pytest.raises(SettingError, match=f"LOCAL holds a backup {RUN} already"):
        bench.backup()
    assert run_of(bench).state is RunState.REFUSED
    assert {name: bench.files.get(name) for name in bench.stored("layers/")} == before
    assert bench.metadata.load(RUN) == made


def test_the_manifest_of_another_run_is_not_taken_for_its_own(bench: Workbench, folder: Path) -> None:
    """Two installations that give one id at the same moment: one backup is recorded, and the other says so."""
    bench.backup("before")
    spool = FilesystemStore(folder / "another spool", Durability.CACHED)
    other = Workbench(folder, bench.sources, lease=FileLease(folder / "another lease"), wrap_spool=lambda _: spool)
    for run in (bench.manager, other.manager):
        run.start(BackupType.INCREMENTAL, RUN)
    for run in (bench.manager, other.manager):
        for tier in bench.sources:
            run.baseline(RUN, tier)
        run.baseline(RUN, CHUNKS)
        for tier in bench.sources:
            run.collect(RUN, tier)
        run.merge(RUN)
        run.verify(RUN)
    other.manager.record(RUN)
    with pytest.raises(IntegrityError, match="is that of another run"):
        bench.manager.record(RUN)
    assert run_of(bench).state is RunState.RUNNING


def test_a_second_backup_is_refused_while_one_is_going_on(bench: Workbench) -> None:
    """The refusal says who is at work, and is entered as a run of its own with its reason and code."""
    bench.manager.start(BackupType.FULL, RUN)
    with pytest.raises(LeaseHeld, match=RUN):
        bench.manager.start(BackupType.FULL, "second")
    refused = run_of(bench, "second")
    assert (refused.state, refused.code) == (RunState.REFUSED, "lease-held")
    assert RUN in refused.reason
    with pytest.raises(RunFailed, match=RUN):
        bench.manager.start(BackupType.FULL, "second")
    assert run_of(bench).state is RunState.RUNNING


@pytest.mark.parametrize("missing", Purpose)
def test_no_key_is_no_backup(folder: Path, missing: Purpose) -> None:
    """A backup that lacks a key it will need is refused before anything is read, and its lease is given back."""
    bench = Workbench(folder, tiers_of(1))
    held = [key for key in bench.keyring._keys if key.purpose is not missing]
    bench.manager.planner._keyring = FileKeyring(held)
    with pytest.raises(KeyringError, match=missing.value):
        bench.manager.start(BackupType.FULL, RUN)
    assert run_of(bench).state is RunState.REFUSED
    assert holder(bench) is None
    assert (bench.stored("layers/"), bench.stored("manifests/"), bench.spooled()) == ([], [], [])


def test_nothing_to_back_up_is_refused(folder: Path) -> None:
    """Without a configured tier there is no backup, and no lease is kept."""
    bench = Workbench(folder, {})
    with pytest.raises(SettingError, match="no tier is configured"):
        bench.manager.start(BackupType.FULL, RUN)
    assert (run_of(bench).state, holder(bench)) == (RunState.REFUSED, None)


@pytest.mark.parametrize("backup_type", BackupType)
def test_every_type_can_be_the_first(folder: Path, backup_type: BackupType) -> None:
    """Where nothing is there to build on each type is made all the same, and holds what its scope covers."""
    bench = Workbench(folder, tiers_of(5, key=b"position:%d", tiers=[Tier.HOT, Tier.COLD]))
    for source in bench.sources.values():
        source.records["0", b"elsewhere"] = MemoryRecord(b"x")
    manifest = bench.backup(backup_type=backup_type)
    assert manifest.records == (12 if RULES[backup_type].patterns == ("*",) else 10)
    assert [layer.kind for layer in manifest.layers] == [LayerKind.BASE] * 2
    bench.restorer.verify(manifest, (Tier.HOT, Tier.COLD), lambda _: None)


def test_a_worker_with_another_store_does_no_stage(bench: Workbench, folder: Path) -> None:
    """A worker that is set to another store than the plan's refuses to work, and says which is which."""
    bench.manager.start(BackupType.FULL, RUN)
    (folder / "elsewhere").mkdir()
    other = Workbench(folder / "elsewhere", bench.sources, ledger=bench.ledger, lease=bench.lease)
    with pytest.raises(SettingError, match="but this worker is set to"):
        other.manager.collect(RUN, Tier.HOT)


# --- order --------------------------------------------------------------------------------------------------------


def test_stages_out_of_order_say_what_is_missing(bench: Workbench) -> None:
    """A stage whose predecessor is not done raises RunFailed that names it, and spoils nothing."""
    manager = bench.manager
    stages: list[tuple[Callable[[], object], str]] = [
        (lambda: manager.merge(RUN), r"HOT \(Redis\) and COLD \(S3\) was not collected"),
        (lambda: manager.compress(RUN, LABEL), "merge is not done"),
        (lambda: manager.encrypt(RUN, LABEL), f"compress {LABEL} is not done"),
        (lambda: manager.store(RUN, LABEL), f"encrypt {LABEL} is not done"),
        (lambda: manager.verify(RUN), "merge is not done"),
        (lambda: manager.record(RUN), "verify is not done"),
    ]
    manager.start(BackupType.FULL, RUN)
    for stage, sentence in stages:
        with pytest.raises(RunFailed, match=sentence):
            stage()
    manager.collect(RUN, Tier.HOT)
    with pytest.raises(RunFailed, match=r"COLD \(S3\) was not collected"):
        manager.merge(RUN)
    for stage in every_stage(bench):
        stage()
    assert run_of(bench).state is RunState.DONE


def test_a_backup_is_not_recorded_before_it_was_verified(bench: Workbench) -> None:
    """However much is stored, without the verification there is no manifest."""
    for stage in every_stage(bench)[:-2]:
        stage()
    with pytest.raises(RunFailed, match="verify is not done"):
        bench.manager.record(RUN)
    assert bench.stored("manifests/") == []


def test_an_object_that_was_never_stored_fails_the_verification(bench: Workbench) -> None:
    """Verification counts what must be there, and does not only prove what is."""
    stages = every_stage(bench)
    for stage in [*stages[:-3], stages[-2]][:-1]:
        stage()
    with pytest.raises(IntegrityError, match="were never stored: cold/index/0"):
        bench.manager.verify(RUN)


def test_a_run_that_nobody_started_has_no_stages(bench: Workbench) -> None:
    """Every stage of an unknown run names it."""
    for stage in every_stage(bench)[1:]:
        with pytest.raises(RunFailed, match=f"no run {RUN} is known"):
            stage()


# --- again --------------------------------------------------------------------------------------------------------


def test_every_stage_delivered_twice_gives_one_result(bench: Workbench) -> None:
    """Each stage done twice in a row, and all of them again at the end: one backup, the same answers."""
    first, second = [], []
    for stage in every_stage(bench):
        first.append(stage())
        second.append(stage())
    assert first == second
    again = [stage() for stage in every_stage(bench)]
    assert again == first
    assert (bench.spooled(), holder(bench)) == ([], None)
    for source in bench.sources.values():
        source.records.clear()
    assert [tier.written for tier in bench.restore().tiers] == [5, 5]


def test_a_backup_is_recorded_once(bench: Workbench) -> None:
    """Recording again changes no byte of the manifest."""
    bench.backup()
    manifest = bench.files.get(f"manifests/{RUN}.json")
    bench.manager.record(RUN)
    assert bench.files.get(f"manifests/{RUN}.json") == manifest
    assert run_of(bench).state is RunState.DONE


class ForgetfulLedger(MemoryLedger):
    """A ledger that goes away at the moment a result is to be left, once."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self._stage: Stage | None = stage

    def finish(self, claim: Claim, result: str, seconds: float) -> str:
        if claim.stage is self._stage:
            self._stage = None
            self.release(claim)
            raise BrokerUnavailable("the ledger went away")
        return super().finish(claim, result, seconds)


@pytest.mark.parametrize(
    "forgotten", [Stage.COLLECT, Stage.MERGE, Stage.COMPRESS, Stage.ENCRYPT, Stage.STORE, Stage.VERIFY, Stage.RECORD]
)
def test_a_stage_that_died_before_it_could_say_so_is_done_again(folder: Path, forgotten: Stage) -> None:
    """A worker that did its work and died before its result was noted: the next finds its traces and goes on."""
    bench = Workbench(folder, tiers_of(5, tiers=[Tier.HOT, Tier.COLD]), ledger=ForgetfulLedger(forgotten))
    lost = 0
    for stage in every_stage(bench):
        try:
            stage()
        except BrokerUnavailable:
            lost += 1
            stage()
    assert lost == 1
    assert run_of(bench).state is RunState.DONE
    assert bench.spooled() == []
    bench.restorer.verify(bench.metadata.load(RUN), (Tier.HOT, Tier.COLD), lambda _: None)


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("part", ["store", "spool"])
def test_any_one_failure_of_storage_is_survived_by_a_retry(folder: Path, part: str, moment: Moment) -> None:
    """Whichever single operation fails, before or after it was done: the stage is tried again and the backup whole.

    A start is not tried again: it is refused, with its reason, and another run's succeeds.
    """
    number = failures = 0
    while failures == number:
        where = folder / f"{number}"
        where.mkdir()
        wrap = {f"wrap_{part}": partial(FlakyStore, fails={number}, moment=moment)}
        bench = Workbench(where, tiers_of(2, tiers=[Tier.HOT]), **wrap)  # type: ignore[arg-type]
        run_id = RUN
        try:
            bench.manager.start(BackupType.FULL, run_id)
        except StoreUnavailable:
            failures += 1
            assert (run_of(bench).state, holder(bench)) == (RunState.REFUSED, None)
            run_id = "another"
        for stage in every_stage(bench, run_id):
            try:
                stage()
            except StoreUnavailable:
                failures += 1
                stage()
        assert run_of(bench, run_id).state is RunState.DONE
        assert (bench.spooled(), holder(bench)) == ([], None)
        whole = Workbench(where, bench.sources)
        whole.restorer.verify(whole.metadata.load(run_id), (Tier.HOT,), lambda _: None)
        number += 1
    assert failures >= 5


# --- ending -------------------------------------------------------------------------------------------------------


def test_an_abandoned_run_leaves_nothing(bench: Workbench) -> None:
    """FAILED with the first reason noted, the lease free, the spool empty; again it changes nothing."""
    bench.manager.start(BackupType.FULL, RUN)
    bench.manager.collect(RUN, Tier.HOT)
    bench.ledger.note_failure(RUN, "COLD (S3) went away", "source-unavailable")
    bench.manager.abandon(RUN, "another reason")
    bench.manager.abandon(RUN, "a third")
    ended = run_of(bench)
    assert (ended.state, ended.reason, ended.code) == (RunState.FAILED, "COLD (S3) went away", "source-unavailable")
    assert (bench.spooled(), holder(bench)) == ([], None)
    with pytest.raises(RunFailed, match="went away"):
        bench.manager.collect(RUN, Tier.COLD)


def test_an_abandoned_run_without_a_noted_failure_keeps_the_reason_given(bench: Workbench) -> None:
    """Where no stage said why, the reason is the one given, or says that there is none."""
    bench.manager.start(BackupType.FULL, RUN)
    bench.manager.abandon(RUN, "nobody moved it on")
    assert run_of(bench).reason == "nobody moved it on"
    bench.manager.start(BackupType.FULL, "second")
    bench.manager.abandon("second")
    assert run_of(bench, "second").reason == "a stage failed"


def test_a_backup_that_exists_is_not_abandoned(bench: Workbench) -> None:
    """An errback that comes late finds the run done, and leaves it so."""
    bench.backup()
    bench.manager.abandon(RUN, "too late")
    assert run_of(bench).state is RunState.DONE
    assert bench.metadata.load(RUN)


def test_abandoning_what_nobody_knows_is_nothing(bench: Workbench) -> None:
    """An unknown run, or a refused one, is not ended again."""
    bench.manager.abandon("nobody")
    assert bench.ledger.run("nobody") is None
    bench.manager.start(BackupType.FULL, RUN)
    with pytest.raises(LeaseHeld):
        bench.manager.start(BackupType.FULL, "second")
    bench.manager.abandon("second")
    assert run_of(bench, "second").state is RunState.REFUSED
    assert (holder(bench) or "").startswith(RUN)


def test_a_run_does_not_take_the_lease_of_the_next_with_it(bench: Workbench) -> None:
    """Ending a run again, late, leaves the lease with the run that has it now."""
    bench.manager.start(BackupType.FULL, RUN)
    bench.manager.abandon(RUN, "because")
    bench.manager.start(BackupType.FULL, "second")
    bench.manager.abandon(RUN, "again")
    assert (holder(bench) or "").startswith("second")


def test_a_run_whose_lease_went_to_another_records_nothing(bench: Workbench) -> None:
    """A run that was silent for too long comes back, and may not commit."""
    for stage in every_stage(bench)[:-1]:
        stage()
    assert bench.lease
    fence = run_of(bench).fence
    assert fence
    bench.lease.release(fence)
    bench.lease.acquire("second", "bob")
    with pytest.raises(LeaseLost):
        bench.manager.record(RUN)
    assert bench.stored("manifests/") == []


# --- restores -----------------------------------------------------------------------------------------------------


def test_a_restore_that_is_started_twice_is_started_once(bench: Workbench) -> None:
    """The second start gives the same plan, though a newer backup would now be the latest."""
    bench.backup()
    first = bench.manager.start_restore("latest", "restore", RestoreMode.EXACT, ())
    assert bench.manager.start_restore("latest", "restore", RestoreMode.EXACT, ()) == first
    assert first.tiers == (Tier.HOT, Tier.COLD)


def test_no_backup_begins_during_a_restore(bench: Workbench) -> None:
    """State that is half restored is not backed up."""
    bench.backup()
    bench.manager.start_restore("latest", "restore", RestoreMode.EXACT, ())
    with pytest.raises(LeaseHeld, match="restore"):
        bench.manager.start(BackupType.FULL, "second")


def test_a_restore_of_nothing_is_refused(bench: Workbench) -> None:
    """An unknown backup is refused before the lease is asked for, and entered with its reason."""
    with pytest.raises(BackupNotFound):
        bench.manager.start_restore("20990101", "restore", RestoreMode.EXACT, ())
    assert run_of(bench, "restore").state is RunState.REFUSED
    assert run_of(bench, "restore").code == "backup-not-found"
    assert holder(bench) is None


def test_nothing_is_written_before_the_check(bench: Workbench) -> None:
    """Applying a tier before the backup was proved, or finishing before every tier was applied, is refused."""
    bench.backup()
    manager = bench.manager
    manager.start_restore("latest", "restore", RestoreMode.EXACT, ())
    with pytest.raises(RunFailed, match="check is not done"):
        manager.apply("restore", Tier.HOT)
    manager.check("restore")
    manager.apply("restore", Tier.HOT)
    with pytest.raises(RunFailed, match="apply cold is not done"):
        manager.finish("restore")
    manager.apply("restore", Tier.COLD)
    assert [tier.tier for tier in manager.finish("restore").tiers] == [Tier.HOT, Tier.COLD]
    assert (run_of(bench, "restore").state, holder(bench)) == (RunState.DONE, None)


def test_no_tier_is_written_out_of_turn(folder: Path) -> None:
    """A stage of a tier that the plan does not name, or before the round that comes first, overwrites nothing."""
    bench = Workbench(folder, tiers_of(5))
    bench.backup()
    for source in bench.sources.values():
        source.records.clear()
    for run_id, tiers, sentence in (
        ("restore-1", (Tier.WARM,), r"restore-1 does not restore HOT \(Redis\)"),
        ("restore-2", (), "apply warm is not done"),
    ):
        bench.manager.start_restore("latest", run_id, RestoreMode.EXACT, tiers)
        bench.manager.check(run_id)
        with pytest.raises(RunFailed, match=sentence):
            bench.manager.apply(run_id, Tier.HOT)
        assert not bench.sources[Tier.HOT].records
        bench.manager.abandon(run_id)


def test_a_restore_delivered_twice_writes_once(bench: Workbench) -> None:
    """A tier that was applied is not applied again: what was written since stays."""
    bench.backup()
    manager = bench.manager
    manager.start_restore("latest", "restore", RestoreMode.EXACT, (Tier.HOT,))
    manager.check("restore")
    first = manager.apply("restore", Tier.HOT)
    bench.sources[Tier.HOT].records.clear()
    assert manager.apply("restore", Tier.HOT) == first
    assert bench.sources[Tier.HOT].records == {}
    assert manager.finish("restore") == manager.finish("restore")


# --- what is told -------------------------------------------------------------------------------------------------


def row(stage: Stage, unit: str, began: float, seconds: float | None) -> StageRow:
    """One row of a run."""
    return StageRow(
        stage=stage, unit=unit, done=seconds is not None, owner="", attempts=1, seconds=seconds, began=began
    )


def test_the_seconds_of_a_stage_span_its_units() -> None:
    """From the first unit's beginning to the last one's end; collection by tier; what is not done is left out."""
    rows = [
        row(Stage.COLLECT, "hot", 100, 5),
        row(Stage.COLLECT, "warm", 100, 8),
        row(Stage.STORE, "hot/segment/0", 120, 2),
        row(Stage.STORE, "hot/segment/1", 118, 10),
        row(Stage.STORE, "hot/segment/2", 125, 4),
        row(Stage.VERIFY, "", 130, None),
    ]
    assert stage_seconds(rows) == {"collect hot": 5, "collect warm": 8, "store": 11}
    assert stage_seconds([]) == {}


def test_the_manifest_says_how_long_the_stages_took(bench: Workbench) -> None:
    """Each stage before the record is in the manifest with its seconds."""
    seconds = bench.backup().seconds
    assert set(seconds) == {"collect hot", "collect cold", "merge", "compress", "encrypt", "store", "verify"}
    assert all(0 <= value < 60 for value in seconds.values())


def test_who_starts_a_run_is_told_in_words() -> None:
    """User and machine."""
    user, _, host = who().partition("@")
    assert user
    assert host


def test_a_tier_that_went_away_can_come_back(bench: Workbench) -> None:
    """A collection that failed is tried again within the same run, and the backup is whole."""
    bench.manager.start(BackupType.FULL, RUN)
    bench.sources[Tier.HOT].dies_after = 0
    with pytest.raises(SourceUnavailable):
        bench.manager.collect(RUN, Tier.HOT)
    bench.sources[Tier.HOT].dies_after = None
    for stage in every_stage(bench):
        stage()
    assert bench.metadata.load(RUN).records == 10
