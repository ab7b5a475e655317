"""A machine for containers without a container engine: namespaces of Linux, and this project in the place of the image.

The machine has a network of its own, in which each name is an address of loopback, so that a container is given its
environment as it stands in a file, ports and host names included. A container sees the mounts it is given, the image's
user's folders, and nothing else below /run, /tmp and /var; its root is read-only. Everything ends with the machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGTERM
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
_INSIDE: Final = Path(__file__).with_name("container.py")
_FIRST: Final = """
import fcntl, os, socket, struct, sys
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 1))  # SIOCSIFFLAGS: up
print(os.readlink("/proc/self"), flush=True)
sys.stdin.read()
"""
"""The machine's first process: it ends, and all others with it, when the test closes its stdin."""
IMAGE: Final = {"HOME": "/var/lib/strata", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
"""What the image sets; the project is found by PYTHONPATH here, for it is installed there."""


_ENTER: Final = ("unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child")


@contextmanager
def started(folder: Path) -> Iterator[Machine | None]:
    """A machine; None where this one lets nobody make namespaces."""
    with subprocess.Popen(
        [*_ENTER, sys.executable, "-c", _FIRST], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout
        pid = first.stdout.readline()
        (folder / "first").write_text(pid)
        yield Machine(folder, int(pid)) if pid else None
        first.communicate()


@dataclass(frozen=True)
class Container:
    """A process and all that it is given."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    mounts: Sequence[tuple[Path, str]] = ()
    """What of the test's folders is seen where."""
    hosts: Mapping[str, str] = field(default_factory=dict)
    """Names and addresses of those it can reach."""
    programs: Path | None = None
    """A folder of programs that its image has beside Python's."""


def _runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Machine:
    """Runs containers; `folder` holds their volumes, logs and process ids."""

    def __init__(self, folder: Path, first: int) -> None:
        self.folder, self._first = folder, first

    def volume(self, name: str) -> Path:
        """The folder of a volume, made where it is not there."""
        path = self.folder / "volumes" / name
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return path

    def log(self, name: str) -> Path:
        """What a container said."""
        return self.folder / "logs" / f"{name}.log"

    def start(self, container: Container) -> None:
        """Start it in the background."""
        self.log(container.name).parent.mkdir(exist_ok=True)
        with open(self.log(container.name), "ab") as log:
            self._popen(container, pid=self._pid(container.name), stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def run(self, container: Container, **streams: Any) -> int:
        """Run it to its end, beside what runs under its name; its exit code."""
        return self._popen(container, pid=Path(os.devnull), **streams).wait()

    def runs(self, name: str) -> bool:
        """Whether a container that was started has not ended."""
        return self._pid(name).exists() and _runs(self._pid(name).read_text())

    def beats(self, name: str, role: str) -> bool:
        """Whether the process of that role in a container has given a sign of life."""
        return (self.volume(f"{name}.tmp") / f"strata-heartbeat-{role}").exists()

    def stop(self, names: Iterable[str]) -> None:
        """Ask containers to end, and wait for them."""
        running = [self._pid(name).read_text() for name in names]
        for pid in running:
            os.kill(int(pid), SIGTERM)
        while any(_runs(pid) for pid in running):
            time.sleep(0.02)
        for name in names:
            for sign in self.volume(f"{name}.tmp").glob("strata-heartbeat-*"):
                sign.unlink()

    def _pid(self, name: str) -> Path:
        return self.folder / f"{name}.pid"

    def _popen(self, container: Container, pid: Path, **streams: Any) -> subprocess.Popen[bytes]:
        programs = [str(container.programs)] if container.programs else []
        path = ":".join([*programs, f"{sys.prefix}/bin", "/usr/local/bin", "/usr/bin", "/bin"])
        hosts = self.folder / f"{container.name}.hosts"
        names = {"localhost": "127.0.0.1", **container.hosts}
        hosts.write_text("".join(f"{address} {name}\n" for name, address in names.items()))
        mounts = [(self.volume(f"{container.name}.tmp"), "/tmp"), (hosts, "/etc/hosts"), *container.mounts]
        told = {
            "root": tempfile.mkdtemp(prefix="root-", dir=self.folder),
            "needed": [str(ROOT), sys.prefix, sys.base_prefix, *programs],
            "mounts": [[str(source), path] for source, path in mounts],
            "pid": str(pid),
            "folder": "/var/lib/strata",
            "command": list(container.command),
            "environment": {**IMAGE, "PATH": path, "PYTHONPATH": str(ROOT), **container.environment},
        }
        enter = ["nsenter", "--preserve-credentials", "-t", str(self._first), "-U", "-n", "-p"]
        process: subprocess.Popen[bytes] = subprocess.Popen(
            [*enter, "unshare", "--mount", sys.executable, str(_INSIDE), json.dumps(told)], **streams
        )
        return process
