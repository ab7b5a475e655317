"""Prunes on real stores: what is removed is nobody's, whatever happens meanwhile."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from strata.catalog.notes import NoteKind
from strata.catalog.restore_notes import SUBJECT
from strata.engine.copier import Copier
from strata.engine.depot import Depot
from strata.engine.local import copy_here
from strata.engine.prune_runs import PruneRuns, prune_here
from strata.engine.pruner import Pruned, Pruner, Rules
from strata.engine.sweep import Swept
from strata.engine.upkeep import Upkeep
from strata.errors import BackupNotFound, LeaseHeld, SettingError, StoreFull, StoreUnavailable
from strata.model.backup_type import BackupType
from strata.model.manifest import BackupMetadata
from strata.model.record import LargeValue
from strata.model.tier import StorageTier, Tier
from strata.planning.prune import PruneRules
from strata.planning.retention import RetentionService
from strata.planning.tier_strategy import Placement, TierStrategy
from strata.sources.glob import matcher
from strata.storage.filesystem import Durability, FilesystemStore
from strata.storage.port import ObjectStore
from strata.storage.wrapped import WrappedStore
from strata.testing import FlakyStore, Key, MemoryRecord, Moment, SettableClock
from tests.engine.workbench import Workbench, tiers_of

LOCAL, NETWORK, ARCHIVE = StorageTier.LOCAL, StorageTier.NETWORK, StorageTier.ARCHIVE
MIB = 1 << 20
State = dict[Key, MemoryRecord]

KINDS = {
    BackupType.FULL: 4,
    BackupType.INCREMENTAL: 4,
    BackupType.DIFFERENTIAL: 3,
    BackupType.SNAPSHOT: 2,
    BackupType.EMERGENCY: 2,
}
"""How often the model makes each type of backup."""

DECISIONS = [NoteKind.PINNED, NoteKind.UNPINNED, NoteKind.HELD, NoteKind.RELEASED]


@dataclass
class Pruning:
    """Two stores that fail when they are told to, a clock, and what each backup must bring back."""

    folder: Path
    clock: SettableClock = field(default_factory=lambda: SettableClock(datetime.now(UTC)))
    flaky: list[FlakyStore] = field(default_factory=list)
    states: dict[str, State] = field(default_factory=dict)
    runs: int = 0

    def __post_init__(self) -> None:
        self.bench = Workbench(
            self.folder, tiers_of(6, tiers=[Tier.HOT]), clock=self.clock, wrap_store=self._wrap, wrap_network=self._wrap
        )
        self.records = self.bench.sources[Tier.HOT].records
        self._decide(TierStrategy([LOCAL, NETWORK]))

    def _wrap(self, store: ObjectStore) -> ObjectStore:
        self.flaky.append(FlakyStore(store, ()))
        return self.flaky[-1]

    def _decide(self, strategy: TierStrategy) -> None:
        bench = self.bench
        rules = Rules(RetentionService(), strategy, PruneRules())
        self.prunes = PruneRuns(bench.manager, Pruner(bench.depots, bench.catalogue, rules, self.clock))
        self.upkeep = Upkeep(bench.manager, bench.spool, self.clock, bench.catalogue, strategy, RetentionService())

    def archive_after(self, days: dict[BackupType, int]) -> None:
        """A third store, to which backups of these types move at that age."""
        store = self._wrap(FilesystemStore(self.folder / "archive", Durability.CACHED))
        self.bench.depots._depots[ARCHIVE] = Depot.of(
            ARCHIVE, store, self.bench.sources, self.bench.keyring, self.clock
        )
        self.bench.catalogue.stores[ARCHIVE] = store
        self._decide(TierStrategy([LOCAL, NETWORK, ARCHIVE], archive_after_days=days))

    def run_id(self, kind: str) -> str:
        """The id of the next run."""
        self.runs += 1
        return f"{kind}{self.runs:03d}"

    def backup(self, kind: BackupType = BackupType.FULL) -> BackupMetadata:
        """A backup, whose state is remembered."""
        state = dict(self.records)
        made = self.bench.backup(self.run_id(kind.value), kind)
        self.states[made.backup_id] = state
        return made

    def accept(self, backup_id: str) -> None:
        """Say that a backup is right as it is."""
        self.bench.catalogue.note(NoteKind.ACCEPTED, backup_id, self.clock.now())

    def copy(self, backup_id: str, target: StorageTier = NETWORK) -> None:
        """A copy of a backup."""
        copy_here(self.bench.manager, backup_id, self.run_id("copy"), target)

    def prune(self) -> Pruned:
        """A prune."""
        return prune_here(self.prunes, self.run_id("prune"))

    def twice(self, days: float = 1.1) -> Pruned:
        """A prune, the time of grace and some, and another."""
        self.prune()
        self.clock.advance(timedelta(days=days))
        return self.prune()

    def held(self, tier: StorageTier = LOCAL) -> set[str]:
        """The backups a store claims to hold."""
        return self.bench.catalogue.held()[tier]

    def restores(self) -> None:
        """Every backup that a store claims to hold brings its state back from there."""
        for tier, backup_ids in self.bench.catalogue.held().items():
            depot = self.bench.depots.of(tier)
            for backup_id in backup_ids:
                manifest = depot.metadata.load(backup_id)
                depot.restorer.verify(manifest, (Tier.HOT,), lambda _: None)
                found: State = {}
                for item in depot.restorer.items(manifest, Tier.HOT):
                    if isinstance(item, LargeValue):
                        found[item.namespace, item.key] = MemoryRecord(b"".join(item.parts))
                    else:
                        rows = item.select(["namespace", "key", "value"]).to_pylist()
                        found.update({(row["namespace"], row["key"]): MemoryRecord(row["value"]) for row in rows})
                covered = matcher(manifest.content(Tier.HOT).scope)
                wanted = {key: record for key, record in self.states[backup_id].items() if covered(key[1])}
                assert found == wanted, (tier, backup_id)


@pytest.fixture
def pruning(folder: Path) -> Pruning:
    """Stores to be pruned."""
    return Pruning(folder)


def test_what_is_old_is_marked_then_removed_with_its_layers(pruning: Pruning) -> None:
    """First a note, and nothing is gone; after the grace the manifest, the layers and the notes are."""
    old = pruning.backup()
    pruning.clock.advance(timedelta(days=91))
    pruning.records.clear()
    pruning.bench.backup("fresh", fresh=True)
    pruning.states["fresh"] = {}
    pruning.accept("fresh")
    first = pruning.prune()
    assert first.marks.marked == (old.backup_id,)
    assert pruning.held() == {old.backup_id, "fresh"}
    assert pruning.prune().marks.marked == ()
    pruning.clock.advance(timedelta(hours=25))
    second = pruning.prune()
    (local, _) = second.stores
    assert (local.manifests, local.layers, local.left) == (1, 1, 0)
    assert local.bytes > old.added_bytes
    assert pruning.held() == {"fresh"}
    assert [name for name in pruning.bench.stored() if old.backup_id in name] == []
    pruning.restores()


def test_a_layer_that_a_younger_backup_lies_on_stays(pruning: Pruning) -> None:
    """The manifest of the old one goes; its base is still named by the next."""
    base = pruning.backup()
    pruning.clock.advance(timedelta(days=20))
    pruning.records["0", b"new"] = MemoryRecord(b"new")
    assert pruning.backup().parent == base.backup_id
    pruning.clock.advance(timedelta(days=71))
    pruning.twice()
    assert base.backup_id not in pruning.held()
    assert any(base.backup_id in name for name in pruning.bench.stored("layers/"))
    pruning.restores()


def test_the_last_good_backup_of_a_type_stays(pruning: Pruning) -> None:
    """However old it is."""
    only = pruning.backup()
    snapshot = pruning.backup(BackupType.SNAPSHOT)
    pruning.clock.advance(timedelta(days=1000))
    pruning.twice()
    assert pruning.held() == {only.backup_id, snapshot.backup_id}


@pytest.mark.parametrize(("keep", "let_go"), [("pinned", "unpinned"), ("held", "released")])
def test_what_people_keep_stays_until_they_let_go(pruning: Pruning, keep: str, let_go: str) -> None:
    """A pin or a hold takes a mark back; when it is lifted the backup is marked anew, and waits anew."""
    old = pruning.backup()
    pruning.clock.advance(timedelta(days=91))
    pruning.backup()
    pruning.prune()
    pruning.bench.catalogue.note(NoteKind(keep), old.backup_id, pruning.clock.now())
    pruning.clock.advance(timedelta(days=2))
    assert pruning.prune().marks.unmarked == (old.backup_id,)
    pruning.clock.advance(timedelta(days=2))
    pruning.prune()
    assert old.backup_id in pruning.held()
    pruning.bench.catalogue.note(NoteKind(let_go), old.backup_id, pruning.clock.now())
    assert pruning.prune().marks.marked == (old.backup_id,)
    assert old.backup_id in pruning.held()
    pruning.clock.advance(timedelta(days=2))
    pruning.prune()
    assert old.backup_id not in pruning.held()


def test_a_clock_that_lies_stops_everything(pruning: Pruning) -> None:
    """A backup from the future freezes the prune, and the plan names it."""
    old = pruning.backup()
    pruning.clock.advance(timedelta(days=200))
    future = pruning.backup()
    pruning.clock.advance(timedelta(days=-100))
    pruning.backup()
    plan = pruning.prunes.pruner.plan(frozenset()).prune
    assert any(future.backup_id in reason for reason in plan.frozen)
    pruning.twice()
    assert {old.backup_id, future.backup_id} <= pruning.held()


def test_a_manifest_that_cannot_be_read_freezes_its_store(pruning: Pruning) -> None:
    """What it needs is not known: nothing is swept there, and the plan names it."""
    old = pruning.backup()
    damaged = pruning.backup()
    pruning.clock.advance(timedelta(days=91))
    pruning.backup()
    name = f"manifests/{damaged.backup_id}.json"
    pruning.bench.replace(name, b"nothing")
    swept = pruning.twice()
    assert name in swept.stores[0].frozen[0]
    assert old.backup_id in pruning.held()


def test_a_store_that_is_silent_stops_everything(pruning: Pruning) -> None:
    """A pin may lie there that nobody sees."""
    old = pruning.backup()
    pruning.clock.advance(timedelta(days=91))
    pruning.backup()
    pruning.prune()
    pruning.clock.advance(timedelta(days=2))
    pruning.flaky[1].fails = frozenset(range(1000))
    with suppress(StoreUnavailable):
        assert pruning.prune().stores[0].frozen
    pruning.flaky[1].fails = frozenset()
    assert old.backup_id in pruning.held()


class Stubborn(WrappedStore):
    """Does not let go of what has these words in its name."""

    words: tuple[str, ...] = ()

    def delete(self, name: str) -> None:
        if any(word in name for word in self.words):
            raise StoreUnavailable(f"{self.url} does not remove {name}")
        super().delete(name)


@pytest.mark.parametrize("word", ["manifests/full002", "layers/full002-hot/layer.json"])
def test_what_cannot_be_removed_keeps_nothing_else(pruning: Pruning, word: str) -> None:
    """It is named, with its layers where it is a manifest; the others go, and the next prune does the rest."""
    local = pruning.bench.depot
    stubborn = Stubborn(local.store)
    for number in range(3):
        pruning.clock.advance(timedelta(seconds=1))
        pruning.bench.backup(pruning.run_id("full"), fresh=True)
        pruning.states[f"full{number + 1:03d}"] = dict(pruning.records)
    pruning.clock.advance(timedelta(days=91))
    pruning.backup(BackupType.FULL)
    pruning.prune()
    pruning.clock.advance(timedelta(days=2))
    pruning.bench.depots._depots[LOCAL] = replace(local, store=stubborn)
    stubborn.words = (word,)
    swept = pruning.prune().stores[0]
    assert (swept.manifests, swept.frozen) == (2 if word.startswith("manifests") else 3, ())
    assert [word in sentence for sentence in swept.failed] == [True]
    assert swept.left > 0
    pruning.restores()
    stubborn.words = ()
    pruning.clock.advance(timedelta(days=2))
    again = pruning.prune().stores[0]
    assert (again.failed, again.left) == ((), 0)
    pruning.restores()


def test_a_store_that_removes_nothing_is_not_asked_for_long(pruning: Pruning) -> None:
    """Each failure takes the time of its retries: after a few the rest waits for the next prune."""
    for _ in range(6):
        pruning.clock.advance(timedelta(seconds=1))
        pruning.bench.backup(pruning.run_id("full"), fresh=True)
    pruning.clock.advance(timedelta(days=91))
    pruning.backup(BackupType.FULL)
    pruning.prune()
    pruning.clock.advance(timedelta(days=2))
    stubborn = Stubborn(pruning.bench.depot.store)
    stubborn.words = ("manifests/", "layers/")
    pruning.bench.depots._depots[LOCAL] = replace(pruning.bench.depot, store=stubborn)
    swept = pruning.prune().stores[0]
    assert (swept.manifests, swept.layers, len(swept.failed)) == (0, 0, 3)


def test_what_is_known_of_unfinished_restores_stays(pruning: Pruning) -> None:
    """Notes on restores are of no backup and no layer, and no prune takes them for what those left."""
    book = pruning.bench.depot.book
    book.add(NoteKind.OVERWRITING, SUBJECT, pruning.clock.now(), {"restore": "one", "tier": "hot"})
    pruning.backup()
    pruning.twice(200)
    assert [note.kind for note in book.of(SUBJECT)] == [NoteKind.OVERWRITING]


def test_what_is_known_of_finished_restores_goes(pruning: Pruning) -> None:
    """Beginnings that were ended go with their ends, and those that were not stay, as does what is young."""
    book, began = pruning.bench.depot.book, pruning.clock.now()
    for restore, ends in (("one", []), ("two", ["three"])):
        body = {"restore": restore, "tier": "hot", "ends": ends}
        book.add(NoteKind.OVERWRITING, SUBJECT, began, body)
        book.add(NoteKind.OVERWRITTEN, SUBJECT, began, body)
    for restore in ("three", "left"):
        book.add(NoteKind.OVERWRITING, SUBJECT, began, {"restore": restore, "tier": "hot"})
    pruning.twice(10)
    assert [note.body["restore"] for note in book.of(SUBJECT)] == ["left"]
    book.add(NoteKind.SETTLED, SUBJECT, pruning.clock.now(), {"restore": "left"})
    pruning.twice(1)
    assert len(book.of(SUBJECT)) == 1
    pruning.twice(10)
    assert not book.of(SUBJECT)


def test_a_prune_waits_for_the_lease(pruning: Pruning) -> None:
    """No backup and no restore runs beside it."""
    pruning.bench.manager.start(BackupType.FULL, "running")
    with pytest.raises(LeaseHeld):
        pruning.prune()


def test_orphans_go_when_they_are_old_and_nobody_s(pruning: Pruning) -> None:
    """What a failed run left stays for the time of grace, and then goes."""
    pruning.backup()
    before = set(pruning.bench.stored())
    pruning.records["0", b"more"] = MemoryRecord(random.Random(1).randbytes(2 * MIB))
    manager = pruning.bench.manager
    manager.start(BackupType.FULL, "failed")
    manager.baseline("failed", Tier.HOT)
    manager.collect("failed", Tier.HOT)
    for spooled in manager.merge("failed").objects:
        manager.compress("failed", spooled.unit.label)
        manager.encrypt("failed", spooled.unit.label)
        manager.store("failed", spooled.unit.label)
    manager.abandon("failed", "on purpose")
    orphans = {name for name in pruning.bench.stored() if not name.startswith(("history/", "notes/"))} - before
    assert orphans
    pruning.prune()
    assert orphans <= set(pruning.bench.stored())
    pruning.clock.advance(timedelta(hours=25))
    (local, _) = pruning.prune().stores
    assert local.objects == len(orphans)
    assert not orphans & set(pruning.bench.stored())
    pruning.restores()


def test_what_a_copy_is_about_to_need_stays(pruning: Pruning) -> None:
    """Its layers in the target are nobody's yet; the intent keeps them, also one noted after the plan was made."""
    made = pruning.backup()
    pruning.copy(made.backup_id)
    pruning.bench.network_files.delete(f"manifests/{made.backup_id}.json")
    pruning.clock.advance(timedelta(days=2))
    copier = Copier(pruning.bench.depots, pruning.clock)
    copier.announce(made.backup_id, NETWORK)
    pruning.prune()
    assert list(pruning.bench.network_files.list("layers/"))
    pruning.copy(made.backup_id)
    pruning.restores()


