"""A store whose calls are counted."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from strata.clock import Clock
from strata.storage.port import Buffer, ObjectInfo, ObjectStore
from strata.storage.wrapped import WrappedStore


@dataclass(frozen=True)
class Meter:
    """What one verb came to: calls that failed count too, their bytes do not. A listing's `bytes` are 0."""

    calls: int = 0
    bytes: int = 0
    seconds: float = 0.0

    def __add__(self, other: Meter) -> Meter:
        return Meter(self.calls + other.calls, self.bytes + other.bytes, self.seconds + other.seconds)

    def __sub__(self, earlier: Meter) -> Meter:
        return Meter(self.calls - earlier.calls, self.bytes - earlier.bytes, self.seconds - earlier.seconds)


class MeteredStore(WrappedStore):
    """Counts calls, bytes and seconds of each verb; may be used from several threads, whose seconds add up."""

    def __init__(self, inner: ObjectStore, clock: Clock) -> None:
        super().__init__(inner)
        self._clock = clock
        self._lock = threading.Lock()
        self._meters: dict[str, Meter] = defaultdict(Meter)

    @property
    def meters(self) -> dict[str, Meter]:
        """The verbs called so far, with what each came to."""
        with self._lock:
            return dict(self._meters)

    @property
    def total(self) -> Meter:
        """What all verbs together came to."""
        return sum(self.meters.values(), Meter())

    def put(self, name: str, parts: Sequence[Buffer]) -> None:
        with self._metered("put"):
            super().put(name, parts)
        self._add("put", Meter(bytes=sum(memoryview(part).nbytes for part in parts)))

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        with self._metered("get"):
            data = super().get(name, offset, length)
        self._add("get", Meter(bytes=len(data)))
        return data

    def size(self, name: str) -> int:
        with self._metered("size"):
            return super().size(name)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """The listing; its seconds are those of the store, not of whoever takes the names."""
        with self._metered("list"):
            listing = super().list(prefix)
        seconds = 0.0
        try:
            while True:
                start = self._clock.monotonic()
                found = next(listing, None)
                seconds += self._clock.monotonic() - start
                if found is None:
                    return
                yield found
        finally:
            self._add("list", Meter(seconds=seconds))

    def delete(self, name: str) -> None:
        with self._metered("delete"):
            super().delete(name)

    def clear(self, folder: str) -> None:
        with self._metered("clear"):
            super().clear(folder)

    @contextmanager
    def _metered(self, verb: str) -> Iterator[None]:
        start = self._clock.monotonic()
        try:
            yield
        finally:
            self._add(verb, Meter(calls=1, seconds=self._clock.monotonic() - start))

    def _add(self, verb: str, more: Meter) -> None:
        with self._lock:
            self._meters[verb] += more
