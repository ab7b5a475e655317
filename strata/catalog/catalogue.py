"""Catalogue: every backup of all stores, whichever of them answer.

Manifests in the stores are the truth. A backup that several stores hold is one entry with a copy for each. A store
that does not answer is named and hides no other; what lies there alone is not known then, so nothing that is found
passes for the latest.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any, Final

from strata.catalog.cache import CatalogueCache
from strata.catalog.history import FailedRun, RunBook
from strata.catalog.identity import IdentityBook
from strata.catalog.metadata import MANIFESTS, BackupMetadataManager, backup_id_of, is_manifest
from strata.catalog.notes import Note, NoteBook, NoteKind, told_id
from strata.catalog.removals import RemovalBook, Witness, disappeared
from strata.catalog.row import row_of
from strata.catalog.shelf import CatalogueStore, Shelf, read_shelf
from strata.catalog.signed import Signer
from strata.catalog.unreadable import Unreadable, among, latest
from strata.catalog.view import Statistics, View, view_of
from strata.errors import (
    BackupNotFound,
    BrokerUnavailable,
    IntegrityError,
    KeyringError,
    SettingError,
    StorageError,
    StoreUnavailable,
    StrataError,
)
from strata.model.backup_type import BackupType
from strata.model.copies import BackupStatus, CatalogueEntry
from strata.model.manifest import BackupMetadata, manifest_name
from strata.model.store import StoreIdentity
from strata.model.tier import StorageTier
from strata.planning.goodness import Judgement
from strata.planning.ownership import own_backups

_OPPOSITES: Final = (
    {NoteKind.PINNED, NoteKind.UNPINNED},
    {NoteKind.HELD, NoteKind.RELEASED},
    {NoteKind.REMOVED, NoteKind.KEPT},
)
LATEST: Final = "latest"
_INSTANT: Final = timedelta(milliseconds=1)


@dataclass(frozen=True)
class Found:
    """A backup that a reference names."""

    manifest: BackupMetadata
    stores: tuple[StorageTier, ...]
    """The stores whose manifest of it can be read, the best to read it from first."""
    unable: dict[StorageTier, str]
    """Stores that hold it, and why it cannot be read there."""
    passed: tuple[str, ...] = ()
    """Newer backups that `latest` does not mean, and why not, each in a sentence."""

    @property
    def store(self) -> StorageTier:
        """The store to read it from."""
        return self.stores[0]


class Catalogue:
    """The manifests and notes of all stores; with a cache only what is new is read of them.

    Whoever removes anything by what it says makes one without a cache.
    """

    def __init__(
        self,
        stores: Mapping[StorageTier, CatalogueStore],
        signer: Signer,
        cache: CatalogueCache | None = None,
        witnesses: Sequence[Witness] = (),
        installation: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.stores = {tier: stores[tier] for tier in StorageTier if tier in stores}
        self._signer, self._cache = signer, cache
        self._witnesses, self.installation = witnesses, installation
        self.silent_stores: dict[StorageTier, str] = {}
        """Stores that did not answer when they were last asked, and why."""
        self._viewed: View | None = None

    @property
    def seen(self) -> View:
        """What all stores said when they were last asked for everything; they are asked now if they never were."""
        return self._viewed or self.view()

    def view(self) -> View:
        """What all stores say now."""

        def read(tier: StorageTier) -> Shelf:
            return read_shelf(tier, self.stores[tier], self._signer, self._cache, self._witnesses)

        shelves, self.silent_stores = self._asked(read)
        self._viewed = view_of(list(shelves.values()), self.silent_stores)
        return self._viewed

    def entries(self) -> tuple[list[CatalogueEntry], list[Unreadable]]:
        """Every backup, newest first, and the manifests that cannot be read with their stores."""
        view = self.view()
        return view.entries, view.unreadable

    def find(
        self,
        *,
        backup_type: BackupType | None = None,
        status: BackupStatus | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        prefix: str = "",
        store: StorageTier | None = None,
    ) -> list[CatalogueEntry]:
        """The backups that fit all that is given; `since` counts itself, `until` does not."""
        return self.view().find(
            backup_type=backup_type, status=status, since=since, until=until, prefix=prefix, store=store
        )

    def statistics(self) -> Statistics:
        """What the stores that answer hold, in sum."""
        return self.view().statistics()

    def resolve(self, reference: str, backup_type: BackupType | None = None, store: StorageTier | None = None) -> Found:
        """The backup meant by a full id, a unique beginning of one, or `latest`, and who holds it.

        `latest` is the latest that holds everything and is in no doubt; of a type, where one is given. Its manifest is
        read from a store, whatever the cache says. While a store does not answer only a full id is enough: what lies
        there may be meant, or be later.
        """
        asked = self.only(store) if store else self
        if reference == LATEST:
            view = asked.view()
            self.silent_stores = asked.silent_stores
            asked.refuse_silence("which backup is the latest cannot be told")
            known = {one.backup_id for one in view.entries}
            bad = [one for one in view.unreadable if _hides_a_backup(one, known)]
            _refuse_gone(view)
            judgement = Judgement(own_backups(view.entries, asked.identities(), asked.installation()))
            good = judgement.latest(backup_type)
            if view.entries and not good and not bad:
                raise _none_is_whole(judgement, backup_type)
            chosen = latest(good, bad, asked.where)
            return replace(asked.found(chosen.backup_id), passed=tuple(_passed(judgement, chosen, backup_type)))
        held = asked.held()
        self.silent_stores = asked.silent_stores
        ids = sorted(set().union(*held.values()))
        if reference not in ids:
            asked.refuse_silence(f"which backup is meant by {reference!r} cannot be told")
        return asked.found(among(reference, ids, asked.where), held)

    def only(self, store: StorageTier) -> Catalogue:
        """The same catalogue over one store."""
        if store not in self.stores:
            raise SettingError(
                f"there is no {store.upper()} store here", hint=f"STRATA_{store.upper()}_URL says where it is."
            )
        return Catalogue({store: self.stores[store]}, self._signer, self._cache, self._witnesses, self.installation)

    def identities(self) -> dict[StorageTier, StoreIdentity]:
        """The stores that say whose they are, so that it can be trusted."""

        def read(tier: StorageTier) -> StoreIdentity | None:
            with suppress(IntegrityError, KeyringError):
                return IdentityBook(self.stores[tier], self._signer).read()
            return None

        found, _ = self._asked(read)
        return {tier: identity for tier, identity in found.items() if identity}

    def gone(self, tier: StorageTier, listed: Collection[str], now: datetime) -> dict[str, int]:
        """The backups that disappeared from a store, by what is listed there now, with their generations."""
        store, known = self.stores[tier], dict[str, int]()
        for witness in (*([self._cache] if self._cache else []), *self._witnesses):
            with suppress(BrokerUnavailable):
                known |= witness.recall(store.url)
        return disappeared(known, listed, RemovalBook(store, self._signer), now)

    def found(self, backup_id: str, held: Mapping[StorageTier, set[str]] | None = None) -> Found:
        """The backup of a full id, with every store that holds it; those that hold it whole come first."""
        held = self.held() if held is None else held
        manifest: BackupMetadata | None = None
        able: list[StorageTier] = []
        errors: dict[StorageTier, StrataError] = {}
        for tier in (tier for tier, ids in held.items() if backup_id in ids):
            try:
                read = self.metadata(tier).read(manifest_name(backup_id))
            except StrataError as error:
                errors[tier] = error
            else:
                manifest = manifest or read
                able.append(tier)
        if manifest is None:
            if errors:
                raise next(iter(errors.values()))
            raise BackupNotFound(
                f"there is no backup {backup_id} in {self.where}", hint="`strata list` shows what is there."
            )
        found = Found(manifest, tuple(able), {tier: error.sentence for tier, error in errors.items()})
        if len(able) == 1:
            return found
        good = {copy.storage_tier for copy in self.entry(found)[0].good_copies}
        return replace(found, stores=tuple(sorted(able, key=lambda tier: tier not in good)))

    def held(self) -> dict[StorageTier, set[str]]:
        """The ids of which each store that answers holds a manifest, by its listing alone."""
        found, self.silent_stores = self._asked(
            lambda tier: {
                backup_id_of(info.name) for info in self.stores[tier].list(MANIFESTS) if is_manifest(info.name)
            }
        )
        return found

    def entry(self, found: Found) -> tuple[CatalogueEntry, list[tuple[StorageTier, Note]]]:
        """What is known of one backup, and its notes with their stores, oldest first; no other backup is read.

        A layer that it shares may have been read later for another one: the whole view knows.
        """
        row, layers = row_of(found.manifest)

        def read(tier: StorageTier) -> Shelf:
            store = self.stores[tier]
            book, damages = NoteBook(store, self._signer), self.metadata(tier).damaged_layers() & layers.keys()
            notes = [note for subject in (row.backup_id, *damages) for note in book.of(subject)]
            here = told_id(store, self._signer)
            return Shelf(tier, store, here, [row], layers, sorted(notes, key=lambda note: note.at))

        shelves, silent = self._asked(read, found.stores)
        bare = [Shelf(tier, self.stores[tier], "", [row], layers) for tier in found.stores if tier in silent]
        view = view_of([*shelves.values(), *bare], silent)
        notes = [(shelf.tier, note) for shelf in view.shelves for note in shelf.notes]
        return view.entries[0], sorted(notes, key=lambda one: one[1].at)

    def note(
        self, kind: NoteKind, backup_id: str, now: datetime, body: Mapping[str, Any] | None = None
    ) -> tuple[list[StorageTier], dict[StorageTier, str]]:
        """Add a note to every store that holds the backup and answers: those, and why others did not take it.

        It comes after every note of its pair that is there, whatever clock wrote that.
        """
        holders = [tier for tier, ids in self.held().items() if backup_id in ids]
        if not holders:
            self.refuse_silence(f"whether a store holds {backup_id} cannot be told")
            raise BackupNotFound(f"there is no backup {backup_id} in {self.where}", hint="It was there a moment ago.")
        pair: set[NoteKind] = next((pair for pair in _OPPOSITES if kind in pair), set())
        missed: dict[StorageTier, StrataError] = {}
        noted: list[StorageTier] = []
        for tier in holders:
            try:
                notes = NoteBook(self.stores[tier], self._signer).of(backup_id)
                now = max([now, *(note.at + _INSTANT for note in notes if note.kind in pair)])
            except StorageError as error:
                missed[tier] = error
        for tier in holders:
            try:
                NoteBook(self.stores[tier], self._signer).add(kind, backup_id, now, body)
                noted.append(tier)
            except StorageError as error:
                missed[tier] = error
        if not noted and missed:
            raise next(iter(missed.values()))
        return noted, {tier: error.sentence for tier, error in missed.items()} | self.silent_stores

    def failures(self) -> list[FailedRun]:
        """The failed runs that stores tell of, newest first."""
        books, self.silent_stores = self._asked(lambda tier: RunBook(self.stores[tier], self._signer).all())
        found = {run.run_id: run for runs in books.values() for run in runs}
        return sorted(found.values(), key=lambda run: run.created_at, reverse=True)

    def metadata(self, tier: StorageTier) -> BackupMetadataManager:
        """The manifests of one store."""
        return BackupMetadataManager(self.stores[tier], self._signer)

    @property
    def where(self) -> str:
        """The stores in words."""
        return ", ".join(store.url for store in self.stores.values())

    def refuse_silence(self, what: str) -> None:
        """StoreUnavailable where a store did not answer when it was last asked."""
        for reason in self.silent_stores.values():
            others = [other for other in self.stores if other not in self.silent_stores]
            choice = f", or choose a store that answers: --store {others[0]}" if others else ""
            raise StoreUnavailable(f"{what}: {reason}", hint=f"Try again, name the backup by its full id{choice}.")

    def _asked(
        self, ask: Callable[[StorageTier], Any], of: Sequence[StorageTier] | None = None
    ) -> tuple[dict[StorageTier, Any], dict[StorageTier, str]]:
        """What each store answers, all asked at once; and why those do not that do not."""
        silent: dict[StorageTier, str] = {}

        def one(tier: StorageTier) -> Any:
            try:
                return ask(tier)
            except StorageError as error:
                silent[tier] = error.sentence
                return None

        tiers = list(self.stores) if of is None else of
        if len(tiers) == 1:
            answers = [one(tiers[0])]
        else:
            with ThreadPoolExecutor(max(len(tiers), 1), thread_name_prefix="stores") as pool:
                answers = list(pool.map(one, tiers))
        answered = {tier: answer for tier, answer in zip(tiers, answers, strict=True) if tier not in silent}
        return answered, silent


def _none_is_whole(judgement: Judgement, backup_type: BackupType | None) -> BackupNotFound:
    """There are backups, but `latest` means none of them."""
    what = f"no {backup_type.value} backup" if backup_type else "no backup"
    newest = next((one for one in judgement.newest if backup_type in {None, one.backup_type}), None)
    if newest is None:
        return BackupNotFound(f"there is {what}", hint="`strata list` shows what is there.")
    return BackupNotFound(
        f"there is {what} that holds everything: the newest is {newest.backup_id}, and {judgement.not_latest(newest)}",
        hint=f"To take it nevertheless, name it: {newest.backup_id}.",
    )


def _passed(judgement: Judgement, chosen: CatalogueEntry, backup_type: BackupType | None) -> Iterator[str]:
    """The newest backup that was passed over for the chosen one, and how many more there are."""
    newer = list(takewhile(lambda one: one is not chosen, judgement.newest))
    passed = [one for one in newer if backup_type in {None, one.backup_type}]
    if passed:
        others = len(passed) - 1
        more = f" ({others} more {'is' if others == 1 else 'are'} newer than the one taken)" if others else ""
        yield f"{passed[0].backup_id} is newer and is not taken because {judgement.not_latest(passed[0])}{more}"


def _refuse_gone(view: View) -> None:
    """IntegrityError where a backup disappeared that was later than all that are there."""
    newest = view.entries[0].generation if view.entries else 0
    if view.gone and view.gone[0].generation > newest:
        raise IntegrityError(
            f"the latest backup has disappeared: {view.gone[0].store.upper()} held {view.gone[0].backup_id}, and "
            "nothing of ours removed it",
            hint="Name an older one (`strata list`), or bring the store back to what it was.",
        )


def _hides_a_backup(one: Unreadable, known: set[str]) -> bool:
    """Whether it is a manifest that no other store gives."""
    return one.name.startswith(MANIFESTS) and backup_id_of(one.name) not in known
