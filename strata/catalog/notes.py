"""Notes beside the backups of a store: what is learned of them later, and what people decide of them.

A note is added and never changed: `notes/<subject>/<YYYYmmddTHHMMSS>-<kind>.json`, whose subject is a backup's or a
layer's id. Names sort by time; a second one of the same second and kind has six more digits. Notes are signed as
manifests are, and name their store, subject and kind: one that is forged, or lies where it was not written, is no note.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple, Protocol

from blake3 import blake3
from pydantic import Field

from strata.catalog.documents import document
from strata.catalog.identity import IdentityBook
from strata.catalog.signed import SignedForm, Signer
from strata.catalog.unreadable import Unreadable, unreadable
from strata.errors import IntegrityError, KeyringError, ObjectExists, ObjectNotAFile, ObjectNotFound
from strata.model.layer import Document
from strata.model.manifest import FORMAT_VERSION

NOTES: Final = "notes/"
ACCEPTED_MANIFEST: Final = "manifest"
"""The member of an `accepted` note's body with the digest of the manifest that was accepted."""
READ_THREADS: Final = 16
"""Small objects that are read from a store at the same time."""

_FORM: Final = SignedForm("note")
_TIME: Final = "%Y%m%dT%H%M%S"
_NAME: Final = re.compile(r"notes/([A-Za-z0-9._-]+)/(\d{8}T\d{6})-([a-z]+)(-[0-9a-f]{6})?\.json", re.ASCII)


class NoteKind(StrEnum):
    """What a note says of its subject."""

    VERIFIED = "verified"
    """The store's copy of the backup was read back whole and proved (the body says which layers); or a layer's."""
    DAMAGED = "damaged"
    """The layer is not what was written."""
    COPIED = "copied"
    """The store's copy came from another store, and was proved here."""
    COPYING = "copying"
    """A copy to this store is under way: the layers it names are in use."""
    PINNED = "pinned"
    UNPINNED = "unpinned"
    HELD = "held"
    """Under legal hold."""
    RELEASED = "released"
    REMOVED = "removed"
    """Marked by a prune: it will be removed when the time of grace is over."""
    KEPT = "kept"
    """That mark was taken back."""
    ACCEPTED = "accepted"
    """A person said that it is right as it is, whatever it lacks: later backups are judged from it on."""
    DRILLED = "drilled"
    """It was restored to prove that it can be."""
    OVERWRITING = "overwriting"
    """A restore is about to overwrite a tier; the subject of this and the next two is `restores`."""
    OVERWRITTEN = "overwritten"
    """That restore is done, and so is the tier."""
    SETTLED = "settled"
    """A person said that what an unfinished restore left is as it should be."""
    LOCKED = "locked"
    """The store itself refuses to remove it: `until` in the body says how long."""


STRICTER: Final = {
    NoteKind.DAMAGED,
    NoteKind.COPYING,
    NoteKind.PINNED,
    NoteKind.HELD,
    NoteKind.KEPT,
    NoteKind.LOCKED,
    NoteKind.OVERWRITING,
}
"""Kinds that only ever keep or doubt: they count whichever store they were written into."""

_OF_A_RESTORE: Final = {NoteKind.OVERWRITTEN, NoteKind.SETTLED}
"""Kinds that end a restore, which they name: so they are as true of it in any other store, or in one that has another
id by now. A restore may be the first that writes into a store, before it has one."""


class Note(Document):
    """One note; `at` orders the notes of a subject, `body` says more where its kind has more to say."""

    format: int
    store: str
    """The id of the store that it was written into; empty where that had none."""
    kind: NoteKind
    subject: str
    at: datetime
    body: dict[str, Any] = Field(default_factory=dict)


class NoteName(NamedTuple):
    """What a note's name says."""

    subject: str
    time: str
    kind: NoteKind

    @property
    def moment(self) -> datetime:
        """The time it says, to the second."""
        return datetime.fromisoformat(self.time).replace(tzinfo=UTC)


class NoteStore(Protocol):
    """The verbs of a store that notes need."""

    @property
    def url(self) -> str: ...

    def put(self, name: str, parts: Sequence[bytes]) -> None: ...

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes: ...

    def list(self, prefix: str) -> Iterable[Any]: ...


