"""What a trial finds of stores that keep their promises, and of such that do not."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from strata.clock import SystemClock
from strata.engine.doctor import Examined, Finding, Part, Verdict, examine
from strata.engine.store_trial import StoreTrial
from strata.errors import StoreUnavailable
from strata.storage.memory import MemoryStore
from strata.storage.port import Buffer, LockMode, ObjectInfo, ObjectStore
from strata.storage.wrapped import WrappedStore
from strata.testing import FlakyStore, LyingStore, SettableClock, TornStore
from strata.testing import Lie as LieOf


def tried(store: ObjectStore, **options: object) -> Examined:
    """What an examination finds of a store."""
    trial = replace(StoreTrial(store, SystemClock(), sleep=lambda _: None), **options)  # type: ignore[arg-type]
    (found,) = examine([Part("LOCAL", store.url, trial.findings)], SystemClock())
    return found


def of(examined: Examined, check: str) -> Finding:
    """The finding of one check."""
    (found,) = [one for one in examined.findings if one.check == check]
    return found


class OverwritingStore(WrappedStore):
    """Knows no conditional put: a HEAD before it refuses, unless two come at the same time."""

    def __init__(self, inner: MemoryStore) -> None:
        super().__init__(inner)
        self._both = threading.Barrier(2, timeout=10)

    def put(self, name: str, parts: Sequence[Buffer]) -> None:
        if "race" in name:
            self._both.wait()
            self.inner.delete(name)
            self._both.wait()
            super().put(f"{name}.{threading.get_ident()}", parts)
        else:
            super().put(name, parts)


class SkewedStore(WrappedStore):
    """Its clock is a minute ahead."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return (replace(info, modified=info.modified + timedelta(minutes=1)) for info in super().list(prefix))


class LateStore(WrappedStore):
    """Lists nothing that is new."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:  # noqa: ARG002
        return iter(())


class ForgettingStore(MemoryStore):
    """Forgets its locks."""

    def lock(self, name: str, until: datetime, mode: LockMode) -> None:
        """Do nothing."""


class KeepingStore(WrappedStore):
    """Removes nothing."""

    def clear(self, folder: str) -> None:
        """Do nothing."""


def test_a_store_that_keeps_its_promises_is_safe() -> None:
    """Every check went well, and nothing is left of it."""
    store = MemoryStore()
    found = tried(store)
    assert found.verdict is Verdict.SAFE
    assert [one.check for one in found.findings] == ["put and get", "list", "clock", "conditional put", "delete"]
    assert list(store.list()) == []


def test_two_winners_of_one_name_make_a_store_weaker() -> None:
    """It is said that both win, and what to do; the store is not called broken."""
    found = tried(OverwritingStore(MemoryStore()))
    assert found.verdict is Verdict.WEAKER
    assert "knows no conditional put" in of(found, "conditional put").said


def test_a_clock_that_is_off_is_told() -> None:
    """By how much, and in which direction."""
    said = of(tried(SkewedStore(MemoryStore())), "clock")
    assert said.verdict is Verdict.WEAKER
    assert "s ahead of this machine's" in said.said
    behind = MemoryStore(clock=SettableClock())
    assert "behind this machine's" in of(tried(behind), "clock").said


def test_a_store_that_lists_late_is_weaker() -> None:
    """What was put is not listed at once."""
    assert of(tried(LateStore(MemoryStore())), "list").verdict is Verdict.WEAKER


def test_a_store_that_changes_bytes_has_failed() -> None:
    """Half objects and flipped bits are found, and what was written is removed."""
    for spoil in (TornStore, lambda inner, names: LyingStore(inner, names, LieOf.FLIPS)):
        inner = MemoryStore()
        found = tried(spoil(inner, "doctor/*/one"))
        assert found.verdict is Verdict.FAILED
        assert of(found, "answer").said == "what was read back is not what was written"
        assert list(inner.list()) == []


def test_locks_are_tried_where_they_are_asked_for() -> None:
    """A lock that holds is safe, and gone in the end; one that does not has failed."""
    clock = SettableClock()
    store = MemoryStore(clock=clock)
    trial = StoreTrial(
        store, clock, locking=store, sleep=lambda seconds: clock.advance(timedelta(seconds=seconds))
    )  # fmt: skip
    (found,) = examine([Part("LOCAL", store.url, trial.findings)], SystemClock())
    assert of(found, "lock").verdict is Verdict.SAFE
    assert list(store.list()) == []
    forgets = ForgettingStore()
    assert of(tried(forgets, locking=forgets), "lock").said == "a locked object was removed"


def test_what_could_not_be_removed_is_named() -> None:
    """The folder that is left is in the sentence."""
    assert "objects below doctor/" in of(tried(KeepingStore(MemoryStore())), "delete").said


def test_a_store_that_does_not_answer_has_failed() -> None:
    """With its own sentence; what was found before stays."""
    found = tried(FlakyStore(MemoryStore(), [3]))
    assert (found.verdict, of(found, "answer").said) == (Verdict.FAILED, "memory://store does not answer")
    assert of(found, "put and get").verdict is Verdict.SAFE


def test_a_part_that_hangs_or_breaks_hides_no_other() -> None:
    """It is told as such after its time; the others are examined meanwhile."""
    hang = threading.Event()

    def hanging() -> Iterator[Finding]:
        yield Finding("first", Verdict.SAFE, "fine")
        hang.wait()

    def broken() -> Iterator[Finding]:
        raise ZeroDivisionError
        yield

    def away() -> Iterator[Finding]:
        raise StoreUnavailable("it is away", hint="Wait.")
        yield

    parts = [Part(one.__name__, "", one) for one in (hanging, broken, away)]
    found = examine(parts, SystemClock(), seconds=0.2)
    hang.set()
    assert [one.verdict for one in found] == [Verdict.FAILED] * 3
    assert [one.findings[-1].said for one in found] == [
        "it did not come to an end within 0 s",
        "it stopped at an unforeseen ZeroDivisionError",
        "it is away",
    ]
