"""Which tiers a restore began to overwrite and did not finish: a mixture of two moments, and no state to back up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from strata.model.policy import PolicyLine
from strata.model.tier import Tier


class Step(StrEnum):
    """What happened to the tiers of a restore."""

    BEGUN = "begun"
    """It was about to overwrite the first thing in the tier."""
    DONE = "done"
    """All of its tiers are what the backup held."""
    SETTLED = "settled"
    """A person said that they are as they should be."""


@dataclass(frozen=True)
class Told:
    """One step of a restore; `targets` are marks of the place that the tier was, of which one in common is enough."""

    step: Step
    restore_id: str
    at: datetime
    backup_id: str = ""
    tier: Tier | None = None
    targets: frozenset[str] = frozenset()


def unfinished(told: Iterable[Told]) -> list[Told]:
    """The beginnings that nothing ended: neither their own restore, nor a later one of the same tier, nor a person."""
    steps = list(told)
    ends = [one for one in steps if one.step is not Step.BEGUN]
    begun = [one for one in steps if one.step is Step.BEGUN and not any(_ends(end, one) for end in ends)]
    return sorted(begun, key=lambda one: one.at)


def _ends(end: Told, begun: Told) -> bool:
    """Whether a step is the end of a beginning. Its own restore's end comes after it, whatever the clocks say."""
    if end.restore_id == begun.restore_id:
        return True
    return end.tier is begun.tier and bool(end.targets & begun.targets) and end.at >= begun.at


def sentences(found: Iterable[Told]) -> list[str]:
    """What is half restored, a sentence for each restore."""
    by_restore: dict[str, list[Told]] = {}
    for one in found:
        by_restore.setdefault(one.restore_id, []).append(one)
    return [_sentence(parts) for parts in by_restore.values()]


def _sentence(parts: list[Told]) -> str:
    tiers = " and ".join(tier.label for tier in Tier if any(one.tier is tier for one in parts))
    return (
        f"{tiers}: the restore {parts[0].restore_id} of {parts[0].backup_id} began to overwrite it at "
        f"{parts[0].at:%Y-%m-%d %H:%M:%S} UTC and has not ended as DONE"
    )


def advice(found: Iterable[Told]) -> str:
    """What to do about it."""
    first = next(iter(found))
    return (
        f"Run `strata restore {first.backup_id}` again; where the state is as it should be, "
        f"`strata settle {first.restore_id}`."
    )


def unfinished_line(found: list[Told]) -> PolicyLine:
    """The line of `strata status`."""
    rule = "no tier is half restored"
    if not found:
        return PolicyLine(rule=rule, holds=True, finding="no restore was left unfinished")
    return PolicyLine(rule=rule, holds=False, finding="; ".join(sentences(found)), advice=advice(found))
