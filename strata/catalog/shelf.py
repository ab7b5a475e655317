"""Reads the catalogue of one store: its listing, and of its manifests and notes those that the cache does not have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from strata.catalog.cache import CatalogueCache, generations
from strata.catalog.documents import document
from strata.catalog.metadata import MANIFESTS, backup_id_of, generation_told, is_manifest, parsed
from strata.catalog.notes import NOTES, READ_THREADS, Note, parse_name, parsed_note, require_here, store_id
from strata.catalog.removals import RemovalBook, Witness, disappeared
from strata.catalog.row import Entered, Kept, LayerFacts, Row, Stamp, row_of
from strata.catalog.signed import Signer
from strata.catalog.unreadable import Unreadable, unreadable
from strata.errors import BrokerUnavailable, IntegrityError, KeyringError, ObjectNotFound, StrataError
from strata.model.manifest import manifest_name
from strata.model.store import STORE_DOCUMENT
from strata.model.tier import StorageTier


class Listed(Protocol):
    """One object of a listing."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def modified(self) -> datetime: ...

    @property
    def regular(self) -> bool: ...


class CatalogueStore(Protocol):
    """The verbs of a store that its catalogue needs."""

    @property
    def url(self) -> str: ...

    def put(self, name: str, parts: Sequence[bytes]) -> None: ...

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes: ...

    def list(self, prefix: str) -> Iterable[Listed]: ...


@dataclass(frozen=True)
class Gone:
    """A backup that a store was known to hold, and that went without a word."""

    backup_id: str
    generation: int
    store: StorageTier


@dataclass
class Shelf:
    """What one store holds, at the moment it was read."""

    tier: StorageTier
    store: CatalogueStore
    store_id: str
    """By which the store's manifests and notes name it; empty where nothing that can be trusted says so."""
    rows: list[Row] = field(default_factory=list)
    layers: dict[str, LayerFacts] = field(default_factory=dict)
    """Every layer that is named."""
    notes: list[Note] = field(default_factory=list)
    bad: list[Unreadable] = field(default_factory=list)
    """Manifests that cannot be read, and notes that the store did not give: what they say is not known."""
    ignored: list[Unreadable] = field(default_factory=list)
    """Notes that nothing vouches for."""
    gone: list[Gone] = field(default_factory=list)


def read_shelf(
    tier: StorageTier,
    store: CatalogueStore,
    signer: Signer,
    cache: CatalogueCache | None,
    witnesses: Sequence[Witness] = (),
) -> Shelf:
    """Everything of one store; a StorageError where it does not answer. The witnesses tell what it held before."""
    manifests = {info.name: _stamp(info) for info in store.list(MANIFESTS) if is_manifest(info.name)}
    listed = list(store.list(NOTES))
    notes = {info.name: _stamp(info) for info in listed if parse_name(info.name)}
    known = cache.load(store.url) if cache else Kept({}, {}, {})
    shelf = Shelf(tier, store, "", layers=dict(known.layers))
    try:
        shelf.store_id = store_id(store, signer)
    except StrataError as error:
        if error.retryable:
            raise
        shelf.ignored.append(unreadable(STORE_DOCUMENT, error, store=tier))
    shelf.bad += [_behind(info.name, shelf) for info in listed if not info.regular and info.name not in notes]
    reader = _Reader(shelf, signer)
    rows = _still(known.rows, manifests)
    told = _still(known.notes, notes)
    new = Kept(reader.read(manifests, rows, reader.manifest), reader.read(notes, told, reader.note), reader.layers)
    seen = _seen(store.url, known, witnesses)
    lost = disappeared(seen, map(backup_id_of, manifests), RemovalBook(store, signer), datetime.now(UTC))
    shelf.gone = [Gone(backup_id, generation, tier) for backup_id, generation in lost.items()]
    gone = (known.rows.keys() - manifests.keys() - {manifest_name(backup_id) for backup_id in lost}) | (
        known.notes.keys() - notes.keys()
    )
    if cache and (new.rows or new.notes or gone):
        cache.save(store.url, new, gone)
    shelf.layers.update(reader.layers)
    shelf.rows = [one.value for one in (*rows.values(), *new.rows.values()) if isinstance(one.value, Row)]
    shelf.notes = [*reader.here(told), *reader.here(new.notes)]
    shelf.notes.sort(key=lambda note: note.at)
    return shelf


