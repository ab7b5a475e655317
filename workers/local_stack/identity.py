"""Which process a pid means: ids are reused, so one is only ever signalled together with the time it began."""

from __future__ import annotations

import os
import time
from pathlib import Path
from signal import SIGKILL, Signals
from typing import Final

from strata.model.layer import Document

_POLL_SECONDS: Final = 0.02


class Identity(Document):
    """A process: its id, and when it began (this boot, and clock ticks since)."""

    pid: int
    began: str

    @classmethod
    def of(cls, pid: int) -> Identity:
        """The process that has this id now."""
        return cls(pid=pid, began=_began(pid))

    @property
    def alive(self) -> bool:
        """Whether that very process is still there; a zombie is not."""
        return self.began != "" and _began(self.pid) == self.began

    def signal(self, how: Signals) -> bool:
        """Send a signal; False where the process is gone, and then nobody gets it."""
        if not self.alive:
            return False
        try:
            os.kill(self.pid, how)
        except ProcessLookupError:
            return False
        return True

    def wait(self, seconds: float) -> bool:
        """Wait until it is gone; False where it is still there after so long."""
        deadline = time.monotonic() + seconds
        while self.alive:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def end(self, how: Signals, seconds: float) -> None:
        """Ask it to go, wait, and at last end it and its session (each process of the stack leads one) by force."""
        if self.signal(how) and not self.wait(seconds) and self.alive:
            try:
                os.killpg(self.pid, SIGKILL)
            except ProcessLookupError:
                self.signal(SIGKILL)
            self.wait(5)


def _began(pid: int) -> str:
    """When a process began, or nothing where there is none (or only what is left of one)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    except (OSError, IndexError):
        return ""
    return "" if fields[0] in "ZX" else f"{boot}-{fields[19]}"
