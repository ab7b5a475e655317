"""Whether the stores are as we left them: what cannot be read, what disappeared, and what a prune waits for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from strata.model.policy import PolicyLine
from strata.model.tier import StorageTier

_NAMED: Final = 3


def gone_reasons(tier: StorageTier, gone: Sequence[str]) -> tuple[str, ...]:
    """What a backup says of those that disappeared from the store before it; nothing where there are none."""
    if not gone:
        return ()
    lost = (
        f"{counted(len(gone), 'backup')} disappeared from {tier.upper()} that nothing of ours removed ({named(gone)})"
    )
    return (f"{lost}; `strata stores settle {tier}` once it is understood",)


def denied_reasons(tier: StorageTier, denied: Sequence[str]) -> tuple[str, ...]:
    """What a backup says of manifests that it may not read; nothing where there are none."""
    if not denied:
        return ()
    what = f"it and {counted(len(denied) - 1, 'other manifest')} like it" if len(denied) > 1 else "it"
    return (f"{denied[0]}; nothing in {tier.upper()} is built on {what}",)


def gone_line(gone: Sequence[str], tiers: Sequence[StorageTier]) -> PolicyLine:
    """Whether every backup is there that was not removed by us."""
    rule = "nothing disappears"
    if not gone:
        return PolicyLine(rule=rule, holds=True, finding="all that was recorded is there, or was removed by a prune")
    where = " and ".join(tier.upper() for tier in tiers)
    return PolicyLine(
        rule=rule,
        holds=False,
        finding=f"{counted(len(gone), 'backup')} disappeared from {where}: {named(gone)}",
        advice="Look who emptied the store or set it back, and bring it back; else "
        + ", ".join(f"`strata stores settle {tier}`" for tier in tiers)
        + ".",
    )


def readable_line(damaged: Sequence[str], keyless: Sequence[str]) -> PolicyLine:
    """Whether every manifest can be read, and with this keyring."""
    rule = "every manifest can be read"
    if not damaged and not keyless:
        return PolicyLine(rule=rule, holds=True, finding="all of them can")
    said = []
    if damaged:
        said.append(f"{counted(len(damaged), 'manifest')} cannot be read: {named(damaged)}")
    if keyless:
        said.append(f"{counted(len(keyless), 'backup')} cannot be opened with this keyring: {named(keyless)}")
    return PolicyLine(
        rule=rule,
        holds=False,
        finding="; ".join(said),
        advice="`strata list` says why. Bring back the keyring they were made with, or another copy; no prune removes "
        "anything from that store meanwhile.",
    )


def prune_line(frozen: Sequence[str]) -> PolicyLine:
    """Whether a prune could remove what need not be kept."""
    rule = "prunes can remove"
    if not frozen:
        return PolicyLine(rule=rule, holds=True, finding="nothing is frozen")
    return PolicyLine(rule=rule, holds=False, finding="; ".join(frozen), advice="`strata prune --dry-run` says more.")


def named(names: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def counted(number: int, thing: str) -> str:
    """`1 backup`, `2 backups`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
