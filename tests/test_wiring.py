"""The wiring: what is used instead of what, and when not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from strata.catalog.lease import FileLease, RedisLease
from strata.errors import BrokerUnavailable, LeaseHeld, SettingError, StoreNotMounted
from strata.model.tier import StorageTier
from strata.seal.keyring import FileKeyring
from strata.settings import Settings
from strata.storage.append_only import AppendOnlyStore
from strata.storage.metered import MeteredStore
from strata.storage.port import LockMode
from strata.storage.retrying import RetryingStore
from strata.storage.s3 import S3Store
from strata.storage.throttled import ThrottledStore
from strata.testing import SettableClock
from strata.wiring import Wiring
from workers.local_stack.servers import RedisServer, free_port


@pytest.fixture
def settings(folder: Path) -> Settings:
    """A store, a spool and a keyring."""
    FileKeyring.create(folder / "keyring.json", SettableClock().now())
    return Settings(
        local_url=(folder / "store").as_uri(),
        spool_url=(folder / "spool").as_uri(),
        keyring_file=folder / "keyring.json",
    )


def with_result(settings: Settings, url: str | None) -> Wiring:
    """A wiring whose ledger is at that URL."""
    return Wiring(settings.model_copy(update={"result_url": SecretStr(url) if url else None}))


def test_a_run_of_this_process_takes_the_lease_that_workers_take(settings: Settings, hot_url: str) -> None:
    """While the ledger's Redis answers, its lease counts; where there is none or it is silent, this machine's."""
    silent = f"redis://127.0.0.1:{free_port()}/0"
    assert isinstance(with_result(settings, hot_url).local_manager.lease, RedisLease)
    assert isinstance(with_result(settings, None).local_manager.lease, FileLease)
    assert isinstance(with_result(settings, silent).local_manager.lease, FileLease)


def test_a_ledger_with_another_password_does_not_let_two_runs_go_on(
    settings: Settings, redis_server: RedisServer
) -> None:
    """A Redis that refuses is no Redis that is gone: workers may be at work, so their lease is not passed by."""
    wiring = with_result(settings, f"redis://:wrong@127.0.0.1:{redis_server.port}/0")
    with pytest.raises(BrokerUnavailable, match="the ledger \\(Redis\\) refuses: invalid username-password pair"):
        _ = wiring.local_manager


def test_each_configured_store_is_made_in_order(settings: Settings, folder: Path) -> None:
    """LOCAL, NETWORK, CLOUD, ARCHIVE, however they are written down; none at all is an error."""
    places: dict[str, Any] = {
        "archive_url": "s3://deep/x",
        "cloud_url": "s3://near",
        "network_url": (folder / "share").as_uri(),
    }
    wiring = Wiring(settings.model_copy(update=places))
    assert list(wiring.stores) == list(StorageTier)
    assert [store.url for store in wiring.stores.values()] == [
        settings.local_url, places["network_url"], "s3://near", "s3://deep/x",
    ]  # fmt: skip
    with pytest.raises(SettingError, match="no store is configured"):
        _ = Wiring(settings.model_copy(update={"local_url": None})).stores


def test_a_store_is_asked_again_and_throttled_where_that_is_set(settings: Settings) -> None:
    """A bandwidth stands behind the retries, so that each try is paid for; without one there is no throttle."""
    cloud = {"cloud_url": "s3://near", "cloud_bandwidth": 1000}
    stores = Wiring(settings.model_copy(update=cloud)).stores
    assert all(isinstance(store, MeteredStore) for store in stores.values())
    local, near = (stores[tier].inner for tier in (StorageTier.LOCAL, StorageTier.CLOUD))  # type: ignore[attr-defined]
    assert isinstance(local, RetryingStore)
    assert not isinstance(local.inner, ThrottledStore)
    assert isinstance(near, RetryingStore)
    assert isinstance(near.inner, ThrottledStore)
    assert isinstance(near.inner.inner, S3Store)


def test_only_stores_that_are_to_lock_do(settings: Settings) -> None:
    """A folder that is append-only, and a bucket whose lock has a mode; a tier without a URL is none."""
    assert Wiring(settings).locking == {}
    asked = {
        "local_append_only": True,
        "network_append_only": True,
        "cloud_url": "s3://near",
        "cloud_lock": "compliance",
    }
    locking = Wiring(Settings(**{**settings.model_dump(exclude_unset=True), **asked})).locking
    assert {tier: one.mode for tier, one in locking.items()} == {
        StorageTier.LOCAL: LockMode.GOVERNANCE,
        StorageTier.CLOUD: LockMode.COMPLIANCE,
    }
    assert isinstance(locking[StorageTier.LOCAL].store, AppendOnlyStore)


def test_archived_data_goes_into_a_glacier_class_unless_told_otherwise(settings: Settings) -> None:
    """ARCHIVE without a class is GLACIER; CLOUD without one is the bucket's own."""
    wiring = Wiring(settings.model_copy(update={"archive_url": "s3://deep", "cloud_url": "s3://near"}))
    assert {tier: bucket.classed for tier, bucket in wiring.buckets.items()} == {
        StorageTier.CLOUD: False,
        StorageTier.ARCHIVE: True,
    }


def test_the_store_on_a_share_needs_the_share(settings: Settings, folder: Path) -> None:
    """Made from the settings it refuses to work where the share was never set up."""
    (folder / "share").mkdir()
    wiring = Wiring(settings.model_copy(update={"network_url": (folder / "share").as_uri()}))
    with pytest.raises(StoreNotMounted):
        wiring.stores[StorageTier.NETWORK].put("one", [b"1"])


def test_two_restores_on_a_machine_without_a_spool_do_not_go_on_at_once(settings: Settings, folder: Path) -> None:
    """Each has a spool of its own, and both the same lease: two of them would write the same tiers together."""
    bare = settings.model_copy(update={"spool_url": None, "cache_folder": folder / "cache"})
    first, second = (Wiring(bare).restoring() for _ in range(2))
    assert first.settings.spool_url != second.settings.spool_url
    fence = first.local_manager.lease.acquire("one", "somebody")
    with pytest.raises(LeaseHeld):
        second.local_manager.lease.acquire("two", "somebody else")
    first.local_manager.lease.release(fence)
    second.local_manager.lease.acquire("two", "somebody else")