@pytest.mark.parametrize("moment", Moment)
def test_a_prune_cut_short_anywhere_is_finished_by_the_next(pruning: Pruning, moment: Moment) -> None:
    """Whichever request fails, before or after it took effect: what is claimed restores, and the next does the rest."""
    local, network = pruning.flaky
    base = pruning.backup()
    pruning.records["0", b"large"] = MemoryRecord(random.Random(1).randbytes(2 * MIB))
    pruning.backup(BackupType.INCREMENTAL)
    pruning.copy(base.backup_id)
    pruning.records.clear()
    pruning.clock.advance(timedelta(days=91))
    fresh = pruning.bench.backup("fresh", fresh=True)
    pruning.states[fresh.backup_id] = {}
    pruning.accept(fresh.backup_id)
    pruning.bench.backup("young", BackupType.INCREMENTAL)
    pruning.states["young"] = {}
    pruning.copy(fresh.backup_id)
    pruning.prune()
    pruning.clock.advance(timedelta(days=2))
    for name in ("store", "network"):
        shutil.copytree(pruning.folder / name, pruning.folder / f"before-{name}")

    def pruned(store: FlakyStore, *fails: int) -> dict[str, set[str]]:
        """What the next prune leaves after one that fails there; whatever either leaves restores."""
        for name in ("store", "network"):
            shutil.rmtree(pruning.folder / name)
            shutil.copytree(pruning.folder / f"before-{name}", pruning.folder / name)
        store.operations, store.moment, store.fails = 0, moment, frozenset(fails)
        with suppress(StoreUnavailable):
            pruning.prune()
        requests[store.url], store.fails = store.operations, frozenset()
        pruning.restores()
        pruning.clock.advance(timedelta(seconds=1))
        if pruning.prune().marks.marked:  # what the first could not read made it take a mark back: that waits anew
            pruning.clock.advance(timedelta(days=2))
            pruning.prune()
        return {
            flaky.url: {info.name for info in flaky.list() if not info.name.startswith(("history/", "removed/"))}
            for flaky in pruning.flaky
        }

    requests: dict[str, int] = {}
    whole = pruned(local), pruned(network)
    assert whole[0] == whole[1]
    pruning.restores()
    assert pruning.held() == {"fresh", "young"}
    assert pruning.held(NETWORK) == {"fresh"}
    for store in (local, network):
        for number in range(requests[store.url]):
            assert pruned(store, number) == whole[0], (store.url, number)


