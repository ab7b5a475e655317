"""Which copies are missing: those that a backup's placement names and no store holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from strata.model.backup_type import BackupType
from strata.model.copies import CatalogueEntry
from strata.model.policy import PolicyLine
from strata.model.removal import MovePlan, RetentionPlan
from strata.model.tier import StorageTier
from strata.planning.goodness import Judgement
from strata.planning.tier_strategy import Placement

COPIED_WITHIN: Final = timedelta(hours=1)
"""A copy that is not there by then is late: the workers look for missing ones every hour."""


@dataclass(frozen=True)
class MissingCopy:
    """A copy to be made, of a backup that was recorded then."""

    backup_id: str
    target: StorageTier
    reason: str
    recorded_at: datetime


def missing_copies(
    backups: Sequence[CatalogueEntry] | Judgement,
    place: Callable[[BackupType], Placement],
    retention: RetentionPlan,
    moves: MovePlan,
) -> list[MissingCopy]:
    """The copies to be made, of the newest backups first; of those in doubt only after the good ones.

    None of a backup that need not be kept, that is marked for removal, or of which no copy is whole; none of what
    moves to ARCHIVE or lies there alone, from where nothing is fetched unasked.
    """
    moving = {one.backup_id for one in moves.releases} | {one.name for one in moves.left}
    kept = {decision.backup_id for decision in retention.decisions if decision.keep}
    found: list[MissingCopy] = []
    judgement = Judgement.of(backups)
    for entry in sorted(judgement.newest, key=judgement.is_good, reverse=True):
        if entry.backup_id not in kept or entry.removal_marked_at is not None:
            continue
        at_hand = [copy for copy in entry.good_copies if copy.storage_tier is not StorageTier.ARCHIVE]
        if not at_hand or (entry.backup_id in moving and entry.copy_in(StorageTier.ARCHIVE)):
            continue
        found += [
            MissingCopy(
                entry.backup_id,
                target,
                f"{entry.backup_type} backups have a copy in {target.upper()}",
                entry.recorded_at,
            )
            for target in place(entry.backup_type).copies
            if entry.copy_in(target) is None
        ]
    due = {(one.backup_id, one.target) for one in found}
    recorded = {entry.backup_id: entry.recorded_at for entry in judgement.newest}
    moving_there = [
        MissingCopy(move.backup_id, move.target, move.reason, recorded[move.backup_id]) for move in moves.copies
    ]
    return [*found, *(one for one in moving_there if (one.backup_id, one.target) not in due)]


def placement_line(missing: Sequence[MissingCopy], now: datetime) -> PolicyLine:
    """Whether every backup lies wherever its placement names, but for those that were just recorded."""
    late = [one for one in missing if now - one.recorded_at > COPIED_WITHIN]
    rule = "copies where they are placed"
    if not late:
        return PolicyLine(rule=rule, holds=True, finding="none is missing")
    more = f", and {len(late) - 1} more are missing" if len(late) > 1 else ""
    first = late[0]
    return PolicyLine(
        rule=rule,
        holds=False,
        finding=f"{first.backup_id} has none in {first.target.upper()}{more}",
        advice=f"`strata runs` says why; then `strata copy {first.backup_id} --to {first.target}`.",
    )
