"""What was removed from a store by us: `removed/<time>-<6 hex>.json`, signed, written before the first manifest goes.

A manifest that this machine's cache or the ledger knows, that the store does not list, and that no removal names, has
disappeared: the store was rolled back or emptied, or somebody else removed it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, Protocol

from strata.catalog.documents import document
from strata.catalog.metadata import MANIFESTS, backup_id_of, is_manifest
from strata.catalog.notes import READ_THREADS, NoteStore, told_id
from strata.catalog.signed import SignedForm, Signer
from strata.errors import IntegrityError, KeyringError, ObjectNotFound
from strata.model.layer import Document
from strata.model.manifest import FORMAT_VERSION

REMOVED: Final = "removed/"
KEPT_DAYS: Final = 400
"""For so long it is told what was removed, and for that long a backup can disappear."""

_FORM: Final = SignedForm("removal")
_NAME: Final = re.compile(r"removed/\d{8}T\d{6}-[0-9a-f]{6}\.json", re.ASCII)


class Removal(Document):
    """Backups that went, or are about to, from one store; or that a person knows to be gone."""

    format: int
    store: str
    """The id of the store."""
    at: datetime
    by: str
    """The run that removes them, or who said that they are gone."""
    backups: tuple[str, ...]


class Witness(Protocol):
    """Remembers what a store held, apart from the store."""

    def recall(self, url: str) -> Mapping[str, int]:
        """The backups that it knows of, with their generations."""
        ...


class RemovalBook:
    """Adds and reads the removals of one store."""

    def __init__(self, store: NoteStore, signer: Signer) -> None:
        self._store, self._signer = store, signer

    def add(self, backups: Iterable[str], now: datetime, by: str) -> None:
        """Say that these backups are removed."""
        here = told_id(self._store, self._signer)
        removal = Removal(format=FORMAT_VERSION, store=here, at=now, by=by, backups=tuple(sorted(backups)))
        name = f"{REMOVED}{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}.json"
        self._store.put(name, [_FORM.write(removal, self._signer)])

    def backups(self) -> frozenset[str]:
        """Every backup that a removal of this store names; one that nothing vouches for names none."""
        names = [info.name for info in self._store.list(REMOVED) if info.regular and is_removal(info.name)]
        with ThreadPoolExecutor(READ_THREADS, thread_name_prefix="removals") as pool:
            removals = [removal for removal in pool.map(self._read, names) if removal]
        here = told_id(self._store, self._signer)
        return frozenset(backup_id for removal in removals if removal.store == here for backup_id in removal.backups)

    def listed(self) -> frozenset[str]:
        """The backups that the store lists now."""
        return frozenset(backup_id_of(info.name) for info in self._store.list(MANIFESTS) if is_manifest(info.name))

    def _read(self, name: str) -> Removal | None:
        with suppress(ObjectNotFound, IntegrityError, KeyringError):
            return _FORM.read(Removal, name, document(self._store, name), self._signer)[0]
        return None


def is_removal(name: str) -> bool:
    """Whether a name is one that a removal is written down under."""
    return _NAME.fullmatch(name) is not None


def disappeared(known: Mapping[str, int], listed: Iterable[str], book: RemovalBook, now: datetime) -> dict[str, int]:
    """Of the backups that a witness knows those that went without a word, with their generations.

    Only where one is not listed the removals are read, and the store is listed again: what was recorded or removed
    since the first listing did not disappear.
    """
    oldest = (now - timedelta(days=KEPT_DAYS - 10)).timestamp() * 1000
    there = frozenset(listed)
    absent = {name: generation for name, generation in known.items() if name not in there and generation > oldest}
    if not absent:
        return {}
    explained = book.backups()
    absent = {name: generation for name, generation in absent.items() if name not in explained}
    there = book.listed() if absent else there
    return {name: generation for name, generation in absent.items() if name not in there}