def test_notes_go_with_their_backup_unless_somebody_keeps_it(pruning: Pruning) -> None:
    """A mark that a sweep left goes; a pin, a hold, a copy under way and damage of what a backup names stay."""
    made = pruning.backup()
    stay = {
        ("lost", NoteKind.PINNED),
        ("lost", NoteKind.REMOVED),
        ("missed", NoteKind.HELD),
        ("coming", NoteKind.COPYING),
        (f"{made.backup_id}-hot", NoteKind.DAMAGED),
    }
    go = {
        ("gone-hot", NoteKind.DAMAGED),
        ("gone", NoteKind.REMOVED),
        ("free", NoteKind.HELD),
        ("free", NoteKind.RELEASED),
    }
    for subject, kind in stay | go:
        pruning.bench.depot.book.add(kind, subject, pruning.clock.now())
    for kind in (NoteKind.UNPINNED, NoteKind.RELEASED):  # what nobody signed lets go of nothing
        for subject in ("lost", "missed"):
            pruning.bench.files.put(f"notes/{subject}/20990101T000000-{kind}.json", [b"{}"])
    pruning.prune()
    assert {(note.subject, note.kind) for note in pruning.bench.depot.book.all()} == stay


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_what_is_claimed_restores_and_what_is_kept_is_there(folder: Path, seed: int) -> None:
    """Backups, copies, moves, pins, holds, prunes cut short at any call, a clock that jumps: no layer too many goes.

    Nor any backup: after each prune a store holds whatever was pinned, held, or the last of its type before.
    """
    pruning, chance = Pruning(folder), random.Random(seed)
    bench = pruning.bench
    pruning.archive_after({BackupType.FULL: 30, BackupType.DIFFERENTIAL: 14})
    bench.places[BackupType.DIFFERENTIAL] = Placement(NETWORK)
    gone: list[Swept] = []
    pinned: set[str] = set()
    held: set[str] = set()
    made: dict[str, BackupMetadata] = {}

    def change() -> None:
        for _ in range(3):
            key = "0", chance.choice([b"hot:%d", b"position:%d"]) % chance.randrange(6)
            if chance.random() < 0.3:
                pruning.records.pop(key, None)
            else:
                size = 2 * MIB if chance.random() < 0.1 else 20
                pruning.records[key] = MemoryRecord(random.Random(chance.randrange(5)).randbytes(size))

    def there() -> set[str]:
        return set().union(*bench.catalogue.held().values())

    def kept() -> set[str]:
        last: dict[str, BackupMetadata] = {}
        for backup_id in there():
            one = made[backup_id]
            last[one.backup_type] = max(last.get(one.backup_type, one), one, key=lambda each: each.generation)
        return (pinned | held) & there() | {one.backup_id for one in last.values()}

    def backup() -> None:
        change()
        if pruning.records:
            pruning.clock.advance(timedelta(seconds=1))
            one = pruning.backup(chance.choices(list(KINDS), list(KINDS.values()))[0])
            assert one.generation not in {other.generation for other in made.values()}
            made[one.backup_id] = one

    def copy() -> None:
        tier = chance.choice([LOCAL, NETWORK])
        other = NETWORK if tier is LOCAL else LOCAL
        if ids := sorted(pruning.held(tier) - pruning.held(other)):
            pruning.copy(chance.choice(ids), other)

    def move() -> None:
        for missing in pruning.upkeep.missing_copies()[:2]:
            pruning.copy(missing.backup_id, missing.target)

    def decide() -> None:
        if ids := sorted(there()):
            backup_id, kind = chance.choice(ids), chance.choice(DECISIONS)
            bench.catalogue.note(kind, backup_id, pruning.clock.now())
            those = pinned if kind in {NoteKind.PINNED, NoteKind.UNPINNED} else held
            (those.add if kind in {NoteKind.PINNED, NoteKind.HELD} else those.discard)(backup_id)

    def prune() -> None:
        store, wanted = chance.choice(pruning.flaky), kept()
        if chance.random() < 0.6:
            store.operations, store.fails, store.moment = 0, frozenset([chance.randrange(60)]), chance.choice([*Moment])
        with suppress(StoreUnavailable):
            gone.extend(pruning.prune().stores)
        store.fails = frozenset()
        assert wanted <= there()
        pruning.restores()

    def time() -> None:
        pruning.clock.advance(timedelta(days=chance.choice([1, 5, 20, 40, 100])))

    def jump() -> None:
        pruning.clock.advance(timedelta(days=-chance.choice([1, 30])))

    steps: list[Callable[[], None]] = [backup, copy, move, decide, prune, time, jump]
    for _ in range(50):
        chance.choices(steps, [12, 3, 4, 4, 10, 9, 0.3])[0]()
    pruning.restores()
    assert sum(store.manifests for store in gone) > 0 or any(store.frozen or store.failed for store in gone)


