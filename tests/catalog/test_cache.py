"""The cache: saves reading, and changes no answer, whatever becomes of it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from strata.catalog.cache import CatalogueCache
from strata.catalog.catalogue import Catalogue
from strata.catalog.metadata import BackupMetadataManager
from strata.catalog.notes import NoteBook, NoteKind
from strata.catalog.view import View
from strata.model.manifest import manifest_name
from strata.model.store import STORE_DOCUMENT
from strata.model.tier import StorageTier
from strata.seal.keyring import FileKeyring
from strata.storage.filesystem import Durability, FilesystemStore
from strata.storage.wrapped import WrappedStore
from tests.catalog.test_metadata import NOW, a_manifest

LOCAL = StorageTier.LOCAL
IDS = [f"2025010{day}-000000-full-abc{day}" for day in range(1, 6)]


class CountingStore(WrappedStore):
    """Counts what is read of another store."""

    def __init__(self, inner: FilesystemStore) -> None:
        super().__init__(inner)
        self.reads = 0

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self.reads += name != STORE_DOCUMENT  # which is asked each time
        return super().get(name, offset, length)


class Machine:
    """A machine that lists a store of five backups with a pin; what it said beside is in `told`."""

    def __init__(self, folder: Path) -> None:
        self.keyring = FileKeyring.create(folder / "keyring.json", NOW)
        self.files = FilesystemStore(folder / "store", Durability.CACHED)
        self.folder = folder / "cache" / "strata"
        self.told: list[str] = []
        manager = BackupMetadataManager(self.files, self.keyring)
        for number, backup_id in enumerate(IDS, start=1):
            manager.save(a_manifest(backup_id, generation=number, created_at=NOW + timedelta(days=number)))
        NoteBook(self.files, self.keyring).add(NoteKind.PINNED, IDS[0], NOW, {"reason": "\u00fc"})

    def view(self) -> tuple[View, int]:
        """What a new process sees, and how many objects it read for it."""
        store = CountingStore(self.files)
        cache = CatalogueCache(self.folder, self.keyring, self.told.append)
        return Catalogue({LOCAL: store}, self.keyring, cache).view(), store.reads

    def direct(self) -> View:
        """What the store says."""
        return Catalogue({LOCAL: self.files}, self.keyring).view()

    @property
    def file(self) -> Path:
        """The file of the cache."""
        (found,) = self.folder.glob("*.sqlite")
        return found


@pytest.fixture
def machine(folder: Path) -> Machine:
    """A machine without a cache yet."""
    return Machine(folder)


def told(view: View) -> object:
    """All that a view says."""
    notes = [note for shelf in view.shelves for note in shelf.notes]
    return view.entries, view.unreadable, view.ignored, view.silent, notes, view.statistics()


def test_what_was_read_once_is_not_read_again(machine: Machine) -> None:
    """The second listing reads no object and says the same, entry by entry, note by note."""
    (first, reads), (second, none) = machine.view(), machine.view()
    assert (reads, none) == (6, 0)
    assert told(first) == told(second) == told(machine.direct())
    assert machine.told == []


def test_only_what_is_new_is_read_and_what_is_gone_is_forgotten(machine: Machine) -> None:
    """A backup that came is read, one that went is told no more, a note that went has no effect."""
    machine.view()
    BackupMetadataManager(machine.files, machine.keyring).save(a_manifest("20250109-000000-full-new000", generation=9))
    machine.files.delete(manifest_name(IDS[2]))
    machine.files.delete(f"notes/{IDS[0]}/{NOW:%Y%m%dT%H%M%S}-pinned.json")
    view, reads = machine.view()
    assert reads == 1
    assert told(view) == told(machine.direct())
    assert len(view.entries) == 5
    assert not any(entry.pinned for entry in view.entries)
    with sqlite3.connect(machine.file) as database:
        assert database.execute("SELECT count(*) FROM layer").fetchone() == (5,)


def test_a_manifest_that_was_exchanged_is_read_anew(machine: Machine) -> None:
    """An object of another size or time is not what was verified: its damage is seen."""
    machine.view()
    path = machine.files._root / manifest_name(IDS[1])
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"records":3', b'"records":9'))
    os.utime(path, ns=(1, 1))
    view, reads = machine.view()
    assert reads == 1
    assert [one.name for one in view.unreadable] == [manifest_name(IDS[1])]


def test_what_cannot_be_read_is_not_kept(machine: Machine) -> None:
    """An unreadable manifest and a forged note are tried, and told, each time."""
    machine.files.put("manifests/broken.json", [b"{}"])
    machine.files.put(f"notes/{IDS[1]}/20250102T030405-pinned.json", [b"{}"])
    machine.view()
    view, reads = machine.view()
    assert reads == 2
    assert [one.name for one in view.unreadable] == ["manifests/broken.json"]
    assert len(view.ignored) == 1


def _is_gone(machine: Machine) -> None:
    machine.file.unlink()


def _is_garbage(machine: Machine) -> None:
    machine.file.write_bytes(os.urandom(50_000))


def _is_empty(machine: Machine) -> None:
    machine.file.write_bytes(b"")


def _has_a_torn_page(machine: Machine) -> None:
    data = bytearray(machine.file.read_bytes())
    data[4096:] = bytes(len(data) - 4096)
    machine.file.write_bytes(data)


def _is_cut_short(machine: Machine) -> None:
    machine.file.write_bytes(machine.file.read_bytes()[:9000])


def _is_of_another_version(machine: Machine) -> None:
    with sqlite3.connect(machine.file) as database:
        database.execute("PRAGMA user_version = 77")


def _lacks_a_table(machine: Machine) -> None:
    with sqlite3.connect(machine.file) as database:
        database.execute("DROP TABLE note")


def _holds_nonsense(machine: Machine) -> None:
    with sqlite3.connect(machine.file) as database:
        database.execute("UPDATE manifest SET layers = x'ffffff7f', type = 'partial'")


def _is_a_folder(machine: Machine) -> None:
    path = machine.file
    path.unlink()
    path.mkdir()


FATES: list[Callable[[Machine], None]] = [
    _is_gone,
    _is_garbage,
    _is_empty,
    _has_a_torn_page,
    _is_cut_short,
    _is_of_another_version,
    _lacks_a_table,
    _holds_nonsense,
    _is_a_folder,
]


@pytest.mark.parametrize("fate", FATES, ids=[fate.__name__.strip("_") for fate in FATES])
def test_whatever_becomes_of_it_the_answer_is_the_same(machine: Machine, fate: Callable[[Machine], None]) -> None:
    """Lost, damaged or nonsense: the store is read instead, and the time after next is warm where that can be."""
    machine.view()
    fate(machine)
    assert told(machine.view()[0]) == told(machine.direct())
    machine.view()
    view, reads = machine.view()
    assert told(view) == told(machine.direct())
    assert reads == (6 if fate is _is_a_folder else 0)
    assert bool(machine.told) or fate in {_is_gone, _is_empty}


def test_one_of_another_version_is_not_called_damaged(machine: Machine) -> None:
    """After an upgrade one line says why the listing takes longer; nothing is wrong, and it is said once."""
    machine.view()
    _is_of_another_version(machine)
    machine.view()
    machine.view()
    assert machine.told == [
        "the catalogue's cache was written by another version of Strata: the stores are read once instead"
    ]


def test_another_process_that_locks_it_is_not_waited_for_long(machine: Machine) -> None:
    """While it is locked the store is read, and that is said; afterwards it serves again."""
    machine.view()
    with sqlite3.connect(machine.file, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        view, reads = machine.view()
        assert reads == 6
        assert told(view) == told(machine.direct())
        assert any("locked" in line for line in machine.told)
        other.execute("ROLLBACK")
    assert machine.view()[1] == 0


def test_a_home_that_cannot_be_written_is_done_without(machine: Machine) -> None:
    """Where there can be no folder the answer is the same, and a line says why it takes longer."""
    machine.folder.parent.write_text("a file where the folder would be")
    assert told(machine.view()[0]) == told(machine.direct())
    assert any("could not be written" in line for line in machine.told)


def test_it_is_nobody_elses(machine: Machine) -> None:
    """Folder and file are the user's alone."""
    machine.view()
    assert machine.folder.stat().st_mode & 0o777 == 0o700
    assert machine.file.stat().st_mode & 0o777 == 0o600