class NoteBook:
    """Adds and reads the notes of one store; `ignored` are those of the last reading that nothing vouches for."""

    def __init__(self, store: NoteStore, signer: Signer) -> None:
        self._store, self._signer = store, signer
        self.ignored: list[Unreadable] = []

    def add(self, kind: NoteKind, subject: str, now: datetime, body: Mapping[str, Any] | None = None) -> Note:
        """Write a note; it is there for good. `body` holds what JSON can hold."""
        store = told_id(self._store, self._signer)
        note = Note(format=FORMAT_VERSION, store=store, kind=kind, subject=subject, at=now, body=dict(body or {}))
        data = _FORM.write(note, self._signer)
        try:
            self._store.put(note_name(note), [data])
        except ObjectExists:
            if document(self._store, note_name(note)) != data:
                with suppress(ObjectExists):  # the same, written again
                    self._store.put(note_name(note, f"-{blake3(data).hexdigest()[:6]}"), [data])
        return note

    def of(self, subject: str) -> list[Note]:
        """The notes of a backup or a layer, oldest first."""
        return list(self.named(subject).values())

    def named(self, subject: str) -> dict[str, Note]:
        """The same by their names."""
        return self._read(f"{NOTES}{subject}/")

    def all(self) -> list[Note]:
        """Every note of the store, oldest first."""
        return list(self._read(NOTES).values())

    def _read(self, prefix: str) -> dict[str, Note]:
        listed = [info for info in self._store.list(prefix) if parse_name(info.name)]
        names, here = [info.name for info in listed if info.regular], told_id(self._store, self._signer)
        self.ignored = [Unreadable(info.name, f"{info.name} is no file") for info in listed if not info.regular]
        with ThreadPoolExecutor(READ_THREADS, thread_name_prefix="notes") as pool:
            notes = zip(names, pool.map(lambda name: self._one(name, here), names), strict=True)
            return dict(sorted(((name, note) for name, note in notes if note), key=lambda pair: pair[1].at))

    def _one(self, name: str, here: str) -> Note | None:
        try:
            note, _ = parsed_note(name, document(self._store, name), self._signer)
            require_here(name, note, here)
        except ObjectNotFound:
            return None  # removed since it was listed
        except (IntegrityError, KeyringError) as error:
            self.ignored.append(unreadable(name, error))
            return None
        return note


def note_name(note: Note, suffix: str = "") -> str:
    """The name of a note in every store."""
    return f"{NOTES}{note.subject}/{note.at:{_TIME}}-{note.kind}{suffix}.json"


def parse_name(name: str) -> NoteName | None:
    """What a name says, or None where it is not that of a note."""
    found = _NAME.fullmatch(name)
    if found is None or found[3] not in list(NoteKind):
        return None
    told = NoteName(found[1], found[2], NoteKind(found[3]))
    try:
        _ = told.moment
    except ValueError:  # there is no such moment
        return None
    return told


def parsed_note(name: str, data: bytes, signer: Signer) -> tuple[Note, str]:
    """A note by its name and bytes, and the key that signed it; IntegrityError or KeyringError name it."""
    note, key_id = _FORM.read(Note, name, data, signer)
    if parse_name(name) != (note.subject, f"{note.at:{_TIME}}", note.kind):
        raise IntegrityError(f"the note {name} is one of {note.subject}, written as {note_name(note)}")
    return note, key_id


def store_id(store: NoteStore, signer: Signer) -> str:
    """The id by which a store's notes name it; empty where it has none.

    IntegrityError or KeyringError where what it says of itself cannot be trusted.
    """
    identity = IdentityBook(store, signer).read()
    return identity.store_id if identity else ""


def told_id(store: NoteStore, signer: Signer) -> str:
    """The same; empty too where what lies there cannot be trusted. A store that fails is an error."""
    try:
        return store_id(store, signer)
    except (IntegrityError, KeyringError, ObjectNotAFile):
        return ""


def require_here(name: str, note: Note, here: str) -> None:
    """IntegrityError where a note proves or lets go of something in another store than the one of this id.

    What keeps or doubts counts all the same: who exchanges a store's identity hides no damage by it. So does what ends
    a restore.
    """
    if note.store != here and note.kind not in STRICTER | _OF_A_RESTORE:
        raise IntegrityError(f"the note {name} was written into another store, and says nothing of this one")
