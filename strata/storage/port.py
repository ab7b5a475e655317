"""What every store can do, in plain verbs.

Objects are written once and whole: `put` never overwrites, and a reader never sees half of one. Names are
`/`-separated, of `[A-Za-z0-9._-]`. Objects are bounded (tens of MiB), so one is handed over as a list of buffers.
Failures: `StoreUnavailable` (retry), `StoreFull`, `ObjectNotFound`, `ObjectExists`, `StorageError`. A store that can
keep objects from being removed is a `LockingStore` besides, and `delete` raises `ObjectLocked` there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol, runtime_checkable

from strata.errors import StorageError, StoreUnavailable

Buffer = bytes | bytearray | memoryview

_NAME: Final = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")


@dataclass(frozen=True)
class ObjectInfo:
    """One object of a listing; `size` in bytes."""

    name: str
    size: int
    modified: datetime
    regular: bool = True
    """False for what no store of ours holds: a link, a pipe, a device. Its content is never read."""


class ObjectWriter(Protocol):
    """An object that is being written; nobody sees it before `commit`."""

    def write(self, part: Buffer) -> None:
        """Append bytes; the buffer may be used again once this returns."""
        ...

    def commit(self) -> None:
        """Make the object appear, durably; raises ObjectExists where the name is taken."""
        ...

    def abort(self) -> None:
        """Leave nothing; does nothing after `commit`."""
        ...


class ObjectStore(Protocol):
    """A flat, write-once store of named objects."""

    @property
    def url(self) -> str:
        """Where the store is, without credentials."""
        ...

    def put(self, name: str, parts: Sequence[Buffer]) -> None:
        """Store the joined parts as a new object, durably; raises ObjectExists where the name is taken."""
        ...

    def begin(self, name: str) -> ObjectWriter:
        """Begin a new object that is written in parts, without holding it in memory where the store can."""
        ...

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """The object's bytes, or `length` bytes from `offset` (fewer at the object's end)."""
        ...

    def size(self, name: str) -> int:
        """The object's size in bytes."""
        ...

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Every object whose name begins with `prefix`, in no promised order."""
        ...

    def delete(self, name: str) -> None:
        """Remove the object; no error where there is none."""
        ...

    def clear(self, folder: str) -> None:
        """Remove every object below `folder/`, and what writes that were cut short left there."""
        ...


@runtime_checkable
class FolderedStore(Protocol):
    """A store in which a folder stays when no object is in it, because a writer died."""

    def folders(self) -> dict[str, datetime]:
        """The folders directly in it, and when anything in each last changed."""
        ...


class LockMode(StrEnum):
    """Who may still remove a locked object."""

    GOVERNANCE = "governance"
    """Only who has a special right; on a file system, root."""
    COMPLIANCE = "compliance"
    """Nobody, the account's owner included; where the store is a file system, as governance."""


class LockingStore(ObjectStore, Protocol):
    """A store that refuses to remove an object before a moment."""

    def lock(self, name: str, until: datetime, mode: LockMode) -> None:
        """Refuse to remove the object before `until`; a lock that lasts longer already stays as it is."""
        ...

    def locked_until(self, name: str) -> datetime | None:
        """Until when the object is locked, which may be over; None for one that never was."""
        ...


@dataclass(frozen=True)
class Locking:
    """A store that is to refuse the removal of what is locked, and who may still remove it."""

    store: LockingStore
    mode: LockMode


class GatheringWriter:
    """Implements ObjectWriter for a store that takes whole objects only: holds the parts until `commit`."""

    def __init__(self, put: Callable[[str, Sequence[Buffer]], None], name: str) -> None:
        self._put, self._name = put, name
        self._parts: list[Buffer] = []

    def write(self, part: Buffer) -> None:
        self._parts.append(bytes(part))

    def commit(self) -> None:
        self._put(self._name, self._parts)

    def abort(self) -> None:
        self._parts.clear()


def holds(store: ObjectStore, name: str, data: bytes) -> bool:
    """Whether the object is these bytes; its size counts where it cannot be read at once, as in an archive class."""
    if store.size(name) != len(data):
        return False
    try:
        return store.get(name) == data
    except StoreUnavailable:
        raise
    except StorageError:
        return True


def checked_name(name: str) -> str:
    """The name, or StorageError where it could leave the store or upset a file system."""
    if not _NAME.fullmatch(name) or ".." in name.split("/") or "." in name.split("/"):
        raise StorageError(f"{name!r} is not a valid object name")
    return name
