"""Whether a backup holds what the ones before it make one expect: each tier, each scope, about as many records.

Backups are judged in the order of their generations, which no clock upsets:

- of a type, each tier that the last good backup held, and at least its scope, from the same source;
- of the first of a type, each tier that the last good FULL held, from the same source;
- the tables, databases or prefix of each tier that the last good backup of any type held;
- no tier without records, unless the last backup of that scope was empty too;
- every tier cut together with the others;
- no tier that a restore may have left half overwritten;
- at least half of the median of the last ten backups with the same tier, scope and source, whatever their types.

A tier that is in doubt changes no expectation, until a person accepts the backup: from then on they begin with it.
State that was handed over is expected to be what it is, but not to be empty.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Final, NamedTuple, Protocol

from strata.model.backup_type import BackupType
from strata.model.context import BackupSummary
from strata.model.coverage import Coverage, Doubt, DoubtKind, Expected, Parts, SourceKind, torn_apart
from strata.model.scope import EVERYTHING, Scope
from strata.model.tier import Tier
from strata.planning.parts import lost, sentence

COMPARED: Final = 10
"""The median is that of so many backups."""

_SOURCES: Final = {
    SourceKind.LIVE: "from its service",
    SourceKind.HANDED: "from a document that was handed over",
    SourceKind.STATE_MANAGER: "through the state manager",
}


class Judged(Protocol):
    """A recorded backup, as far as it is judged here."""

    @property
    def backup_id(self) -> str: ...

    @property
    def backup_type(self) -> BackupType: ...

    @property
    def covers(self) -> tuple[Coverage, ...]: ...

    @property
    def accepted(self) -> bool: ...


class _Held(NamedTuple):
    """What the last backups of a type held of a tier, and how many in a row."""

    source: SourceKind
    patterns: tuple[str, ...]
    backups: int
    by: BackupType | None = None
    """Where it is another type that held it."""


_Kind = tuple[Tier, SourceKind, tuple[str, ...]]
"""Backups whose numbers of records may be compared."""


class History:
    """What is expected, by the backups that were added so far: in their order, each once."""

    def __init__(self) -> None:
        self._held: dict[BackupType, dict[Tier, _Held]] = {}
        self._records: dict[_Kind, deque[int]] = {}
        self._parts: dict[tuple[Tier, SourceKind], tuple[Parts, str]] = {}

    def expected(self, backup_type: BackupType, covers: Iterable[Coverage]) -> tuple[Expected, ...]:
        """What is expected of the next backup of a type, which will cover this."""
        wanted = {one.tier: one for one in covers}
        handed = any(one.source is SourceKind.HANDED for one in wanted.values())
        held = {} if handed else self._held.get(backup_type) or self._held_by_full(backup_type)
        return tuple(
            self._expected(tier, held.get(tier), wanted.get(tier)) for tier in Tier if tier in held or tier in wanted
        )

    def _held_by_full(self, backup_type: BackupType) -> dict[Tier, _Held]:
        """What the first backup of a type is expected to hold; each type has a scope of its own."""
        if backup_type is BackupType.FULL:
            return {}
        full = self._held.get(BackupType.FULL, {})
        return {tier: one._replace(patterns=(), by=BackupType.FULL) for tier, one in full.items()}

    def tiers(self, backup_type: BackupType) -> set[Tier]:
        """The tiers that are expected of a type."""
        return set(self._held.get(backup_type, ()))

    def add(self, backup: Judged) -> tuple[Doubt, ...]:
        """The doubts about the next backup; each of its tiers of which nobody has any counts from now on."""
        if self._is_as_usual(backup):
            self._count(backup, backup.covers)
            return ()
        doubts = doubts_about(backup.backup_type, self.expected(backup.backup_type, backup.covers), backup.covers)
        if backup.accepted and doubts:
            self._forget(backup)
        doubted = set() if backup.accepted else {tier for doubt in doubts for tier in _tiers_of(doubt)}
        self._count(backup, [one for one in backup.covers if one.tier not in doubted])
        return doubts

    def _is_as_usual(self, backup: Judged) -> bool:
        """Whether nothing at all differs from the last of its type, and no number fell: the quick way for most."""
        held = self._held.get(backup.backup_type)
        if held is None or len(held) != len(backup.covers):
            return False
        for tier, source, patterns, records, torn, _, half, parts in backup.covers:
            before, kind = held.get(tier), self._records.get((tier, source, patterns))
            same = before is not None and before.source is source and before.patterns == patterns
            if torn or half or not same or not records or kind is None or 2 * records < max(kind):
                return False
            if parts != self._parts.get((tier, source), (parts,))[0]:
                return False
        return True

    def _count(self, backup: Judged, covers: Iterable[Coverage]) -> None:
        held = self._held.setdefault(backup.backup_type, {})
        for tier, source, patterns, records, _, _, _, parts in covers:
            if records is None:
                continue
            self._records.setdefault((tier, source, patterns), deque(maxlen=COMPARED)).append(records)
            if source is SourceKind.HANDED:
                continue
            before = held.get(tier)
            same = before is not None and before.source is source and before.patterns == patterns
            held[tier] = _Held(source, patterns, 1 + (before.backups if before and same else 0))
            if parts.key:
                self._parts[tier, source] = parts, backup.backup_id

    def _forget(self, backup: Judged) -> None:
        """Let expectations begin with a backup that was accepted though it is not what they were."""
        if not any(one.source is SourceKind.HANDED for one in backup.covers):
            self._held.pop(backup.backup_type, None)
        for tier, source, patterns, *_ in backup.covers:
            self._records.pop((tier, source, patterns), None)

    def _expected(self, tier: Tier, held: _Held | None, wanted: Coverage | None) -> Expected:
        kind = (tier, wanted.source, wanted.patterns) if wanted else None
        records = self._records.get(kind) if kind else None
        parts, parts_of = self._parts.get((tier, wanted.source), (Parts(), "")) if wanted else (Parts(), "")
        return Expected(
            tier=tier,
            source=held.source if held else None,
            held_by=held.by if held else None,
            patterns=held.patterns if held else (),
            backups=held.backups if held else 0,
            usual=median(records) if records else None,
            last=records[-1] if records else None,
            parts=parts,
            parts_of=parts_of,
        )


def with_accepted(
    backups: Sequence[BackupSummary], elsewhere: Sequence[BackupSummary], installation: str
) -> tuple[list[BackupSummary], list[BackupSummary]]:
    """The backups of a store, accepted where the same manifest was in another; and what was accepted there alone.

    Of what this installation made: another's are no witnesses of its state.
    """
    accepted = [one for one in elsewhere if one.installation == installation]
    digests = {(one.backup_id, one.digest) for one in accepted}
    own = {one.backup_id for one in backups}
    known = [
        one.model_copy(update={"accepted": True}) if (one.backup_id, one.digest) in digests else one for one in backups
    ]
    return known, list({one.backup_id: one for one in accepted if one.backup_id not in own}.values())


def doubts_before(
    backup_type: BackupType, expected: Sequence[Expected], covers: Iterable[Coverage]
) -> tuple[Doubt, ...]:
    """What may be missing in a backup that will cover this: all that can be told before records are counted."""
    found = {one.tier: one for one in covers}
    return tuple(doubt for tier in expected if (doubt := _other_than_expected(backup_type, tier, found.get(tier.tier))))


def doubts_about(
    backup_type: BackupType, expected: Sequence[Expected], covers: Sequence[Coverage]
) -> tuple[Doubt, ...]:
    """What may be missing in a backup that covers this."""
    found = {one.tier: one for one in covers if one.held}
    failed = {one.tier for one in covers if not one.held}
    doubts: list[Doubt] = []
    for one in expected:
        held = found.get(one.tier)
        if held is None and one.tier in failed:
            doubts.append(_missing(backup_type, one, "is missing because it could not be read"))
        elif doubt := _other_than_expected(backup_type, one, held):
            doubts.append(doubt)
        if held is not None and (count := lost(one.parts, held.parts)):
            told = sentence(one, held.source, count)
            doubts.append(Doubt(kind=DoubtKind.PART_MISSING, tier=one.tier, sentence=told, against=one.parts_of))
        if held is not None and (doubt := _too_few(one, held)):
            doubts.append(doubt)
    return (*doubts, *(_torn(one) for one in found.values() if one.torn), *half_restored(found.values()))


class MayBeHalf(Protocol):
    """A tier, and the sentence on a restore that may have left it half overwritten, or nothing."""

    @property
    def tier(self) -> Tier: ...

    @property
    def half(self) -> str: ...


def half_restored(tiers: Iterable[MayBeHalf]) -> list[Doubt]:
    """The doubts about tiers that a restore may have left half overwritten."""
    return [Doubt(kind=DoubtKind.HALF_RESTORED, tier=one.tier, sentence=one.half) for one in tiers if one.half]


def _torn(one: Coverage) -> Doubt:
    return Doubt(kind=DoubtKind.TORN, tier=one.tier, sentence=torn_apart(one.tier, one.torn))


def _other_than_expected(backup_type: BackupType, one: Expected, held: Coverage | None) -> Doubt | None:
    """Whether a tier is held as the earlier backups of the type held it."""
    if one.source is None:
        return None
    if held is None:
        return _missing(backup_type, one, "is missing")
    before, label = _earlier(backup_type, one), one.tier.label
    if held.source is not one.source:
        sentence = f"{label} was read {_SOURCES[held.source]}; {before} read it {_SOURCES[one.source]}"
        return Doubt(kind=DoubtKind.OTHER_SOURCE, tier=one.tier, sentence=sentence)
    if not held.scope.covers(Scope(one.patterns)):
        keys = f"covers only the keys {', '.join(held.patterns)}"
        sentence = f"{label} {keys}; {before} covered {', '.join(one.patterns)}"
        return Doubt(kind=DoubtKind.NARROWER, tier=one.tier, sentence=sentence)
    return None


def _missing(backup_type: BackupType, one: Expected, how: str) -> Doubt:
    before = f"; {_earlier(backup_type, one)} held it" if one.source else ""
    return Doubt(kind=DoubtKind.MISSING, tier=one.tier, sentence=f"{one.tier.label} {how}{before}")


def _too_few(one: Expected, held: Coverage) -> Doubt | None:
    """Whether a tier that is held has about as many records as usual."""
    label, records = one.tier.label, held.records or 0
    if not records:
        of_what = "" if held.patterns == EVERYTHING else " of the keys that the backup covers"
        if one.last is None:
            return Doubt(kind=DoubtKind.EMPTY, tier=one.tier, sentence=f"{label} has no records{of_what}")
        sentence = f"{label} has no records{of_what}; the backup before held {one.last:,}"
        return Doubt(kind=DoubtKind.FEWER, tier=one.tier, sentence=sentence) if one.last else None
    if held.source is SourceKind.HANDED or one.usual is None or 2 * records >= one.usual:
        return None
    sentence = f"{label} has {records:,} records, less than half of the usual {one.usual:,.0f}"
    return Doubt(kind=DoubtKind.FEWER, tier=one.tier, sentence=sentence)


def _tiers_of(doubt: Doubt) -> tuple[Tier, ...]:
    """The tiers that a doubt concerns."""
    return tuple(Tier) if doubt.tier is None else (doubt.tier,)


def _earlier(backup_type: BackupType, one: Expected) -> str:
    what = one.held_by or backup_type
    return f"the last {one.backups} {what} backups" if one.backups > 1 else f"the last {what} backup"