def test_a_backup_under_restore_is_not_swept(pruning: Pruning) -> None:
    """A restore that waits, for a thaw perhaps, holds no lease; what it reads stays all the same."""
    old = pruning.backup()
    pruning.clock.advance(timedelta(days=91))
    pruning.backup()
    pruning.prune()
    pruning.clock.advance(timedelta(days=2))
    plan = pruning.prunes.pruner.plan(frozenset({old.backup_id})).prune
    assert plan.stores[0].manifests == ()
    assert plan.stores[0].waiting[0].name == old.backup_id


def test_a_removed_backup_is_not_found(pruning: Pruning) -> None:
    """Its manifest is what made it exist."""
    old = pruning.backup()
    pruning.clock.advance(timedelta(days=91))
    pruning.backup()
    pruning.twice()
    with pytest.raises(BackupNotFound):
        pruning.bench.metadata.load(old.backup_id)


def test_what_moves_to_the_archive_leaves_the_other_stores_once_it_is_there(pruning: Pruning) -> None:
    """First a copy in ARCHIVE, then the next prune lets that in LOCAL go; what others lie on stays, and all restore."""
    pruning.archive_after({BackupType.FULL: 30})
    old = pruning.backup()
    pruning.clock.advance(timedelta(days=20))
    pruning.records["0", b"new"] = MemoryRecord(b"new")
    second = pruning.backup()
    assert second.parent == old.backup_id
    pruning.clock.advance(timedelta(days=11))
    (move,) = [one for one in pruning.upkeep.missing_copies() if one.target is ARCHIVE]
    assert move.backup_id == old.backup_id
    assert [one.backup_id for one in pruning.prunes.pruner.plan(frozenset()).moves.copies] == [old.backup_id]
    pruning.prune()
    assert old.backup_id in pruning.held()
    pruning.copy(old.backup_id, ARCHIVE)
    pruning.prune()
    assert (old.backup_id in pruning.held(), old.backup_id in pruning.held(ARCHIVE)) == (False, True)
    assert [one for one in pruning.upkeep.missing_copies() if one.backup_id == old.backup_id] == []
    assert any(old.backup_id in name for name in pruning.bench.stored("layers/"))
    pruning.restores()
    pruning.bench.depots.of(ARCHIVE).restorer.verify(old, (Tier.HOT,), lambda _: None)


