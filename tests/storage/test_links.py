"""Links in a store's folder: nothing outside is read, written, listed or removed through one."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from strata.clock import SystemClock
from strata.errors import StorageError, StoreNotMounted
from strata.storage.append_only import AppendOnlyStore
from strata.storage.filesystem import Durability, FilesystemStore
from strata.storage.port import LockMode
from strata.storage.share import MARKER, Share

NAME: Final = "manifests/one.json"
BODY: Final = b"of another store"
Verb = Callable[[FilesystemStore], object]
VERBS: Final[dict[str, Verb]] = {
    "get": lambda store: store.get(NAME),
    "ranged get": lambda store: store.get(NAME, 3, 2),
    "size": lambda store: store.size(NAME),
    "put": lambda store: store.put("manifests/two.json", [b"new"]),
    "put in a new folder": lambda store: store.put("manifests/new/two.json", [b"new"]),
    "list": lambda store: list(store.list("manifests/")),
    "delete": lambda store: store.delete(NAME),
    "clear": lambda store: store.clear("manifests"),
    "clear below": lambda store: store.clear("manifests/sub"),
}


@pytest.fixture(params=[FilesystemStore, AppendOnlyStore])
def store(request: pytest.FixtureRequest, folder: Path) -> FilesystemStore:
    """An empty store, of either kind."""
    if request.param is AppendOnlyStore:
        return AppendOnlyStore(folder / "store", SystemClock())
    return FilesystemStore(folder / "store", Durability.CACHED)


@pytest.fixture
def outside(folder: Path) -> Path:
    """A folder of another store, with one object and a folder in it."""
    (folder / "other" / "sub").mkdir(parents=True)
    (folder / "other" / "one.json").write_bytes(BODY)
    (folder / "other" / "sub" / "deep").write_bytes(BODY)
    return folder / "other"


def everything(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_root_may_be_a_link(folder: Path) -> None:
    """A store is where its operator put it, by a link or not."""
    (folder / "disk").mkdir()
    (folder / "link").symlink_to(folder / "disk")
    linked, plain = FilesystemStore(folder / "link"), FilesystemStore(folder / "disk")
    linked.put(NAME, [b"bytes"])
    assert plain.get(NAME) == linked.get(NAME) == b"bytes"
    assert [info.name for info in linked.list()] == [NAME]
    linked.delete(NAME)
    assert list((folder / "disk").iterdir()) == []


@pytest.mark.parametrize("verb", VERBS)
def test_a_folder_that_is_a_link_is_not_entered(store: FilesystemStore, outside: Path, folder: Path, verb: str) -> None:
    """Each verb says so, and the other store has the same bytes as before."""
    before = everything(outside)
    (folder / "store").mkdir()
    (folder / "store" / "manifests").symlink_to(outside)
    with pytest.raises(StorageError, match="link"):
        VERBS[verb](store)
    assert everything(outside) == before


@pytest.mark.parametrize("verb", ["get", "ranged get", "size"])
def test_a_file_that_is_a_link_is_not_read(store: FilesystemStore, outside: Path, folder: Path, verb: str) -> None:
    """Not even one that leads to an object of the same store."""
    (folder / "store" / "manifests").mkdir(parents=True)
    (folder / "store" / NAME).symlink_to(outside / "one.json")
    with pytest.raises(StorageError, match="link"):
        VERBS[verb](store)


def test_removing_a_link_removes_the_link(folder: Path, outside: Path) -> None:
    """Where a link lies under the name of an object, the object that it leads to stays."""
    store = FilesystemStore(folder / "store", Durability.CACHED)
    (folder / "store" / "manifests").mkdir(parents=True)
    (folder / "store" / NAME).symlink_to(outside / "one.json")
    store.delete(NAME)
    assert everything(outside)["one.json"] == BODY
    assert not (folder / "store" / NAME).is_symlink()


def test_a_lock_is_not_set_through_a_link(folder: Path, outside: Path) -> None:
    """Neither on a file of another store, nor read from it."""
    store = AppendOnlyStore(folder / "store", SystemClock())
    (folder / "store" / "manifests").mkdir(parents=True)
    (folder / "store" / NAME).symlink_to(outside / "one.json")
    with pytest.raises(StorageError):
        store.lock(NAME, SystemClock().now() + timedelta(days=1), LockMode.GOVERNANCE)
    with pytest.raises(StorageError):
        store.locked_until(NAME)
    assert "user.strata.locked_until" not in os.listxattr(outside / "one.json")


def test_links_below_are_listed_as_what_they_are(store: FilesystemStore, outside: Path, folder: Path) -> None:
    """A link to a folder or a file is one entry that is no regular object; nothing behind it is listed."""
    store.put(NAME, [b"ours"])
    (folder / "store" / "manifests" / "linked.json").symlink_to(outside / "one.json")
    (folder / "store" / "manifests" / "linked").symlink_to(outside)
    (folder / "store" / "manifests" / "broken").symlink_to(outside / "nothing")
    found = {info.name: info.regular for info in store.list()}
    assert found == {
        NAME: True,
        "manifests/linked.json": False,
        "manifests/linked": False,
        "manifests/broken": False,
    }


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_what_is_no_file_is_neither_waited_for_nor_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A pipe that nobody writes into does not hold anybody up; it is listed as no regular object."""
    store = FilesystemStore(folder / "store", Durability.CACHED)
    place = folder / "store" / NAME
    place.parent.mkdir(parents=True)
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "socket":
        monkeypatch.chdir(place.parent)  # the path of a socket must be short
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(place.name)
    else:
        try:
            os.mknod(place, 0o600 | 0o020000, os.makedev(1, 5))
        except PermissionError:
            pytest.skip("it takes a right to make a device")
    with pytest.raises(StorageError, match="not a file"):
        store.get(NAME)
    with pytest.raises(StorageError, match="not a file"):
        store.size(NAME)
    assert [(info.name, info.regular) for info in store.list()] == [(NAME, False)]


