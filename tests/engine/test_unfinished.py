"""A half restored state is no ordinary backup: refused, or said, until the restore is done or a person settles it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from strata.catalog.memory_ledger import MemoryLedger
from strata.catalog.notes import NoteKind
from strata.engine.local import restore_here
from strata.errors import BackupNotFound, HalfRestored, SourceError, StorageError, StoreFull
from strata.model.backup_type import BackupType
from strata.model.coverage import Doubt, DoubtKind
from strata.model.identity import Identity
from strata.model.run import RunState
from strata.model.tier import StorageTier, Tier
from strata.planning.tier_strategy import Placement
from strata.sources.port import Permit, RestoreMode
from strata.storage.port import ObjectStore
from strata.testing import FlakyStore, MemoryApplication, MemoryRecord, MemorySource, SettableClock, always
from tests.engine.workbench import RUN, Workbench, tiers_of


class StumblingSource(MemorySource):
    """Implements StateSource; while `stumbles`, a restore into it fails when something was already overwritten."""

    stumbles = False
    refuses = False

    def check(self, description: dict[str, Any]) -> None:
        super().check(description)
        if self.refuses:
            raise SourceError("it takes nothing")

    @contextmanager
    def apply(self, description: dict[str, Any], mode: RestoreMode, permit: Permit) -> Iterator[MemoryApplication]:
        with super().apply(description, mode, permit) as application:
            yield application
            if self.stumbles:
                raise SourceError("it went away half way")


@pytest.fixture
def bench(folder: Path) -> Workbench:
    """Two tiers with a backup, of which HOT stumbles where it is told to."""
    sources = tiers_of(5, tiers=(Tier.WARM, Tier.HOT))
    sources[Tier.HOT] = StumblingSource(Tier.HOT, sources[Tier.HOT].records)
    bench = Workbench(folder, sources)
    bench.backup()
    return bench


def stumbling(bench: Workbench) -> StumblingSource:
    """HOT."""
    hot = bench.sources[Tier.HOT]
    assert isinstance(hot, StumblingSource)
    return hot


def fail_half_way(bench: Workbench, run_id: str = "stumbled", tiers: tuple[Tier, ...] = ()) -> None:
    """A restore that ends as FAILED after WARM was written and HOT begun."""
    hot = stumbling(bench)
    hot.stumbles = True
    with pytest.raises(SourceError, match="half way"):
        bench.restore(run_id, tiers=tiers)
    hot.stumbles = False
    run = bench.ledger.run(run_id)
    assert run is not None
    assert run.state is RunState.FAILED


ORDERLY = [BackupType.FULL, BackupType.INCREMENTAL, BackupType.DIFFERENTIAL, BackupType.SNAPSHOT]


@pytest.mark.parametrize("backup_type", ORDERLY)
def test_no_ordinary_backup_is_made_of_a_half_restored_state(bench: Workbench, backup_type: BackupType) -> None:
    """It is refused with the tiers, the restore and both ways out, and the run is entered as REFUSED."""
    fail_half_way(bench)
    with pytest.raises(HalfRestored, match=r"HOT \(Redis\) and WARM \(PostgreSQL\): the restore stumbled of") as caught:
        bench.backup("mixture", backup_type)
    assert "strata settle stumbled" in caught.value.hint
    run = bench.ledger.run("mixture")
    assert run is not None
    assert (run.state, run.code) == (RunState.REFUSED, "half-restored")


def test_the_fact_outlives_the_ledger(bench: Workbench, folder: Path) -> None:
    """Another process, with a ledger that has never heard of the restore, refuses as well."""
    fail_half_way(bench)
    other = Workbench(folder, bench.sources, ledger=MemoryLedger(), lease=bench.lease)
    with pytest.raises(HalfRestored):
        other.backup("mixture", BackupType.INCREMENTAL)


@pytest.mark.parametrize("settled", [False, True])
def test_a_restore_stays_ended_when_its_store_gets_an_identity(
    bench: Workbench, folder: Path, *, settled: bool
) -> None:
    """A restore may leave its notes in a store that no backup has written into, and that has no identity yet."""
    far = Workbench(folder / "far", bench.sources, places={BackupType.FULL: Placement(StorageTier.NETWORK)})
    far.backup()
    if settled:
        fail_half_way(far)
        far.manager.unfinished.settle("stumbled")
    else:
        far.restore()
    assert far.owner.identity(StorageTier.LOCAL) is None
    far.owner.claim_new(StorageTier.LOCAL, far.clock.now())
    assert far.backup("20250103-030405-incremental-601d02", BackupType.INCREMENTAL).records


def test_an_emergency_goes_on_and_says_it(bench: Workbench) -> None:
    """What must be saved is saved; the manifest says of which restore the state is half."""
    fail_half_way(bench)
    made = bench.backup("in-need", BackupType.EMERGENCY)
    said = [part.half for part in made.tiers if part.included]
    assert [one.partition(" is half restored: the restore stumbled of ")[0] for one in said] == [
        "HOT (Redis)",
        "WARM (PostgreSQL)",
    ]


def test_a_backup_of_a_half_restored_state_is_in_doubt_until_somebody_accepts_it(bench: Workbench) -> None:
    """It is never the last good one of its type; the doubt names the tiers, and is there before anything is read."""
    whole = bench.backup("whole", BackupType.EMERGENCY)
    bench.depot.book.add(NoteKind.ACCEPTED, whole.backup_id, bench.clock.now())
    fail_half_way(bench)
    decided = bench.manager.unfinished.judged(bench.manager.planner.decide(BackupType.EMERGENCY, "thought"))
    assert half_restored_tiers(decided.doubts) == [Tier.HOT, Tier.WARM]
    made = bench.backup("in-need", BackupType.EMERGENCY)
    view = bench.catalogue.view()
    assert view.entries[0].backup_id == made.backup_id
    assert half_restored_tiers(view.judgement.doubts(view.entries[0])) == [Tier.HOT, Tier.WARM]
    assert last_good_emergency(bench) == whole.backup_id
    bench.depot.book.add(NoteKind.ACCEPTED, made.backup_id, bench.clock.now())
    assert last_good_emergency(bench) == made.backup_id


def half_restored_tiers(doubts: Iterable[Doubt]) -> list[Tier | None]:
    """The tiers that are doubted because a restore may have left them half overwritten."""
    return [doubt.tier for doubt in doubts if doubt.kind is DoubtKind.HALF_RESTORED]


def last_good_emergency(bench: Workbench) -> str:
    """The id of the last good EMERGENCY."""
    found = bench.catalogue.view().judgement.last_good(frozenset({BackupType.EMERGENCY}))
    assert found is not None
    return found.backup_id


def silent(store: ObjectStore) -> ObjectStore:
    """A store that does not answer."""
    return FlakyStore(store, range(10_000))


def test_where_nobody_can_say_whether_a_tier_is_half_restored_the_backup_is_in_doubt(folder: Path) -> None:
    """With the nearest store silent a backup that goes elsewhere says so, and nothing is built on it."""
    places = {BackupType.FULL: Placement(StorageTier.NETWORK), BackupType.INCREMENTAL: Placement(StorageTier.NETWORK)}
    bench = Workbench(folder, tiers_of(5, tiers=(Tier.HOT,)), places=places)
    bench.backup("before")
    blind = Workbench(folder, bench.sources, places=places, lease=bench.lease, wrap_store=silent)
    made = blind.backup("blind", BackupType.FULL)
    (said,) = [part.half for part in made.tiers if part.included]
    assert said.startswith("HOT (Redis) may be half restored, because nobody can say whether a restore was left")
    assert bench.backup("after", BackupType.INCREMENTAL).parent == "before"


def test_backups_are_made_again_once_a_restore_is_done(bench: Workbench) -> None:
    """The restore run again ends it, without a word in the next backup."""
    fail_half_way(bench)
    bench.restore("again")
    assert not bench.backup("after", BackupType.INCREMENTAL).reasons


def test_a_restore_of_one_tier_ends_it_for_that_tier_alone(bench: Workbench) -> None:
    """After HOT alone was restored, WARM is still half restored."""
    fail_half_way(bench)
    bench.restore("hot alone".replace(" ", "-"), tiers=(Tier.HOT,))
    with pytest.raises(HalfRestored, match=r"tiers that are half restored: WARM \(PostgreSQL\):"):
        bench.backup("mixture", BackupType.INCREMENTAL)


def test_a_restore_of_some_keys_ends_nothing_of_the_others(bench: Workbench) -> None:
    """A SNAPSHOT that is restored afterwards says nothing of the keys that it does not cover."""
    bench.backup("some-keys", BackupType.SNAPSHOT)
    hot = stumbling(bench)
    hot.stumbles = True
    with pytest.raises(SourceError, match="half way"):
        restore_here(bench.manager, RUN, "stumbled", RestoreMode.EXACT, ())
    hot.stumbles = False
    restore_here(bench.manager, "some-keys", "part", RestoreMode.EXACT, ())
    with pytest.raises(HalfRestored):
        bench.backup("mixture", BackupType.INCREMENTAL)


def test_an_overlay_ends_nothing_of_an_exact_restore(bench: Workbench) -> None:
    """What the half restore wrote, and the backup that is laid over it does not hold, is still there."""
    fail_half_way(bench)
    bench.restore("over", RestoreMode.OVERLAY)
    with pytest.raises(HalfRestored):
        bench.backup("mixture", BackupType.INCREMENTAL)


def test_a_clock_that_was_set_back_hides_no_half_restore(bench: Workbench) -> None:
    """The restore of before, which is done by a later time, does not end the one that came after it."""
    fail_half_way(bench, "first")
    bench.restore("done")
    assert isinstance(bench.clock, SettableClock)
    bench.clock.advance(timedelta(hours=-1))
    fail_half_way(bench, "second")
    with pytest.raises(HalfRestored, match="second"):
        bench.backup("mixture", BackupType.INCREMENTAL)


def test_a_person_can_settle_it(bench: Workbench) -> None:
    """Settled, backups are made again; what is not unfinished cannot be settled."""
    fail_half_way(bench)
    assert bench.manager.unfinished.settle("stumbled") == [Tier.HOT, Tier.WARM]
    bench.backup("after", BackupType.INCREMENTAL)
    with pytest.raises(BackupNotFound, match="no restore stumbled is unfinished"):
        bench.manager.unfinished.settle("stumbled")


def test_a_restore_that_wrote_nothing_leaves_nothing_half_restored(bench: Workbench) -> None:
    """One that failed in its check, and a rehearsal, change nothing for backups."""
    stumbling(bench).refuses = True
    with pytest.raises(SourceError, match="takes nothing"):
        bench.restore("refused")
    stumbling(bench).refuses = False
    bench.restore("rehearsed", RestoreMode.REHEARSE)
    assert not bench.backup("after", BackupType.INCREMENTAL).reasons
    assert not bench.stored("notes/restores/")


def test_a_failed_restore_into_another_target_is_none_of_this_ones(bench: Workbench, folder: Path) -> None:
    """A trial that failed elsewhere, from the same store, keeps nobody from backing up."""
    sources = tiers_of(0, tiers=(Tier.WARM, Tier.HOT))
    sources[Tier.HOT] = StumblingSource(Tier.HOT)
    fail_half_way(Workbench(folder, sources, ledger=MemoryLedger(), lease=bench.lease))
    assert not bench.backup("after", BackupType.INCREMENTAL).reasons


class FullStore(FlakyStore):
    """Implements ObjectStore; it takes nothing more."""

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner, ())

    def put(self, name: str, parts: Sequence[Any]) -> None:
        raise StoreFull(f"no room for {name} ({len(parts)})")


def test_without_a_ledger_a_store_that_takes_no_note_stops_no_restore(bench: Workbench, folder: Path) -> None:
    """On the day of need a full or read-only store is no reason not to restore; the result says what that means."""
    full = Workbench(folder, bench.sources, wrap_store=FullStore, lease=bench.lease)
    notes = [note for applied in full.restore("needed").tiers for note in applied.notes]
    assert len(notes) == 2
    assert "nothing remembers that the tier is half restored: LOCAL takes no note (no room for" in notes[0]


def test_the_ledger_remembers_what_the_store_took_no_note_of(bench: Workbench, folder: Path) -> None:
    """A restore by the workers goes on; left half done, it is refused as if it were noted, until one is done."""
    ledger = MemoryLedger()
    worker = Workbench(
        folder, bench.sources, wrap_store=FullStore, lease=bench.lease, ledger=ledger, shared=ledger, clock=bench.clock
    )
    fail_half_way(worker)
    assert not bench.stored("notes/restores/")
    other = Workbench(folder, bench.sources, lease=bench.lease, shared=ledger, clock=bench.clock)
    with pytest.raises(HalfRestored, match=r"HOT \(Redis\) and WARM \(PostgreSQL\): the restore stumbled of"):
        other.manager.unfinished.judged(other.manager.planner.decide(BackupType.FULL, "thought"))
    worker.restore("again")
    assert other.backup("after", BackupType.INCREMENTAL).tiers


def test_what_only_the_ledger_remembers_is_noted_by_the_next_backup(bench: Workbench, folder: Path) -> None:
    """The ledger forgets after two weeks, so its knowledge goes into the store as soon as that takes it."""
    ledger = MemoryLedger()
    fail_half_way(
        Workbench(folder, bench.sources, wrap_store=FullStore, lease=bench.lease, ledger=ledger, shared=ledger)
    )
    with pytest.raises(HalfRestored):
        Workbench(folder, bench.sources, lease=bench.lease, shared=ledger).backup("refused")
    with pytest.raises(HalfRestored):
        Workbench(folder, bench.sources, lease=bench.lease).backup("refused-too")
    assert bench.manager.unfinished.settle("stumbled") == [Tier.HOT, Tier.WARM]
    Workbench(folder, bench.sources, lease=bench.lease, shared=ledger).backup("after")


@pytest.mark.parametrize("way", ["another restore", "a person"])
def test_the_ledger_knows_too_what_was_ended(bench: Workbench, folder: Path, way: str) -> None:
    """A prune removes the notes of what is over before the ledger forgets it; nothing is half restored again then."""
    ledger = MemoryLedger()
    worker = Workbench(folder, bench.sources, lease=bench.lease, ledger=ledger, shared=ledger)
    fail_half_way(worker)
    if way == "a person":
        worker.manager.unfinished.settle("stumbled")
    else:
        worker.restore("again")
    for name in bench.stored("notes/restores/"):
        bench.files.delete(name)
    worker.backup("after", BackupType.INCREMENTAL)
    assert not bench.stored("notes/restores/")


def test_another_installations_store_need_not_remember(bench: Workbench, folder: Path) -> None:
    """No backup of what is restored from it goes there, so it is restored from all the same, and said."""
    other = Workbench(
        folder, bench.sources, lease=bench.lease, shared=MemoryLedger(), installation="i-0123456789abcdef"
    )
    (applied,) = other.restore("borrowed", tiers=(Tier.HOT,)).tiers
    assert "belongs to installation" in applied.notes[0]
    assert not bench.stored("notes/restores/")


def test_nothing_is_overwritten_where_nothing_would_remember_it(bench: Workbench, folder: Path) -> None:
    """A restore in one process beside workers, with a store that takes no note, is refused before the first write."""
    local = Workbench(folder, bench.sources, wrap_store=FullStore, lease=bench.lease, shared=MemoryLedger())
    changed = stumbling(bench).records = {("0", b"hot:0"): MemoryRecord(b"live")}
    with pytest.raises(StorageError, match="is not overwritten because nothing would remember") as caught:
        local.restore("unseen", tiers=(Tier.HOT,))
    assert "a restore in this process is not in the ledger" in caught.value.sentence
    assert "through the workers" in caught.value.hint
    assert stumbling(bench).records == changed


def test_the_note_may_ask_for_the_permit_that_writes_it(folder: Path) -> None:
    """Each request to S3 asks the permit of its thread, also one that looks at COLD or writes the note."""
    permits: list[Permit] = []

    class Asking(MemorySource):
        def identity(self) -> Identity:
            for permit in permits:
                permit()
            return super().identity()

    source = Asking(Tier.COLD, tiers_of(5, tiers=(Tier.COLD,))[Tier.COLD].records)
    bench = Workbench(folder, {Tier.COLD: source})
    bench.backup()
    plan = bench.manager.start_restore("latest", "restore", RestoreMode.EXACT, ())
    permits.append(bench.manager.unfinished.permit(plan, Tier.COLD, always))
    permits[0]()
    assert len(bench.stored("notes/restores/")) == 1
