"""Manifests in a store: a backup exists if and only if its manifest does, and every manifest is signed."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from pydantic import ValidationError

from strata.catalog.canonical import canonical
from strata.errors import (
    BackupNotFound,
    IntegrityError,
    KeyringError,
    ObjectExists,
    ObjectNotFound,
    StoreUnavailable,
    StrataError,
)
from strata.model.backup_type import BackupType
from strata.model.context import BackupContext, BackupSummary, TierSummary
from strata.model.layer import LayerRef
from strata.model.manifest import FORMAT_VERSION, BackupMetadata, manifest_name

_PREFIX: Final = "manifests/"
_NOTES: Final = "notes/"
_GENERATION: Final = re.compile(rb'"generation":(\d{1,15})[,}]')
_SIGNED_AS: Final = b"strata manifest v0\n"
"""What is signed says what it is: a signature of anything else never makes a manifest."""

LATEST: Final = "latest"


class ManifestStore(Protocol):
    """The verbs of a store that manifests need."""

    @property
    def url(self) -> str: ...

    def put(self, name: str, parts: Sequence[bytes]) -> None: ...

    def get(self, name: str) -> bytes: ...

    def list(self, prefix: str) -> Iterable[Named]: ...


class Named(Protocol):
    """Anything of a listing that has a name."""

    @property
    def name(self) -> str: ...


class Signer(Protocol):
    """Signs and checks; a keyring does."""

    def sign(self, message: bytes) -> tuple[str, bytes]: ...

    def check(self, key_id: str, signature: bytes, message: bytes) -> None: ...


@dataclass(frozen=True)
class Unreadable:
    """A manifest that cannot be trusted, and why; it hides no other."""

    name: str
    reason: str
    retryable: bool = False
    """Whether it may be whole: the store did not answer when it was read."""
    generation: int = 0
    """The generation that its bytes still tell, though nothing vouches for it."""
    keyless: bool = False
    """Whether it may be whole: the keyring lacks the key that would check it."""


class BackupMetadataManager:
    """Writes, reads and finds the manifests of one store."""

    def __init__(self, store: ManifestStore, signer: Signer) -> None:
        self._store = store
        self._signer = signer
        self._summaries: dict[str, BackupSummary] = {}
        self._refs: dict[str, LayerRef] = {}

    def save(self, metadata: BackupMetadata) -> None:
        """Commit a backup: sign its manifest and put it, once. Nothing may fail after this."""
        body = canonical(metadata.model_dump(mode="json"))
        key_id, signature = self._signer.sign(_SIGNED_AS + body)
        self._store.put(manifest_name(metadata.backup_id), [_whole(body, key_id, signature)])

    def load(self, backup_id: str) -> BackupMetadata:
        """The manifest of a full id; BackupNotFound or IntegrityError name it."""
        try:
            return self._parse(manifest_name(backup_id), self._store.get(manifest_name(backup_id)))
        except ObjectNotFound:
            raise BackupNotFound(
                f"there is no backup {backup_id} in {self._store.url}", hint="`strata list` shows what is there."
            ) from None

    def history(self) -> tuple[list[BackupMetadata], list[Unreadable]]:
        """Every backup of the store, newest first, and the manifests that cannot be read."""
        good: list[BackupMetadata] = []
        bad: list[Unreadable] = []
        for name in sorted((info.name for info in self._store.list(_PREFIX)), reverse=True):
            data = b""
            try:
                data = self._store.get(name)
                good.append(self._parse(name, data))
            except StrataError as error:
                told = _GENERATION.search(data)
                bad.append(
                    Unreadable(
                        name,
                        error.sentence,
                        error.retryable,
                        int(told[1]) if told else 0,
                        isinstance(error, KeyringError),
                    )
                )
        good.sort(key=lambda metadata: (metadata.generation, metadata.created_at), reverse=True)
        return good, bad

    def context(self) -> BackupContext:
        """The baselines: a summary of every readable backup. A manifest is read once by a process: it never changes."""
        names = {info.name for info in self._store.list(_PREFIX)}
        for name in [name for name in self._summaries if name not in names]:
            del self._summaries[name]
        for name in names - self._summaries.keys():
            with suppress(IntegrityError, KeyringError, ObjectNotFound):  # one that cannot be trusted is no baseline
                self._summaries[name] = self._summary(self._parse(name, self._store.get(name)))
        return BackupContext.of(self._summaries.values())

    def note_damaged(self, layer_id: str, now: datetime) -> None:
        """Note beside the backups that a layer is not what was written: nothing will be built on it any more."""
        with suppress(ObjectExists):
            body = canonical({"layer_id": layer_id, "noted_at": f"{now:%Y-%m-%dT%H:%M:%SZ}"})
            self._store.put(f"{_NOTES}{layer_id}/{now:%Y%m%dT%H%M%S}-damaged.json", [body + b"\n"])

    def damaged_layers(self) -> set[str]:
        """The layers of which that was noted."""
        names = (info.name.removeprefix(_NOTES) for info in self._store.list(_NOTES))
        return {name.partition("/")[0] for name in names if name.endswith("-damaged.json")}

    def resolve(self, reference: str, backup_type: BackupType | None = None) -> BackupMetadata:
        """The backup meant by a full id, a unique prefix of one, or `latest` (of a type, where one is given)."""
        if reference == LATEST:
            return self._latest(backup_type)
        ids = [info.name.removeprefix(_PREFIX).removesuffix(".json") for info in self._store.list(_PREFIX)]
        found = [reference] if reference in ids else sorted(name for name in ids if name.startswith(reference))
        if len(found) > 1:
            shown = ", ".join(found[:4]) + (", ..." if len(found) > 4 else "")  # noqa: PLR2004 - a handful
            raise BackupNotFound(f"{reference!r} could be any of {shown}", hint="Give more of the id.")
        if not found or not reference:
            raise BackupNotFound(
                f"there is no backup {reference!r} in {self._store.url}", hint="`strata list` shows what is there."
            )
        return self.load(found[0])

    def _latest(self, backup_type: BackupType | None) -> BackupMetadata:
        good, bad = self.history()
        unread = next((one for one in bad if one.retryable), None)
        if unread:  # it may be the latest: an older one must not pass for it
            raise StoreUnavailable(
                f"which backup is the latest cannot be told: {unread.reason}", hint="Try again, or name the backup."
            )
        found = next((one for one in good if backup_type in {None, one.backup_type}), None)
        # Ids sort by time; where a clock was set back, the damaged manifest may still tell its generation.
        newer = [
            one
            for one in bad
            if found and (one.name > manifest_name(found.backup_id) or one.generation > found.generation)
        ]
        if found and newer:  # nobody who asks for the latest means an older one without knowing
            raise _kind_of(newer[0])(
                f"the latest backup cannot be read: {newer[0].reason}",
                hint=f"Name an older one: the latest that can be read is {found.backup_id}.",
            )
        if found:
            return found
        if bad:
            raise _kind_of(bad[0])(
                f"no manifest in {self._store.url} can be read: {bad[0].reason}",
                hint="Bring back the keyring the backups were made with." if bad[0].keyless else "",
            )
        raise BackupNotFound(f"there is no backup in {self._store.url} yet", hint="Make one: `strata backup full`.")

    def _summary(self, backup: BackupMetadata) -> BackupSummary:
        return BackupSummary(
            backup_id=backup.backup_id,
            backup_type=backup.backup_type,
            generation=backup.generation,
            created_at=backup.created_at,
            fingerprint_key_id=backup.fingerprint_key_id,
            tiers=tuple(
                TierSummary(
                    tier=content.tier,
                    patterns=content.patterns,
                    records=content.records,
                    logical_bytes=content.logical_bytes,
                    stack=tuple(self._refs.setdefault(ref.digest, ref) for ref in content.stack),  # shared by many
                )
                for content in backup.tiers
            ),
        )

    def _parse(self, name: str, data: bytes) -> BackupMetadata:
        body, key_id, signature = _open(name, data)
        try:
            self._signer.check(key_id, signature, _SIGNED_AS + body)
            metadata = BackupMetadata.model_validate_json(body)
        except IntegrityError as error:
            raise IntegrityError(f"the manifest {name} is damaged or forged: {error.sentence}") from None
        except KeyringError as error:
            raise KeyringError(f"the manifest {name} cannot be checked: {error.sentence}", hint=error.hint) from None
        except ValidationError as error:
            raise IntegrityError(f"the manifest {name} lacks or misstates {error.error_count()} fields") from None
        if manifest_name(metadata.backup_id) != name:
            raise IntegrityError(f"the manifest {name} is that of {metadata.backup_id}")
        return metadata


def _kind_of(one: Unreadable) -> type[StrataError]:
    return KeyringError if one.keyless else IntegrityError


def _open(name: str, data: bytes) -> tuple[bytes, str, bytes]:
    """The manifest's body, its signing key's id and the signature; every byte of the file must be as it was written."""
    try:
        document = json.loads(data)
        body, seal, version = canonical(document["manifest"]), document["signature"], document["manifest"]["format"]
        key_id, signature = str(seal["key_id"]), base64.b64decode(seal["ed25519"], validate=True)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise IntegrityError(f"the manifest {name} is damaged: it is not the document that was written") from None
    if version != FORMAT_VERSION:
        raise IntegrityError(f"the manifest {name} has format version {version}; this Strata reads {FORMAT_VERSION}")
    if _whole(body, key_id, signature) != data:
        raise IntegrityError(f"the manifest {name} is damaged: its bytes are not those that were written")
    return body, key_id, signature


def _whole(body: bytes, key_id: str, signature: bytes) -> bytes:
    seal = canonical({"ed25519": base64.b64encode(signature).decode(), "key_id": key_id})
    return b'{"manifest":' + body + b',"signature":' + seal + b"}\n"
