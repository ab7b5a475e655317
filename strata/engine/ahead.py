"""Reading ahead: a source is read in one thread while what it gave is worked on in another."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Full, Queue
from typing import Final

from strata.model.record import Claimed, LargeValue, SourceItem

_ITEMS: Final = 3
_LOOK_SECONDS: Final = 0.5


@dataclass(frozen=True)
class _End:
    error: BaseException | None


@contextmanager
def ahead(items: Iterator[SourceItem]) -> Iterator[Iterator[SourceItem]]:
    """The same items, up to three of them read in advance; an error of the source is raised in its place.

    A large value streams its parts on demand, so nothing is read past it until the next item is asked for. Leaving
    the context ends the reading, closes the source's iterator and waits for both.
    """
    queue: Queue[SourceItem | _End] = Queue(_ITEMS)
    stop, consumed = threading.Event(), threading.Semaphore(0)
    thread = threading.Thread(target=_read, args=(items, queue, stop, consumed), name="read ahead", daemon=True)
    thread.start()
    try:
        yield _items(queue, consumed)
    finally:
        stop.set()
        thread.join()


def _items(queue: Queue[SourceItem | _End], consumed: threading.Semaphore) -> Iterator[SourceItem]:
    while not isinstance(item := queue.get(), _End):
        yield item
        if _streams(item):
            consumed.release()
    if item.error is not None:
        raise item.error


def _read(
    items: Iterator[SourceItem], queue: Queue[SourceItem | _End], stop: threading.Event, consumed: threading.Semaphore
) -> None:
    end = _End(None)
    try:
        for item in items:
            _hand_over(queue, item, stop)
            while _streams(item) and not stop.is_set() and not consumed.acquire(timeout=_LOOK_SECONDS):
                continue
            if stop.is_set():
                break
        if isinstance(items, Generator):
            items.close()
    except BaseException as error:  # noqa: BLE001 - raised again by the thread that asks
        end = _End(error)
    _hand_over(queue, end, stop)


def _hand_over(queue: Queue[SourceItem | _End], item: SourceItem | _End, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            queue.put(item, timeout=_LOOK_SECONDS)
        except Full:
            continue
        return


def _streams(item: SourceItem) -> bool:
    """Whether the item's bytes come from the source only as they are used."""
    return isinstance(item.item if isinstance(item, Claimed) else item, LargeValue)
