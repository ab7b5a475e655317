"""Says whether the policy holds: promised intervals, and 3-2-1-1-0.

3 copies, the live state being one; on 2 kinds of media; 1 of them offsite; 1 immutable; 0 errors. The rule is asked of
the last good backup of each type whose placement can fulfil it: an INCREMENTAL that is placed in LOCAL alone is not
blamed for having no copy in CLOUD. Where no type's placement can, the line says which setting would make it possible.
Where nobody set a rule, each number is no more than the configured stores can keep, and the line says what more would
be better: a promise that cannot be kept hides those that are broken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from strata.errors import SettingError
from strata.model.backup_type import BackupType
from strata.model.copies import CatalogueEntry, Copy
from strata.model.policy import PolicyLine, PolicyReport
from strata.model.tier import StorageTier, Tier
from strata.planning.clocks import TOLERANCE
from strata.planning.goodness import Judgement
from strata.planning.tables import CopyRule, spoken
from strata.planning.tier_strategy import TierStrategy

PROMISED: Final[Mapping[BackupType, timedelta]] = {
    BackupType.FULL: timedelta(hours=24),
    BackupType.DIFFERENTIAL: timedelta(hours=6),
    BackupType.INCREMENTAL: timedelta(minutes=15),
}
"""The interval in which a good backup of a type is promised; what is made on demand promises nothing."""

STANDS_FOR: Final[Mapping[BackupType, frozenset[BackupType]]] = {
    BackupType.INCREMENTAL: frozenset({BackupType.INCREMENTAL, BackupType.DIFFERENTIAL, BackupType.FULL}),
    BackupType.DIFFERENTIAL: frozenset({BackupType.DIFFERENTIAL, BackupType.FULL}),
}
"""Which types keep another's promise: each of them is a complete view of everything."""

WHOLE: Final = STANDS_FOR[BackupType.INCREMENTAL]
"""The types that are a complete view of everything."""

VERIFIED_WITHIN: Final = timedelta(days=30)

_SHORTEST_SLACK: Final = timedelta(minutes=5)
_MEDIUM_SETTINGS: Final = "STRATA_NETWORK_URL, STRATA_CLOUD_URL or STRATA_ARCHIVE_URL"


@dataclass(frozen=True)
class Promises:
    """What is to hold. `promised` replaces the table's interval of a type; None promises nothing for it."""

    promised: Mapping[BackupType, timedelta | None] = field(default_factory=dict)
    copy_rule: CopyRule | None = None
    """None: 3-2-1-1-0 as far as the configured stores can keep it."""
    verified_within: timedelta = VERIFIED_WITHIN
    """Every copy that can be read at once was proved within this time."""
    copied_within: timedelta = timedelta(hours=1)
    """A backup recorded no longer ago may still be on its way to its further stores: the one before is asked."""
    locking: frozenset[StorageTier] = frozenset()
    """The configured stores that lock what is put there."""
    tiers: frozenset[Tier] = frozenset()
    """The configured tiers."""

    @property
    def intervals(self) -> dict[BackupType, timedelta]:
        """The promised interval of each type that has one."""
        table = {**PROMISED, **self.promised}
        return {one: interval for one in BackupType if (interval := table.get(one)) is not None}


def slack(interval: timedelta) -> timedelta:
    """How much later than promised is still in time, for a backup takes a while: a tenth, 5 minutes at least."""
    return max(interval / 10, _SHORTEST_SLACK)


def report(
    backups: Sequence[CatalogueEntry] | Judgement, strategy: TierStrategy, promises: Promises, now: datetime
) -> PolicyReport:
    """Every rule, in the order in which a person wants them: the age of each type first, then 3-2-1-1-0."""
    staying = Judgement.of(backups).staying
    intervals = promises.intervals
    ages = [
        _age(staying, backup_type, intervals[backup_type], now)
        if backup_type in intervals
        else _unpromised(staying, backup_type, now)
        for backup_type in BackupType
    ]
    complete = _completeness(staying, promises.tiers)
    return PolicyReport(lines=(*ages, complete, *_Copies(staying, strategy, promises, now).lines()))


