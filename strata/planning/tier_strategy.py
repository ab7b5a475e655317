"""Which store a type of backup goes to, which get a copy, and what moves to the ARCHIVE when it is old.

A store that is not configured is replaced in the plan, never later, and the plan says so. Another one takes the place
of the primary in the order of `REPLACEMENTS`; a copy that cannot be made is left out. ARCHIVE takes nobody's place:
what lies there takes hours to come back, so it is a primary only where the placement names it as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from strata.errors import SettingError
from strata.model.backup_type import BackupType
from strata.model.copies import CatalogueEntry, Copy
from strata.model.removal import Move, MovePlan, Reasoned
from strata.model.tier import StorageTier
from strata.planning.goodness import Judgement

PLACEMENT: Final[Mapping[BackupType, tuple[StorageTier, ...]]] = {
    BackupType.FULL: (StorageTier.NETWORK, StorageTier.CLOUD),
    BackupType.INCREMENTAL: (StorageTier.LOCAL,),
    BackupType.DIFFERENTIAL: (StorageTier.NETWORK,),
    BackupType.SNAPSHOT: (StorageTier.LOCAL,),
    BackupType.EMERGENCY: (StorageTier.LOCAL, StorageTier.ARCHIVE),
}
"""The primary store of each type, then those that get a copy; a type of one's own goes to LOCAL."""

REPLACEMENTS: Final[Mapping[StorageTier, tuple[StorageTier, ...]]] = {
    StorageTier.LOCAL: (StorageTier.NETWORK, StorageTier.CLOUD),
    StorageTier.NETWORK: (StorageTier.LOCAL, StorageTier.CLOUD),
    StorageTier.CLOUD: (StorageTier.NETWORK, StorageTier.LOCAL),
    StorageTier.ARCHIVE: (StorageTier.CLOUD, StorageTier.NETWORK, StorageTier.LOCAL),
}
"""What takes the place of a primary store that is not configured: the first of these that is."""


@dataclass(frozen=True)
class Placement:
    """Where a backup is made, where it is copied to, and why not as the table says."""

    primary: StorageTier
    copies: tuple[StorageTier, ...] = ()
    reasons: tuple[str, ...] = ()


