"""Which backups are kept and which may go: a pure decision, with every reason.

A backup is kept where any of these holds: its days are not over; a keep rule of its type counts it; it is pinned or
under legal hold; it is the last good one of its type, or of a tier of its type; the newest are judged by it
(strata/planning/witnesses.py); a clock lies about it (strata/planning/clocks.py). Keep rules are restic's
(https://restic.readthedocs.io/en/stable/060_forget.html): hours, days, ISO weeks, months and years by the calendar, in
UTC; only those count that have a backup, of which the latest is kept; and while a rule has counts left, it keeps the
oldest backup too. Backups of which every copy is damaged, or that are in doubt, or of state that was handed over, take
the place of no good one in a rule; and while the newest backup of a type is in doubt, nothing is removed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from strata.model.backup_type import BackupType
from strata.model.copies import CatalogueEntry
from strata.model.removal import Decision, RetentionPlan
from strata.model.tier import Tier
from strata.planning.clocks import Clocks
from strata.planning.goodness import Judgement
from strata.planning.witnesses import witnesses

DAYS: Final[Mapping[BackupType, int]] = {
    BackupType.FULL: 90,
    BackupType.INCREMENTAL: 7,
    BackupType.DIFFERENTIAL: 30,
    BackupType.SNAPSHOT: 7,
    BackupType.EMERGENCY: 180,
}
"""For how many days each type is kept."""

OTHER_DAYS: Final = 30
"""The same for a type of one's own."""

_BUCKETS: Final[Mapping[str, Callable[[datetime], tuple[int, ...]]]] = {
    "hourly": lambda at: (at.year, at.month, at.day, at.hour),
    "daily": lambda at: (at.year, at.month, at.day),
    "weekly": lambda at: at.isocalendar()[:2],
    "monthly": lambda at: (at.year, at.month),
    "yearly": lambda at: (at.year,),
}


class RetentionService:
    """Decides by days and keep rules per type; types that `days` does not name have those of the table."""

    def __init__(
        self,
        days: Mapping[BackupType, int] | None = None,
        keep: Mapping[BackupType, Mapping[str, int]] | None = None,
        tiers: frozenset[Tier] = frozenset(),
    ) -> None:
        self._days = {**DAYS, **(days or {})}
        self._keep = dict(keep or {})
        self._tiers = tiers

    def days(self, backup_type: BackupType) -> int:
        """For how many days a type is kept."""
        return self._days.get(backup_type, OTHER_DAYS)

    def decide(self, backups: Sequence[CatalogueEntry] | Judgement, now: datetime) -> RetentionPlan:
        """Keep or remove, for each backup; their order does not matter."""
        judgement = Judgement.of(backups)
        entries, clocks = judgement.newest, Clocks.of(judgement.newest, now)
        frozen = (*clocks.frozen, *judgement.frozen)
        reasons: dict[str, list[str]] = defaultdict(list)
        for entry in entries:
            reasons[entry.backup_id] += self._by_itself(entry, now)
        counted = [entry for entry in judgement.newest if entry.backup_id not in clocks.uncounted]
        self._by_rules([entry for entry in counted if judgement.is_good(entry)], reasons)
        for backup_id, whys in judgement.kept(self._tiers).items():
            reasons[backup_id] += whys
        for backup_id, why in _accepted(judgement.newest, reasons):
            reasons[backup_id].append(why)
        if not frozen:
            for backup_id in witnesses(judgement, [entry for entry in entries if reasons[entry.backup_id]]):
                reasons[backup_id].append("later backups are judged by its records")
        why_frozen = _why_frozen(clocks, judgement)
        return RetentionPlan(
            decisions=tuple(
                self._decided(entry, reasons[entry.backup_id], why_frozen(entry.backup_id), now)
                for entry in judgement.newest
            ),
            frozen=frozen,
            notices=clocks.notices,
        )

    def _by_itself(self, entry: CatalogueEntry, now: datetime) -> Iterable[str]:
        if entry.legal_hold:
            yield "it is under legal hold"
        if entry.pinned:
            yield "it is pinned"
        days = self.days(entry.backup_type)
        if now - entry.created_at < timedelta(days=days):
            yield f"{entry.backup_type} backups are kept for {days} days"

    def _by_rules(self, entries: Iterable[CatalogueEntry], reasons: dict[str, list[str]]) -> None:
        of_type: dict[BackupType, list[CatalogueEntry]] = defaultdict(list)
        for entry in entries:
            of_type[entry.backup_type].append(entry)
        for backup_type, rules in self._keep.items():
            latest = sorted(
                of_type[backup_type], key=lambda one: (one.created_at, one.generation, one.backup_id), reverse=True
            )
            for rule, count in rules.items():
                for number, entry in enumerate(_chosen(latest, rule, count), 1):
                    reasons[entry.backup_id].append(f"{rule} backup {number}{_of(count)}")

    def _decided(self, entry: CatalogueEntry, reasons: list[str], why_frozen: str, now: datetime) -> Decision:
        frozen = "" if reasons else why_frozen
        if frozen:
            reasons = [frozen]
        keep = bool(reasons)
        if not keep:
            age = (now - entry.created_at).days
            rules = " and no keep rule counts it" if self._keep.get(entry.backup_type) else ""
            kept = f"{entry.backup_type} backups are kept for {self.days(entry.backup_type)}"
            reasons = [f"it is {age} days old, {kept}{rules}"]
        return Decision(
            backup_id=entry.backup_id,
            backup_type=entry.backup_type,
            created_at=entry.created_at,
            keep=keep,
            reasons=tuple(reasons),
            frozen=bool(frozen),
        )


def _why_frozen(clocks: Clocks, judgement: Judgement) -> Callable[[str], str]:
    """Says of a backup that no rule keeps why it is not removed nevertheless, or nothing."""
    everything = "a clock lies, so nothing is removed" if clocks.frozen else ""
    if not everything and judgement.in_doubt:
        everything = f"nothing is removed while {judgement.in_doubt[0].backup_id} is in doubt"

    def why(backup_id: str) -> str:
        return "its clock lies, so its age is not known" if backup_id in clocks.uncounted else everything

    return why


def _accepted(newest: Sequence[CatalogueEntry], reasons: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """The last accepted backup of each type that has an older one which stays: what came later is judged from it."""
    last: dict[BackupType, CatalogueEntry] = {}
    told: set[BackupType] = set()
    for entry in newest:
        before = last.get(entry.backup_type)
        if before is None and entry.accepted:
            last[entry.backup_type] = entry
        elif before is not None and entry.backup_type not in told and reasons.get(entry.backup_id):
            told.add(entry.backup_type)
            yield before.backup_id, "it was accepted, and later backups are judged from it on"


def _chosen(latest: Sequence[CatalogueEntry], rule: str, count: int) -> list[CatalogueEntry]:
    """The backups that a rule counts, latest first; a count below 0 is all there are."""
    if count == 0:
        return []
    if rule == "last":
        return list(latest if count < 0 else latest[:count])
    bucket = _BUCKETS[rule]
    chosen: list[CatalogueEntry] = []
    before: tuple[int, ...] | None = None
    for number, entry in enumerate(latest):
        if len(chosen) == count:
            break
        current = bucket(entry.created_at.astimezone(UTC))
        if current != before or number == len(latest) - 1:
            chosen.append(entry)
        before = current
    return chosen


def _of(count: int) -> str:
    return f" of {count}" if count > 0 else ""