def _completeness(judgement: Judgement, tiers: frozenset[Tier]) -> PolicyLine:
    """Whether the newest backups hold what they should, and the last good one every tier that is configured."""
    rule, found = (
        "every tier, every scope",
        [f"{entry.backup_id}: {doubt.sentence}" for entry in judgement.in_doubt for doubt in judgement.doubts(entry)],
    )
    if found:
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        ids = [entry.backup_id for entry in judgement.in_doubt]
        advice = f"Look at the tier. If the backup is right: {', '.join(f'`strata accept {one}`' for one in ids)}."
        return PolicyLine(rule=rule, holds=False, finding=f"{found[0]}{more}", advice=advice)
    whole = judgement.last_good(WHOLE)
    lacking = sorted(tiers - set(whole.tiers)) if whole else []
    if whole and lacking:
        finding = f"{' and '.join(tier.label for tier in lacking)} is configured, but not in {whole.backup_id}"
        advice = "See that the workers have the tier's settings, and run `strata backup full`."
        return PolicyLine(rule=rule, holds=False, finding=finding, advice=advice)
    finding = "the newest backups hold what they should" if judgement.newest else "there is no backup yet"
    return PolicyLine(rule=rule, holds=True, finding=finding)


def _age(judgement: Judgement, backup_type: BackupType, interval: timedelta, now: datetime) -> PolicyLine:
    rule = f"{backup_type} every {spoken(interval)}"
    last = judgement.last_good(STANDS_FOR.get(backup_type, frozenset({backup_type})))
    advice = f"Run `strata backup {backup_type}`, and see that beat and the workers run."
    if last is None:
        return PolicyLine(rule=rule, holds=False, finding="there is no good one", advice=advice)
    age = now - last.created_at
    if age < -TOLERANCE:
        finding = f"{last.backup_id} was made later than now"
        return PolicyLine(rule=rule, holds=False, finding=finding, advice="Set the clock right.")
    finding = f"the last good one is {spoken(age)} old ({last.backup_id})"
    holds = age <= interval + slack(interval)
    return PolicyLine(rule=rule, holds=holds, finding=finding, advice="" if holds else advice)


def _unpromised(judgement: Judgement, backup_type: BackupType, now: datetime) -> PolicyLine:
    last = judgement.last_good(frozenset({backup_type}))
    told = "there is no good one"
    if last is not None:
        age = now - last.created_at
        told = f"the last good one is {spoken(age)} old ({last.backup_id})"
        if age < -TOLERANCE:
            told = f"{last.backup_id} was made later than now"
    return PolicyLine(rule=backup_type.value, holds=True, finding=f"promises nothing; {told}")


def asked(judgement: Judgement, copied_within: timedelta, now: datetime) -> dict[BackupType, CatalogueEntry]:
    """The last good backup of each type, those on demand too: of these the rule of copies is asked.

    One just recorded may be on its way to its further stores; where there is one before it, that one is asked.
    """
    good = [entry for entry in reversed(judgement.newest) if judgement.is_good(entry)]
    there = [entry for entry in good if now - entry.recorded_at >= copied_within]
    return {entry.backup_type: entry for entry in (*good, *there)}


