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

from strata.model.backup_type import RULES, BackupType
from strata.model.layer import Document, LayerRef
from strata.model.scope import Scope
from strata.model.tier import Tier


class TierSummary(Document):
    """What planning must know of one tier of a recorded backup."""

    tier: Tier
    patterns: tuple[str, ...]
    records: int
    logical_bytes: int
    stack: tuple[LayerRef, ...]

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

    def tier(self, tier: Tier) -> TierSummary | None:
        """What it holds of a tier, if anything."""
        return next((one for one in self.tiers if one.tier is tier and one.stack), None)

    def covers(self, tier: Tier, scope: Scope) -> bool:
        """Whether it holds all keys of a scope in a tier, and no others: its view is what a child's layer lies on."""
        held = self.tier(tier)
        return held is not None and Scope(held.patterns).covers(scope) and scope.covers(Scope(held.patterns))


@dataclass(frozen=True)
class BackupContext:
    """The recorded backups of a store, latest first."""

    backups: tuple[BackupSummary, ...]

    @classmethod
    def of(cls, backups: Iterable[BackupSummary]) -> BackupContext:
        """The context of these backups, in any order."""
        return cls(tuple(sorted(backups, key=lambda one: (one.generation, one.created_at), reverse=True)))

    def next_generation(self, now: datetime) -> int:
        """The generation of the next backup: the time, but always later than all that is there."""
        return max(int(now.timestamp() * 1000), 1 + max((one.generation for one in self.backups), default=0))

    def last_full(self, tier: Tier, scope: Scope) -> BackupSummary | None:
        """The last full baseline that covers a scope of a tier: a FULL, or a SNAPSHOT of at least that scope."""
        return self._last(tier, scope, lambda one: RULES[one.backup_type].moves_full_baseline)

    def last_backup(self, tier: Tier, scope: Scope) -> BackupSummary | None:
        """The last backup of any type that covers a scope of a tier."""
        return self._last(tier, scope, lambda _: True)

    def find(self, backup_id: str) -> BackupSummary | None:
        """The backup of that id."""
        return next((one for one in self.backups if one.backup_id == backup_id), None)

    def _last(self, tier: Tier, scope: Scope, fits: Callable[[BackupSummary], bool]) -> BackupSummary | None:
        return next((one for one in self.backups if fits(one) and one.covers(tier, scope)), None)
