"""Which backups are good: one of their copies is not known to be damaged, and they hold what they should.

The one home of that judgement: the state of the policy, retention, moves, `latest` and missing copies ask it. It is
made over all stores. A backup in doubt (strata/planning/completeness.py), or of state that was handed over while there
are backups of the live state, never takes the place of a good one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

from strata.model.backup_type import BackupType
from strata.model.copies import CatalogueEntry
from strata.model.coverage import Doubt, DoubtKind
from strata.model.tier import Tier
from strata.planning.completeness import History


def rank(entry: CatalogueEntry) -> tuple[int, float, str]:
    """Sorts backups, earliest first, in an order that a clock does not upset."""
    return entry.generation, entry.created_at.timestamp(), entry.backup_id


class Judgement:
    """What is to be thought of each of these backups, which are all there are."""

    def __init__(self, entries: Iterable[CatalogueEntry]) -> None:
        self.newest = sorted(entries, key=rank, reverse=True)
        self._live = any(not entry.handed for entry in self.newest)
        self._doubts: dict[str, tuple[Doubt, ...]] = {}
        self._history = History()
        for entry in reversed(self.newest):
            if doubts := self._history.add(entry):
                self._doubts[entry.backup_id] = doubts

    @classmethod
    def of(cls, backups: Iterable[CatalogueEntry] | Judgement) -> Judgement:
        """The judgement of backups, or the one that was made of them already: it costs a look at each backup."""
        return backups if isinstance(backups, Judgement) else cls(backups)

    @property
    def staying(self) -> Judgement:
        """The judgement of those that no prune has marked."""
        staying = [entry for entry in self.newest if entry.removal_marked_at is None]
        return self if len(staying) == len(self.newest) else Judgement(staying)

    def doubts(self, entry: CatalogueEntry) -> tuple[Doubt, ...]:
        """Why it may be incomplete; nothing where a person accepted it."""
        return () if entry.accepted else self._doubts.get(entry.backup_id, ())

    def settled(self, entry: CatalogueEntry) -> tuple[Doubt, ...]:
        """The doubts that a person settled."""
        return self._doubts.get(entry.backup_id, ()) if entry.accepted else ()

    def lacking(self, entry: CatalogueEntry) -> tuple[Doubt, ...]:
        """The doubts by which it may hold less than earlier ones; a tier that was always empty is none of them."""
        return tuple(doubt for doubt in self.doubts(entry) if doubt.kind is not DoubtKind.EMPTY)

    def is_whole(self, entry: CatalogueEntry) -> bool:
        """Whether it holds what it should, of the state that counts: the live one, where there are backups of that."""
        return not self.lacking(entry) and not (self._live and entry.handed)

    def is_good(self, entry: CatalogueEntry) -> bool:
        """Whether it is whole, and can be restored as far as is known."""
        return bool(entry.good_copies) and self.is_whole(entry)

    def last_good(self, types: frozenset[BackupType]) -> CatalogueEntry | None:
        """The last good one of any of these types."""
        return next((one for one in self.newest if one.backup_type in types and self.is_good(one)), None)

    def kept(self, configured: frozenset[Tier] = frozenset()) -> dict[str, tuple[str, ...]]:
        """The backups that nothing may remove, and why: the last good one of each type, and of each tier of a type.

        The tiers of a type are those that its backups held, and those that are configured.
        """
        reasons: dict[str, list[str]] = {}
        for group in self._groups():
            for entry, why in self._last_of(group, configured):
                reasons.setdefault(entry.backup_id, []).append(why)
        return {backup_id: tuple(whys) for backup_id, whys in reasons.items()}

    @cached_property
    def in_doubt(self) -> tuple[CatalogueEntry, ...]:
        """The newest backup of each type, where it is in doubt; newest first."""
        return tuple(group[0] for group in self._groups() if self.doubts(group[0]))

    @property
    def frozen(self) -> tuple[str, ...]:
        """Why nothing may be removed."""
        return tuple(
            f"nothing is removed because {entry.backup_id} is in doubt: {_joined(self.doubts(entry))}. If it is right,"
            f" run `strata accept {entry.backup_id}`"
            for entry in self.in_doubt
        )

    def latest(self, backup_type: BackupType | None = None) -> list[CatalogueEntry]:
        """What `latest` may mean, newest first: of a type where one is named, else what covers all that a FULL does."""
        if backup_type is not None:
            return [one for one in self.newest if one.backup_type is backup_type and self.is_whole(one)]
        full = next((one for one in self.newest if one.backup_type is BackupType.FULL and self.is_whole(one)), None)
        return [one for one in self.newest if self.is_whole(one) and _covers_all(one, full)]

    def not_latest(self, entry: CatalogueEntry) -> str:
        """Why a newer backup is not what `latest` means."""
        if doubts := self.lacking(entry):
            return f"it is in doubt: {_joined(doubts)}"
        if self._live and entry.handed:
            return "it holds state that was handed over"
        return f"its type is {entry.backup_type.value}, which does not hold everything"

    def _groups(self) -> Iterator[list[CatalogueEntry]]:
        """The backups of each type, those of handed over state apart, newest first."""
        groups: dict[tuple[BackupType, bool], list[CatalogueEntry]] = {}
        for entry in self.newest:
            groups.setdefault((entry.backup_type, entry.handed), []).append(entry)
        yield from groups.values()

    def _last_of(
        self, group: Sequence[CatalogueEntry], configured: frozenset[Tier]
    ) -> Iterator[tuple[CatalogueEntry, str]]:
        backup_type, handed = group[0].backup_type, group[0].handed
        what = f"{backup_type} backup{' of handed over state' if handed and self._live else ''}"
        readable = [entry for entry in group if entry.good_copies]
        whole = next((entry for entry in readable if not self.lacking(entry)), None)
        if whole is not None:
            yield whole, f"it is the last good {what}"
        elif readable:
            yield readable[0], f"it is the last {what} that can be restored"
        tiers = set() if handed else self._history.tiers(backup_type) | configured
        for tier in sorted(tiers):
            found = next((entry for entry in readable if self._holds(entry, tier)), None)
            if found is not None and found is not whole:
                yield found, f"it is the last good {what} of {tier.label}"

    def _holds(self, entry: CatalogueEntry, tier: Tier) -> bool:
        """Whether it holds a tier, and nothing is doubted of that."""
        return tier in entry.tiers and all(doubt.tier not in {tier, None} for doubt in self.lacking(entry))


def _covers_all(entry: CatalogueEntry, full: CatalogueEntry | None) -> bool:
    """Whether it covers all that a full backup does; without one, all keys of its tiers."""
    held = {one.tier: one for one in entry.covers if one.held}
    if full is None:
        return all(one.scope.is_everything for one in held.values())
    return all(one.tier in held and held[one.tier].scope.covers(one.scope) for one in full.covers if one.held)


def _joined(doubts: Iterable[Doubt]) -> str:
    return "; ".join(doubt.sentence for doubt in doubts)
