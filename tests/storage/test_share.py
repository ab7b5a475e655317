"""A store on a share: nothing is read or written where the share is not mounted."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from strata.errors import ObjectExists, StorageError, StoreNotMounted
from strata.storage.filesystem import FilesystemStore
from strata.storage.share import MARKER, Share

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def mount(folder: Path) -> Path:
    """A share that is set up, at its mount point."""
    (folder / "mount").mkdir()
    Share(folder / "mount").set_up(NOW)
    return folder / "mount"


def unmount(mount: Path) -> None:
    """What is to be seen when the share goes: the empty folder below."""
    mount.rename(mount.with_name("elsewhere"))
    mount.mkdir()


VERBS: dict[str, Callable[[FilesystemStore], object]] = {
    "put": lambda store: store.put("layers/x/0.seg", [b"x"]),
    "begin": lambda store: store.begin("layers/x/0.seg"),
    "get": lambda store: store.get("one"),
    "size": lambda store: store.size("one"),
    "list": lambda store: list(store.list()),
    "delete": lambda store: store.delete("one"),
    "clear": lambda store: store.clear("layers"),
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS.keys())
def test_no_verb_works_where_the_share_is_not_mounted(mount: Path, verb: Callable[[FilesystemStore], object]) -> None:
    """Each is refused, whether the share went before the store was first used or after, and the folder stays empty."""
    used = FilesystemStore(mount, share=Share(mount))
    used.put("one", [b"1"])
    unmount(mount)
    for store in (used, FilesystemStore(mount, share=Share(mount))):
        with pytest.raises(StoreNotMounted, match="the share is not mounted there") as caught:
            verb(store)
        assert "strata stores init network" in caught.value.hint
    assert list(mount.iterdir()) == []


def test_a_share_that_goes_during_a_write_gets_no_object(mount: Path) -> None:
    """Between the first byte and the commit: nothing appears below the mount point, nor on the share."""
    store = FilesystemStore(mount, share=Share(mount))
    writer = store.begin("layers/x/0.seg")
    writer.write(b"half")
    unmount(mount)
    with pytest.raises(StoreNotMounted):
        writer.commit()
    writer.abort()
    assert list(mount.iterdir()) == []
    assert not list(mount.with_name("elsewhere").rglob("*.seg"))


def test_another_share_than_before_is_refused(mount: Path) -> None:
    """A share with another store id at the same mount point is not the store that was used so far."""
    store = FilesystemStore(mount, share=Share(mount))
    store.put("one", [b"1"])
    unmount(mount)
    Share(mount).set_up(NOW)
    with pytest.raises(StoreNotMounted, match="is another share than before"):
        store.put("two", [b"2"])


def test_a_share_that_comes_back_is_used_again(mount: Path) -> None:
    """Nothing needs to be started again once the same share is mounted."""
    store = FilesystemStore(mount, share=Share(mount))
    store.put("one", [b"1"])
    unmount(mount)
    with pytest.raises(StoreNotMounted):
        store.get("one")
    mount.rmdir()
    shutil.copytree(mount.with_name("elsewhere"), mount)
    assert store.get("one") == b"1"


def test_the_marker_is_no_object(mount: Path) -> None:
    """It is in no listing, and no verb of the store touches it."""
    store = FilesystemStore(mount, share=Share(mount))
    assert list(store.list()) == []
    for verb in (store.get, store.size, store.delete, store.begin, store.clear, lambda name: store.put(name, [b""])):
        with pytest.raises(StorageError, match="is no object"):
            verb(MARKER)
    assert (mount / MARKER).is_file()


def test_a_share_is_set_up_once(mount: Path) -> None:
    """A marker that is there is never replaced; the store id stays."""
    before = Share(mount).require()
    with pytest.raises(ObjectExists, match="is set up already"):
        Share(mount).set_up(NOW)
    assert Share(mount).require() == before


def test_a_mount_point_that_is_not_there_cannot_be_set_up(folder: Path) -> None:
    """A missing folder is a share that is not mounted: it is not made."""
    with pytest.raises(StorageError, match="cannot be set up") as caught:
        Share(folder / "missing").set_up(NOW)
    assert "must exist" in caught.value.hint
    assert not (folder / "missing").exists()


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff"])
def test_a_damaged_marker_is_no_share(mount: Path, content: bytes) -> None:
    """It is named, and nothing is written."""
    (mount / MARKER).write_bytes(content)
    with pytest.raises(StoreNotMounted, match="damaged"):
        FilesystemStore(mount, share=Share(mount)).put("one", [b"1"])
