"""A store that asks again where the one behind did not answer."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from strata.errors import ObjectExists, StoreUnavailable
from strata.storage.port import Buffer, ObjectInfo, ObjectStore, holds
from strata.storage.wrapped import WrappedStore

Answer = TypeVar("Answer")

ATTEMPTS: Final = 3
_FIRST_SECONDS: Final = 0.5
_LONGEST_SECONDS: Final = 8.0


class RetryingStore(WrappedStore):
    """Repeats a call that raised StoreUnavailable, up to `attempts` calls in all, with growing pauses.

    The pauses are a random part of 0.5, 1, 2, 4 and 8 s, so that workers that failed together do not come back
    together. Nothing else is repeated: a store that is full, refuses or lacks an object would only do so
    again.
    """

    def __init__(
        self, inner: ObjectStore, attempts: int = ATTEMPTS, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        super().__init__(inner)
        self._attempts, self._sleep = attempts, sleep

    def put(self, name: str, parts: Sequence[Buffer]) -> None:
        """Store the object; one that a try whose answer was lost did store counts as stored."""
        uncertain = False

        def attempt() -> None:
            nonlocal uncertain
            try:
                self.inner.put(name, parts)
            except StoreUnavailable:
                uncertain = True
                raise
            except ObjectExists:
                if not uncertain or not holds(self.inner, name, b"".join(parts)):
                    raise

        self._repeat(attempt)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        return self._repeat(lambda: self.inner.get(name, offset, length))

    def size(self, name: str) -> int:
        return self._repeat(lambda: self.inner.size(name))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """The listing; one that broke off is begun again, without what it had shown."""
        shown: set[str] = set()
        for pause in self._pauses():
            try:
                for info in self.inner.list(prefix):
                    if info.name not in shown:
                        shown.add(info.name)
                        yield info
                return
            except StoreUnavailable:
                if pause is None:
                    raise
                self._sleep(pause)

    def delete(self, name: str) -> None:
        self._repeat(lambda: self.inner.delete(name))

    def clear(self, folder: str) -> None:
        self._repeat(lambda: self.inner.clear(folder))

    def _repeat(self, call: Callable[[], Answer]) -> Answer:
        for pause in self._pauses():
            try:
                return call()
            except StoreUnavailable:
                if pause is None:
                    raise
                self._sleep(pause)
        raise AssertionError("the last pause is None")

    def _pauses(self) -> Iterator[float | None]:
        """For each attempt the seconds to wait where it fails; None for the last."""
        for number in range(self._attempts - 1):
            yield random.uniform(0.5, 1) * min(_FIRST_SECONDS * 2**number, _LONGEST_SECONDS)  # noqa: S311 - no secret
        yield None