def test_a_full_store_is_swept_all_the_same(pruning: Pruning, monkeypatch: pytest.MonkeyPatch) -> None:
    """No note can be written there any more; what was marked before goes, and makes room."""
    old = pruning.backup()
    pruning.clock.advance(timedelta(days=91))
    pruning.backup()
    pruning.prune()
    pruning.backup(BackupType.INCREMENTAL)
    pruning.clock.advance(timedelta(days=8))
    pruning.backup(BackupType.INCREMENTAL)

    def full(name: str, parts: object) -> None:
        raise StoreFull(f"no room for {name}")

    monkeypatch.setattr(pruning.flaky[0], "put", full)
    pruned = pruning.prune()
    assert pruned.marks.missed
    assert old.backup_id not in pruning.held()


def test_a_mark_of_a_clock_that_was_ahead_is_taken_back(pruning: Pruning) -> None:
    """The note that takes it back comes after it, whatever the clocks said."""
    made = pruning.backup()
    pruning.backup()
    pruning.bench.catalogue.note(NoteKind.REMOVED, made.backup_id, pruning.clock.now() + timedelta(days=100))
    pruning.prune()
    entries = {entry.backup_id: entry for entry in pruning.bench.catalogue.view().entries}
    assert entries[made.backup_id].removal_marked_at is None