class _Copies:
    """3-2-1-1-0 over the last good backup of each type."""

    def __init__(self, judgement: Judgement, strategy: TierStrategy, promises: Promises, now: datetime) -> None:
        self._newest, self._promises, self._now = judgement.newest, promises, now
        self._rule = promises.copy_rule or CopyRule()
        self._last = asked(judgement, promises.copied_within, now)
        self._places: dict[BackupType, set[StorageTier]] = {}
        for backup_type in BackupType:
            with suppress(SettingError):
                place = strategy.place(backup_type)
                self._places[backup_type] = {place.primary, *place.copies}

    def lines(self) -> list[PolicyLine]:
        """One for each number of the rule; what it does not ask for has none."""
        rule, locking = self._rule, self._promises.locking
        lines = [
            self._line(
                "{} copies, the live state being one".format,
                rule.copies,
                lambda copies: 1 + len(copies),
                lambda stores: 1 + len(stores),
                f"Set {_MEDIUM_SETTINGS}, and name more stores in STRATA_PLACEMENT.",
            ),
            self._line(
                lambda kinds: f"on {kinds} kind{'' if kinds == 1 else 's'} of media",
                rule.media,
                lambda copies: len({copy.storage_tier.medium for copy in copies}),
                lambda stores: len({store.medium for store in stores}),
                f"Set {_MEDIUM_SETTINGS}, and name stores of different kinds in STRATA_PLACEMENT.",
            ),
            self._line(
                "{} offsite".format,
                rule.offsite,
                lambda copies: sum(copy.storage_tier.offsite for copy in copies),
                lambda stores: sum(store.offsite for store in stores),
                "Set STRATA_CLOUD_URL or STRATA_ARCHIVE_URL, and name it in STRATA_PLACEMENT.",
            ),
            self._line(
                "{} immutable".format,
                rule.immutable,
                lambda copies: sum(copy.locked_until is not None and copy.locked_until > self._now for copy in copies),
                lambda stores: len(stores & locking),
                "Set STRATA_CLOUD_LOCK or STRATA_ARCHIVE_LOCK, for a store that STRATA_PLACEMENT names.",
            ),
        ]
        return [*(line for line in lines if line is not None), self._errors()]

    def _line(
        self,
        rule: Callable[[int], str],
        wanted: int,
        count: Callable[[Sequence[Copy]], int],
        reachable: Callable[[set[StorageTier]], int],
        setting: str,
    ) -> PolicyLine | None:
        if wanted == 0:
            return None
        most = max((reachable(stores) for stores in self._places.values()), default=0)
        finding = f"at most {most} with the configured stores"
        if most < wanted and self._promises.copy_rule is not None:
            return PolicyLine(rule=rule(wanted), holds=False, finding=finding, advice=setting, possible=False)
        if most == 0:
            better = f"{wanted} would be better. {setting}"
            return PolicyLine(rule=rule(0), holds=True, finding=finding, advice=better, possible=False)
        better = f"{wanted} would be better. {setting}" if most < wanted else ""
        return self._counted(rule(min(wanted, most)), min(wanted, most), count, reachable, better)

    def _counted(
        self,
        rule: str,
        wanted: int,
        count: Callable[[Sequence[Copy]], int],
        reachable: Callable[[set[StorageTier]], int],
        better: str,
    ) -> PolicyLine:
        """What the last good backups of the types have that can have so much."""
        able = [backup_type for backup_type, stores in self._places.items() if reachable(stores) >= wanted]
        found = {one: count(self._last[one].good_copies) for one in able if one in self._last}
        short = {one: number for one, number in found.items() if number < wanted}
        if short:
            told = ", ".join(
                f"{number} of the last {one} ({self._last[one].backup_id})" for one, number in short.items()
            )
            return PolicyLine(rule=rule, holds=False, finding=told, advice="See `strata copy`: copies are missing.")
        told = ", ".join(f"{number} of the last {one}" for one, number in found.items())
        finding = told or f"there is no good {' or '.join(able)} backup yet"
        return PolicyLine(rule=rule, holds=True, finding=finding, advice=better)

    def _sound(self) -> str:
        return "no damage is known, and the last backups were verified" if self._last else "there is no good backup yet"

    def _errors(self) -> PolicyLine:
        allowed, since = self._rule.errors, self._now - self._promises.verified_within
        damaged = [
            f"{entry.backup_id} in {copy.storage_tier.upper()} is damaged"
            for entry in self._newest
            for copy in entry.copies
            if copy.damaged
        ]
        within = spoken(self._promises.verified_within)
        unproved = [
            f"{entry.backup_id} in {copy.storage_tier.upper()} has not been verified for {within}"
            for entry in self._last.values()
            for copy in entry.good_copies
            if copy.storage_tier is not StorageTier.ARCHIVE and (copy.verified_at is None or copy.verified_at < since)
        ]
        errors = [*damaged, *unproved]
        more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
        holds = len(errors) <= allowed
        return PolicyLine(
            rule=f"{allowed} errors",
            holds=holds,
            finding=f"{errors[0]}{more}" if errors else self._sound(),
            advice=""
            if holds
            else "Run `strata verify --all`. Where a copy is damaged, copy the backup there again: `strata copy`."
            if damaged
            else "See that beat and the workers run, give STRATA_VERIFY_BUDGET more, or run `strata verify --all`.",
        )
