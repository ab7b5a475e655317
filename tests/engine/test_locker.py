"""Backups in stores that lock: nothing that one needs can be removed before its time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from strata.catalog.catalogue import Catalogue
from strata.engine.depot import Depot
from strata.engine.local import copy_here
from strata.engine.prune_runs import PruneRuns, prune_here
from strata.engine.pruner import Pruner, Rules
from strata.errors import ObjectLocked
from strata.model.backup_type import BackupType
from strata.model.layer import layer_of_object
from strata.model.tier import StorageTier, Tier
from strata.planning.prune import PruneRules
from strata.planning.retention import RetentionService
from strata.planning.tier_strategy import TierStrategy
from strata.storage.port import Locking, LockMode
from strata.storage.s3 import S3Store
from strata.testing import MemoryRecord, SettableClock
from tests.engine.workbench import Workbench, tiers_of
from tests.storage.buckets import bucket_store, lock_by_default, new_bucket, new_store

NETWORK = StorageTier.NETWORK


class Locked:
    """A workbench whose NETWORK store is a bucket with Object Lock."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self.clock = SettableClock(datetime.now(UTC))
        self.bucket: S3Store = new_store(endpoint, locks=True, clock=self.clock)
        self.bench = Workbench(
            folder, tiers_of(5, tiers=[Tier.HOT]), clock=self.clock, wrap_network=lambda _: self.bucket
        )
        locking = Locking(self.bucket, LockMode.GOVERNANCE)
        self.depot = Depot.of(NETWORK, self.bucket, self.bench.sources, self.bench.keyring, self.clock, locking)
        depots = {StorageTier.LOCAL: self.bench.depot, NETWORK: self.depot}
        self.catalogue = Catalogue({tier: depot.store for tier, depot in depots.items()}, self.bench.keyring)
        self.bench.manager.depots._depots.update(depots)

    def copy(self, backup_id: str) -> None:
        """A copy into the bucket."""
        copy_here(self.bench.manager, backup_id, f"copy-{backup_id}", NETWORK)

    def ends(self, prefix: str) -> set[datetime | None]:
        """Until when the objects below a prefix are locked."""
        return {self.bucket.locked_until(info.name) for info in self.bucket.list(prefix)}


@pytest.fixture
def locked(folder: Path, moto_endpoint: str) -> Locked:
    """A store that locks."""
    return Locked(folder, moto_endpoint)


def last_day(moment: datetime, days: int) -> datetime:
    """The end of the last day that is kept."""
    return (moment + timedelta(days=days)).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)


def test_every_object_of_a_copy_is_locked_for_as_long_as_it_is_kept(locked: Locked) -> None:
    """Layers, their documents and the manifest; none can be removed, and the catalogue says so."""
    made = locked.bench.backup("full")
    locked.copy("full")
    until = last_day(made.created_at, 90)
    assert locked.ends("layers/") | locked.ends("chunks/") | locked.ends("manifests/") == {until}
    for prefix in ("layers/", "manifests/"):
        for info in list(locked.bucket.list(prefix)):
            with pytest.raises(ObjectLocked):
                locked.bucket.delete(info.name)
    (entry,) = locked.catalogue.view().entries
    assert {copy.storage_tier: copy.locked_until for copy in entry.copies} == {
        StorageTier.LOCAL: None,
        NETWORK: until,
    }


def test_layers_that_newer_backups_lie_on_are_locked_for_longer(locked: Locked) -> None:
    """A base that was nearly free is locked as long as the backup that was made on it; its own manifest is not."""
    full = locked.bench.backup("full")
    locked.copy("full")
    locked.clock.advance(timedelta(days=20))
    locked.bench.sources[Tier.HOT].records["0", b"new"] = MemoryRecord(b"new")
    second = locked.bench.backup("second")
    assert second.parent == "full"
    locked.copy("second")
    until = last_day(second.created_at, 90)
    assert locked.ends("layers/") == {until}
    assert locked.ends("manifests/full.json") == {last_day(full.created_at, 90)}
    assert locked.ends("manifests/second.json") == {until}


