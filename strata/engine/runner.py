"""The guard before every stage: take the unit in the ledger, keep it and the lease alive, leave the result.

Delivered twice, a stage is done once: the second delivery gets the result, or StageBusy while the first still works.
A worker that died is recognised at once by others on its machine, and by its silence from elsewhere.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol, TypeVar

from strata.catalog.lease import Lease
from strata.catalog.ledger import RENEW_SECONDS, Claim, Done, Ledger, takes_none
from strata.clock import Clock, Stopwatch
from strata.engine.hold import Hold
from strata.errors import LeaseLost, RunFailed, StageBusy
from strata.model.layer import Document
from strata.model.run import Progress, Run, Stage

Result = TypeVar("Result", bound=Document)

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_REPORT_SECONDS: Final = 0.2
_TOKEN_SHOWN: Final = 12
"""Characters of a claim's token in the names of what its attempt stages: attempts may be counted anew."""


class Waits(Exception):
    """Nothing is wrong with a unit, but it has to wait: look again in so many seconds."""

    def __init__(self, seconds: float, why: str) -> None:
        super().__init__(why)
        self.seconds, self.why = seconds, why


class Watcher(Protocol):
    """Hears of progress besides the ledger; a task sends it on to Flower."""

    def __call__(self, claim: Claim, progress: Progress) -> None: ...


class Guard(Protocol):
    """Asked before a unit is worked on; raises where this process must not."""

    def __call__(self, run: Run, claim: Claim) -> None: ...


def _unguarded(run: Run, claim: Claim) -> None:
    """Nothing was confirmed that could be another."""


class Attempt:
    """One try at a unit: gives staging its names and passes progress on, at most five times a second."""

    def __init__(self, hold: Hold, ledger: Ledger, clock: Clock, watcher: Watcher | None) -> None:
        self.hold = hold
        self._ledger = ledger
        self._clock = clock
        self._watcher = watcher
        self._reported = clock.monotonic()
        self._stopped = threading.Event()
        self._mark = f"{self.claim.attempt}-{self.claim.token[:_TOKEN_SHOWN]}"

    @property
    def claim(self) -> Claim:
        """The claim on the unit."""
        return self.hold.claim

    def name(self, *parts: object) -> str:
        """A name in the spool that no other attempt uses."""
        where = self.claim.unit.replace("/", "-") or self.claim.stage.value
        return "/".join([self.claim.run_id, f"{self.claim.stage}.{where}.{self._mark}", *(str(part) for part in parts)])

    def report(self, progress: Progress) -> None:
        """Say how far the unit is; stops the work where the claim is lost."""
        self.check()
        now = self._clock.monotonic()
        if now - self._reported >= _REPORT_SECONDS:
            self._reported = now
            self._ledger.report(self.claim, progress)
            if self._watcher:
                self._watcher(self.claim, progress)

    def sibling(self) -> Attempt:
        """Another hand on the same unit, which can be told to stop without stopping this one."""
        return Attempt(self.hold, self._ledger, self._clock, self._watcher)

    def check(self) -> None:
        """LeaseLost where this attempt may not go on; to be asked immediately before each lasting effect."""
        if self._stopped.is_set():
            raise LeaseLost(f"{self.claim.stage} of {self.claim.run_id} was told to stop")
        self.hold.check()

    def lose(self) -> None:
        """This hand is to stop."""
        self._stopped.set()


class StageRunner:
    """Runs units of stages behind the ledger."""

    def __init__(
        self, ledger: Ledger, lease: Lease, clock: Clock, watcher: Watcher | None = None, guard: Guard = _unguarded
    ) -> None:
        self.ledger = ledger
        self._guard = guard
        self.lease = lease
        self._clock = clock
        self.watcher = watcher

    def run(
        self, run_id: str, stage: Stage, unit: str, result: type[Result], work: Callable[[Attempt], Result]
    ) -> Result:
        """The unit's result: done now, or done before."""
        since = Stopwatch(self._clock)
        taken = self._take(run_id, stage, unit)
        if isinstance(taken, Done):
            return result.model_validate_json(taken.result)
        began = self._clock.monotonic()
        try:
            with self._held(taken, since) as hold:
                attempt = Attempt(hold, self.ledger, self._clock, self.watcher)
                outcome = work(attempt)
                attempt.check()
        except Exception as error:
            # Another attempt may have finished meanwhile (and tidied what this one was reading).
            finished = self.ledger.result(run_id, stage, unit)
            if finished is not None:
                return result.model_validate_json(finished)
            self.ledger.release(taken, counted=not isinstance(error, Waits))
            raise
        counted = self.ledger.finish(taken, outcome.model_dump_json(), self._clock.monotonic() - began)
        return result.model_validate_json(counted)

    def _take(self, run_id: str, stage: Stage, unit: str) -> Claim | Done:
        owner = this_process()
        try:
            return self.ledger.take(run_id, stage, unit, owner)
        except StageBusy:
            busy = next((row.owner for row in self.ledger.rows(run_id) if (row.stage, row.unit) == (stage, unit)), "")
            if not is_dead(busy):
                raise
            return self.ledger.take(run_id, stage, unit, owner, instead_of=busy)

    @contextmanager
    def _held(self, claim: Claim, since: Stopwatch) -> Iterator[Hold]:
        """The hold on a claimed unit, renewed until the context ends."""
        run = self.ledger.run(claim.run_id)
        if run is None:
            raise RunFailed(f"no run {claim.run_id} is known")
        if run.state.final:
            raise takes_none(run.run_id, run.state, run.reason)
        self._keep_lease(run.fence, run.run_id)
        self._guard(run, claim)
        hold = Hold(claim, run.fence, self.ledger, self.lease, self._clock, since)
        stop = threading.Event()

        def renew() -> None:
            while not hold.lost.is_set() and not stop.wait(RENEW_SECONDS):
                hold.renew()

        thread = threading.Thread(target=renew, name=f"renew {claim.stage}", daemon=True)
        thread.start()
        try:
            yield hold
        finally:
            stop.set()
            thread.join()

    def _keep_lease(self, fence: int | None, run_id: str) -> None:
        if fence is not None and not self.lease.renew(fence):
            raise LeaseLost(f"{run_id} lost its lease: it was silent for too long", hint="Start a new one.")


def this_process() -> str:
    """Who works: machine, process id and when that process began (ids are reused)."""
    return f"{_machine()}:{os.getpid()}:{_began(os.getpid())}"


def is_dead(owner: str) -> bool:
    """Whether an owner is a process of this machine that is gone; False where that cannot be known."""
    machine, _, rest = owner.partition(":")
    pid, _, began = rest.partition(":")
    return machine == _machine() and pid.isdigit() and _began(int(pid)) != began


def _machine() -> str:
    """Where process ids mean the same: the host's name, its start, and the namespace (a container has its own).

    Names of machines repeat, and so do namespaces: outside of containers each machine calls its own by one number.
    Where the system does not tell, no two answers are the same.
    """
    try:
        start, namespace = _BOOT.read_text().strip(), os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        start, namespace = secrets.token_hex(8), 0
    return f"{socket.gethostname()}/{start}/{namespace}"


def _began(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
