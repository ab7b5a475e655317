"""Folders and files below a root, of which no link is followed.

The root is opened by its path, and may itself be a link: whoever set it up meant that. Every part below it is opened
relative to the folder before it and never as a link, so that nothing that lies outside can be read, written or
removed through a name of the store, whatever is exchanged for a link meanwhile. No descriptor outlives a call, except
that of the folder which an unfinished file lies in.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

_THROUGH: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
"""For folders on the way: they need not be readable."""
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""Not blocking, as opening a pipe that nobody writes into would never return; files take no notice of it."""


class FileNotRegular(OSError):
    """What should be a file is a link, a folder, a pipe or a device."""


class Entry(NamedTuple):
    """What a walk found: anything but a folder. Only of what is `regular` the content is anybody's business."""

    name: str
    size: int
    modified: float
    regular: bool


@contextmanager
def folder(root: Path, within: str) -> Iterator[int]:
    """A readable descriptor of the folder `within` the root (the root itself where that is empty)."""
    descriptor = open_folder(root, within)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_folder(root: Path, within: str, make: Callable[[int, str], None] | None = None) -> int:
    """The same, to be closed by the caller; `make` makes a folder that is missing, given its parent and its name."""
    parts = within.split("/") if within else []
    here = os.open(root, _THROUGH if parts else _FOLDER)
    for number, part in enumerate(parts, 1):
        flags = _THROUGH if number < len(parts) else _FOLDER
        try:
            below = _step(here, part, flags, make)
        finally:
            os.close(here)
        here = below
    return here


@contextmanager
def file(root: Path, name: str) -> Iterator[int]:
    """A descriptor to read a regular file by; anything else is an OSError, a link ELOOP."""
    within, _, last = name.rpartition("/")
    parent = _open_through(root, within)
    try:
        descriptor = os.open(last, _FILE, dir_fd=parent)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO}:
            raise FileNotRegular(error.errno, error.strerror) from None
        raise
    finally:
        os.close(parent)
    try:
        _require_regular(os.fstat(descriptor).st_mode)
        yield descriptor
    finally:
        os.close(descriptor)


def status(root: Path, name: str) -> os.stat_result:
    """What is known of a regular file."""
    within, _, last = name.rpartition("/")
    parent = _open_through(root, within)
    try:
        found = os.stat(last, dir_fd=parent, follow_symlinks=False)
    finally:
        os.close(parent)
    _require_regular(found.st_mode)
    return found


def walk(root: Path, within: str) -> Iterator[Entry]:
    """Everything below a folder that is no folder, in no order; nothing where it is not there.

    A link is an entry, wherever it leads. Folders are read one at a time, and their entries held.
    """
    waiting = [within]
    while waiting:
        here = waiting.pop()
        below = f"{here}/" if here else ""
        for name, is_folder, found in _entries(root, here):
            if is_folder:
                waiting.append(below + name)
            elif found is not None:
                yield Entry(below + name, found.st_size, found.st_mtime, stat.S_ISREG(found.st_mode))


def folders(root: Path) -> dict[str, float]:
    """The folders directly below the root, and when each last changed: its own list, or any file below it."""
    try:
        with folder(root, "") as descriptor, os.scandir(descriptor) as found:
            changed = {one.name: _changed(one) for one in found if one.is_dir(follow_symlinks=False)}
    except OSError as error:
        if _gone(root, error):
            return {}
        raise
    for entry in walk(root, ""):
        name, _, below = entry.name.partition("/")
        if below and name in changed:
            changed[name] = max(changed[name], entry.modified)
    return changed


def remove(root: Path, name: str) -> None:
    """Remove a file, and then the folders that are empty without it, also where it is not there."""
    parts = name.split("/")
    opened = [os.open(root, _THROUGH)]
    try:
        for part in parts[:-1]:
            opened.append(_step(opened[-1], part, _THROUGH))
        with suppress(FileNotFoundError):
            os.unlink(parts[-1], dir_fd=opened[-1])
        for part, parent in zip(reversed(parts[:-1]), reversed(opened[:-1]), strict=True):
            os.rmdir(part, dir_fd=parent)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT}:
            raise
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _open_through(root: Path, within: str) -> int:
    here = os.open(root, _THROUGH)
    for part in within.split("/") if within else ():
        try:
            below = _step(here, part, _THROUGH)
        finally:
            os.close(here)
        here = below
    return here


def _step(parent: int, part: str, flags: int, make: Callable[[int, str], None] | None = None) -> int:
    """One folder further; ELOOP where that is a link."""
    try:
        return os.open(part, flags | os.O_NOFOLLOW, dir_fd=parent)
    except FileNotFoundError:
        if make is None:
            raise
        make(parent, part)
        return os.open(part, flags | os.O_NOFOLLOW, dir_fd=parent)
    except NotADirectoryError:
        if stat.S_ISLNK(os.stat(part, dir_fd=parent, follow_symlinks=False).st_mode):
            raise FileNotRegular(errno.ELOOP, os.strerror(errno.ELOOP)) from None
        raise


def _require_regular(mode: int) -> None:
    if stat.S_ISLNK(mode):
        raise FileNotRegular(errno.ELOOP, os.strerror(errno.ELOOP))
    if not stat.S_ISREG(mode):
        raise FileNotRegular(errno.EISDIR if stat.S_ISDIR(mode) else errno.ENXIO, "not a regular file")


def _entries(root: Path, within: str) -> list[tuple[str, bool, os.stat_result | None]]:
    """Name, whether it is a folder, and what is known of it where it is none; what goes meanwhile is left out."""
    try:
        with folder(root, within) as descriptor, os.scandir(descriptor) as found:
            return [(one.name, is_folder := one.is_dir(follow_symlinks=False), None if is_folder else _known(one))
                    for one in found]  # fmt: skip
    except OSError as error:
        if _gone(root, error):
            return []
        raise


def _gone(root: Path, error: OSError) -> bool:
    """Whether a folder is not there; a file in the place of the root is a wrong address, and no empty store."""
    return error.errno == errno.ENOENT or (error.errno == errno.ENOTDIR and root.is_dir())


def _changed(entry: os.DirEntry[str]) -> float:
    found = _known(entry)
    return found.st_mtime if found else 0.0


def _known(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
