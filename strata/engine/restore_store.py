"""The stores that restores read from, and what thaws them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from strata.engine.depot import Depot, Depots
from strata.engine.restorer import tiers_to_restore
from strata.model.manifest import BackupMetadata
from strata.model.plan import RestorePlan
from strata.model.thaw import ThawSpeed
from strata.model.tier import StorageTier, Tier
from strata.sources.port import RestoreMode

if TYPE_CHECKING:  # most stores freeze nothing
    from strata.engine.thawer import Thawer


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
class RestoreStores:
    """Every store; nothing is ever frozen in one without a thawer."""

    depots: Depots
    thawers: Mapping[StorageTier, Thawer]

    def plan(self, wish: RestoreWish, now: datetime) -> RestorePlan:
        """Find the backup, the store to read it from, and what of it must be thawed first."""
        return self.planned(wish, now)[0]

    def planned(self, wish: RestoreWish, now: datetime) -> tuple[RestorePlan, BackupMetadata]:
        """The same, and the backup's manifest."""
        depot, manifest = self.depots.find(wish.reference, wish.storage_tier)
        tiers = tiers_to_restore(manifest, wish.tiers)
        thawer = self.thawers.get(depot.tier)
        thaw = thawer.plan(manifest, tiers, wish.speed) if thawer else None
        plan = RestorePlan(
            restore_id=wish.run_id,
            backup_id=manifest.backup_id,
            mode=wish.mode.value,
            created_at=now,
            tiers=tiers,
            storage_tier=depot.tier,
            store_url=depot.store.url,
            store_id=depot.store_id(),
            thaw=thaw if thaw and thaw.needed else None,
        )
        return plan, manifest

    def read_by(self, plan: RestorePlan) -> Depot:
        """The store of a restore under way; SettingError where this worker knows another under that name."""
        return self.depots.planned(plan.restore_id, plan.storage_tier, plan.store_url, plan.store_id)