def test_another_keyring_trusts_nothing_of_it(machine: Machine, folder: Path) -> None:
    """What one keyring verified is not verified for another; a key that left the keyring vouches for nothing more."""
    machine.view()
    other = FileKeyring.create(folder / "other.json", NOW)
    cache = CatalogueCache(machine.folder, other, machine.told.append)
    view = Catalogue({LOCAL: machine.files}, other, cache).view()
    assert view.entries == []
    assert all(one.keyless for one in view.unreadable)
    assert len(view.unreadable) == len(IDS)


def test_two_processes_may_fill_it_at_once(machine: Machine) -> None:
    """Both read an empty cache, both write, and what is kept is right."""
    caches = [CatalogueCache(machine.folder, machine.keyring, machine.told.append) for _ in range(2)]
    stores = [CountingStore(machine.files) for _ in caches]
    pairs = zip(stores, caches, strict=True)
    catalogues = [Catalogue({LOCAL: store}, machine.keyring, cache) for store, cache in pairs]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        views = list(pool.map(Catalogue.view, catalogues))
    assert told(views[0]) == told(views[1]) == told(machine.direct())
    assert machine.view()[1] == 0


def test_it_says_what_it_holds_and_forgets_what_it_shall(machine: Machine) -> None:
    """Its state is by store; a store that is forgotten is read anew."""
    cache = CatalogueCache(machine.folder, machine.keyring)
    assert cache.states() == []
    machine.view()
    (state,) = cache.states()
    assert (state.store_url, state.backups, state.notes) == (machine.files.url, 5, 1)
    cache.forget(machine.files.url)
    assert cache.states() == []
    assert machine.view()[1] == 6
