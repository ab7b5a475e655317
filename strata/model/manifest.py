"""The manifest: the document that makes a backup exist.

It says where the bytes are, what sealed them and what they need, so that a restore depends on nothing else: not on
the configuration of today, not on a catalogue. What would tell of the state's structure (tables, columns, bucket) is
in `details`, sealed under the backup's data key.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Self

from pydantic import model_validator

from strata.model.backup_type import BackupType
from strata.model.coverage import Coverage, Parts, SourceKind, torn_apart
from strata.model.layer import Document, LayerKind, LayerRef
from strata.model.scope import Scope
from strata.model.tier import StorageTier, Tier

FORMAT_VERSION: Final = 0
"""Version of the stored format; 0 while it may still change."""

HALF_RESTORED: Final = "half_restored"
"""The entry of a tier's `cut` that says which restore may have left it half overwritten."""


class Changes(Document):
    """What a backup found against its parent, in keys of one tier."""

    unchanged: int = 0
    changed: int = 0
    new: int = 0
    gone: int = 0
    drift: int | None = None
    """Of the changed ones those that the source would have called unchanged; null where that was not tried."""


class TierContent(Document):
    """What a backup holds of one tier. `stack` names layers bottom first; empty where the tier was left out."""

    tier: Tier
    source: SourceKind | None
    """From where it was read, or was to be read; null where nothing of the tier was asked for."""
    stack: tuple[LayerRef, ...]
    records: int
    """Records of the backup's view: what a restore of the tier writes."""
    logical_bytes: int
    """Bytes of their values."""
    patterns: tuple[str, ...]
    parts: tuple[str, ...] = ()
    """Marks of the tables, databases or prefix that were read; none where the source tells no parts."""
    cut: dict[str, Any]
    parent: str | None = None
    """The backup whose view of the tier this one's was compared with."""
    changes: Changes | None = None
    reason: str = ""

    @model_validator(mode="after")
    def _is_a_stack(self) -> Self:
        kinds = [layer.kind for layer in self.stack]
        if kinds[:1] == [LayerKind.DELTA] or LayerKind.BASE in kinds[1:]:
            raise ValueError("a stack is a base and deltas on it")
        if any(layer.tier is not self.tier for layer in self.stack):
            raise ValueError("a stack has layers of its own tier only")
        if self.stack and self.source is None:
            raise ValueError("a tier that is held came from somewhere")
        return self

    @property
    def included(self) -> bool:
        """Whether the backup holds this tier."""
        return bool(self.stack)

    @property
    def scope(self) -> Scope:
        """The keys the backup covers."""
        return Scope(self.patterns)

    def coverage(self, key: str) -> Coverage | None:
        """What the backup covers of the tier; None where nothing of it was asked for. `key` made the marks of parts."""
        if self.source is None:
            return None
        late = self.cut.get("changed_after", 0) + self.cut.get("gone_after", 0)
        records = self.records if self.included else None
        return Coverage(
            self.tier, self.source, self.patterns, records, self.torn, late, self.half, Parts(key, self.parts)
        )

    @property
    def torn(self) -> str:
        """Why the tier may be of another moment than the others; empty where all were cut together."""
        return str(self.cut.get("torn", ""))

    @property
    def half(self) -> str:
        """The sentence on a restore that may have left the tier half overwritten; empty where none did."""
        return str(self.cut.get(HALF_RESTORED, ""))

    @property
    def cut_doubts(self) -> tuple[str, ...]:
        """Why what is held may not be of the moment of the cut, a sentence each."""
        name, changed, gone = self.tier.label, self.cut.get("changed_after", 0), self.cut.get("gone_after", 0)
        doubts = [torn_apart(self.tier, why) for why in [self.torn] if why]
        if changed:
            held = "it is held as it was" if changed == 1 else "they are held as they were"
            doubts.append(f"{name}: {changed:,} of its objects changed after the cut; {held} when read")
        if gone:
            doubts.append(f"{name}: {gone:,} of its objects removed after the cut could not be read")
        return tuple(doubts)

    @property
    def stacked_bytes(self) -> int:
        """Bytes in the store of all layers of the stack."""
        return sum(layer.stored_bytes for layer in self.stack)


class BackupMetadata(Document):
    """The manifest of one backup."""

    format: int
    backup_id: str
    backup_type: BackupType
    generation: int
    """Milliseconds since 1970 when it was planned, or one more than the highest in its store: the order of backups."""
    created_at: datetime
    recorded_at: datetime
    storage_tier: StorageTier
    store_url: str
    store_id: str
    """The store that it was made in; a copy elsewhere says the same."""
    installation: str
    """The installation that made it."""
    key_id: str
    wrapped_key: str
    fingerprint_key_id: str
    parent: str | None
    reasons: tuple[str, ...]
    """Why the plan is as it is, where it is not as asked or as usual."""
    tiers: tuple[TierContent, ...]
    borrowed: tuple[LayerRef, ...]
    """Layers of other backups that hold chunks of this one's values."""
    seconds: dict[str, float]
    """Seconds of each stage, as the run measured them."""
    written_by: str
    details: str
    """A sealed document (base64 of an object as of docs/format.md): per tier, what describes its source."""

    @model_validator(mode="after")
    def _has_one_fingerprint_key(self) -> Self:
        if any(layer.fingerprint_key_id != self.fingerprint_key_id for layer in self.layers):
            raise ValueError("all layers have the fingerprint key of their backup")
        return self

    @property
    def layers(self) -> tuple[LayerRef, ...]:
        """Every layer of every tier, and those borrowed from."""
        return (*(layer for tier in self.tiers for layer in tier.stack), *self.borrowed)

    @property
    def covers(self) -> tuple[Coverage, ...]:
        """What it covers, by tier."""
        return tuple(coverage for tier in self.tiers if (coverage := tier.coverage(self.fingerprint_key_id)))

    @property
    def records(self) -> int:
        """Records over all tiers."""
        return sum(tier.records for tier in self.tiers)

    @property
    def logical_bytes(self) -> int:
        """Bytes of the values over all tiers."""
        return sum(tier.logical_bytes for tier in self.tiers)

    @property
    def stacked_bytes(self) -> int:
        """Bytes in the store over the stacks of all tiers."""
        return sum(tier.stacked_bytes for tier in self.tiers)

    @property
    def added_bytes(self) -> int:
        """Bytes that this backup added to the store."""
        return sum(layer.stored_bytes for layer in self.layers if layer.backup_id == self.backup_id)

    def content(self, tier: Tier) -> TierContent:
        """What the backup holds of one tier."""
        return next(content for content in self.tiers if content.tier is tier)

    @property
    def skew_ms(self) -> float | None:
        """Milliseconds in which all that was read got its content, by one clock; None where no tier told.

        From the first tier's cut to the last moment that anything is of: the end of a SCAN, an object that changed.
        """
        cuts = [content.cut for content in self.tiers if "first_ms" in content.cut]
        first, last = ([cut[name] for cut in cuts] for name in ("first_ms", "last_ms"))
        return round(max(last) - min(first), 3) if cuts else None

    @property
    def cut_doubts(self) -> tuple[str, ...]:
        """Why the tiers may not be of one point, a sentence each."""
        return tuple(doubt for content in self.tiers for doubt in content.cut_doubts)


def manifest_name(backup_id: str) -> str:
    """The name of a backup's manifest in every store."""
    return f"manifests/{backup_id}.json"
