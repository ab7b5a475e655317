"""A store that takes no more than its share of the line."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from strata.clock import Clock
from strata.storage.port import Buffer, ObjectStore
from strata.storage.wrapped import WrappedStore


class Bandwidth:
    """A token bucket that all threads of a process share: `rate` bytes per second on average.

    Who asks for more than there is gets it, and whoever asks next waits for that: an object goes at the line's own
    speed, and the pause comes after it.
    """

    def __init__(self, rate: float, clock: Clock, sleep: Callable[[float], None] = time.sleep) -> None:
        self._rate, self._clock, self._sleep = rate, clock, sleep
        self._lock = threading.Lock()
        self._free_at = clock.monotonic()

    def spend(self, count: int) -> None:
        """Wait until everything taken before is paid for, and take `count` bytes; who comes first goes first."""
        with self._lock:
            now = self._clock.monotonic()
            seconds = self._free_at - now
            self._free_at = max(self._free_at, now) + count / self._rate
        if seconds > 0:
            self._sleep(seconds)

    def owe(self, count: int) -> None:
        """Take bytes that have come already; never waits."""
        with self._lock:
            self._free_at = max(self._free_at, self._clock.monotonic()) + count / self._rate


class ThrottledStore(WrappedStore):
    """Keeps reads and writes together within a bandwidth, averaged over objects."""

    def __init__(self, inner: ObjectStore, bandwidth: Bandwidth) -> None:
        super().__init__(inner)
        self._bandwidth = bandwidth

    def put(self, name: str, parts: Sequence[Buffer]) -> None:
        self._bandwidth.spend(sum(memoryview(part).nbytes for part in parts))
        super().put(name, parts)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self._bandwidth.spend(0)
        data = super().get(name, offset, length)
        self._bandwidth.owe(len(data))
        return data
