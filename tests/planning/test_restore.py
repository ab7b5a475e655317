"""The order in which tiers are written back."""

from __future__ import annotations

import pytest

from strata.model.tier import Tier
from strata.planning.restore import earlier, later, rounds

HOT, WARM, COLD = Tier


@pytest.mark.parametrize(
    ("tiers", "expected"),
    [
        ((HOT, WARM, COLD), [(WARM,), (HOT, COLD)]),
        ((COLD, WARM), [(WARM,), (COLD,)]),
        ((HOT, COLD), [(HOT, COLD)]),
        ((WARM,), [(WARM,)]),
        ((), []),
    ],
)
def test_warm_is_first_and_alone(tiers: tuple[Tier, ...], expected: list[tuple[Tier, ...]]) -> None:
    """What can be taken back is written before what cannot; every tier once."""
    assert rounds(tiers) == expected


def test_what_comes_later_is_known() -> None:
    """The tiers of later rounds are those that a round must not leave behind unseen."""
    assert later((HOT, WARM, COLD), WARM) == [HOT, COLD]
    assert later((HOT, WARM, COLD), HOT) == []
    assert later((WARM,), WARM) == []


def test_what_comes_earlier_is_known() -> None:
    """The tiers of earlier rounds are those that must be done first."""
    assert earlier((HOT, WARM, COLD), COLD) == [WARM]
    assert earlier((HOT, COLD), COLD) == []
    assert earlier((HOT, WARM), WARM) == []
