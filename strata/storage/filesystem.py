"""A store in a folder: LOCAL disk, a NETWORK share, or the spool.

No link below the folder is followed (strata/storage/beneath.py): one is listed, as no regular object, and refused.

Crash safety: an object is written to a temporary file beside its place, synced, then linked under its name (link(2)
fails where the name is taken, so nothing is ever overwritten), and the folder is synced. A crash leaves at most a
temporary file, which no listing shows.

On a share every verb, and every commit, first sees that the share is there: what is written into the empty folder where
it is mounted would be on the machine's own disk, and gone from sight when the share comes back.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from strata.errors import (
    ObjectDenied,
    ObjectExists,
    ObjectNotAFile,
    ObjectNotFound,
    SettingError,
    StorageError,
    StoreFull,
    StoreUnavailable,
)
from strata.storage.beneath import FileNotRegular, file, folders, open_folder, remove, status, walk
from strata.storage.beneath import folder as opened
from strata.storage.port import Buffer, ObjectInfo, ObjectWriter, checked_name
from strata.storage.share import MARKER, Share

_TEMPORARY: Final = ".tmp-"
_LEFT: Final = re.compile(r"\.tmp-[0-9a-f]{16}")
"""The name of a file that a writer of ours left."""
_TRIES: Final = 100
"""Who removes a file removes the folder that it leaves empty, perhaps before another's first file is in it."""

_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
_DENIED: Final = {errno.EACCES, errno.EPERM}
_AWAY: Final = {
    errno.EIO,
    errno.ESTALE,
    errno.ENOTCONN,
    errno.ETIMEDOUT,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.EREMOTEIO,
}


class Durability(Enum):
    """Whether `put` returns only once the bytes would survive a power cut."""

    SYNCED = "synced"
    CACHED = "cached"
    """For the spool: a power cut ends the run anyway, and a torn object fails its authentication."""


class FilesystemStore:
    """Objects as files below one folder (mode 0700, files 0600); on a share where one is given."""

    def __init__(self, root: Path, durability: Durability = Durability.SYNCED, share: Share | None = None) -> None:
        self._root, self._share = root, share
        self.durability = durability

    @property
    def url(self) -> str:
        return self._root.as_uri()

    def put(self, name: str, parts: Sequence[Buffer]) -> None:
        writer = self.begin(name)
        try:
            for part in parts:
                writer.write(part)
            writer.commit()
        finally:
            writer.abort()

    def begin(self, name: str) -> ObjectWriter:
        self.check_name(name)
        within, _, last = name.rpartition("/")
        tries = 0
        while True:
            try:
                self._make_root()
                return FileWriter(self, name, open_folder(self._root, within, self._make_folder), last)
            except OSError as error:
                tries += 1
                if tries == _TRIES or not isinstance(error, FileNotFoundError):
                    raise self.failure("write", name, error) from None

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self.check_name(name)
        try:
            with file(self._root, name) as descriptor:
                if offset:
                    os.lseek(descriptor, offset, os.SEEK_SET)
                left = max(os.fstat(descriptor).st_size - offset, 0)
                return _read_fully(descriptor, left if length is None else min(left, length))
        except OSError as error:
            raise self.failure("read", name, error) from None

    def size(self, name: str) -> int:
        self.check_name(name)
        try:
            return status(self._root, name).st_size
        except OSError as error:
            raise self.failure("read", name, error) from None

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self.require_share()
        try:
            for entry in walk(self._root, prefix.rpartition("/")[0]):
                last = entry.name.rpartition("/")[2]
                if last.startswith(_TEMPORARY) or (entry.name == MARKER and self._share):
                    continue
                if entry.name.startswith(prefix):
                    modified = datetime.fromtimestamp(entry.modified, UTC)
                    yield ObjectInfo(entry.name, entry.size, modified, entry.regular)
        except OSError as error:
            raise self.failure("list", prefix or "its objects", error) from None

    def folders(self) -> dict[str, datetime]:
        self.require_share()
        try:
            return {name: datetime.fromtimestamp(at, UTC) for name, at in folders(self._root).items()}
        except OSError as error:
            raise self.failure("list", "its folders", error) from None

    def delete(self, name: str) -> None:
        self.check_name(name)
        try:
            remove(self._root, name)
        except OSError as error:
            raise self.failure("delete", name, error) from None

    def clear(self, folder: str) -> None:
        self.check_name(folder)
        within, _, last = folder.rpartition("/")
        try:
            with opened(self._root, folder), opened(self._root, within) as parent:
                shutil.rmtree(last, onerror=_raise_unless_gone, dir_fd=parent)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self.failure("delete", folder, error) from None

    def abort_unfinished(self, older_than: timedelta) -> int:
        """Remove what writers that died left half written, if nobody wrote to it for so long; how many files."""
        self.require_share()
        before, count = time.time() - older_than.total_seconds(), 0
        try:
            for entry in walk(self._root, ""):
                within, _, last = entry.name.rpartition("/")
                if entry.regular and _LEFT.fullmatch(last) and entry.modified < before:
                    with opened(self._root, within) as parent, suppress(FileNotFoundError):
                        os.unlink(last, dir_fd=parent)
                    count += 1
        except OSError as error:
            raise self.failure("delete", "unfinished objects", error) from None
        return count

    def require_share(self) -> None:
        """StoreNotMounted where the store is on a share that is not there."""
        if self._share:
            self._share.require()

    def check_name(self, name: str) -> None:
        """StorageError where it is no object's; StoreNotMounted where the share is not there."""
        if checked_name(name) == MARKER and self._share:
            raise StorageError(f"{MARKER} marks the share of {self.url}, and is no object")
        self.require_share()

    def _make_root(self) -> None:
        missing = []
        folder = self._root
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        for new in reversed(missing):
            new.mkdir(mode=0o700, exist_ok=True)
            if self.durability is Durability.SYNCED:
                _sync_folder(new.parent)

    def _make_folder(self, parent: int, name: str) -> None:
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=parent)
        if self.durability is Durability.SYNCED:
            _sync_folder(".", parent)

    def failure(self, verb: str, name: str, error: OSError) -> StorageError:
        """The StorageError that an OSError on this store means."""
        reason = os.strerror(error.errno) if error.errno else str(error)
        sentence = f"{self.url} could not {verb} {name}: {reason}"
        if error.errno == errno.ENOENT and verb == "read":
            return ObjectNotFound(f"{self.url} does not hold {name}", hint="It was deleted, or never written whole.")
        if error.errno in _DENIED and verb == "read":
            return ObjectDenied(
                sentence, hint="It belongs to another user: give it to the one that Strata runs as (chown)."
            )
        if error.errno in _FULL:
            return StoreFull(sentence, hint="Free room there, then start again; nothing half-written is left.")
        if error.errno in _AWAY:
            return StoreUnavailable(sentence, hint="Check the disk or the mount.")
        if isinstance(error, FileNotRegular) or error.errno == errno.ELOOP:
            return self._not_a_file(verb, name, error)
        return StorageError(sentence, hint="Check that the folder exists and may be written by this user.")

    def _not_a_file(self, verb: str, name: str, error: OSError) -> ObjectNotAFile:
        if error.errno == errno.ELOOP:
            return ObjectNotAFile(
                f"{self.url} does not {verb} {name}: it is a symbolic link or lies behind one, and no link below a "
                "store's folder is followed",
                hint="Put the files themselves there; the store's own folder may be reached by a link.",
            )
        return ObjectNotAFile(
            f"{self.url} does not {verb} {name}: it is a folder, a pipe, a socket or a device, and not a file",
            hint="It is not one of Strata's; look who put it there.",
        )


