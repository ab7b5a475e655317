"""Work on several items at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

Item = TypeVar("Item")


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
