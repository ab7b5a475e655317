"""What a Linux file system can remember of a file: that it may not change, and a text of our own."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_GET_FLAGS: Final = 0x80086601
_SET_FLAGS: Final = 0x40086602
_IMMUTABLE: Final = 0x00000010
"""FS_IOC_GETFLAGS, FS_IOC_SETFLAGS and FS_IMMUTABLE_FL of linux/fs.h; what `chattr +i` does."""
_UNABLE: Final = {errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EACCES}
"""The file system has no such attribute, or this user may not set it (it takes CAP_LINUX_IMMUTABLE)."""


def is_immutable(file: int | Path) -> bool:
    """Whether nobody can change or remove the file; False where the file system cannot tell."""
    try:
        with _opened(file) as descriptor:
            return bool(_flags(descriptor) & _IMMUTABLE)
    except OSError as error:
        if error.errno not in _UNABLE:
            raise
        return False


def set_immutable(file: int | Path, immutable: bool) -> bool:  # noqa: FBT001 - the attribute's own value
    """Set or clear the attribute; whether the file has now what was asked for. Other failures raise OSError."""
    try:
        with _opened(file) as descriptor:
            flags = _flags(descriptor)
            wanted = flags | _IMMUTABLE if immutable else flags & ~_IMMUTABLE
            if wanted != flags:
                fcntl.ioctl(descriptor, _SET_FLAGS, struct.pack("l", wanted))
    except OSError as error:
        if error.errno not in _UNABLE:
            raise
        return not immutable and error.errno not in {errno.EPERM, errno.EACCES}
    return True


def read_text(descriptor: int, attribute: str) -> str | None:
    """An extended attribute of the file; None where it has none, or the file system knows of none."""
    try:
        return os.getxattr(descriptor, attribute).decode()
    except OSError as error:
        if error.errno in {errno.ENODATA, errno.EOPNOTSUPP}:
            return None
        raise


def write_text(descriptor: int, attribute: str, text: str) -> None:
    """Set an extended attribute, durably; OSError where the file system knows of none."""
    os.setxattr(descriptor, attribute, text.encode())
    os.fsync(descriptor)


@contextmanager
def _opened(file: int | Path) -> Iterator[int]:
    """The descriptor of a file, which is closed again where it was opened here."""
    if isinstance(file, int):
        yield file
        return
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _flags(descriptor: int) -> int:
    (flags,) = struct.unpack("l", fcntl.ioctl(descriptor, _GET_FLAGS, bytes(struct.calcsize("l"))))
    return int(flags)
