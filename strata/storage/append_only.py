"""A folder of which nothing is changed or removed before its time.

Each committed file gets the immutable attribute, where the file system has it and the user may set it: then not even
root removes it without clearing the attribute first. The end of an object's lock is an extended attribute of its file,
so that it goes where the file goes, and nothing but the file is needed to know it. `strata doctor` says which of the
two a folder can do.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

from strata.clock import Clock
from strata.errors import ObjectLocked, StorageError
from strata.storage.attributes import read_text, set_immutable, write_text
from strata.storage.beneath import file
from strata.storage.filesystem import Durability, FilesystemStore
from strata.storage.port import Buffer, LockMode, ObjectWriter
from strata.storage.share import Share

_LOCKED_UNTIL: Final = "user.strata.locked_until"


class AppendOnlyStore(FilesystemStore):
    """Implements LockingStore in a folder. Who locks, by which mode, makes no difference here."""

    def __init__(self, root: Path, clock: Clock, share: Share | None = None) -> None:
        super().__init__(root, Durability.SYNCED, share)
        self._clock = clock

    def begin(self, name: str) -> ObjectWriter:
        return _FreezingWriter(super().begin(name), lambda: self._freeze(name))

    def delete(self, name: str) -> None:
        self.check_name(name)
        try:
            with file(self._root, name) as descriptor:
                until = _locked_until(descriptor, name)
                if until and until > self._clock.now():
                    raise ObjectLocked(
                        f"{self.url} keeps {name} until {until:%Y-%m-%d %H:%M:%S} UTC", hint="Its lock ends then."
                    )
                set_immutable(descriptor, False)
        except FileNotFoundError:
            return
        except NotADirectoryError:
            return
        except OSError as error:
            raise self.failure("delete", name, error) from None
        super().delete(name)

    def clear(self, folder: str) -> None:
        for info in list(self.list(f"{folder}/")):
            self.delete(info.name)
        super().clear(folder)

    def lock(self, name: str, until: datetime, mode: LockMode) -> None:  # noqa: ARG002 - one kind of lock only
        self.check_name(name)
        try:
            with file(self._root, name) as descriptor:
                before = _locked_until(descriptor, name)
                if before is None or before < until:
                    set_immutable(descriptor, False)  # an immutable file takes no attributes either
                    write_text(descriptor, _LOCKED_UNTIL, until.isoformat())
                set_immutable(descriptor, True)
        except FileNotFoundError:
            self.size(name)  # raises ObjectNotFound
        except OSError as error:
            raise self.failure("lock", name, error) from None

    def locked_until(self, name: str) -> datetime | None:
        self.check_name(name)
        try:
            with file(self._root, name) as descriptor:
                return _locked_until(descriptor, name)
        except OSError as error:
            raise self.failure("read", name, error) from None

    def _freeze(self, name: str) -> None:
        try:
            with file(self._root, name) as descriptor:
                set_immutable(descriptor, True)
        except OSError as error:
            raise self.failure("make immutable", name, error) from None


class _FreezingWriter:
    """Implements ObjectWriter: a FileWriter whose file may not change once it is there."""

    def __init__(self, writer: ObjectWriter, freeze: Callable[[], None]) -> None:
        self._writer, self._freeze = writer, freeze

    def write(self, part: Buffer) -> None:
        self._writer.write(part)

    def commit(self) -> None:
        self._writer.commit()
        self._freeze()

    def abort(self) -> None:
        self._writer.abort()


def _locked_until(descriptor: int, name: str) -> datetime | None:
    text = read_text(descriptor, _LOCKED_UNTIL)
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        raise StorageError(
            f"the lock of {name} cannot be read: {text!r}",
            hint=f"Its extended attribute {_LOCKED_UNTIL} is damaged; nothing removes it before that is mended.",
        ) from None
