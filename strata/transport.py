"""The way to the stores of the settings: which class each is, and its wrappers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from strata.clock import Clock
from strata.model.tier import StorageTier
from strata.settings import PREFIX, Settings
from strata.storage.append_only import AppendOnlyStore
from strata.storage.filesystem import FilesystemStore, folder_of
from strata.storage.metered import MeteredStore
from strata.storage.port import Locking, LockMode, ObjectStore
from strata.storage.read_only import ReadOnlyStore
from strata.storage.retrying import RetryingStore
from strata.storage.s3 import S3Store
from strata.storage.share import Share
from strata.storage.throttled import Bandwidth, ThrottledStore

_S3_ATTEMPTS: Final = 3
"""How often botocore tries a request of one attempt; beyond that the wrapper tries again."""
_BUCKETS: Final = {StorageTier.CLOUD, StorageTier.ARCHIVE}


class TransportService:
    """Makes the store of each storage tier that has a URL; nothing is connected before a store's first call."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock

    def stores(self) -> dict[StorageTier, ObjectStore]:
        """The configured stores, in StorageTier's order: metered, throttled, asked again where they do not answer."""
        return {tier: self._wrapped(tier) for tier in StorageTier if self.url(tier) is not None}

    def locking(self) -> dict[StorageTier, Locking]:
        """Those of the configured stores that are to lock what they hold."""
        found = {}
        for tier in StorageTier:
            mode = self._lock_mode(tier)
            if mode and self.url(tier) is not None:
                found[tier] = Locking(self.bucket(tier) if tier in _BUCKETS else self._append_only(tier), mode)
        return found

    def url(self, tier: StorageTier) -> str | None:
        """The URL of a storage tier, if it is configured."""
        url: str | None = getattr(self._settings, f"{tier.value}_url")
        return url

    def bare(self, tier: StorageTier) -> ObjectStore:
        """The store of a configured storage tier, without wrappers."""
        if tier in _BUCKETS:
            return self.bucket(tier)
        if self._lock_mode(tier):
            return self._append_only(tier)
        return FilesystemStore(self._root(tier), share=self.share(tier))

    def bucket(self, tier: StorageTier) -> S3Store:
        """The store of CLOUD or ARCHIVE, with the verbs that only S3 has."""
        return S3Store(
            str(self.url(tier)),
            **s3_options(self._settings, tier.value),
            storage_class=getattr(self._settings, f"{tier.value}_storage_class"),
            kms_key=getattr(self._settings, f"{tier.value}_kms_key"),
            threads=self._settings.store_threads,
            attempts=_S3_ATTEMPTS,
            clock=self._clock,
        )

    def share(self, tier: StorageTier) -> Share | None:
        """The share that a storage tier lies on; None for LOCAL."""
        return Share(self._root(tier)) if tier is StorageTier.NETWORK else None

    def _wrapped(self, tier: StorageTier) -> ObjectStore:
        store, rate = self.bare(tier), getattr(self._settings, f"{tier.value}_bandwidth")
        guarded = ReadOnlyStore(store) if self._settings.stores_read_only else store
        retrying = RetryingStore(ThrottledStore(guarded, Bandwidth(rate, self._clock)) if rate else guarded)
        return MeteredStore(retrying, self._clock)

    def _append_only(self, tier: StorageTier) -> AppendOnlyStore:
        return AppendOnlyStore(self._root(tier), self._clock, self.share(tier))

    def _root(self, tier: StorageTier) -> Path:
        return folder_of(str(self.url(tier)), f"{PREFIX}{tier.upper()}_URL")

    def _lock_mode(self, tier: StorageTier) -> LockMode | None:
        if tier in _BUCKETS:
            mode: LockMode | None = getattr(self._settings, f"{tier.value}_lock")
            return mode
        return LockMode.GOVERNANCE if getattr(self._settings, f"{tier.value}_append_only") else None


def s3_options(settings: Settings, prefix: str) -> dict[str, Any]:
    """Endpoint, region, credentials and TLS as the settings with a prefix say, as S3Store and S3Cold take them."""
    names = ("endpoint", "region", "access_key_id", "secret_access_key")
    values = {name: getattr(settings, f"{prefix}_{name}") for name in names}
    plain = {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value for name, value in values.items()
    }
    return {**plain, "tls": settings.tls}
