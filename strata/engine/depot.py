"""A depot: one store, with what knows and reads the backups in it.

Every depot is whole in itself: a manifest in it names only layers that lie in it too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from strata.catalog.catalogue import Catalogue
from strata.catalog.identity import IdentityBook
from strata.catalog.layers import LayerCatalog
from strata.catalog.metadata import BackupMetadataManager
from strata.catalog.notes import NoteBook
from strata.catalog.removals import RemovalBook
from strata.clock import Clock
from strata.engine.damage import DamageNotes
from strata.engine.locker import Locker
from strata.engine.restorer import BackupRestorer
from strata.errors import IntegrityError, KeyringError, SettingError
from strata.model.backup_type import BackupType
from strata.model.manifest import BackupMetadata
from strata.model.tier import StorageTier, Tier
from strata.planning.retention import RetentionService
from strata.seal.keyring import Keyring
from strata.sources.port import StateSource
from strata.storage.port import Locking, ObjectStore

_BY_THE_TABLE: Final = RetentionService().days


@dataclass(frozen=True)
class Depot:
    """One store and its parts."""

    tier: StorageTier
    store: ObjectStore
    metadata: BackupMetadataManager
    layers: LayerCatalog
    book: NoteBook
    identity: IdentityBook
    removals: RemovalBook
    damage: DamageNotes
    restorer: BackupRestorer
    locker: Locker | None = None
    """What locks its objects, where it is to."""

    @classmethod
    def of(
        cls,
        tier: StorageTier,
        store: ObjectStore,
        sources: Mapping[Tier, StateSource],
        keyring: Keyring,
        clock: Clock,
        locking: Locking | None = None,
        days: Callable[[BackupType], int] = _BY_THE_TABLE,
    ) -> Depot:
        """The depot of a store; where it locks, for as many days as `days` says that a type of backup is kept."""
        book, metadata = NoteBook(store, keyring), BackupMetadataManager(store, keyring)
        return cls(
            tier,
            store,
            metadata,
            LayerCatalog(store),
            book,
            IdentityBook(store, keyring),
            RemovalBook(store, keyring),
            DamageNotes(metadata, clock),
            BackupRestorer(store, metadata, sources, keyring),
            Locker(locking.store, locking.mode, days, book, clock) if locking else None,
        )

    def store_id(self) -> str:
        """The id that the store says it has; nothing where it has none, or this keyring cannot tell."""
        with suppress(KeyringError, IntegrityError):
            found = self.identity.read()
            return found.store_id if found else ""
        return ""


class Depots:
    """Every configured store's depot, nearest first."""

    def __init__(self, depots: Mapping[StorageTier, Depot], catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._found = set[tuple[str, StorageTier]]()
        self._depots = {tier: depots[tier] for tier in StorageTier if tier in depots}

    def __iter__(self) -> Iterator[Depot]:
        return iter(self._depots.values())

    @property
    def nearest(self) -> Depot:
        """The first of them."""
        return next(iter(self))

    def of(self, tier: StorageTier) -> Depot:
        """The depot of a storage tier; SettingError where none is configured."""
        if tier not in self._depots:
            raise SettingError(f"no {tier.upper()} store is configured", hint=f"Set STRATA_{tier.upper()}_URL.")
        return self._depots[tier]

    def find(self, reference: str, tier: StorageTier | None = None) -> tuple[Depot, BackupMetadata]:
        """The backup that a reference means, and the depot to read it from: that of `tier`, or the best that has it."""
        found = self._catalogue.resolve(reference, store=tier)
        return self.of(found.store), found.manifest

    def gone(self, depot: Depot, now: datetime) -> list[str]:
        """The backups that disappeared from a store whose context was just read, newest first."""
        lost = self._catalogue.gone(depot.tier, depot.metadata.listed, now)
        return sorted(lost, key=lambda backup_id: lost[backup_id], reverse=True)

    def planned(self, run_id: str, tier: StorageTier, url: str, store_id: str = "") -> Depot:
        """The depot that a plan names; SettingError where this process is configured otherwise.

        A store is known by its id, looked at once for each run: a folder may be mounted elsewhere here, and one of the
        same name may be another. Where it has none yet, or cannot be read with this keyring, its URL is what there is.
        """
        depot = self._depots.get(tier)
        if depot is None or not self._is(run_id, depot, url, store_id):
            here = depot.store.url if depot else "no such store"
            other = ", which is another store" if depot and depot.store.url == url else ""
            raise SettingError(
                f"{run_id} needs {url} as {tier.upper()}, but this worker is set to {here}{other}",
                hint="Give all workers the same store settings.",
            )
        return depot

    def _is(self, run_id: str, depot: Depot, url: str, store_id: str) -> bool:
        if (run_id, depot.tier) in self._found:
            return True
        found = depot.store_id() if store_id else ""
        if not (found == store_id if found else depot.store.url == url):
            return False
        self._found.add((run_id, depot.tier))
        return True
