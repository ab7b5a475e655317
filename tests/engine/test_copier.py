"""Copies of backups in further stores: byte for byte, whole or not at all."""

from __future__ import annotations

import random
import shutil
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from strata.catalog.notes import NoteKind
from strata.engine.local import copy_here, restore_here
from strata.errors import BackupNotFound, IntegrityError, ObjectNotFound, SettingError, StoreUnavailable
from strata.model.backup_type import BackupType
from strata.model.manifest import BackupMetadata, manifest_name
from strata.model.run import RunState
from strata.model.store import STORE_DOCUMENT
from strata.model.tier import StorageTier, Tier
from strata.planning.tier_strategy import Placement
from strata.sources.port import RestoreMode
from strata.storage.filesystem import FilesystemStore
from strata.storage.port import ObjectStore
from strata.storage.wrapped import WrappedStore
from strata.testing import FlakyStore, Lie, LyingStore, MemoryRecord, MemorySource, Moment, SettableClock
from tests.engine.workbench import Workbench, tiers_of

NETWORK = StorageTier.NETWORK
MIB = 1 << 20


@pytest.fixture
def bench(folder: Path) -> Workbench:
    """Two stores, and tiers with small values and large ones."""
    return Workbench(folder, {**tiers_of(40, tiers=[Tier.HOT]), Tier.COLD: MemorySource(Tier.COLD, large())})


def large(first: int = 0) -> dict[tuple[str, bytes], MemoryRecord]:
    """Records whose values are kept in chunks."""
    return {("0", b"large:%d" % n): MemoryRecord(random.Random(n).randbytes(3 * MIB)) for n in range(first, first + 2)}


def stacked(bench: Workbench) -> BackupMetadata:
    """An incremental on a full one: a stack of two layers, one of which borrows chunks."""
    bench.backup("full")
    bench.sources[Tier.HOT].records["0", b"hot:0"] = MemoryRecord(b"changed")
    bench.sources[Tier.COLD].records.update(large(5))
    bench.sources[Tier.COLD].records["0", b"again"] = large()["0", b"large:0"]
    return bench.backup("incremental", BackupType.INCREMENTAL)


def contents(store: FilesystemStore) -> dict[str, bytes]:
    """Every object of a store but its notes, and what it says of itself."""
    apart = ("notes/", STORE_DOCUMENT)
    return {info.name: store.get(info.name) for info in store.list() if not info.name.startswith(apart)}


def test_a_copy_is_the_same_bytes_and_restores_alone(bench: Workbench) -> None:
    """Every object of the stack and the manifest are there; with the first store gone the state comes back whole."""
    made = stacked(bench)
    state = {tier: dict(source.records) for tier, source in bench.sources.items()}
    copied = copy_here(bench.manager, made.backup_id, "copy", NETWORK)
    there = contents(bench.network_files)
    here = contents(bench.files)
    assert there == {name: data for name, data in here.items() if name in there}
    assert {name for name in here if name not in there} == {"manifests/full.json"}
    assert copied.copied == copied.objects == len(there) - 1 - len({layer.layer_id for layer in made.layers})
    for info in list(bench.files.list()):
        bench.files.delete(info.name)
    for source in bench.sources.values():
        source.records.clear()
    restore_here(bench.manager, made.backup_id, "restore", RestoreMode.EXACT, ())
    assert {tier: source.records for tier, source in bench.sources.items()} == state


def test_what_is_there_is_not_copied_twice(bench: Workbench) -> None:
    """A copy of the next backup brings its own layers only, a second copy of the same nothing."""
    made = stacked(bench)
    copy_here(bench.manager, "full", "copy1", NETWORK)
    before = contents(bench.network_files)
    second = copy_here(bench.manager, made.backup_id, "copy2", NETWORK)
    own = [layer for layer in bench.layers(made) if layer.backup_id == made.backup_id]
    assert second.copied == sum(len(layer.objects) for layer in own)
    assert second.bytes == made.added_bytes
    assert contents(bench.network_files).items() > before.items()
    assert copy_here(bench.manager, made.backup_id, "copy3", NETWORK).copied == 0


