"""Which tiers are half restored: what was begun, and that nothing has ended since."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from strata.model.tier import Tier
from strata.planning.unfinished import Step, Told, unfinished, unfinished_line

BEGAN = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)


def told(step: Step, restore_id: str, minute: int, tier: Tier | None = Tier.HOT, target: str = "here") -> Told:
    """A step of a restore."""
    return Told(step, restore_id, BEGAN + timedelta(minutes=minute), "full", tier, frozenset({target}))


def test_what_was_begun_and_not_ended_is_unfinished() -> None:
    """A restore that is running, died or failed left its tier half restored; one that is done did not."""
    begun, done = told(Step.BEGUN, "one", 0), told(Step.DONE, "one", 1)
    assert unfinished([begun]) == [begun]
    assert unfinished([done, begun]) == []


def test_a_later_restore_of_the_same_tier_ends_it() -> None:
    """Whichever backup it was of; one of another tier, of another target or from before ends nothing."""
    begun = told(Step.BEGUN, "one", 0)
    assert unfinished([begun, told(Step.DONE, "two", 1)]) == []
    assert unfinished([begun, told(Step.DONE, "two", 1, Tier.COLD)]) == [begun]
    assert unfinished([begun, told(Step.DONE, "two", 1, target="there")]) == [begun]
    assert unfinished([begun, told(Step.DONE, "two", -1)]) == [begun]


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
        "HOT (Redis) and COLD (S3): the restore one of full began to overwrite it at 2025-01-02 03:04:05 UTC and has "
        "not ended as DONE"
    )
    assert line.advice == "Run `strata restore full` again; where the state is as it should be, `strata settle one`."
