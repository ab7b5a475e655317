"""The one place that reads the time; everything else is handed a Clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Final, Protocol

_BOOTTIME: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", None)
"""Linux only: goes on while the machine is suspended, where CLOCK_MONOTONIC stands still. As cheap to ask."""


class Clock(Protocol):
    """Tells the time of day and measures spans."""

    def now(self) -> datetime:
        """The time of day, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment, those among them in which the machine was suspended; never goes back."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.clock_gettime(_BOOTTIME) if _BOOTTIME is not None else time.monotonic()


class Stopwatch:
    """Tells how long ago it was made, by the clock that saw more time pass.

    A suspended machine's monotonic clock stands still unless it is CLOCK_BOOTTIME, and that one too where a hypervisor
    paused the machine; the time of day is set right afterwards. One that is set forward for another reason only makes
    the span look longer.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._monotonic, self._now = clock.monotonic(), clock.now()

    @property
    def seconds(self) -> float:
        """Seconds since it was made."""
        passed = self._clock.monotonic() - self._monotonic
        return max(passed, (self._clock.now() - self._now).total_seconds())
