"""What lies in a store under names of ours and is not ours: it is never read whole, waited for or built on."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from strata.catalog.catalogue import Catalogue
from strata.catalog.history import RunBook
from strata.catalog.metadata import BackupMetadataManager
from strata.catalog.notes import NOTES, NoteBook, NoteKind
from strata.catalog.removals import RemovalBook
from strata.model.store import STORE_DOCUMENT
from strata.model.tier import StorageTier
from strata.seal.keyring import FileKeyring
from strata.storage.filesystem import Durability, FilesystemStore
from tests.catalog.test_metadata import NOW, a_manifest

GOOD, STRANGE = "20250102-030405-full-601d00", "20250102-030406-full-601d00"


def huge(path: Path) -> None:
    """A file of more bytes than there is memory, none of which takes room."""
    with path.open("wb") as file:
        file.truncate(1 << 43)


def link(path: Path) -> None:
    """A link to a file that is not the store's."""
    path.symlink_to("/etc/passwd")


KINDS: list[Callable[[Path], None]] = [huge, os.mkfifo, link]


@pytest.fixture
def store(folder: Path) -> FilesystemStore:
    """An empty store."""
    return FilesystemStore(folder / "store", Durability.CACHED)


@pytest.fixture
def keyring(folder: Path) -> FileKeyring:
    """A new keyring."""
    return FileKeyring.create(folder / "keyring.json", NOW)


@pytest.mark.parametrize(
    "name",
    [
        f"manifests/{STRANGE}.json",
        f"notes/{GOOD}/20250102T030405-accepted.json",
        f"notes/{GOOD}-hot/20250102T030405-damaged.json",
        "removed/20250102T030405-601d00.json",
        f"history/{STRANGE}.json",
        STORE_DOCUMENT,
    ],
)
@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_a_strange_object_hides_no_other(
    store: FilesystemStore, keyring: FileKeyring, folder: Path, name: str, make: Callable[[Path], None]
) -> None:
    """Whatever lies in the place of a document, all the others are read, for backups and for listings."""
    manager = BackupMetadataManager(store, keyring)
    manager.save(a_manifest(GOOD))
    NoteBook(store, keyring).add(NoteKind.PINNED, GOOD, NOW)
    path = folder / "store" / name
    path.parent.mkdir(exist_ok=True, parents=True)
    make(path)
    assert [one.backup_id for one in manager.judged()] == [GOOD]
    assert manager.damaged_layers() == ({f"{GOOD}-hot"} if "damaged" in name else set())
    assert RunBook(store, keyring).all() == []
    assert RemovalBook(store, keyring).backups() == frozenset()
    view = Catalogue({StorageTier.LOCAL: store}, keyring).view()
    assert not view.silent
    assert [one.backup_id for one in view.entries] == [GOOD]
    assert view.entries[0].pinned


@pytest.mark.parametrize("time", ["99999999T999999", "20250230T000000", "99991231T235959", "\u0662\u0660250102T030405"])
def test_a_time_that_never_is_stops_nobody(
    store: FilesystemStore, keyring: FileKeyring, folder: Path, time: str
) -> None:
    """A note's name may say any time: where there is no such moment it is no note, and the last one there is counts."""
    path = folder / "store" / f"{NOTES}{GOOD}-hot/{time}-damaged.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"anything")
    expected = {f"{GOOD}-hot"} if time.startswith("9999123") else set()
    assert BackupMetadataManager(store, keyring).damaged_layers() == expected
