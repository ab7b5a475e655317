"""A store that asks again: only where that may help, not for ever, and never twice to the same effect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from strata.errors import ObjectExists, ObjectNotFound, StorageError, StoreFull, StoreUnavailable
from strata.storage.memory import MemoryStore
from strata.storage.port import Buffer, ObjectInfo
from strata.storage.retrying import RetryingStore
from strata.storage.wrapped import WrappedStore
from strata.testing import FlakyStore, Moment


class FullStore(WrappedStore):
    """Has no room; counts how often it was asked."""

    calls = 0

    def put(self, name: str, parts: Sequence[Buffer]) -> None:  # noqa: ARG002
        self.calls += 1
        raise StoreFull(f"{self.url} is full")


class BreakingStore(WrappedStore):
    """Its first listing breaks off after two objects."""

    broken = False

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        for number, info in enumerate(super().list(prefix)):
            if number == 2 and not self.broken:
                self.broken = True
                raise StoreUnavailable("the listing broke off")
            yield info


def test_a_call_that_was_not_answered_is_done_again() -> None:
    """Every verb succeeds where only its first try failed, after a pause."""
    inner, pauses = MemoryStore(), list[float]()
    inner.put("one", [b"1"])
    verbs = (
        lambda store: store.put("two", [b"2"]),
        lambda store: store.get("one"),
        lambda store: store.size("one"),
        lambda store: list(store.list()),
        lambda store: store.delete("one"),
    )
    for verb in verbs:
        verb(RetryingStore(FlakyStore(inner, [0]), sleep=pauses.append))
    assert [info.name for info in inner.list()] == ["two"]
    assert len(pauses) == len(verbs)


def test_it_gives_up_in_the_end_and_pauses_grow() -> None:
    """After so many tries the last error is the answer; each pause is about twice the one before."""
    flaky, pauses = FlakyStore(MemoryStore(), range(100)), list[float]()
    with pytest.raises(StoreUnavailable):
        RetryingStore(flaky, attempts=7, sleep=pauses.append).get("one")
    assert flaky.operations == 7
    for pause, longest in zip(pauses, (0.5, 1, 2, 4, 8, 8), strict=True):
        assert longest / 2 <= pause <= longest


def test_what_a_retry_cannot_help_is_not_tried_again() -> None:
    """A full store is asked once, and a missing object is missing at once."""
    full, pauses = FullStore(MemoryStore()), list[float]()
    with pytest.raises(StoreFull):
        RetryingStore(full, sleep=pauses.append).put("one", [b"1"])
    with pytest.raises(ObjectNotFound):
        RetryingStore(MemoryStore(), sleep=pauses.append).get("one")
    assert (full.calls, pauses) == (1, [])


def test_a_put_whose_answer_was_lost_is_done() -> None:
    """The second try meets the first one's object, whose bytes are the same."""
    inner = MemoryStore()
    RetryingStore(FlakyStore(inner, [0], Moment.AFTER), sleep=lambda _: None).put("one", [b"1", b"2"])
    assert inner.get("one") == b"12"


def test_somebody_elses_object_is_not_taken_for_ones_own() -> None:
    """Where the name is taken by other bytes, a second try says so as the first would have; they stay."""
    inner = MemoryStore()
    inner.put("one", [b"theirs"])
    with pytest.raises(ObjectExists):
        RetryingStore(FlakyStore(inner, [0]), sleep=lambda _: None).put("one", [b"ours"])
    with pytest.raises(ObjectExists):
        RetryingStore(inner, sleep=lambda _: None).put("one", [b"theirs"])
    assert inner.get("one") == b"theirs"


class ArchivingStore(WrappedStore):
    """Cannot be read at once."""

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:  # noqa: ARG002
        raise StorageError("it is archived")


def test_what_cannot_be_read_at_once_is_told_by_its_size() -> None:
    """A put into an archive class whose answer was lost is done where the object has that many bytes."""
    inner = MemoryStore()
    store = RetryingStore(FlakyStore(ArchivingStore(inner), [0], Moment.AFTER), sleep=lambda _: None)
    store.put("0.seg", [b"12"])
    inner.delete("0.seg")
    inner.put("0.seg", [b"123"])
    with pytest.raises(ObjectExists):
        RetryingStore(FlakyStore(ArchivingStore(inner), [0]), sleep=lambda _: None).put("0.seg", [b"12"])


def test_a_listing_that_broke_off_shows_each_object_once() -> None:
    """It is begun again, without what it had shown."""
    inner = MemoryStore()
    for number in range(5):
        inner.put(f"{number}", [b"x"])
    shown = [info.name for info in RetryingStore(BreakingStore(inner), sleep=lambda _: None).list()]
    assert sorted(shown) == ["0", "1", "2", "3", "4"]
