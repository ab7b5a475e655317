"""BackupPlanner: decides what a backup will do, from what is recorded and configured; enters and writes nothing."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field

from strata.catalog.layers import LayerCatalog
from strata.catalog.metadata import BackupMetadataManager
from strata.clock import Clock
from strata.engine.meeting import Pause
from strata.model.backup_type import BackupType
from strata.model.context import BackupContext, TierSummary
from strata.model.plan import BackupPlan
from strata.model.tier import StorageTier, Tier
from strata.planning.backup import StackPolicy, Wish, choose_store, plan_tiers
from strata.seal.keyring import Keyring


@dataclass(frozen=True)
class BackupOptions:
    """What the configuration says of every backup."""

    tiers: Mapping[Tier, bool]
    stores: Mapping[StorageTier, str]
    zstd_level: int
    segment_bytes: int
    patterns: Mapping[BackupType, tuple[str, ...]] = field(default_factory=dict)
    """Scopes that are not the types' own."""
    policy: StackPolicy = field(default_factory=StackPolicy)
    pause: Pause | None = None
    """What stands still while the cuts are taken."""
    meeting_seconds: float = 5.0
    """How long the collectors wait for each other."""


class BackupPlanner:
    """Makes plans for one store."""

    def __init__(
        self,
        metadata: BackupMetadataManager,
        layers: LayerCatalog,
        keyring: Keyring,
        clock: Clock,
        options: BackupOptions,
    ) -> None:
        self._metadata, self._layers, self._keyring = metadata, layers, keyring
        self._clock, self._options = clock, options

    def decide(self, backup_type: BackupType, run_id: str, *, fresh: bool = False) -> BackupPlan:
        """The plan a backup would have now; nothing is entered or written."""
        storage_tier, url = choose_store(backup_type, self._options.stores)
        key = self._keyring.new_data_key()
        self._keyring.spool_key(run_id), self._keyring.sign(b"")  # all there, or no run
        secret, context = self._keyring.fingerprint_key(), self._metadata.context()
        fit = [one for one in context.backups if (one.fingerprint_key_id, one.store_url) == (secret.key_id, url)]
        wish = Wish(
            backup_id=run_id,
            backup_type=backup_type,
            now=self._clock.now(),
            configured=self._options.tiers,
            context=BackupContext.of(fit),
            patterns=self._options.patterns.get(backup_type, ()),
            policy=self._options.policy,
            fresh=fresh,
            intact=self._damage_of,
        )
        planned = plan_tiers(wish)
        return BackupPlan(
            backup_id=run_id,
            backup_type=planned.backup_type,
            generation=context.next_generation,
            created_at=wish.now,
            parent=planned.parent,
            tiers=planned.tiers,
            storage_tier=storage_tier,
            store_url=url,
            key_id=key.key_id,
            wrapped_key=base64.b64encode(key.wrapped).decode(),
            fingerprint_key_id=secret.key_id,
            zstd_level=self._options.zstd_level,
            segment_bytes=self._options.segment_bytes,
            reasons=planned.reasons,
            knows_chunks=not fresh and any(layer.chunked for one in fit for tier in one.tiers for layer in tier.stack),
        )

    def _damage_of(self, held: TierSummary) -> str:
        """What a parent's stack lacks, or nothing: a layer whose document is gone, or that was found damaged."""
        noted = self._metadata.damaged_layers()
        for ref in held.stack:
            if ref.layer_id in noted:
                return f"the parent's layer {ref.layer_id} was found damaged"
            if self._layers.lacks(ref):
                return f"the parent's layer {ref.layer_id} is not in the store"
        return ""
