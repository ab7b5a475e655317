"""The recorded backups as planning sees them: ordered by generation, found by what they cover."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strata.model.backup_type import RULES, BackupType
from strata.model.context import BackupContext, BackupSummary, TierSummary
from strata.model.coverage import Coverage, SourceKind
from strata.model.layer import LayerKind, LayerRef
from strata.model.scope import EVERYTHING
from strata.model.tier import Tier

ALL: Final = Coverage(Tier.HOT, SourceKind.LIVE)
NOW: Final = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)


def layer(kind: LayerKind = LayerKind.BASE, records: int = 10, tombstones: int = 0, size: int = 100) -> LayerRef:
    """A layer of so many rows and bytes."""
    return LayerRef(
        layer_id="b-hot",
        backup_id="b",
        created_at=NOW,
        tier=Tier.HOT,
        kind=kind,
        fingerprint_key_id="f-0123456789ab",
        records=records,
        tombstones=tombstones,
        chunked=0,
        logical_bytes=size,
        stored_bytes=size,
        objects=2,
        digest="ab" * 32,
    )


def held(
    stack: Sequence[LayerRef], records: int = 10, size: int = 100, patterns: tuple[str, ...] = EVERYTHING
) -> TierSummary:
    """What a backup holds of HOT."""
    return TierSummary(
        tier=Tier.HOT,
        source=SourceKind.LIVE,
        patterns=patterns,
        records=records,
        logical_bytes=size,
        stack=tuple(stack),
    )


def summary(
    generation: int,
    backup_type: BackupType = BackupType.FULL,
    *,
    patterns: tuple[str, ...] = EVERYTHING,
    minutes: int = 0,
    stack: Sequence[LayerRef] = (layer(),),
) -> BackupSummary:
    """A recorded backup of HOT."""
    return BackupSummary(
        backup_id=f"b{generation}",
        backup_type=backup_type,
        generation=generation,
        created_at=NOW + timedelta(minutes=minutes),
        fingerprint_key_id="f-0123456789ab",
        tiers=(held(stack, patterns=patterns),),
    )


@given(st.permutations([(1, 3), (2, 2), (3, 1), (3, 4)]))
def test_backups_are_ordered_by_generation_and_then_by_time(made: list[tuple[int, int]]) -> None:
    """Latest first, in whatever order they were listed; a clock that went back changes nothing."""
    context = BackupContext.of([summary(generation, minutes=minutes) for generation, minutes in made])
    order = [(one.generation, (one.created_at - NOW) // timedelta(minutes=1)) for one in context.backups]
    assert order == [(3, 4), (3, 1), (2, 2), (1, 3)]


def test_the_next_generation_is_the_time_but_always_later_than_the_highest() -> None:
    """Milliseconds, so that backups in different stores are in order; a clock that was set back counts on."""
    now = int(NOW.timestamp() * 1000)
    assert BackupContext.of([]).next_generation(NOW) == now
    assert BackupContext.of([summary(7), summary(3)]).next_generation(NOW) == now
    assert BackupContext.of([summary(now + 7), summary(3)]).next_generation(NOW) == now + 8


def test_the_last_backup_is_of_any_type_and_the_last_full_of_those_that_move_the_baseline() -> None:
    """Each the latest that covers the scope."""
    context = BackupContext.of(
        [summary(1), summary(2, BackupType.SNAPSHOT), summary(3, BackupType.DIFFERENTIAL), summary(4)][:3]
    )
    last, full = context.last_backup(ALL), context.last_full(ALL)
    assert last
    assert full
    assert (last.generation, full.generation) == (3, 2)


@pytest.mark.parametrize("backup_type", BackupType)
def test_a_backup_serves_as_a_full_one_by_its_type(backup_type: BackupType) -> None:
    """FULL and SNAPSHOT do; the others are only the last backup."""
    context = BackupContext.of([summary(1, backup_type)])
    assert context.last_backup(ALL) is context.backups[0]
    assert (context.last_full(ALL) is not None) is RULES[backup_type].moves_full_baseline


@pytest.mark.parametrize(
    ("holds", "asks", "covered"),
    [
        (("*",), ("*",), True),
        (("*",), ("order:*",), False),
        (("order:*",), ("*",), False),
        (("order:*", "position:*"), ("position:*", "order:*"), True),
        (("order:*", "position:*"), ("position:*",), False),
        (("order:*",), ("order:*", "position:*"), False),
        (("a*", "*"), ("*",), True),
    ],
)
def test_a_backup_covers_exactly_its_own_scope(
    holds: tuple[str, ...],
    asks: tuple[str, ...],
    covered: bool,  # noqa: FBT001
) -> None:
    """A wider one would bring keys that the child does not hold; `*` beside other patterns is everything."""
    made = summary(1, patterns=holds)
    assert made.bears(Coverage(Tier.HOT, SourceKind.LIVE, asks)) is covered
    assert (BackupContext.of([made]).last_backup(Coverage(Tier.HOT, SourceKind.LIVE, asks)) is made) is covered


def test_a_tier_that_was_left_out_is_covered_by_nobody() -> None:
    """A tier without a stack is not an empty tier; nor is one that nobody spoke of."""
    made = summary(1, stack=())
    assert made.tier(Tier.HOT) is None
    assert not made.bears(ALL)
    assert not summary(1).bears(Coverage(Tier.COLD, SourceKind.LIVE))


def test_a_backup_is_found_by_its_id() -> None:
    """Or not at all."""
    context = BackupContext.of([summary(1), summary(2)])
    assert context.find("b2") is context.backups[0]
    assert context.find("b3") is None


@pytest.mark.parametrize(
    ("stack", "records", "size", "share"),
    [
        ([layer()], 10, 100, 0),
        ([layer(), layer(LayerKind.DELTA, 5, 5, 0)], 10, 100, 0.5),
        ([layer(), layer(LayerKind.DELTA, 10, 0, 300)], 20, 100, 0.75),
        ([layer(records=0, size=0)], 0, 0, 0),
        ([layer(size=0), layer(LayerKind.DELTA, 0, 10, 0)], 0, 0, 1),
        ([layer()], 20, 200, 0),
        ([], 0, 0, 0),
    ],
)
def test_the_dead_share_is_the_greater_of_rows_and_bytes(
    stack: list[LayerRef], records: int, size: int, share: float
) -> None:
    """Of everything in the stack, what counts no more; between 0 and 1, and 0 where there is nothing."""
    assert held(stack, records, size).dead_share == pytest.approx(share)
