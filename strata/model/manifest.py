"""The manifest: the document that makes a backup exist.

It says where the bytes are, what sealed them and what they need, so that a restore depends on nothing else: not on
the configuration of today, not on a catalogue. What would tell of the state's structure (tables, columns, bucket) is
in `details`, sealed under the backup's data key.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from strata.model.layer import Document, Layer
from strata.model.tier import BackupType, StorageTier, Tier

FORMAT_VERSION: Final = 0
"""Version of the stored format; 0 while it may still change."""


class TierContent(Document):
    """What a backup holds of one tier. `stack` names layers bottom first; empty where the tier was left out."""

    tier: Tier
    stack: tuple[Layer, ...]
    records: int
    """Records of the backup's view: what a restore of the tier writes."""
    patterns: tuple[str, ...]
    cut: dict[str, Any]
    reason: str = ""

    @property
    def included(self) -> bool:
        """Whether the backup holds this tier."""
        return bool(self.stack)


class BackupMetadata(Document):
    """The manifest of one backup."""

    format: int
    backup_id: str
    backup_type: BackupType
    created_at: datetime
    recorded_at: datetime
    storage_tier: StorageTier
    store_url: str
    key_id: str
    wrapped_key: str
    fingerprint_key_id: str
    parent: str | None
    tiers: tuple[TierContent, ...]
    seconds: dict[str, float]
    """Seconds of each stage, as the run measured them."""
    written_by: str
    details: str
    """A sealed document (base64 of an object as of docs/format.md): per tier, what describes its source."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Every layer of every tier."""
        return tuple(layer for tier in self.tiers for layer in tier.stack)

    @property
    def records(self) -> int:
        """Records over all tiers."""
        return sum(tier.records for tier in self.tiers)

    @property
    def logical_bytes(self) -> int:
        """Bytes of the values over all tiers."""
        return sum(layer.logical_bytes for layer in self.layers)

    @property
    def stored_bytes(self) -> int:
        """Bytes in the store over all layers."""
        return sum(layer.stored_bytes for layer in self.layers)

    def content(self, tier: Tier) -> TierContent:
        """What the backup holds of one tier."""
        return next(content for content in self.tiers if content.tier is tier)


def manifest_name(backup_id: str) -> str:
    """The name of a backup's manifest in every store."""
    return f"manifests/{backup_id}.json"
