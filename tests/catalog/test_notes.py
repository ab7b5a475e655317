"""Notes: added beside the backups, in the order of time, and worth something only as they were signed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from strata.catalog.metadata import BackupMetadataManager
from strata.catalog.notes import NoteBook, NoteKind
from strata.catalog.readings import Reading
from strata.errors import StoreUnavailable
from strata.seal.keyring import FileKeyring
from strata.storage.filesystem import Durability, FilesystemStore
from strata.testing import FlakyStore

NOW = datetime(2025, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
BACKUP = "20250102-030405-full-601d00"


@pytest.fixture
def store(folder: Path) -> FilesystemStore:
    """An empty store."""
    return FilesystemStore(folder / "store", Durability.CACHED)


@pytest.fixture
def keyring(folder: Path) -> FileKeyring:
    """A new keyring."""
    return FileKeyring.create(folder / "keyring.json", NOW)


@pytest.fixture
def book(store: FilesystemStore, keyring: FileKeyring) -> NoteBook:
    """The notes of the store."""
    return NoteBook(store, keyring)


def names(store: FilesystemStore) -> list[str]:
    return sorted(info.name for info in store.list())


def test_a_note_is_read_as_it_was_written(book: NoteBook, store: FilesystemStore) -> None:
    """Kind, subject, moment and body come back; the name tells the first three."""
    added = book.add(NoteKind.PINNED, BACKUP, NOW, {"reason": "before the migration"})
    assert names(store) == [f"notes/{BACKUP}/20250102T030405-pinned.json"]
    assert book.of(BACKUP) == [added]
    assert (added.kind, added.subject, added.at, added.body) == (
        NoteKind.PINNED,
        BACKUP,
        NOW,
        {"reason": "before the migration"},
    )


def test_notes_of_one_second_and_kind_do_not_clash(book: NoteBook, store: FilesystemStore) -> None:
    """Both are there, in their order; the same note written twice is one."""
    for part in (2, 1, 2, 1):
        book.add(NoteKind.VERIFIED, BACKUP, NOW + timedelta(milliseconds=part))
    assert [note.at.microsecond for note in book.of(BACKUP)] == [679000, 680000]
    assert len(names(store)) == 2


def test_names_sort_by_time_and_all_notes_are_told(book: NoteBook, store: FilesystemStore) -> None:
    """Notes of every subject are in `all`, oldest first; `of` has those of one, and of none that begins alike."""
    for number, subject in enumerate((BACKUP, "other", f"{BACKUP}-hot")):
        book.add(NoteKind.VERIFIED, subject, NOW - timedelta(days=number))
    assert [note.subject for note in book.all()] == [f"{BACKUP}-hot", "other", BACKUP]
    assert [note.subject for note in book.of(BACKUP)] == [BACKUP]


def test_a_forged_note_has_no_effect_and_is_reported(
    book: NoteBook, store: FilesystemStore, keyring: FileKeyring, folder: Path
) -> None:
    """Unsigned, edited, of another keyring, or put under another name: ignored, by name, and no other is hidden."""
    good = book.add(NoteKind.PINNED, BACKUP, NOW)
    name = names(store)[0]
    data = store.get(name)
    body = json.loads(data)["note"]
    store.put(f"notes/{BACKUP}/20250103T000000-unpinned.json", [json.dumps(body).encode()])
    store.put(f"notes/{BACKUP}/20250104T000000-pinned.json", [data.replace(b"pinned", b"held")])
    store.put(f"notes/{BACKUP}/20250105T000000-unpinned.json", [data])
    store.put("notes/another/20250102T030405-pinned.json", [data])
    stranger = FileKeyring.create(folder / "stranger.json", NOW)
    NoteBook(store, stranger).add(NoteKind.UNPINNED, BACKUP, NOW + timedelta(days=9))
    assert book.of(BACKUP) == [good]
    assert len(book.ignored) == 4
    assert [one.keyless for one in book.ignored].count(True) == 1
    assert book.all() == [good]
    assert len(book.ignored) == 5


def test_a_note_that_the_store_does_not_give_is_not_passed_over(store: FilesystemStore, keyring: FileKeyring) -> None:
    """It may be a pin: a store that does not answer is an error, not a store without notes."""
    NoteBook(store, keyring).add(NoteKind.PINNED, BACKUP, NOW)
    for number in range(2):
        with pytest.raises(StoreUnavailable):
            NoteBook(FlakyStore(store, {number}), keyring).of(BACKUP)


def test_damage_noted_by_anybody_counts_for_what_is_built(store: FilesystemStore, keyring: FileKeyring) -> None:
    """A layer is noted with a signature now; notes of older stores, which nobody signed, are still heeded."""
    manager = BackupMetadataManager(store, keyring)
    manager.note_damaged("layer-1", NOW)
    store.put("notes/layer-2/20240102T030405-damaged.json", [b'{"layer_id":"layer-2"}\n'])
    assert manager.damaged_layers() == {"layer-1", "layer-2"}
    assert [note.subject for note in NoteBook(store, keyring).all()] == ["layer-1"]


def test_only_a_signed_reading_takes_noted_damage_back(store: FilesystemStore, keyring: FileKeyring) -> None:
    """An unsigned file that is named like a proof changes nothing, nor does a signed one that names no layer."""
    manager, book = BackupMetadataManager(store, keyring), NoteBook(store, keyring)
    manager.note_damaged("layer-1", NOW)
    store.put("notes/layer-1/20260102T030405-verified.json", [b"{}"])
    book.add(NoteKind.VERIFIED, "layer-1", NOW + timedelta(days=1))
    early = Reading(began=NOW - timedelta(milliseconds=1), layers=("layer-1",))
    book.add(NoteKind.VERIFIED, "layer-1", NOW + timedelta(days=1), early.body)
    assert manager.damaged_layers() == {"layer-1"}
    late = Reading(began=NOW + timedelta(milliseconds=1), layers=("layer-1",))
    book.add(NoteKind.VERIFIED, "layer-1", NOW + timedelta(days=1), late.body)
    assert manager.damaged_layers() == set()
    store.put("notes/layer-1/20250103T030405-damaged.json", [b"{}"])
    assert manager.damaged_layers() == {"layer-1"}
