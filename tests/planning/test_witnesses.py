"""Weeks of pruning: what was settled stays settled, and what was followed step by step is no sudden loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from time import process_time

import pytest
from hypothesis import given

from strata.model.copies import CatalogueEntry
from strata.model.coverage import Coverage, SourceKind
from strata.model.tier import Tier
from strata.planning.goodness import Judgement
from strata.planning.retention import RetentionService
from tests.planning.entries import NOW, catalogues, entry

ANCHOR = 10 * 24 + 2


def _made(hour: int, records: int, *, accepted: bool = False) -> CatalogueEntry:
    kind = "incremental" if hour % 6 else "differential" if hour % 24 else "full"
    covers = (Coverage(Tier.WARM, SourceKind.LIVE, records=records),)
    age = timedelta(hours=-hour)
    return entry(f"b{hour:04}", kind, age, generation=hour, covers=covers, accepted=accepted)


@pytest.mark.parametrize(
    "records",
    [
        lambda hour: 1000 if hour < ANCHOR else 100,
        lambda hour: 0 if hour >= ANCHOR else 1000,
        lambda hour: int(100_000 * 0.85 ** min(20.0, max(0.0, hour / 24 - 10))),
    ],
    ids=["most rows were deleted", "the table was emptied", "it becomes smaller for three weeks"],
)
def test_pruning_puts_no_backup_in_doubt(records: Callable[[int], int]) -> None:
    """The INCREMENTAL that was accepted is kept for a week, the FULLs before it for 90 days: nothing turns red."""
    kept: list[CatalogueEntry] = []
    for hour in range(0, 24 * 50, 2):
        kept.append(_made(hour, records(hour), accepted=hour == ANCHOR))
        if hour % 24 == 22:
            plan = RetentionService().decide(kept, NOW + timedelta(hours=hour))
            assert plan.frozen == ()
            stay = {one.backup_id for one in plan.decisions if one.keep}
            kept = [one for one in kept if one.backup_id in stay]
            assert Judgement(kept).in_doubt == ()
    assert len(kept) < 240


@given(catalogues(doubts=True))
def test_removing_what_may_go_changes_no_thought_of_the_newest(backups: Sequence[CatalogueEntry]) -> None:
    """The newest backup of a type that is in no doubt is in none after any prune."""
    plan = RetentionService().decide(backups, NOW)
    stay = {one.backup_id for one in plan.decisions if one.keep}
    assert Judgement(one for one in backups if one.backup_id in stay).in_doubt == () or plan.frozen


def test_ten_thousand_backups_are_looked_through_in_a_moment() -> None:
    """Also where numbers fall and rise every day."""
    backups = [_made(hour, 1000 if hour % 48 < 24 else 600) for hour in range(0, 20_000, 2)]
    began = process_time()
    RetentionService().decide(backups, backups[-1].created_at)
    assert process_time() - began < 2
