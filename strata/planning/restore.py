"""In which order a restore writes the tiers back."""

from __future__ import annotations

from collections.abc import Sequence

from strata.model.tier import Tier


def rounds(tiers: Sequence[Tier]) -> list[tuple[Tier, ...]]:
    """Tiers that are written at the same time, round after round; the next begins when the one before is done.

    WARM is first and alone: it is one transaction, can fail for the most reasons, and takes everything back when it
    does. HOT and COLD are overwritten for good, so nothing of them is before WARM has committed.
    """
    others = tuple(tier for tier in tiers if tier is not Tier.WARM)
    return [part for part in ((Tier.WARM,) if Tier.WARM in tiers else (), others) if part]


def earlier(tiers: Sequence[Tier], tier: Tier) -> list[Tier]:
    """The tiers that are written in rounds before this one's; without them it is not begun."""
    order = rounds(tiers)
    return [before for one in order[: _round_of(order, tier)] for before in one]


def later(tiers: Sequence[Tier], tier: Tier) -> list[Tier]:
    """The tiers that are written in rounds after this one's; they are looked at once more before it is lasting."""
    order = rounds(tiers)
    return [following for one in order[_round_of(order, tier) + 1 :] for following in one]


def _round_of(order: Sequence[tuple[Tier, ...]], tier: Tier) -> int:
    return next(at for at, one in enumerate(order) if tier in one)
