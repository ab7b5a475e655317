"""BackupContext: the baselines that new backups build on, read from what is recorded.

Nothing is remembered in a process: whoever plans a backup, on whichever worker, reads the same manifests and sees the
same baselines; and only a recorded, hence verified, backup is among them. Order is by generation: milliseconds since
1970, or one more than the highest in the store where the clock was set back. So it holds over all stores, none of
which must answer for a plan in another, and in each of them whatever the clock does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from strata.model.backup_type import RULES, BackupType, Parent
from strata.model.coverage import Coverage, Parts, SourceKind
from strata.model.layer import Document, LayerRef
from strata.model.scope import Scope
from strata.model.tier import Tier


class TierSummary(Document):
    """What planning must know of one tier of a recorded backup."""

    tier: Tier
    source: SourceKind | None
    patterns: tuple[str, ...]
    records: int
    logical_bytes: int
    stack: tuple[LayerRef, ...]
    torn: str = ""
    half: str = ""
    parts: tuple[str, ...] = ()

    def coverage(self, key: str) -> Coverage | None:
        """What the backup covers of the tier; None where nothing of it was asked for. `key` made the marks of parts."""
        if self.source is None:
            return None
        records = self.records if self.stack else None
        parts = Parts(key, self.parts)
        return Coverage(self.tier, self.source, self.patterns, records, torn=self.torn, half=self.half, parts=parts)

    @property
    def dead_share(self) -> float:
        """The share of the stack's value bytes that count no more (of its rows, where values are tiny)."""
        rows = sum(layer.records + layer.tombstones for layer in self.stack)
        size = sum(layer.logical_bytes for layer in self.stack)
        by_rows = 1 - self.records / rows if rows else 0.0
        by_size = 1 - self.logical_bytes / size if size else 0.0
        return max(by_rows, by_size, 0.0)


class BackupSummary(Document):
    """What planning must know of a recorded backup."""

    backup_id: str
    backup_type: BackupType
    generation: int
    created_at: datetime
    fingerprint_key_id: str
    tiers: tuple[TierSummary, ...]
    accepted: bool = False
    """Whether a person said that it is right as it is."""
    digest: str = ""
    """That of its manifest."""
    installation: str = ""
    """Who made it."""

    @property
    def covers(self) -> tuple[Coverage, ...]:
        """What it covers, by tier."""
        return tuple(coverage for tier in self.tiers if (coverage := tier.coverage(self.fingerprint_key_id)))

    def tier(self, tier: Tier) -> TierSummary | None:
        """What it holds of a tier, if anything."""
        return next((one for one in self.tiers if one.tier is tier and one.stack), None)

    def bears(self, wanted: Coverage) -> bool:
        """Whether it holds all keys of a scope in a tier, and no others, from the same source.

        Its view is what a child's layer lies on.
        """
        held = self.tier(wanted.tier)
        if held is None or held.source is not wanted.source:
            return False
        return Scope(held.patterns).covers(wanted.scope) and wanted.scope.covers(Scope(held.patterns))

    def stands_alone(self, tier: Tier) -> bool:
        """Whether it stored all of a tier itself, though its type stores only what changed."""
        held = self.tier(tier)
        lies_on_others = RULES[self.backup_type].parent is not Parent.NONE
        return lies_on_others and held is not None and {ref.backup_id for ref in held.stack} == {self.backup_id}


@dataclass(frozen=True)
class BackupContext:
    """The recorded backups of a store, latest first."""

    backups: tuple[BackupSummary, ...]
    doubted: frozenset[tuple[str, Tier]] = frozenset()
    """Backups whose records of a tier are in doubt: nothing of that tier is built on them."""

    @classmethod
    def of(cls, backups: Iterable[BackupSummary], doubted: frozenset[tuple[str, Tier]] = frozenset()) -> BackupContext:
        """The context of these backups, in any order."""
        return cls(tuple(sorted(backups, key=lambda one: (one.generation, one.created_at), reverse=True)), doubted)

    def next_generation(self, now: datetime) -> int:
        """The generation of the next backup: the time, but always later than all that is there."""
        return max(int(now.timestamp() * 1000), 1 + max((one.generation for one in self.backups), default=0))

    def last_full(self, wanted: Coverage) -> BackupSummary | None:
        """The last full baseline that covers a scope of a tier: a FULL, a SNAPSHOT, or what stored all of it itself."""
        return self._last(
            wanted, lambda one: RULES[one.backup_type].moves_full_baseline or one.stands_alone(wanted.tier)
        )

    def last_backup(self, wanted: Coverage) -> BackupSummary | None:
        """The last backup of any type that covers a scope of a tier."""
        return self._last(wanted, lambda _: True)

    def find(self, backup_id: str) -> BackupSummary | None:
        """The backup of that id."""
        return next((one for one in self.backups if one.backup_id == backup_id), None)

    def _last(self, wanted: Coverage, fits: Callable[[BackupSummary], bool]) -> BackupSummary | None:
        return next(
            (
                one
                for one in self.backups
                if (one.backup_id, wanted.tier) not in self.doubted and fits(one) and one.bears(wanted)
            ),
            None,
        )
