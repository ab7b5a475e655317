"""Calls that run ahead of whoever wants their results, bounded by the bytes they hold."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Final, Generic, ParamSpec, TypeVar

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")

_LEAST_COST: Final = 64 << 10
"""What a call counts at least, in bytes: keeps the number of calls bounded where values are tiny."""


@dataclass(frozen=True)
class Call(Generic[Result]):
    """A started call and the bytes it counts."""

    future: Future[Result]
    cost: int


class InFlight:
    """A few threads, and a bound on the bytes of calls that were started and not yet taken.

    For one caller: `start`, `take`, `drop` and `close` are called from one thread.
    """

    def __init__(self, threads: int, limit: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="s3")
        self._limit = limit
        self._held = 0

    @property
    def has_room(self) -> bool:
        """Whether another call may be started; always true when none is under way."""
        return self._held < self._limit

    def start(
        self, cost: int, call: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Call[Result]:
        """Start a call that will hold `cost` bytes until it is taken or dropped."""
        cost = max(cost, _LEAST_COST)
        self._held += cost
        return Call(self._pool.submit(call, *args, **kwargs), cost)

    def take(self, call: Call[Result]) -> Result:
        """The call's result, or its error, once it is there."""
        try:
            return call.future.result()
        finally:
            self._held -= call.cost

    def drop(self, call: Call[Result]) -> None:
        """Forget a call that nobody will take."""
        call.future.cancel()
        self._held -= call.cost

    def settle(self, call: Call[Result]) -> None:
        """Forget a call, but only once it cannot act any more."""
        self.drop(call)
        wait([call.future])

    def close(self) -> None:
        """Cancel what has not begun, wait for what has, end the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)
