"""The part of the wiring that reads catalogues: the keyring, the stores, what lies in them. It imports no engine.

So a listing answers at once: the engine takes 0.3 s to import.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from pydantic import SecretStr

from strata.catalog.cache import CatalogueCache
from strata.catalog.catalogue import Catalogue
from strata.catalog.metadata import BackupMetadataManager
from strata.clock import Clock, SystemClock
from strata.errors import SettingError
from strata.model.tier import StorageTier
from strata.seal.keyring import FileKeyring, Keyring
from strata.settings import Settings
from strata.storage.filesystem import FilesystemStore, folder_of
from strata.storage.port import ObjectStore


class StoreWiring:
    """Builds each part when it is first asked for; `tell` hears what a person may want to know beside the answer."""

    def __init__(
        self, settings: Settings, clock: Clock | None = None, tell: Callable[[str], None] = lambda _: None
    ) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        self.tell = tell

    @cached_property
    def keyring(self) -> Keyring:
        """The keyring; KeyringError where there is none."""
        return FileKeyring.load(self.settings.keyring_file)

    @cached_property
    def stores(self) -> dict[StorageTier, ObjectStore]:
        """Every configured store, in the order in which they are read from; SettingError where there is none."""
        found: dict[StorageTier, ObjectStore] = {}
        if self.settings.local_url is not None:
            found[StorageTier.LOCAL] = FilesystemStore(folder_of(self.settings.local_url, "STRATA_LOCAL_URL"))
        if self.settings.cloud_url is not None:
            found[StorageTier.CLOUD] = self._s3_store("cloud")
        if not found:
            raise SettingError(
                "no store is configured", hint="Set STRATA_LOCAL_URL, for example file:///var/lib/strata."
            )
        return found

    @cached_property
    def catalogue(self) -> Catalogue:
        """The backups of all stores, by way of the cache: for showing."""
        return Catalogue(self.stores, self.keyring, self.catalogue_cache)

    @cached_property
    def catalogue_cache(self) -> CatalogueCache:
        """What is kept of catalogues on this machine."""
        return CatalogueCache(self.settings.cache_folder, self.keyring, self.tell)

    def metadata_of(self, tier: StorageTier) -> BackupMetadataManager:
        """The manifests of one store."""
        return BackupMetadataManager(self.stores[tier], self.keyring)

    def _s3_store(self, prefix: str) -> ObjectStore:
        from strata.storage.s3 import S3Store

        return S3Store(getattr(self.settings, f"{prefix}_url"), **self._s3_options(prefix))

    def _s3_options(self, prefix: str) -> dict[str, Any]:
        names = ("endpoint", "region", "access_key_id", "secret_access_key")
        values = {name: getattr(self.settings, f"{prefix}_{name}") for name in names}
        return {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value for name, value in values.items()
        }
