"""A file system that fails on purpose: a pass-through to a folder, told by a file what to do wrong.

Run as a program: `python -m tests.storage.fault_fs MOUNT ROOT ORDERS`. ORDERS is a JSON document: operations of FUSE
(`fsync`, `write`, `open`...) with the errno each is answered with; `0` means that it never is.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

from mfusepy import FUSE, FuseOSError, Operations

_PASSED_ON = {
    "getattr", "readdir", "mkdir", "rmdir", "unlink", "link", "create", "open", "read", "write", "fsync", "fsyncdir",
    "flush", "release", "statfs",
}  # fmt: skip


class FaultFileSystem(Operations):  # type: ignore[misc]
    """Passes every call on to a folder, but for those that the orders name."""

    use_ns = True

    def __init__(self, root: Path, orders: Path) -> None:
        self._root, self._orders = root, orders

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return partial(self._answer, name, found) if name in _PASSED_ON else found

    def _answer(self, name: str, verb: Any, path: str, *args: Any) -> Any:
        orders = json.loads(self._orders.read_text())
        if name in orders:
            if orders[name] == 0:
                threading.Event().wait()
            raise FuseOSError(orders[name])
        try:
            return verb(str(self._root) + path, *args)
        except OSError as error:
            raise FuseOSError(error.errno) from None

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        status = os.fstat(fh) if isinstance(fh, int) and fh else os.lstat(path)
        times = {name: getattr(status, f"{name}_ns") for name in ("st_atime", "st_ctime", "st_mtime")}
        names = ("st_gid", "st_mode", "st_nlink", "st_size", "st_uid")
        return times | {name: getattr(status, name) for name in names}

    def readdir(self, path: str, fh: int) -> list[str]:  # noqa: ARG002
        return [".", "..", *os.listdir(path)]

    def mkdir(self, path: str, mode: int) -> None:
        os.mkdir(path, mode)

    def rmdir(self, path: str) -> None:
        os.rmdir(path)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def link(self, target: str, source: str) -> None:
        os.link(str(self._root) + source, target)

    def create(self, path: str, mode: int, fi: Any = None) -> int:  # noqa: ARG002
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)

    def open(self, path: str, flags: int) -> int:
        return os.open(path, flags)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:  # noqa: ARG002
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:  # noqa: ARG002
        return os.pwrite(fh, data, offset)

    def fsync(self, path: str, datasync: int, fh: int) -> None:  # noqa: ARG002
        os.fsync(fh)

    def fsyncdir(self, path: str, datasync: int, fh: int) -> None:
        """Nothing: the folder behind is on the same disk."""

    def flush(self, path: str, fh: int) -> None:
        """Nothing is held back here."""

    def release(self, path: str, fh: int) -> None:  # noqa: ARG002
        os.close(fh)

    def statfs(self, path: str) -> dict[str, int]:
        status = os.statvfs(path)
        return {name: getattr(status, name) for name in ("f_bavail", "f_bfree", "f_blocks", "f_bsize", "f_frsize")}


if __name__ == "__main__":
    mount, root, orders = map(Path, sys.argv[1:])
    FUSE(FaultFileSystem(root, orders), str(mount), foreground=True, hard_remove=True)
