"""Which layers are read back next: what a promise rests on, then what was not read for the longest time."""

from __future__ import annotations

from datetime import datetime, timedelta
from fractions import Fraction

import pytest

from strata.model.tier import StorageTier
from strata.planning.proving import UNBOUNDED, Budget, LayerRead, due, oldest_first, share
from tests.planning.entries import NOW, days

LOCAL = StorageTier.LOCAL
MONTH = timedelta(days=30)


def layer(name: str, read: datetime | None, size: int = 100, *, demanded: bool = False) -> LayerRead:
    return LayerRead(LOCAL, name, "b", whole=True, bytes=size, looked_at=read, demanded=demanded)


def names(layers: list[LayerRead]) -> list[str]:
    return [one.layer_id for one in layers]


def test_what_was_never_read_comes_first_then_the_longest_unread() -> None:
    """None is longer ago than any moment."""
    found = oldest_first([layer("new", NOW), layer("old", NOW - days(9)), layer("never", None)])
    assert names(found) == ["never", "old", "new"]


def test_nothing_is_due_before_half_of_the_time() -> None:
    """What was read a moment ago is not read again; after half of the days it is, and with the other half in hand."""
    layers = [layer("a", NOW - days(14)), layer("b", NOW - days(15)), layer("c", NOW - days(40))]
    assert names(due(layers, NOW, MONTH)) == ["c", "b"]
    assert due(layers[:1], NOW, MONTH) == []


def test_what_a_promise_rests_on_comes_before_older_layers() -> None:
    """A budget too small for all that lies there still keeps what `status` asks."""
    layers = [layer("older", NOW - days(50)), layer("promised", NOW - days(20), demanded=True)]
    assert names(due(layers, NOW, MONTH)) == ["promised", "older"]


@pytest.mark.parametrize(
    ("percent", "chosen"),
    [("100", ["a", "b", "c"]), ("50", ["a", "b"]), ("20", ["a"]), ("0.001", ["a"]), ("90.1", ["a", "b", "c"])],
)
def test_a_share_is_of_the_bytes_and_never_nothing(percent: str, chosen: list[str]) -> None:
    """The longest unread layers, until they make up the share: 20 % of 1,000 bytes are the first 200."""
    layers = [layer("c", NOW, 500), layer("a", NOW - days(3), 200), layer("b", NOW - days(2), 300)]
    assert names(share(layers, Fraction(percent))) == chosen


def test_of_nothing_there_is_no_share() -> None:
    """An empty store is a valid one."""
    assert share([], Fraction(5)) == []


def test_a_budget_is_of_seconds_or_bytes_and_always_lets_one_begin() -> None:
    """The layer that crosses the bound is read to its end; none is begun after it."""
    assert UNBOUNDED.allows(1e9, 1 << 60)
    assert Budget(bytes=10).allows(99, 9)
    assert not Budget(bytes=10).allows(0, 10)
    assert not Budget(seconds=0).allows(0, 0)
    assert Budget(bytes=10).at_most(5) == Budget(5, 10)
    assert Budget(seconds=3).at_most(5) == Budget(3)
