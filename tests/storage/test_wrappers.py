"""What the wrappers do besides the contract: count, hold back, refuse."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from strata.errors import ObjectNotFound, StorageError
from strata.storage.memory import MemoryStore
from strata.storage.metered import Meter, MeteredStore
from strata.storage.port import ObjectStore
from strata.storage.read_only import ReadOnlyStore
from strata.storage.throttled import Bandwidth, ThrottledStore
from strata.testing import SettableClock


def test_every_verb_is_counted() -> None:
    """Calls and bytes of each verb, those of failed calls too, without their bytes."""
    store = MeteredStore(MemoryStore(), SettableClock())
    store.put("one", [b"12", memoryview(b"345")])
    store.get("one")
    store.get("one", 1, 2)
    store.size("one")
    list(store.list())
    with pytest.raises(ObjectNotFound):
        store.get("two")
    store.delete("one")
    store.clear("x")
    counted = {verb: (meter.calls, meter.bytes) for verb, meter in store.meters.items()}
    assert counted == {"put": (1, 5), "get": (3, 7), "size": (1, 0), "list": (1, 0), "delete": (1, 0), "clear": (1, 0)}
    before = store.total
    assert (before.calls, before.bytes) == (8, 12)
    store.put("two", [b"1"])
    assert store.total - before == Meter(calls=1, bytes=1)


def test_no_call_of_several_threads_is_lost() -> None:
    """Eight threads put a hundred objects each; all are counted."""
    store = MeteredStore(MemoryStore(), SettableClock())
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: store.put(f"{number}", [b"xy"]), range(800)))
    assert (store.meters["put"].calls, store.meters["put"].bytes) == (800, 1600)


def throttled(rate: float) -> tuple[ObjectStore, SettableClock]:
    """A store in memory with a bandwidth, and the clock that its pauses move."""
    clock = SettableClock()
    bandwidth = Bandwidth(rate, clock, lambda seconds: clock.advance(timedelta(seconds=seconds)))
    return ThrottledStore(MemoryStore(), bandwidth), clock


def test_reads_and_writes_together_keep_within_the_bandwidth() -> None:
    """What was moved before the last call, both ways, took as long as the bandwidth says."""
    store, clock = throttled(1000)
    start = clock.monotonic()
    store.put("one", [b"x" * 3000])
    assert clock.monotonic() == start
    store.get("one")
    assert clock.monotonic() - start == pytest.approx(3)
    store.get("one", 0, 500)
    assert clock.monotonic() - start == pytest.approx(6)
    store.put("two", [b""])
    assert clock.monotonic() - start == pytest.approx(6.5)


def test_idle_time_is_not_saved_up() -> None:
    """An hour of silence does not pay for an hour of full speed."""
    store, clock = throttled(1000)
    clock.advance(timedelta(hours=1))
    start = clock.monotonic()
    for number in range(3):
        store.put(f"{number}", [b"x" * 1000])
    assert clock.monotonic() - start == pytest.approx(2)


def test_threads_share_one_bandwidth() -> None:
    """Four threads are no faster than one: their pauses add up to what their bytes cost."""
    clock, slept = SettableClock(), list[float]()
    store = ThrottledStore(MemoryStore(), Bandwidth(1000, clock, slept.append))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: store.put(f"{number}", [b"x" * 1000]), range(8)))
    assert sorted(slept) == pytest.approx([1, 2, 3, 4, 5, 6, 7])


WRITES: list[Callable[[ObjectStore], object]] = [
    lambda store: store.put("two", [b"2"]),
    lambda store: store.begin("two"),
    lambda store: store.delete("one"),
    lambda store: store.clear("folder"),
]


@pytest.mark.parametrize("write", WRITES)
def test_a_store_that_is_only_read_changes_nothing(write: Callable[[ObjectStore], object]) -> None:
    """Every verb that would change something is refused; those that look are not."""
    inner = MemoryStore()
    inner.put("one", [b"1"])
    store = ReadOnlyStore(inner)
    with pytest.raises(StorageError, match="is open for reading only"):
        write(store)
    assert (store.get("one"), store.size("one"), [info.name for info in store.list()]) == (b"1", 1, ["one"])