def test_notes_of_what_is_gone_go_too(pruning: Pruning) -> None:
    """Those of layers with their layers; leftovers of whatever was cut short when they are old."""
    old = pruning.backup()
    pruning.bench.depot.book.add(NoteKind.LOCKED, f"{old.backup_id}-hot", pruning.clock.now(), {})
    pruning.bench.depot.book.add(NoteKind.COPYING, "never-copied", pruning.clock.now(), {"layers": []})
    pruning.clock.advance(timedelta(days=91))
    pruning.bench.backup("fresh", fresh=True)
    pruning.states["fresh"] = dict(pruning.records)
    pruning.twice()
    subjects = {name.split("/")[1] for name in pruning.bench.stored("notes/")}
    assert subjects <= {"fresh"}


def test_a_machine_whose_clock_is_ahead_prunes_nothing(pruning: Pruning) -> None:
    """The ledger's clock tells: by its own every backup would be old enough."""
    pruning.backup()
    runs = replace(pruning.prunes, timekeeper=pruning.bench.ledger)
    prune_here(runs, "right")
    pruning.clock.advance(timedelta(days=91))
    with pytest.raises(SettingError, match=r"clock is 9[01] d ahead of the ledger's"):
        prune_here(runs, "ahead")


@pytest.mark.parametrize("marked", [False, True])
def test_no_stage_of_a_prune_goes_by_a_wrong_clock(pruning: Pruning, *, marked: bool) -> None:
    """The worker that sweeps is not the one that began: by its own clock the grace of all marks is over."""
    pruning.backup()
    runs = replace(pruning.prunes, timekeeper=pruning.bench.ledger)
    runs.start("prune")
    if marked:
        runs.mark("prune")
    pruning.clock.advance(timedelta(days=91))
    before = pruning.bench.stored()
    with pytest.raises(SettingError, match=r"clock is 9[01] d ahead of the ledger's"):
        runs.sweep("prune", StorageTier.LOCAL) if marked else runs.mark("prune")
    assert pruning.bench.stored() == before
