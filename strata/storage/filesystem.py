"""A store in a folder: LOCAL disk, a NETWORK share, or the spool.

Crash safety: an object is written to a temporary file beside its place, synced, then linked under its name (link(2)
fails where the name is taken, so nothing is ever overwritten), and the folder is synced. A crash leaves at most a
temporary file, which no listing shows.

On a share every verb, and every commit, first sees that the share is there: what is written into the empty folder where
it is mounted would be on the machine's own disk, and gone from sight when the share comes back.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from strata.errors import ObjectExists, ObjectNotFound, SettingError, StorageError, StoreFull, StoreUnavailable
from strata.storage.port import Buffer, ObjectInfo, ObjectWriter, checked_name
from strata.storage.share import MARKER, Share

_TEMPORARY: Final = ".tmp-"
_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
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
        path = self._path(name)
        try:
            self._make_folder(path.parent)
            return FileWriter(self, name, path)
        except OSError as error:
            raise self.failure("write", name, error) from None

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        try:
            with open(self._path(name), "rb", buffering=0) as file:
                if offset:
                    file.seek(offset)
                wanted = os.fstat(file.fileno()).st_size - offset if length is None else length
                return _read_fully(file.fileno(), max(wanted, 0))
        except OSError as error:
            raise self.failure("read", name, error) from None

    def size(self, name: str) -> int:
        try:
            return self._path(name).stat().st_size
        except OSError as error:
            raise self.failure("read", name, error) from None

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self.require_share()
        start = self._root / prefix.rpartition("/")[0]
        try:
            for folder, _, files in os.walk(start, onerror=_raise_unless_missing):
                within = Path(folder).relative_to(self._root).as_posix()  # a Path for each file is slow
                below = "" if within == "." else f"{within}/"
                for file in files:
                    name = below + file
                    if file.startswith(_TEMPORARY) or (name == MARKER and self._share):
                        continue
                    if name.startswith(prefix) and (status := _stat(f"{folder}/{file}")):
                        yield ObjectInfo(name, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))
        except OSError as error:
            raise self.failure("list", prefix or "its objects", error) from None

    def delete(self, name: str) -> None:
        path = self._path(name)
        try:
            path.unlink(missing_ok=True)
            for folder in path.parents:
                if folder == self._root:
                    break
                folder.rmdir()
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT}:
                raise self.failure("delete", name, error) from None

    def clear(self, folder: str) -> None:
        try:
            shutil.rmtree(self._path(folder), onerror=_raise_unless_gone)
        except OSError as error:
            raise self.failure("delete", folder, error) from None

    def abort_unfinished(self, older_than: timedelta) -> int:
        """Remove what writers that died left half written, if nobody wrote to it for so long; how many files."""
        self.require_share()
        before, count = time.time() - older_than.total_seconds(), 0
        try:
            for path in self._root.glob(f"**/{_TEMPORARY}*"):
                if (status := _stat(str(path))) and status.st_mtime < before:
                    path.unlink(missing_ok=True)
                    count += 1
        except OSError as error:
            raise self.failure("delete", "unfinished objects", error) from None
        return count

    def require_share(self) -> None:
        """StoreNotMounted where the store is on a share that is not there."""
        if self._share:
            self._share.require()

    def _path(self, name: str) -> Path:
        if checked_name(name) == MARKER and self._share:
            raise StorageError(f"{MARKER} marks the share of {self.url}, and is no object")
        self.require_share()
        return self._root / name

    def _make_folder(self, folder: Path) -> None:
        missing = []
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        for new in reversed(missing):
            new.mkdir(mode=0o700, exist_ok=True)
            if self.durability is Durability.SYNCED:
                _sync_folder(new.parent)

    def failure(self, verb: str, name: str, error: OSError) -> StorageError:
        """The StorageError that an OSError on this store means."""
        reason = os.strerror(error.errno) if error.errno else str(error)
        sentence = f"{self.url} could not {verb} {name}: {reason}"
        if error.errno == errno.ENOENT and verb == "read":
            return ObjectNotFound(f"{self.url} does not hold {name}", hint="It was deleted, or never written whole.")
        if error.errno in _FULL:
            return StoreFull(sentence, hint="Free room there, then start again; nothing half-written is left.")
        if error.errno in _AWAY:
            return StoreUnavailable(sentence, hint="Check the disk or the mount.")
        return StorageError(sentence, hint="Check that the folder exists and may be written by this user.")


class FileWriter:
    """Implements ObjectWriter: a temporary file beside its place, linked under its name at the end."""

    def __init__(self, store: FilesystemStore, name: str, path: Path) -> None:
        self._store, self._name, self._path = store, name, path
        self._temporary = path.parent / f"{_TEMPORARY}{secrets.token_hex(8)}"
        self._descriptor = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

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
            self._store.require_share()
            os.link(self._temporary, self._path)
            self.abort()
            if synced:
                _sync_folder(self._path.parent)
        except FileExistsError:
            raise ObjectExists(f"{self._store.url} already holds {self._name}") from None
        except OSError as error:
            raise self._store.failure("write", self._name, error) from None
        finally:
            self.abort()

    def abort(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)
            _discard(self._temporary)


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


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _discard(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return  # the failure that brought us here is the one to report


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _raise_unless_gone(_verb: object, _path: str, failed: tuple[type[BaseException], BaseException, object]) -> None:
    if not isinstance(failed[1], FileNotFoundError):  # somebody else removed it: all the better
        raise failed[1]


def _raise_unless_missing(error: OSError) -> None:
    if error.errno not in {errno.ENOENT, errno.ENOTDIR}:
        raise error
