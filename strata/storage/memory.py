"""A store in memory, for tests and trials: it keeps every promise of the port but that of lasting."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from strata.clock import Clock, SystemClock
from strata.errors import ObjectExists, ObjectLocked, ObjectNotFound
from strata.storage.port import Buffer, GatheringWriter, LockMode, ObjectInfo, ObjectWriter, checked_name


@dataclass(frozen=True)
class _Object:
    data: bytes
    modified: datetime
    locked_until: datetime | None = None


class MemoryStore:
    """Implements LockingStore over a dictionary; may be used from several threads."""

    def __init__(self, name: str = "store", clock: Clock | None = None) -> None:
        self._name, self._clock = name, clock or SystemClock()
        self._lock = threading.Lock()
        self._objects: dict[str, _Object] = {}

    @property
    def url(self) -> str:
        return f"memory://{self._name}"

    def put(self, name: str, parts: Sequence[Buffer]) -> None:
        made = _Object(b"".join(parts), self._clock.now())
        with self._lock:
            if checked_name(name) in self._objects:
                raise ObjectExists(f"{self.url} already holds {name}")
            self._objects[name] = made

    def begin(self, name: str) -> ObjectWriter:
        return GatheringWriter(self.put, checked_name(name))

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        return self._find(name).data[offset : None if length is None else offset + length]

    def size(self, name: str) -> int:
        return len(self._find(name).data)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        with self._lock:
            found = [(name, one) for name, one in self._objects.items() if name.startswith(prefix)]
        return (ObjectInfo(name, len(one.data), one.modified) for name, one in found)

    def delete(self, name: str) -> None:
        with self._lock:
            found = self._objects.get(checked_name(name))
            if found and found.locked_until and found.locked_until > self._clock.now():
                raise ObjectLocked(f"{self.url} keeps {name} until {found.locked_until:%Y-%m-%d %H:%M:%S} UTC")
            self._objects.pop(name, None)

    def clear(self, folder: str) -> None:
        for info in list(self.list(f"{folder}/")):
            self.delete(info.name)

    def lock(self, name: str, until: datetime, mode: LockMode) -> None:  # noqa: ARG002 - nobody is special here
        found = self._find(name)
        with self._lock:
            self._objects[name] = replace(found, locked_until=max(until, found.locked_until or until))

    def locked_until(self, name: str) -> datetime | None:
        return self._find(name).locked_until

    def _find(self, name: str) -> _Object:
        with self._lock:
            if (found := self._objects.get(checked_name(name))) is None:
                raise ObjectNotFound(f"{self.url} does not hold {name}")
            return found