def test_a_folder_exchanged_for_a_link_during_a_write_changes_nothing_outside(folder: Path, outside: Path) -> None:
    """The object appears in the folder that was opened, wherever its name leads by then."""
    store = FilesystemStore(folder / "store", Durability.CACHED)
    before = everything(outside)
    writer = store.begin("manifests/two.json")
    writer.write(b"bytes")
    (folder / "store" / "manifests").rename(folder / "moved")
    (folder / "store" / "manifests").symlink_to(outside)
    writer.commit()
    assert everything(outside) == before
    assert (folder / "moved" / "two.json").read_bytes() == b"bytes"


def test_what_died_writers_left_is_removed_by_our_names_only(folder: Path, outside: Path) -> None:
    """Files of the form of ours, and none behind a link."""
    store = FilesystemStore(folder / "store", Durability.CACHED)
    store.put(NAME, [b"ours"])
    left = f".tmp-{'0' * 16}"
    for place in (folder / "store" / left, folder / "store" / ".tmp-notes.txt", outside / left):
        place.write_bytes(b"half")
    (folder / "store" / "linked").symlink_to(outside)
    assert store.abort_unfinished(timedelta(seconds=-5)) == 1
    assert not (folder / "store" / left).exists()
    assert (folder / "store" / ".tmp-notes.txt").exists()
    assert (outside / left).exists()


def test_no_descriptor_stays_open(store: FilesystemStore, folder: Path) -> None:
    """Whatever was done, and whether it was possible."""
    store.put("a/b/one", [b"bytes"])
    (folder / "store" / "manifests").symlink_to(folder / "elsewhere")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        for verb in VERBS.values():
            with pytest.raises(StorageError):
                verb(store)
        store.put("a/b/two", [b"bytes"])
        store.begin("a/b/three").abort()
        assert store.get("a/b/two") == b"bytes"
        assert len(list(store.list("a/"))) == 2
        store.delete("a/b/two")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_marker_that_is_a_link_marks_no_share(folder: Path) -> None:
    """The share is what it is on, and not what a link in an empty mount point leads to."""
    for name in ("real", "mount"):
        (folder / name).mkdir()
    Share(folder / "real").set_up(SystemClock().now())
    (folder / "mount" / MARKER).symlink_to(folder / "real" / MARKER)
    with pytest.raises(StoreNotMounted):
        Share(folder / "mount").require()
