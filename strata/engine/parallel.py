"""Work on several items at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from queue import Empty, Queue
from typing import TypeVar

from strata.clock import Clock
from strata.errors import StrataError

Item = TypeVar("Item")
Key = TypeVar("Key")
Answer = TypeVar("Answer")


def in_parallel(work: Callable[[Item], object], items: Iterable[Item], threads: int) -> None:
    """Do the work for every item, a few at a time; the first failure is raised, and no further item is begun."""
    stopped = threading.Event()

    def begin(item: Item) -> None:
        if not stopped.is_set():
            try:
                work(item)
            except BaseException:
                stopped.set()
                raise

    with ThreadPoolExecutor(threads) as pool:
        try:
            for done in as_completed([pool.submit(begin, item) for item in items]):
                done.result()
        except BaseException:
            stopped.set()
            raise


def answered(asked: Mapping[Key, Callable[[], Answer]], clock: Clock, seconds: float) -> dict[Key, Answer]:
    """What is answered within so many seconds, all asked at once; who fails or takes longer is left out.

    A share that hangs holds whoever touches it, so the threads end with the process.
    """
    answers = Queue[tuple[Key, Answer]]()

    def ask(key: Key) -> None:
        with suppress(StrataError):
            answers.put((key, asked[key]()))

    threads = [threading.Thread(target=ask, args=(key,), name=f"ask {key}", daemon=True) for key in asked]
    for thread in threads:
        thread.start()
    deadline = clock.monotonic() + seconds
    for thread in threads:
        thread.join(max(deadline - clock.monotonic(), 0))
    found: dict[Key, Answer] = {}
    with suppress(Empty):
        while True:
            key, answer = answers.get_nowait()
            found[key] = answer
    return found
