"""A folder of which nothing is removed before its time: by Strata, nor by anybody else where the file system helps."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from strata.errors import ObjectLocked, StorageError
from strata.storage.append_only import AppendOnlyStore
from strata.storage.attributes import is_immutable, set_immutable
from strata.storage.port import LockMode
from strata.testing import SettableClock


@pytest.fixture
def clock() -> SettableClock:
    """A clock that stands still."""
    return SettableClock()


@pytest.fixture
def store(folder: Path, clock: SettableClock) -> Iterator[AppendOnlyStore]:
    """An empty store, whose files can be removed afterwards."""
    yield AppendOnlyStore(folder / "store", clock)
    for path in folder.rglob("*"):
        if path.is_file():
            set_immutable(path, False)


@pytest.fixture
def _immutable(folder: Path) -> None:
    """Skips where this user or file system has no immutable attribute."""
    probe = folder / "probe"
    probe.touch()
    if not set_immutable(probe, True):
        pytest.skip("this file system, or this user, cannot make a file immutable")
    set_immutable(probe, False)


@pytest.mark.usefixtures("_immutable")
def test_a_committed_file_is_changed_and_removed_by_nobody(store: AppendOnlyStore, folder: Path) -> None:
    """Not even by root, who has to clear the attribute first; the store itself removes it at once while unlocked."""
    path = folder / "store" / "layers" / "0.seg"
    store.put("layers/0.seg", [b"kept"])
    assert is_immutable(path)
    for change in (path.unlink, lambda: path.rename(folder / "x"), lambda: path.write_bytes(b"")):
        with pytest.raises(PermissionError):
            change()
    store.delete("layers/0.seg")
    assert not path.exists()


@pytest.mark.usefixtures("_immutable")
def test_a_locked_file_stays_immutable(store: AppendOnlyStore, clock: SettableClock, folder: Path) -> None:
    """Setting, extending and keeping a lock all leave the attribute set; removing it in vain does too."""
    store.put("one", [b"1"])
    for hours in (1, 2, 1):
        store.lock("one", clock.now() + timedelta(hours=hours), LockMode.GOVERNANCE)
        assert is_immutable(folder / "store" / "one")
    with pytest.raises(ObjectLocked):
        store.delete("one")
    assert is_immutable(folder / "store" / "one")


def test_a_lock_is_kept_by_the_file_itself(store: AppendOnlyStore, clock: SettableClock, folder: Path) -> None:
    """Another process that knows nothing but the folder refuses until the moment has come, and then removes it."""
    store.put("one", [b"1"])
    until = clock.now() + timedelta(days=7)
    store.lock("one", until, LockMode.COMPLIANCE)
    other = AppendOnlyStore(folder / "store", clock)
    assert other.locked_until("one") == until
    with pytest.raises(ObjectLocked):
        other.delete("one")
    clock.advance(timedelta(days=7))
    other.delete("one")
    assert list(store.list()) == []


def test_a_lock_that_cannot_be_read_is_kept(store: AppendOnlyStore, folder: Path) -> None:
    """Nobody knows when it ends, so nothing is removed, and the sentence says why."""
    store.put("one", [b"1"])
    set_immutable(folder / "store" / "one", False)
    os.setxattr(folder / "store" / "one", "user.strata.locked_until", b"some day")
    with pytest.raises(StorageError, match="the lock of one cannot be read"):
        store.delete("one")
    assert store.get("one") == b"1"
