"""StoreProver: reads back what lies in the stores, layer by layer, and notes what it finds.

No lease is taken: nothing is changed, and a layer that a prune removes meanwhile is passed over. A layer is read whole
or not at all, so a reading is never half of one; each is noted at once, and one that is cut short loses no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from strata.catalog.catalogue import Catalogue
from strata.catalog.last_read import layers_read, readings_of
from strata.catalog.metadata import backup_id_of, is_manifest
from strata.catalog.notes import NoteKind
from strata.catalog.readings import Reading
from strata.catalog.shelf import Shelf
from strata.catalog.view import View
from strata.clock import Clock
from strata.engine.depot import Depot, Depots
from strata.engine.survey import Damage
from strata.errors import LOST, BackupNotFound, IntegrityError, KeyringError, StorageError
from strata.model.layer import Document
from strata.model.manifest import BackupMetadata
from strata.model.run import Progress
from strata.model.store import STORE_DOCUMENT
from strata.model.tier import StorageTier
from strata.planning.policy import Promises, asked
from strata.planning.proving import UNBOUNDED, Budget, LayerRead, due

READABLE: Final = tuple(tier for tier in StorageTier if tier is not StorageTier.ARCHIVE)
"""The stores that can be read at once: of ARCHIVE a thaw must be asked for first."""


class DamageFound(Document):
    """An object that is not what was written, or is not there."""

    name: str
    reason: str


class StoreProved(Document):
    """What was read back of one store, and what was found."""

    storage_tier: StorageTier
    layers: int = 0
    """Read whole, and found whole."""
    objects: int = 0
    bytes: int = 0
    left: int = 0
    """Layers that were to be read too, and wait for the next time."""
    damages: tuple[DamageFound, ...] = ()
    failure: str = ""
    """Why no more was read, or why it could not be noted."""


@dataclass(frozen=True)
class Readable:
    """What the stores hold at one moment, read from them without a cache."""

    view: View
    layers: tuple[LayerRead, ...]


@dataclass
class _Store:
    """What was found in one store so far."""

    tier: StorageTier
    layers: int = 0
    objects: int = 0
    bytes: int = 0
    left: int = 0
    damages: list[Damage] = field(default_factory=list)
    failure: str = ""

    @property
    def sum(self) -> StoreProved:
        found = tuple(DamageFound(name=one.name, reason=one.reason) for one in self.damages)
        return StoreProved(
            storage_tier=self.tier,
            layers=self.layers,
            objects=self.objects,
            bytes=self.bytes,
            left=self.left,
            damages=found,
            failure=self.failure,
        )


@dataclass(frozen=True)
class StoreProver:
    """Proves layers of stores. The catalogue must be one without a cache: manifests are read back too."""

    depots: Depots
    catalogue: Catalogue
    clock: Clock
    promises: Promises = field(default_factory=Promises)

    def readable(self, tiers: Sequence[StorageTier] = READABLE) -> Readable:
        """Every layer of these stores. Manifests that are damaged there are noted, and those that no longer are."""
        view, now = self.catalogue.view(), self.clock.now()
        promised = asked(view.judgement.staying, self.promises.copied_within, now).values()
        demanded = {entry.backup_id for entry in promised}
        shelves = [shelf for shelf in view.shelves if shelf.tier in tiers]
        for shelf in shelves:
            self._note_manifests(shelf, now)
        return Readable(view, tuple(one for shelf in shelves for one in layers_read(shelf, demanded)))

    def due(self) -> tuple[Readable, list[LayerRead]]:
        """What is to be read again, by what is promised."""
        readable = self.readable()
        return readable, due(readable.layers, self.clock.now(), self.promises.verified_within)

    def prove(
        self,
        readable: Readable,
        chosen: Sequence[LayerRead],
        budget: Budget = UNBOUNDED,
        report: Callable[[Progress], None] = lambda _: None,
        tiers: Sequence[StorageTier] = READABLE,
    ) -> tuple[StoreProved, ...]:
        """Read these layers in their order, as far as the budget goes; of every store what was found.

        One that fails is told, and keeps no other from being read.
        """
        stores = {depot.tier: _Store(depot.tier) for depot in self.depots if depot.tier in tiers}
        for tier, reason in readable.view.silent.items():
            if tier in stores:
                stores[tier].failure = reason
        for shelf in readable.view.shelves:
            if shelf.tier in stores:
                stores[shelf.tier].damages += [*_bad_identity(shelf), *_bad_manifests(shelf)]
        began, size, manifests = self.clock.monotonic(), 0, _Manifests(self.depots)
        for done, one in enumerate(chosen):
            store = stores[one.storage_tier]
            if store.failure or not budget.allows(self.clock.monotonic() - began, size):
                store.left += 1
                continue
            try:
                self._prove(one, store, manifests)
            except (StorageError, KeyringError) as error:
                store.failure = error.sentence
            size += one.bytes
            report(Progress(objects=done + 1, total=len(chosen), bytes=size))
        return tuple(store.sum for store in stores.values())

    def _prove(self, one: LayerRead, store: _Store, manifests: _Manifests) -> None:
        depot, began = self.depots.of(one.storage_tier), self.clock.now()
        try:
            manifest = manifests.of(one)
        except BackupNotFound:  # removed since it was listed, and perhaps its layers with it
            return
        except IntegrityError as error:
            store.damages.append(Damage(one.backup_id, error.sentence))
            return
        objects, found = depot.restorer.damaged_layer(manifest, one.layer_id)
        if found and not _is_there(depot, one.backup_id):
            return
        if found:
            store.damages += found
            depot.book.add(NoteKind.DAMAGED, one.layer_id, self.clock.now())
            return
        store.layers, store.objects = store.layers + 1, store.objects + len(objects)
        store.bytes += sum(stored.size for stored in objects)
        ids = (one.layer_id,)
        read = Reading(began=began, layers=ids) if one.whole else Reading(began=began, layers=(), chunks_of=ids)
        depot.book.add(NoteKind.VERIFIED, one.layer_id, self.clock.now(), read.body)

    def _note_manifests(self, shelf: Shelf, now: datetime) -> None:
        """Damage of a manifest is noted for those that have it in a cache; once it can be read again, that is noted."""
        depot, known = self.depots.of(shelf.tier), readings_of(shelf).damaged_layers()
        with suppress(StorageError, KeyringError):  # read only, or no key to sign with: it is told all the same
            for damage in _bad_manifests(shelf):
                if (backup_id := backup_id_of(damage.name)) not in known:
                    depot.book.add(NoteKind.DAMAGED, backup_id, now)
            for backup_id in sorted(known & {row.backup_id for row in shelf.rows}):
                depot.book.add(NoteKind.VERIFIED, backup_id, now, Reading(began=now, layers=()).body)


class _Manifests:
    """The manifest that was asked for last: neighbours often have the same."""

    def __init__(self, depots: Depots) -> None:
        self._depots = depots
        self._last: tuple[StorageTier, str] | None = None
        self._manifest: BackupMetadata | None = None

    def of(self, one: LayerRead) -> BackupMetadata:
        wanted = one.storage_tier, one.backup_id
        if self._manifest is None or self._last != wanted:
            self._manifest = self._depots.of(one.storage_tier).metadata.load(one.backup_id)
            self._last = wanted
        return self._manifest


def _is_there(depot: Depot, backup_id: str) -> bool:
    """Whether a prune did not remove the backup meanwhile: manifests go before their layers."""
    try:
        depot.metadata.load(backup_id)
    except BackupNotFound:
        return False
    except LOST:
        return True
    return True


def _bad_manifests(shelf: Shelf) -> Iterator[Damage]:
    return (
        Damage(one.name, one.reason)
        for one in shelf.bad
        if not (one.keyless or one.retryable) and is_manifest(one.name)
    )


def _bad_identity(shelf: Shelf) -> Iterator[Damage]:
    return (Damage(one.name, one.reason) for one in shelf.ignored if one.name == STORE_DOCUMENT and not one.keyless)
