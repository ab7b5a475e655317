"""Keeps a local stack going: `python -m workers.local_stack.supervisor FOLDER PROCESS...`, begun by LocalStack.up.

It leaves the terminal and its session behind, starts the servers, then the workers, beat and Flower, and reports to
status.json. A worker, beat or Flower that ends is started again, ever more slowly. A server that ends stays down, so
that its loss can be tried out, until SIGHUP (`strata stack up`) asks for it. SIGTERM ends everything, servers last.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from workers.local_stack.identity import Identity
from workers.local_stack.layout import Layout, PartStatus, Phase, Status
from workers.local_stack.parts import Part, make_parts
from workers.local_stack.servers import Process

GRACE_SECONDS: Final = 20.0
"""What a worker gets to end its tasks before it is ended by force; the ledger gives the work to another."""

_LOOK_SECONDS: Final = 0.1
_STARTS: Final = 3
_CALM_SECONDS: Final = 60.0
_LONGEST_BACKOFF: Final = 30.0

log = logging.getLogger("supervisor")


@dataclass
class Kept:
    """A part under supervision; times are of the monotonic clock."""

    part: Part
    process: Process | None = None
    identity: Identity | None = None
    ready: bool = False
    restarts: int = 0
    quick_ends: int = 0
    began: float = 0.0
    again_at: float = 0.0

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self.process is not None and self.process.running()

    def start(self) -> None:
        """Begin its process."""
        self.process = self.part.start()
        self.identity = Identity.of(self.process.child.pid)
        self.began, self.ready = time.monotonic(), False
        log.info("%s began: pid %d", self.part.name, self.identity.pid)

    def stop(self) -> None:
        """End its process and all that belongs to it."""
        if self.process is None or self.identity is None:
            return
        self.identity.end(self.part.stop_signal, GRACE_SECONDS)
        self.process.child.wait()
        log.info("%s ended", self.part.name)

    def status(self) -> PartStatus:
        """What is reported of it."""
        part = self.part
        return PartStatus(
            name=part.name,
            process=self.identity if self.running else None,
            address=part.address,
            log=str(part.log),
            ready=self.ready,
            restarts=self.restarts,
        )


class Supervisor:
    """Starts, watches and ends the parts of one stack."""

    def __init__(self, layout: Layout, parts: Iterable[Part]) -> None:
        self._layout = layout
        self._kept = [Kept(part) for part in parts]
        self._phase = Phase.STARTING
        self._failure, self._failed_log = "", ""
        self._me = Identity.of(os.getpid())
        self._ending, self._revive = threading.Event(), False
        self._reported: Status | None = None

    def run(self) -> None:
        """Until SIGTERM, or until the stack's folder is taken away."""
        for how in (signal.SIGTERM, signal.SIGINT):
            signal.signal(how, lambda *_: self._ending.set())
        signal.signal(signal.SIGHUP, self._ask_to_revive)
        try:
            self._start_all()
            while not self._ending.wait(_LOOK_SECONDS) and self._layout.exists:
                self._look()
        finally:
            self._stop_all()

    def _ask_to_revive(self, *_: object) -> None:
        self._revive = True

    def _start_all(self) -> None:
        servers = [kept for kept in self._kept if kept.part.is_server]
        with ThreadPoolExecutor(len(servers)) as pool:
            started = list(pool.map(self._try_start, servers))
        for kept in self._kept:
            if all(started) and not kept.part.is_server and not self._ending.is_set():
                self._try_start(kept)
        self._report()

    def _try_start(self, kept: Kept) -> bool:
        try:
            kept.start()
        except Exception as error:
            log.exception("%s did not start", kept.part.name)
            self._fail(kept, f"{kept.part.name} did not start: {error}")
            return False
        return True

    def _look(self) -> None:
        """One round: who ended, who is ready, what is to be started."""
        for kept in self._kept:
            if kept.running:
                if not kept.ready and kept.part.ready():
                    kept.ready, kept.again_at = True, 0.0
            elif kept.part.is_server:
                self._revive_server(kept)
            else:
                self._restart(kept)
        self._revive = False
        if self._phase is Phase.STARTING and all(kept.ready for kept in self._kept):
            self._phase = Phase.UP
        self._report()

    def _revive_server(self, kept: Kept) -> None:
        kept.ready = False
        if self._phase is Phase.STARTING:
            self._fail(kept, f"{kept.part.name} ended as soon as it had started")
        elif self._revive:
            self._try_start(kept)

    def _restart(self, kept: Kept) -> None:
        """Start a part again that ended: at once after a long life, else ever later."""
        now = time.monotonic()
        if kept.again_at == 0.0 and kept.process is not None:
            kept.ready = False
            kept.quick_ends = kept.quick_ends + 1 if now - kept.began < _CALM_SECONDS else 0
            wait = min(2.0 ** (kept.quick_ends - 1), _LONGEST_BACKOFF) if kept.quick_ends > 1 else 0.0
            log.warning("%s ended (%s); again in %.0f s", kept.part.name, kept.process.child.returncode, wait)
            kept.again_at = now + wait
            if self._phase is Phase.STARTING and kept.quick_ends >= _STARTS:
                self._fail(kept, f"{kept.part.name} ends again and again")
        elif kept.process is not None and now >= kept.again_at:
            kept.restarts += 1
            kept.again_at = 0.0
            self._try_start(kept)

    def _fail(self, kept: Kept, sentence: str) -> None:
        """Note what went wrong; while starting, that ends the whole stack."""
        log.error("%s", sentence)
        if self._phase is Phase.STARTING:
            self._phase, self._failure, self._failed_log = Phase.FAILED, sentence, str(kept.part.log)
            self._ending.set()

    def _stop_all(self) -> None:
        """Workers, beat and Flower together, then the servers they talk to."""
        final = self._phase if self._phase is Phase.FAILED else Phase.DOWN
        self._phase = Phase.STOPPING
        self._report()
        for servers in (False, True):
            going = [kept for kept in self._kept if kept.part.is_server is servers and kept.running]
            with ThreadPoolExecutor(max(len(going), 1)) as pool:
                list(pool.map(Kept.stop, going))
        for kept in self._kept:
            kept.ready = False
        self._phase = final
        self._report()

    def _report(self) -> None:
        status = Status(
            phase=self._phase,
            supervisor=self._me,
            parts=tuple(kept.status() for kept in self._kept),
            failure=self._failure,
            failed_log=self._failed_log,
        )
        if status != self._reported:
            with contextlib.suppress(FileNotFoundError):  # the folder was taken away
                self._layout.write_status(status)
            self._reported = status


def main() -> None:
    """Leave the caller behind, who waits until the first report is written, and supervise."""
    layout, names = Layout(Path(sys.argv[1])), sys.argv[2:]
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        os.read(reading, 1)  # ends when the child closes its end
        os._exit(0)
    os.setsid()
    _turn_output_to(layout.log("supervisor"))
    layout.write_status(Status(phase=Phase.STARTING, supervisor=Identity.of(os.getpid())))
    os.close(writing)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    kept = layout.read_secrets()
    assert kept is not None, "LocalStack.up writes it"
    Supervisor(layout, make_parts(layout, kept, names)).run()


def _turn_output_to(path: Path) -> None:
    """Let go of the terminal: input from nowhere, output to the log."""
    nowhere = os.open(os.devnull, os.O_RDONLY)
    output = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor, target in ((nowhere, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, target)


if __name__ == "__main__":
    main()
