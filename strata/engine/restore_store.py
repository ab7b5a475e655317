"""The stores that restores read from, each with what reads its manifests and its layers, and what thaws them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from strata.catalog.metadata import BackupMetadataManager
from strata.engine.restorer import BackupRestorer, tiers_to_restore
from strata.engine.thawer import Thawer
from strata.errors import SettingError
from strata.model.plan import RestorePlan
from strata.model.thaw import ThawSpeed
from strata.model.tier import StorageTier, Tier
from strata.sources.port import RestoreMode


@dataclass(frozen=True)
class RestoreWish:
    """What is asked for: the backup (id, unique beginning or `latest`), how, which tiers, from where, how quickly."""

    run_id: str
    reference: str
    mode: RestoreMode
    tiers: tuple[Tier, ...]
    storage_tier: StorageTier | None = None
    speed: ThawSpeed | None = None


@dataclass(frozen=True)
class RestoreStore:
    """One store, as a restore sees it; without a thawer nothing in it is ever frozen."""

    url: str
    metadata: BackupMetadataManager
    restorer: BackupRestorer
    thawer: Thawer | None = None


@dataclass(frozen=True)
class RestoreStores:
    """The store used where none is named, and those that can be named."""

    usual: RestoreStore
    named: Mapping[StorageTier, RestoreStore]

    def of(self, tier: StorageTier | None) -> RestoreStore:
        """The store of a storage tier; SettingError where it is not configured."""
        if tier is None:
            return self.usual
        if tier not in self.named:
            raise SettingError(
                f"there is no {tier.upper()} store to restore from",
                hint=f"Set STRATA_{tier.upper()}_URL, or name another store.",
            )
        return self.named[tier]

    def plan(self, wish: RestoreWish, now: datetime) -> RestorePlan:
        """Find the backup, and what of it must be thawed first."""
        store = self.of(wish.storage_tier)
        manifest = store.metadata.resolve(wish.reference)
        tiers = tiers_to_restore(manifest, wish.tiers)
        thaw = store.thawer.plan(manifest, tiers, wish.speed) if store.thawer else None
        return RestorePlan(
            restore_id=wish.run_id,
            backup_id=manifest.backup_id,
            mode=wish.mode.value,
            created_at=now,
            tiers=tiers,
            storage_tier=wish.storage_tier,
            store_url=store.url,
            thaw=thaw if thaw and thaw.needed else None,
        )

    def read_by(self, plan: RestorePlan) -> RestoreStore:
        """The store of a restore under way; SettingError where this worker knows another under that name."""
        store = self.of(plan.storage_tier)
        if plan.store_url not in {"", store.url}:
            raise SettingError(
                f"{plan.restore_id} reads from {plan.store_url}, but this worker is set to {store.url}",
                hint="Give all workers the same store settings.",
            )
        return store