def test_a_copy_that_was_cut_short_goes_on(bench: Workbench) -> None:
    """The manifest is written last; until then the copy does not exist, and the next try brings what is lacking."""
    made = stacked(bench)
    plan = bench.manager.start_copy(made.backup_id, "copy", NETWORK)
    bench.manager.copy("copy", 0)
    bench.manager.abandon("copy", "cut short")
    with pytest.raises(BackupNotFound):
        bench.network.metadata.load(made.backup_id)
    lost = next(info.name for info in bench.network_files.list("layers/"))
    bench.network_files.delete(lost)
    assert plan.objects > 1
    assert copy_here(bench.manager, made.backup_id, "copy2", NETWORK).copied == 1
    bench.network.restorer.verify(bench.network.metadata.load(made.backup_id), tuple(made_tiers(made)), lambda _: None)


def made_tiers(made: BackupMetadata) -> list[Tier]:
    """The tiers a backup holds."""
    return [content.tier for content in made.tiers if content.included]


def test_what_is_under_copy_is_announced(bench: Workbench) -> None:
    """A note in the target names the layers before the first of them is written there, so that nobody sweeps them."""
    made = stacked(bench)
    bench.manager.start_copy(made.backup_id, "copy", NETWORK)
    (note,) = bench.network.book.of(made.backup_id)
    assert note.kind == "copying"
    assert set(note.body["layers"]) == {layer.layer_id for layer in made.layers}
    assert contents(bench.network_files) == {}


def test_a_copy_is_proved_since_its_oldest_layer_was_read_there(bench: Workbench) -> None:
    """A copy reads what it brings; of layers that are there already the reading is that of the copy that brought them.

    What another copy began to bring was not read whole by either, and that is not said then.
    """
    assert isinstance(bench.clock, SettableClock)
    started = bench.clock.now()

    def proved(backup_id: str) -> datetime | None:
        copy = bench.catalogue.find(prefix=backup_id)[0].copy_in(NETWORK)
        assert copy is not None
        return copy.verified_at

    first = bench.backup("20250102-030405-full-000001")
    copy_here(bench.manager, first.backup_id, "copy1", NETWORK)
    assert proved(first.backup_id) == started
    bench.clock.advance(timedelta(days=40))
    bench.sources[Tier.HOT].records[("0", b"new")] = MemoryRecord(b"new")
    second = bench.backup("20250211-030405-incremental-000002", BackupType.INCREMENTAL)
    assert len(second.content(Tier.HOT).stack) == 2
    copy_here(bench.manager, second.backup_id, "copy2", NETWORK)
    assert proved(second.backup_id) == started
    own = next(layer for layer in second.layers if layer.backup_id == second.backup_id)
    bench.network_files.delete(manifest_name(second.backup_id))
    bench.network_files.delete(next(info.name for info in bench.network_files.list(f"layers/{own.layer_id}/")))
    bench.network_files.clear(f"notes/{second.backup_id}")
    copy_here(bench.manager, second.backup_id, "copy3", NETWORK)
    assert proved(second.backup_id) is None


