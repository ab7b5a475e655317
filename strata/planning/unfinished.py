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
    """One step of a restore; `targets` are marks of the place that the tier was, of which one in common is enough.

    `exact`: it removes what the backup does not hold. `ends` names the other restores that a done one ends.
    """

    step: Step
    restore_id: str
    at: datetime
    backup_id: str = ""
    tier: Tier | None = None
    targets: frozenset[str] = frozenset()
    exact: bool = True
    ends: frozenset[str] = frozenset()


def unfinished(told: Iterable[Told]) -> list[Told]:
    """The beginnings that nothing ended: neither their own restore, nor another of the same tier, nor a person."""
    steps = list(told)
    ends = [one for one in steps if one.step is not Step.BEGUN]
    begun = [one for one in steps if one.step is Step.BEGUN and not any(_ends(end, one) for end in ends)]
    return sorted(begun, key=lambda one: one.at)


def _ends(end: Told, begun: Told) -> bool:
    """Whether a step is the end of a beginning. No clock says so: machines have several, and they jump."""
    return end.restore_id == begun.restore_id or (end.tier is begun.tier and begun.restore_id in end.ends)


def leaves_nothing_of(done: Told, begun: Told, *, whole: bool) -> bool:
    """Whether a restore that is done leaves nothing of what another had begun; `whole`: its backup covers every key.

    Where it does not, or keeps what the backup does not hold, only the same backup restored in the same way does.
    """
    if done.tier is not begun.tier or not done.targets & begun.targets:
        return False
    same = done.backup_id == begun.backup_id and (done.exact or not begun.exact)
    return same or (whole and done.exact)


def sentences(found: Iterable[Told]) -> list[str]:
    """What is half restored, a sentence for each restore."""
    by_restore: dict[str, list[Told]] = {}
    for one in found:
        by_restore.setdefault(one.restore_id, []).append(one)
    return [_sentence(parts) for parts in by_restore.values()]


def _sentence(parts: list[Told]) -> str:
    tiers = [tier.label for tier in Tier if any(one.tier is tier for one in parts)]
    return (
        f"{' and '.join(tiers)}: the restore {parts[0].restore_id} of {parts[0].backup_id} began to overwrite "
        f"{'them' if len(tiers) > 1 else 'it'} at "
        f"{parts[0].at:%Y-%m-%d %H:%M:%S} UTC and has not ended as DONE"
    )


def in_doubt(tier: Tier, found: Iterable[Told]) -> str:
    """The sentence of a backup on a tier that was half restored when it was read."""
    return f"{tier.label} is half restored: {'; '.join(one.partition(': ')[2] for one in sentences(found))}"


def unknown(tier: Tier, why: str) -> str:
    """The sentence of a backup on a tier of which nobody could say whether it is."""
    return f"{tier.label} may be half restored, because nobody can say whether a restore was left unfinished: {why}"


def advice(found: Iterable[Told]) -> str:
    """What to do about it."""
    first = next(iter(found))
    mode = "" if first.exact else " --mode overlay"
    return (
        f"Run `strata restore {first.backup_id}{mode}` again; where the state is as it should be, "
        f"`strata settle {first.restore_id}`."
    )


def unfinished_line(found: list[Told], silent: str = "") -> PolicyLine:
    """The line of `strata status`; `silent` is why the ledger told nothing."""
    rule = "no tier is half restored"
    finding = "; ".join(sentences(found)) or "no restore was left unfinished"
    if silent:
        finding += f", as far as the stores tell: {silent}"
    return PolicyLine(rule=rule, holds=not found, finding=finding, advice=advice(found) if found else "")
