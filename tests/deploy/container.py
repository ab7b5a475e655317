"""Becomes a container's process: a root of its own, with the mounts and little else, then exec.

Run inside the machine's namespaces (machine.py) and a mount namespace of its own; argv[1] is the Container as JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

_RDONLY: Final = 1
_REMOUNT: Final = 32
_BIND: Final = 4096
_RECURSIVE: Final = 16384
_OWN: Final = ("tmp", "run", "var", "data", "lost+found")
"""What a container sees nothing of, though this machine may have it."""


def mount(source: str, target: Path, kind: str | None = None, flags: int = 0) -> None:
    """Mount something, or say by an OSError what could not be mounted."""
    libc = ctypes.CDLL(None, use_errno=True)
    told = libc.mount(source.encode(), str(target).encode(), kind.encode() if kind else None, flags, None)
    if told:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), f"{source} on {target}")


def show(root: Path, source: str, path: str) -> None:
    """Let a file or folder of the machine be seen at a path of the new root."""
    target = root / path.lstrip("/")
    if not target.exists():
        (target if os.path.isdir(source) else target.parent).mkdir(parents=True, exist_ok=True)
        if not os.path.isdir(source):
            target.touch()
    mount(source, target, flags=_BIND | _RECURSIVE)


def new_root(root: Path, needed: list[str], mounts: list[list[str]]) -> None:
    """This machine's programs, what the image holds, and what is mounted; all the rest is empty, and read-only."""
    mount("tmpfs", root, "tmpfs")
    for entry in sorted(os.listdir("/")):
        if os.path.islink(f"/{entry}"):
            os.symlink(os.readlink(f"/{entry}"), root / entry)
        elif entry not in _OWN and os.path.isdir(f"/{entry}"):
            show(root, f"/{entry}", entry)
    for folder in ("tmp", "run", "var/lib/strata/spool", "var/lib/strata/backups", "var/lib/strata/beat", "mnt"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for source, path in mounts:
        show(root, source, path)
    for path in needed:
        if path.split("/")[1] in _OWN:
            show(root, path, path)
    mount("none", root, flags=_REMOUNT | _BIND | _RDONLY)


def main(text: str) -> None:
    """Never returns: the process becomes the container's."""
    told = json.loads(text)
    process = os.readlink("/proc/self")  # as the test sees it: /proc is the outer one
    root = Path(told["root"])
    new_root(root, told["needed"], told["mounts"])
    Path(told["pid"]).write_text(process)
    os.chdir(root)
    for command in (["pivot_root", ".", "mnt"], ["umount", "-l", "/mnt"]):
        subprocess.run(command, check=True, env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"})
    os.chdir(told["folder"])
    os.execvpe(told["command"][0], told["command"], told["environment"])  # noqa: S606 - the command under test


if __name__ == "__main__":
    main(sys.argv[1])
