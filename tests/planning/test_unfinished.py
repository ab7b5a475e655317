"""Which tiers are half restored: what was begun, and that nothing has ended since."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from strata.model.tier import Tier
from strata.planning.unfinished import Step, Told, leaves_nothing_of, unfinished, unfinished_line

BEGAN = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)


def told(step: Step, restore_id: str, minute: int, tier: Tier | None = Tier.HOT, target: str = "here") -> Told:
    """A step of a restore."""
    return Told(step, restore_id, BEGAN + timedelta(minutes=minute), "full", tier, frozenset({target}))


def test_what_was_begun_and_not_ended_is_unfinished() -> None:
    """A restore that is running, died or failed left its tier half restored; one that is done did not."""
    begun, done = told(Step.BEGUN, "one", 0), told(Step.DONE, "one", 1)
    assert unfinished([begun]) == [begun]
    assert unfinished([done, begun]) == []


def test_another_restore_ends_what_it_names_in_its_tier() -> None:
    """Whatever the clocks say; one of another tier ends nothing, nor one that did not name it."""
    begun = told(Step.BEGUN, "one", 0)
    done = replace(told(Step.DONE, "two", -1), ends=frozenset({"one"}))
    assert unfinished([begun, done]) == []
    assert unfinished([begun, replace(done, tier=Tier.COLD)]) == [begun]
    assert unfinished([begun, told(Step.DONE, "two", 1)]) == [begun]


@pytest.mark.parametrize(
    ("backup_id", "exact", "whole", "begun_exact", "nothing_left"),
    [
        ("other", True, True, True, True),
        ("other", True, True, False, True),
        ("other", False, True, True, False),
        ("other", True, False, True, False),
        ("full", True, False, True, True),
        ("full", True, False, False, True),
        ("full", False, False, False, True),
        ("full", False, True, False, True),
        ("full", False, True, True, False),
    ],
)
def test_a_restore_that_leaves_nothing_of_another(
    backup_id: str, *, exact: bool, whole: bool, begun_exact: bool, nothing_left: bool
) -> None:
    """One that replaces every key does, and the same backup restored in the same way; never elsewhere."""
    begun = replace(told(Step.BEGUN, "one", 0), exact=begun_exact)
    done = replace(told(Step.DONE, "two", 1), backup_id=backup_id, exact=exact)
    assert leaves_nothing_of(done, begun, whole=whole) is nothing_left
    assert not leaves_nothing_of(replace(done, tier=Tier.COLD), begun, whole=whole)
    assert not leaves_nothing_of(replace(done, targets=frozenset({"there"})), begun, whole=whole)


def test_a_person_ends_all_tiers_of_one_restore() -> None:
    """What is settled is settled for every tier of that restore, and for no other restore."""
    begun = [told(Step.BEGUN, "one", 0, tier) for tier in (Tier.WARM, Tier.HOT)]
    other = told(Step.BEGUN, "two", 1, Tier.COLD)
    assert unfinished([*begun, other, told(Step.SETTLED, "one", 2, None)]) == [other]


def test_status_names_the_tiers_the_restore_and_what_to_do() -> None:
    """The line holds where nothing is unfinished, and else says which tiers, since when, and both ways out."""
    line = unfinished_line([told(Step.BEGUN, "one", 0, Tier.COLD), told(Step.BEGUN, "one", 0)])
    assert unfinished_line([]).holds
    assert not line.holds
    assert line.finding == (
        "HOT (Redis) and COLD (S3): the restore one of full began to overwrite them at 2025-01-02 03:04:05 UTC and has "
        "not ended as DONE"
    )
    assert line.advice == "Run `strata restore full` again; where the state is as it should be, `strata settle one`."
    overlay = unfinished_line([replace(told(Step.BEGUN, "one", 0), exact=False)])
    assert "`strata restore full --mode overlay` again" in overlay.advice