class TierStrategy:
    """Places backups over the stores that are configured.

    `placement` names stores for a type, the primary first; `archive_after_days` says after how many days backups of a
    type move to ARCHIVE. Types that they do not name have the table's place, and do not move.
    """

    def __init__(
        self,
        configured: Iterable[StorageTier],
        placement: Mapping[BackupType, Sequence[StorageTier]] | None = None,
        archive_after_days: Mapping[BackupType, int] | None = None,
    ) -> None:
        self._configured = frozenset(configured)
        self._placement = {**PLACEMENT, **(placement or {})}
        self._archive_after = dict(archive_after_days or {})

    def place(self, backup_type: BackupType) -> Placement:
        """Where a backup of a type goes; SettingError where no store can take it."""
        wanted, *further = self._placement.get(backup_type, (StorageTier.LOCAL,))
        primary = self._primary(backup_type, wanted)
        reasons: list[str] = []
        if primary is not wanted:
            reasons.append(f"stored in {primary.upper()} because {_unset(wanted)}")
        copies: list[StorageTier] = []
        for tier in further:
            if tier is primary:
                reasons.append(f"no copy is needed in {tier.upper()} because it is stored there")
            elif tier not in self._configured:
                reasons.append(f"there is no copy in {tier.upper()} because {_unset(tier)}")
            else:
                copies.append(tier)
        return Placement(primary, tuple(copies), tuple(reasons))

    def lacking(self, entry: CatalogueEntry, now: datetime) -> tuple[StorageTier, ...]:
        """The stores that a backup's placement names and that do not hold it, in the order of StorageTier.

        None of one that is marked for removal, or old enough to lie in ARCHIVE alone and there; SettingError where no
        store can take its type.
        """
        days = self._archive_after.get(entry.backup_type)
        moved = days is not None and entry.copy_in(StorageTier.ARCHIVE) and now - entry.created_at > timedelta(days)
        if moved or entry.removal_marked_at is not None:
            return ()
        place = self.place(entry.backup_type)
        named = {place.primary, *place.copies}
        return tuple(tier for tier in StorageTier if tier in named and entry.copy_in(tier) is None)

    def moves(self, backups: Sequence[CatalogueEntry] | Judgement, now: datetime) -> MovePlan:
        """What is due to move to ARCHIVE: copies where it has none, releases of the others where it has a good one.

        What is pinned, held or marked for removal stays where it is, and so does the last good backup of each type, and
        of each tier of a type.
        """
        judgement = Judgement.of(backups) if self._archive_after else None
        if judgement is None or not any(entry.backup_type in self._archive_after for entry in judgement.newest):
            return MovePlan()
        if StorageTier.ARCHIVE not in self._configured:
            return MovePlan(reasons=(f"nothing moves to ARCHIVE because {_unset(StorageTier.ARCHIVE)}",))
        copies: list[Move] = []
        releases: list[Move] = []
        left: list[Reasoned] = []
        kept = judgement.kept()
        for entry in reversed(judgement.newest):
            days = self._archive_after.get(entry.backup_type)
            elsewhere = [copy for copy in entry.copies if copy.storage_tier is not StorageTier.ARCHIVE]
            if days is None or not elsewhere or now - entry.created_at <= timedelta(days=days):
                continue
            if why := _stays(entry, elsewhere, kept.get(entry.backup_id, ())):
                left.append(Reasoned(name=entry.backup_id, reason=why))
                continue
            self._move(entry, f"{entry.backup_type} backups move after {days} days", now, copies, releases, left)
        return MovePlan(copies=tuple(copies), releases=tuple(releases), left=tuple(left))

    def _primary(self, backup_type: BackupType, wanted: StorageTier) -> StorageTier:
        for tier in (wanted, *REPLACEMENTS[wanted]):
            if tier in self._configured:
                return tier
        only = ": ARCHIVE takes the place of no other store" if self._configured else ""
        raise SettingError(
            f"there is no store for {backup_type} backups{only}",
            hint=f"Set {_variable(wanted)}, or another store's URL; STRATA_LOCAL_URL=file:///var/lib/strata will do.",
        )

    @staticmethod
    def _move(
        entry: CatalogueEntry,
        rule: str,
        now: datetime,
        copies: list[Move],
        releases: list[Move],
        left: list[Reasoned],
    ) -> None:
        elsewhere = [copy for copy in entry.copies if copy.storage_tier is not StorageTier.ARCHIVE]
        archived = entry.copy_in(StorageTier.ARCHIVE)
        if archived is None:
            source = next(copy for copy in elsewhere if copy in entry.good_copies).storage_tier
            why = f"{rule}, and it has no copy in ARCHIVE"
            copies.append(Move(backup_id=entry.backup_id, source=source, target=StorageTier.ARCHIVE, reason=why))
            return
        for copy in elsewhere:
            tier = copy.storage_tier
            if copy.locked_until is not None and copy.locked_until > now:
                why = f"its copy in {tier.upper()} is locked until {copy.locked_until:%d %b %Y %H:%M}"
                left.append(Reasoned(name=entry.backup_id, reason=why))
            else:
                why = f"{rule}, and ARCHIVE has a copy"
                releases.append(Move(backup_id=entry.backup_id, source=tier, target=StorageTier.ARCHIVE, reason=why))


def _stays(entry: CatalogueEntry, elsewhere: Sequence[Copy], kept: Sequence[str]) -> str:
    """Why a backup that is old enough is not moved, or nothing."""
    archived = entry.copy_in(StorageTier.ARCHIVE)
    if entry.legal_hold or entry.pinned:
        return "it is under legal hold" if entry.legal_hold else "it is pinned"
    if entry.removal_marked_at is not None:
        return "it is marked for removal"
    if kept:
        return kept[0]
    if archived is not None and archived.damaged:
        return "its copy in ARCHIVE is damaged"
    if archived is None and not any(copy in entry.good_copies for copy in elsewhere):
        return "every copy that could be moved is damaged"
    return ""


def _unset(tier: StorageTier) -> str:
    return f"{_variable(tier)} is not set"


def _variable(tier: StorageTier) -> str:
    return f"STRATA_{tier.upper()}_URL"