class _Reader:
    """Reads and verifies what is new, many at a time; what cannot be read is put beside it."""

    def __init__(self, shelf: Shelf, signer: Signer) -> None:
        self._shelf, self._signer = shelf, signer
        self.layers: dict[str, LayerFacts] = {}
        self._shared: dict[str, str] = {}

    def read(
        self,
        listed: dict[str, Stamp],
        known: dict[str, Entered],
        read: Callable[[str, Stamp], Entered | None],
    ) -> dict[str, Entered]:
        """Those of the listing that are not known."""
        names = sorted(listed.keys() - known.keys(), reverse=True)
        if not names:
            return {}
        with ThreadPoolExecutor(READ_THREADS, thread_name_prefix="catalogue") as pool:
            entered = pool.map(lambda name: read(name, listed[name]), names)
            return {name: one for name, one in zip(names, entered, strict=True) if one is not None}

    def manifest(self, name: str, stamp: Stamp) -> Entered | None:
        """The row of one manifest."""
        data = b""
        try:
            data = document(self._shelf.store, name)
            manifest, key_id = parsed(name, data, self._signer)
        except ObjectNotFound:
            return None  # removed since it was listed
        except StrataError as error:
            self._shelf.bad.append(unreadable(name, error, generation_told(data), self._shelf.tier))
            return None
        row, layers = row_of(manifest)
        self.layers.update(layers)
        return Entered(stamp, key_id, row._replace(layers=tuple(self._one(layer_id) for layer_id in row.layers)))

    def note(self, name: str, stamp: Stamp) -> Entered | None:
        """One note."""
        try:
            note, key_id = parsed_note(name, document(self._shelf.store, name), self._signer)
        except ObjectNotFound:
            return None
        except StrataError as error:
            untrue = isinstance(error, IntegrityError | KeyringError)
            (self._shelf.ignored if untrue else self._shelf.bad).append(unreadable(name, error, store=self._shelf.tier))
            return None
        return Entered(stamp, key_id, note)

    def here(self, entered: dict[str, Entered]) -> Iterator[Note]:
        """The notes that were written into this store; the others are put beside it."""
        for name, one in entered.items():
            if isinstance(one.value, Note):
                try:
                    require_here(name, one.value, self._shelf.store_id)
                except IntegrityError as error:
                    self._shelf.ignored.append(unreadable(name, error, store=self._shelf.tier))
                else:
                    yield one.value

    def _one(self, layer_id: str) -> str:
        """The same id as one object: thousands of manifests name it."""
        return self._shared.setdefault(layer_id, layer_id)


def _seen(url: str, known: Kept, witnesses: Sequence[Witness]) -> dict[str, int]:
    """What the store was known to hold; a witness that does not answer knows nothing."""
    seen = generations(known)
    for witness in witnesses:
        with suppress(BrokerUnavailable):
            seen |= witness.recall(url)
    return seen


def _stamp(info: Listed) -> Stamp:
    return Stamp(info.size, _microseconds(info.modified))


def _behind(name: str, shelf: Shelf) -> Unreadable:
    """What may lie behind a link among the notes is not known: a pin, for one."""
    reason = f"{shelf.store.url} does not read {name}: it is a link or no file, and none is followed"
    return Unreadable(name, reason, store=shelf.tier)


def _still(known: dict[str, Entered], listed: dict[str, Stamp]) -> dict[str, Entered]:
    """What is known of objects that are still there as they were."""
    return {name: one for name, one in known.items() if listed.get(name) == one.stamp}


def _microseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)
