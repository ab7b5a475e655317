"""Manifests in a store: a backup exists if and only if its manifest does, and every manifest is signed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from typing import Final, Protocol

from strata.catalog.documents import document
from strata.catalog.notes import ACCEPTED_MANIFEST, NOTES, READ_THREADS, Note, NoteBook, NoteKind, note_name, parse_name
from strata.catalog.readings import Readings
from strata.catalog.signed import SignedForm, Signer
from strata.catalog.unreadable import Unreadable, unreadable
from strata.errors import BackupNotFound, IntegrityError, KeyringError, ObjectDenied, ObjectNotFound, StrataError
from strata.model.context import BackupContext, BackupSummary, TierSummary
from strata.model.layer import LayerRef
from strata.model.manifest import BackupMetadata, manifest_name

MANIFESTS: Final = "manifests/"
MANIFEST: Final = SignedForm("manifest")

_NAME: Final = re.compile(r"manifests/[A-Za-z0-9._-]+\.json")
_GENERATION: Final = re.compile(rb'"generation":(\d{1,15})[,}]')


class ManifestStore(Protocol):
    """The verbs of a store that manifests need."""

    @property
    def url(self) -> str: ...

    def put(self, name: str, parts: Sequence[bytes]) -> None: ...

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes: ...

    def list(self, prefix: str) -> Iterable[Named]: ...


class Named(Protocol):
    """Anything of a listing: its name, and whether it is an object at all."""

    @property
    def name(self) -> str: ...

    @property
    def regular(self) -> bool: ...


class BackupMetadataManager:
    """Writes, reads and finds the manifests of one store."""

    def __init__(self, store: ManifestStore, signer: Signer) -> None:
        self._store = store
        self._signer = signer
        self._summaries: dict[str, BackupSummary] = {}
        self._refs: dict[str, LayerRef] = {}
        self._parts: dict[tuple[str, ...], tuple[str, ...]] = {}
        self.listed: frozenset[str] = frozenset()
        """The backups that the store listed when the context was last read."""
        self.denied: dict[str, str] = {}
        """The manifests that the store did not let this user read then, and why; nothing is built on them."""

    def save(self, metadata: BackupMetadata) -> None:
        """Commit a backup: sign its manifest and put it, once. Nothing may fail after this."""
        self._store.put(manifest_name(metadata.backup_id), [MANIFEST.write(metadata, self._signer)])

    def load(self, backup_id: str) -> BackupMetadata:
        """The manifest of a full id; BackupNotFound or IntegrityError name it."""
        try:
            return self.read(manifest_name(backup_id))
        except ObjectNotFound:
            raise BackupNotFound(
                f"there is no backup {backup_id} in {self._store.url}", hint="`strata list` shows what is there."
            ) from None

    def read(self, name: str) -> BackupMetadata:
        """The manifest of that name; ObjectNotFound, IntegrityError or KeyringError name it."""
        return self._parse(name, document(self._store, name))

    def proved(self, backup_id: str) -> tuple[BackupMetadata, bytes]:
        """The manifest of a full id, and the bytes that were read and checked."""
        name = manifest_name(backup_id)
        data = document(self._store, name)
        return self._parse(name, data), data

    def history(self) -> tuple[list[BackupMetadata], list[Unreadable]]:
        """Every backup of the store, newest first, and the manifests that cannot be read."""
        good: list[BackupMetadata] = []
        bad: list[Unreadable] = []
        for name in sorted(self._names(), reverse=True):
            data = b""
            try:
                data = document(self._store, name)
                good.append(self._parse(name, data))
            except StrataError as error:
                bad.append(unreadable(name, error, generation_told(data)))
        good.sort(key=lambda metadata: (metadata.generation, metadata.created_at), reverse=True)
        return good, bad

    def context(self) -> BackupContext:
        """The baselines: a summary of every readable backup. A manifest is read once by a process: it never changes."""
        return BackupContext.of(self._known())

    def judged(self) -> list[BackupSummary]:
        """The same summaries, and which of them people accepted, in no order."""
        known = self._known()
        accepted = self._accepted() if known else {}
        return [one.model_copy(update={"accepted": True}) if one.backup_id in accepted else one for one in known]

    def _known(self) -> list[BackupSummary]:
        listed = [info for info in self._store.list(MANIFESTS) if is_manifest(info.name)]
        self.listed = frozenset(backup_id_of(info.name) for info in listed)
        names = {info.name for info in listed if info.regular}
        for name in [name for name in self._summaries if name not in names]:
            del self._summaries[name]
        self.denied = {}
        with ThreadPoolExecutor(READ_THREADS, thread_name_prefix="manifests") as pool:
            list(pool.map(self._summarise, names - self._summaries.keys()))
        if self.denied and not self._summaries:  # not one of another owner: the right to read is missing
            self.read(min(self.denied))
        return list(self._summaries.values())

    def accepted(self) -> list[BackupSummary]:
        """The accepted backups of this store whose note names the manifest, as other stores may go by them."""
        found: list[BackupSummary] = []
        for backup_id, digests in self._accepted().items():
            with suppress(IntegrityError, KeyringError, ObjectDenied, ObjectNotFound):
                if (one := self._summary(manifest_name(backup_id))).digest in digests:
                    found.append(one.model_copy(update={"accepted": True}))
        return found

    def digest(self, backup_id: str) -> str:
        """The digest by which a note names the manifest of a backup."""
        name = manifest_name(backup_id)
        return MANIFEST.digest(name, document(self._store, name))

    def _accepted(self) -> dict[str, set[object]]:
        """The backups that a note which may be read and trusted says were accepted, with the digests that it names."""
        notes = [note for info in self._store.list(NOTES) if (note := parse_name(info.name))]
        named = {note.subject for note in notes if note.kind is NoteKind.ACCEPTED}
        found = dict[str, set[object]]()
        for told in (one for subject in named for one in self._notes_of(subject) if one.kind is NoteKind.ACCEPTED):
            found.setdefault(told.subject, set()).add(told.body.get(ACCEPTED_MANIFEST))
        return found

    def _notes_of(self, subject: str) -> list[Note]:
        """The notes of a subject; none where one of them may not be read."""
        with suppress(ObjectDenied):
            return NoteBook(self._store, self._signer).of(subject)
        return []

    def note_damaged(self, layer_id: str, now: datetime) -> None:
        """Note beside the backups that a layer is not what was written: nothing will be built on it any more."""
        NoteBook(self._store, self._signer).add(NoteKind.DAMAGED, layer_id, now)

    def damaged_layers(self) -> set[str]:
        """The layers of which that was noted, and not taken back by a later reading that is noted of the layer.

        By the names of notes of damage, whoever wrote them: a false one costs bytes, and nothing else. What takes
        damage back is signed.
        """
        listed = [note for info in self._store.list(NOTES) if (note := parse_name(info.name))]
        damages = {note for note in listed if note.kind is NoteKind.DAMAGED}
        readings = Readings()
        for subject in {note.subject for note in damages}:
            notes = self._notes_of(subject)
            readings.noted(notes)
            damages -= {name for note in notes if (name := parse_name(note_name(note)))}
        for name in damages:  # nobody vouches for these, nor for when in their second they were written
            readings.feared(name.subject, name.moment.replace(microsecond=999_999))
        return readings.damaged_layers()

    def _names(self) -> set[str]:
        return {info.name for info in self._store.list(MANIFESTS) if is_manifest(info.name)}

    def _summarise(self, name: str) -> None:
        with suppress(IntegrityError, KeyringError, ObjectNotFound):  # one that cannot be trusted is no baseline
            try:
                self._summaries[name] = self._summary(name)
            except ObjectDenied as error:
                self.denied[name] = error.sentence

    def _summary(self, name: str) -> BackupSummary:
        data = document(self._store, name)
        backup = self._parse(name, data)
        return BackupSummary(
            backup_id=backup.backup_id,
            digest=MANIFEST.digest(name, data),
            installation=backup.installation,
            backup_type=backup.backup_type,
            generation=backup.generation,
            created_at=backup.created_at,
            fingerprint_key_id=backup.fingerprint_key_id,
            tiers=tuple(
                TierSummary(
                    tier=content.tier,
                    source=content.source,
                    patterns=content.patterns,
                    records=content.records,
                    logical_bytes=content.logical_bytes,
                    stack=tuple(self._refs.setdefault(ref.digest, ref) for ref in content.stack),  # shared by many
                    torn=content.torn,
                    half=content.half,
                    parts=self._parts.setdefault(content.parts, content.parts),
                )
                for content in backup.tiers
            ),
        )

    def _parse(self, name: str, data: bytes) -> BackupMetadata:
        return parsed(name, data, self._signer)[0]


def parsed(name: str, data: bytes, signer: Signer) -> tuple[BackupMetadata, str]:
    """A manifest by its name and bytes, and the key that signed it; IntegrityError or KeyringError name it."""
    metadata, key_id = MANIFEST.read(BackupMetadata, name, data, signer)
    if manifest_name(metadata.backup_id) != name:
        raise IntegrityError(f"the manifest {name} is that of {metadata.backup_id}")
    return metadata, key_id


def backup_id_of(name: str) -> str:
    """The id of the backup whose manifest has that name."""
    return name.removeprefix(MANIFESTS).removesuffix(".json")


def is_manifest(name: str) -> bool:
    """Whether a name is one that a manifest can have; anything else below `manifests/` is not ours, and no backup."""
    return _NAME.fullmatch(name) is not None


def generation_told(data: bytes) -> int:
    """The generation that a manifest's bytes tell, though nothing may vouch for it; 0 for none."""
    told = _GENERATION.search(data)
    return int(told[1]) if told else 0