def test_what_is_locked_long_enough_is_not_asked_about(locked: Locked, monkeypatch: pytest.MonkeyPatch) -> None:
    """The base of an incremental is locked for longer than that: only what is new is locked."""
    locked.bench.backup("full")
    locked.copy("full")
    locked.bench.sources[Tier.HOT].records["0", b"new"] = MemoryRecord(b"new")
    locked.bench.backup("incremental", BackupType.INCREMENTAL)
    asked: list[str] = []
    lock = locked.bucket.lock

    def noted(name: str, until: datetime, mode: LockMode) -> None:
        asked.append(name)
        lock(name, until, mode)

    monkeypatch.setattr(locked.bucket, "lock", noted)
    locked.copy("incremental")
    assert {layer_of_object(name) for name in asked} == {"incremental-hot", None}
    assert "manifests/incremental.json" in asked


def test_a_bucket_that_locks_by_default_takes_copies_and_is_pruned_when_its_locks_end(
    folder: Path, moto_endpoint: str
) -> None:
    """Strata locks nothing there; a prune before the end counts what stays and does not fail, one after it removes."""
    clock = SettableClock(datetime.now(UTC))
    bucket = new_bucket(moto_endpoint, locks=True)
    lock_by_default(moto_endpoint, bucket, days=200)
    store = bucket_store(moto_endpoint, bucket, clock=clock)
    bench = Workbench(folder, tiers_of(5, tiers=[Tier.HOT]), clock=clock, wrap_network=lambda _: store)
    rules = Rules(RetentionService(), TierStrategy([StorageTier.LOCAL, NETWORK]), PruneRules())
    prunes = PruneRuns(bench.manager, Pruner(bench.depots, bench.catalogue, rules, clock))
    bench.backup("old")
    copy_here(bench.manager, "old", "copy-old", NETWORK)
    assert "old" in bench.catalogue.held()[NETWORK]
    clock.advance(timedelta(days=91))
    bench.backup("new", fresh=True)
    assert prune_here(prunes, "prune1").marks.marked == ("old",)
    clock.advance(timedelta(days=2))
    local, network = prune_here(prunes, "prune2").stores
    assert (local.manifests, local.locked) == (1, 0)
    assert (network.manifests, network.layers, network.objects, network.locked, network.left) == (0, 0, 0, 1, 2)
    assert "old" in bench.catalogue.held()[NETWORK]
    clock.advance(timedelta(days=110))
    network = prune_here(prunes, "prune3").stores[1]
    assert (network.manifests, network.layers, network.left) == (1, 1, 0)
    assert bench.catalogue.held()[NETWORK] == set()


def test_a_layer_of_which_the_store_keeps_an_object_is_not_counted_as_gone(folder: Path, moto_endpoint: str) -> None:
    """Its manifest goes, one of its objects stays: it is for a later sweep, and only what went is counted."""
    clock = SettableClock(datetime.now(UTC))
    store = new_store(moto_endpoint, locks=True, clock=clock)
    bench = Workbench(folder, tiers_of(5, tiers=[Tier.HOT]), clock=clock, wrap_network=lambda _: store)
    rules = Rules(RetentionService(), TierStrategy([StorageTier.LOCAL, NETWORK]), PruneRules())
    prunes = PruneRuns(bench.manager, Pruner(bench.depots, bench.catalogue, rules, clock))
    bench.backup("old")
    copy_here(bench.manager, "old", "copy-old", NETWORK)
    objects = sorted(info.name for info in store.list("layers/"))
    store.lock(objects[0], clock.now() + timedelta(days=200), LockMode.GOVERNANCE)
    clock.advance(timedelta(days=91))
    bench.backup("new", fresh=True)
    prune_here(prunes, "prune1")
    clock.advance(timedelta(days=2))
    network = prune_here(prunes, "prune2").stores[1]
    assert (network.manifests, network.layers, network.locked, network.left) == (1, 0, 1, 1)
    assert network.objects == len(objects) - 1
    assert [info.name for info in store.list("layers/")] == objects[:1]