def test_a_damaged_object_is_not_copied(bench: Workbench) -> None:
    """It is named, and the copy does not come to exist."""
    made = stacked(bench)
    name = next(name for name in bench.stored("layers/") if name.endswith(".seg"))
    data = bytearray(bench.files.get(name))
    data[len(data) // 2] ^= 1
    bench.replace(name, bytes(data))
    with pytest.raises(IntegrityError, match=name):
        copy_here(bench.manager, made.backup_id, "copy", NETWORK)
    run = bench.ledger.run("copy")
    assert run is not None
    assert (run.state, name in run.reason) == (RunState.FAILED, True)
    with pytest.raises(BackupNotFound):
        bench.network.metadata.load(made.backup_id)


def test_another_backup_of_the_same_id_is_not_replaced(bench: Workbench, folder: Path) -> None:
    """The store that holds it refuses the copy by the manifest's name, before an object of it is touched."""
    made = bench.backup("nightly")
    copy_here(bench.manager, made.backup_id, "copy", NETWORK)
    before = contents(bench.network_files)
    shutil.rmtree(folder / "store")
    bench.sources[Tier.HOT].records["0", b"hot:0"] = MemoryRecord(b"changed")
    other = Workbench(folder, bench.sources)
    other.backup("nightly")
    with pytest.raises(IntegrityError, match=f"{manifest_name('nightly')} .* is not that of"):
        copy_here(other.manager, "nightly", "copy", NETWORK)
    assert contents(bench.network_files) == before


@pytest.mark.parametrize("lie", Lie)
def test_a_store_that_keeps_other_bytes_gets_no_copy(folder: Path, lie: Lie) -> None:
    """Each object is read back where it went."""
    bench = Workbench(folder, tiers_of(40), wrap_network=lambda store: LyingStore(store, "*.seg", lie))
    made = bench.backup()
    with pytest.raises((IntegrityError, ObjectNotFound)):
        copy_here(bench.manager, made.backup_id, "copy", NETWORK)
    with pytest.raises(BackupNotFound):
        bench.network.metadata.load(made.backup_id)


@pytest.mark.parametrize("moment", Moment)
def test_a_store_that_fails_costs_the_copy_and_not_the_backup(folder: Path, moment: Moment) -> None:
    """Whichever request fails, before or after it took effect: a copy exists only whole, and the next try makes it."""
    flaky: list[FlakyStore] = []

    def wrap(store: ObjectStore) -> ObjectStore:
        flaky.append(FlakyStore(store, (), moment))
        return flaky[0]

    bench = Workbench(folder, tiers_of(20), wrap_network=wrap)
    made = bench.backup()
    copy_here(bench.manager, made.backup_id, "all", NETWORK)
    requests = flaky[0].operations
    assert requests > 20
    for number in range(requests):
        bench.network_files.clear("layers")
        bench.network_files.clear("manifests")
        flaky[0].operations, flaky[0].fails = 0, frozenset([number])
        with suppress(StoreUnavailable):
            copy_here(bench.manager, made.backup_id, f"copy{number}", NETWORK)
        flaky[0].fails = frozenset()
        if list(bench.network_files.list("manifests/")):
            bench.network.restorer.verify(made, tuple(Tier), lambda _: None)
        copy_here(bench.manager, made.backup_id, f"again{number}", NETWORK)
        bench.network.restorer.verify(bench.network.metadata.load(made.backup_id), tuple(Tier), lambda _: None)


def test_what_makes_no_sense_is_refused(bench: Workbench) -> None:
    """No copy onto itself, none of what is not there, none to a store that is not configured."""
    made = stacked(bench)
    with pytest.raises(SettingError, match="cannot be copied onto itself"):
        bench.manager.start_copy(made.backup_id, "copy1", StorageTier.LOCAL)
    with pytest.raises(BackupNotFound):
        bench.manager.start_copy("nothing", "copy2", NETWORK)
    with pytest.raises(SettingError, match="no ARCHIVE store"):
        bench.manager.start_copy(made.backup_id, "copy3", StorageTier.ARCHIVE)
    assert [bench.ledger.run(f"copy{n}").state for n in (1, 2, 3)] == [RunState.REFUSED] * 3  # type: ignore[union-attr]


def test_a_store_builds_on_the_copies_it_holds(bench: Workbench) -> None:
    """A backup that goes to a store with a copy of the last one has that copy as its parent, and adds little."""
    made = stacked(bench)
    copy_here(bench.manager, made.backup_id, "copy", NETWORK)
    bench.places[BackupType.FULL] = Placement(NETWORK)
    full = bench.backup("second")
    assert (full.storage_tier, full.parent) == (NETWORK, made.backup_id)
    assert full.added_bytes == 0


def test_each_store_has_a_stack_of_its_own(bench: Workbench) -> None:
    """A backup is compared with what its store holds; where that is nothing it stores everything, and says so."""
    bench.places[BackupType.FULL] = Placement(NETWORK)
    full = bench.backup("full")
    first = bench.backup("first", BackupType.INCREMENTAL)
    assert (full.storage_tier, first.storage_tier) == (NETWORK, StorageTier.LOCAL)
    assert (first.backup_type, first.parent) == (BackupType.INCREMENTAL, None)
    assert "nothing that an incremental backup could build on" in first.reasons[0]
    second = bench.backup("second", BackupType.INCREMENTAL)
    assert (second.backup_type, second.parent) == (BackupType.INCREMENTAL, "first")
    assert bench.backup("third").parent == "full"


def flip(store: FilesystemStore, name: str) -> None:
    """One bit of an object is another, as on a bad disk."""
    data = bytearray(store.get(name))
    data[len(data) // 2] ^= 1
    store.delete(name)
    store.put(name, [bytes(data)])


def test_a_copy_mends_what_is_known_to_be_damaged(bench: Workbench) -> None:
    """A layer that was found damaged in the target is read there anew, object by object, and mended where it is."""
    made = stacked(bench)
    copy_here(bench.manager, made.backup_id, "copy1", NETWORK)
    name = next(info.name for info in bench.network_files.list("layers/full-hot/") if info.name.endswith(".seg"))
    flip(bench.network_files, name)
    bench.clock.advance(timedelta(seconds=5))  # type: ignore[attr-defined]
    bench.network.damage.note("full-hot")
    assert is_damaged(bench, made.backup_id)
    bench.clock.advance(timedelta(seconds=5))  # type: ignore[attr-defined]
    mended = copy_here(bench.manager, made.backup_id, "copy2", NETWORK)
    assert mended.copied == len(bench.layers(made)[0].objects)
    assert not is_damaged(bench, made.backup_id)
    assert bench.network.damage.layers == set()
    bench.network.restorer.verify(bench.network.metadata.load(made.backup_id), tuple(made_tiers(made)), lambda _: None)


def is_damaged(bench: Workbench, backup_id: str) -> bool:
    """Whether NETWORK's copy counts as damaged."""
    entry = next(entry for entry in bench.catalogue.view().entries if entry.backup_id == backup_id)
    copy = entry.copy_in(NETWORK)
    assert copy
    return copy.damaged


class Rotting(WrappedStore):
    """Gives the documents of layers once as they are; from the second time on a bit of them differs."""

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner)
        self.given: set[str] | None = None

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        data = super().get(name, offset, length)
        if self.given is None or not name.endswith("/layer.json"):
            return data
        if name not in self.given:
            self.given.add(name)
            return data
        return data[:9] + bytes([data[9] ^ 1]) + data[10:]


def test_a_copy_writes_the_document_that_was_proved(folder: Path) -> None:
    """What the source gives when it is asked a second time was proved by nobody, and goes nowhere."""
    bench = Workbench(folder, tiers_of(40, tiers=[Tier.HOT]), wrap_store=Rotting)
    made = bench.backup("full")
    again = Workbench(folder, bench.sources, wrap_store=Rotting)
    assert isinstance(again.store, Rotting)
    again.store.given = set()
    copy_here(again.manager, made.backup_id, "copy", NETWORK)
    assert contents(again.network_files) == contents(bench.files)


def test_damage_at_the_source_is_noted(bench: Workbench) -> None:
    """So that the backup passes for good no longer, and is not tried again and again."""
    made = stacked(bench)
    flip(bench.files, next(name for name in bench.stored("layers/full-hot/") if name.endswith(".seg")))
    with pytest.raises(IntegrityError):
        copy_here(bench.manager, made.backup_id, "copy", NETWORK)
    assert bench.depot.damage.layers == {"full-hot"}


def test_pins_and_holds_go_with_a_copy(bench: Workbench) -> None:
    """What was decided before the copy was made holds where only the copy is left."""
    made = stacked(bench)
    bench.catalogue.note(NoteKind.HELD, made.backup_id, bench.clock.now(), {"reason": "a court"})
    copy_here(bench.manager, made.backup_id, "copy", NETWORK)
    for info in list(bench.files.list()):
        bench.files.delete(info.name)
    (entry,) = [entry for entry in bench.catalogue.view().entries if entry.backup_id == made.backup_id]
    assert (entry.legal_hold, len(entry.copies)) == (True, 1)


def test_a_copy_that_is_there_outlives_whatever_another_try_meets(folder: Path) -> None:
    """Copied again while the store fails at any request: what was whole before is whole, manifest and all."""
    flaky: list[FlakyStore] = []

    def wrap(store: ObjectStore) -> ObjectStore:
        flaky.append(FlakyStore(store, ()))
        return flaky[0]

    bench = Workbench(folder, tiers_of(5, tiers=[Tier.HOT]), wrap_network=wrap)
    made = bench.backup()
    copy_here(bench.manager, made.backup_id, "copy", NETWORK)
    flaky[0].operations = 0
    copy_here(bench.manager, made.backup_id, "again", NETWORK)
    for number in range(flaky[0].operations):
        flaky[0].operations, flaky[0].fails = 0, frozenset([number])
        with suppress(StoreUnavailable):
            copy_here(bench.manager, made.backup_id, f"copy{number}", NETWORK)
        flaky[0].fails = frozenset()
        flaky[0].fails = frozenset()
        bench.network.restorer.verify(bench.network.metadata.load(made.backup_id), (Tier.HOT,), lambda _: None)