class FileWriter:
    """Implements ObjectWriter: a temporary file beside its place, linked under its name at the end.

    It takes the descriptor of the folder, and closes it.
    """

    def __init__(self, store: FilesystemStore, name: str, folder: int, last: str) -> None:
        self._store, self._name, self._folder, self._last = store, name, folder, last
        self._temporary = f"{_TEMPORARY}{secrets.token_hex(8)}"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._descriptor = os.open(self._temporary, flags, 0o600, dir_fd=folder)
        except BaseException:
            os.close(folder)
            raise

    def write(self, part: Buffer) -> None:
        view = memoryview(part).cast("B")
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            raise self._store.failure("write", self._name, error) from None

    def commit(self) -> None:
        synced = self._store.durability is Durability.SYNCED
        try:
            if synced:
                os.fsync(self._descriptor)
            self._close()  # a share may say only now that it has no room
            self._store.require_share()
            here = self._folder
            os.link(self._temporary, self._last, src_dir_fd=here, dst_dir_fd=here, follow_symlinks=False)
            self._unlink()
            if synced:
                os.fsync(here)
        except FileExistsError:
            raise ObjectExists(f"{self._store.url} already holds {self._name}") from None
        except OSError as error:
            raise self._store.failure("write", self._name, error) from None
        finally:
            self.abort()

    def abort(self) -> None:
        if self._folder >= 0:
            with suppress(OSError):  # the failure that brought us here is the one to report
                self._close()
            self._unlink()
            folder, self._folder = self._folder, -1
            os.close(folder)

    def _close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def _unlink(self) -> None:
        if self._temporary:
            temporary, self._temporary = self._temporary, ""
            with suppress(OSError):  # the sweep removes it
                os.unlink(temporary, dir_fd=self._folder)


def folder_of(url: str, setting: str) -> Path:
    """The absolute folder that a file:// URL names; SettingError names the setting otherwise."""
    parts = urlsplit(url)
    path = Path(unquote(parts.path))
    if parts.scheme != "file" or parts.netloc not in {"", "localhost"} or not path.is_absolute():
        raise SettingError(f"{setting} must be a URL like file:///var/lib/strata, not {url!r}")
    return path


def _read_fully(descriptor: int, wanted: int) -> bytes:
    data = os.read(descriptor, wanted)
    if len(data) == wanted:
        return data
    parts = [data]
    while data and (missing := wanted - sum(map(len, parts))):
        data = os.read(descriptor, missing)
        parts.append(data)
    return b"".join(parts)


def _sync_folder(folder: Path | str, within: int | None = None) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY, dir_fd=within)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _raise_unless_gone(_verb: object, _path: str, failed: tuple[type[BaseException], BaseException, object]) -> None:
    if not isinstance(failed[1], FileNotFoundError):  # somebody else removed it: all the better
        raise failed[1]
