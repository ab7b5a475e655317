"""The manifest's sealed part: what describes each tier's source."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from strata.errors import IntegrityError
from strata.model.layer import ObjectKind
from strata.model.manifest import BackupMetadata
from strata.model.record import NOT_HELD, PARTS
from strata.model.tier import Tier
from strata.planning.parts import names_lost
from strata.seal.compression import CompressionService
from strata.seal.frame import Compression, FrameKey, FrameWriter, Header, open_whole
from strata.seal.keyring import Keyring

_LEVEL = 3


def seal_details(key: FrameKey, backup_id: str, descriptions: Mapping[str, Any]) -> str:
    """The descriptions, by tier, as they stand in a manifest."""
    sealed = bytearray()
    writer = FrameWriter(key, ObjectKind.DOCUMENT, backup_id, 0, Compression.ZSTD, sealed.extend)
    data = json.dumps(descriptions, sort_keys=True, separators=(",", ":")).encode()
    writer.add(CompressionService(_LEVEL).compress(data), len(data), 1)
    writer.finish()
    return base64.b64encode(sealed).decode()


def open_details(keyring: Keyring, manifest: BackupMetadata) -> dict[str, Any]:
    """The descriptions, by tier, of a manifest; IntegrityError names it."""
    try:
        return open_sealed(keyring, manifest.backup_id, manifest.key_id, manifest.wrapped_key, manifest.details)
    except IntegrityError as error:
        raise IntegrityError(f"the manifest of {manifest.backup_id} is damaged: {error.sentence}") from None


def open_sealed(keyring: Keyring, owner: str, key_id: str, wrapped_key: str, details: str) -> dict[str, Any]:
    """The sealed part of a signed document of `owner`; IntegrityError says what is wrong with it."""

    def key_for(header: Header) -> FrameKey:
        if (header.kind, header.owner) != (ObjectKind.DOCUMENT, owner):
            raise IntegrityError("its sealed part belongs elsewhere")
        return FrameKey(keyring.unwrap(key_id, base64.b64decode(wrapped_key)).secret)

    try:
        (document,) = open_whole(base64.b64decode(details), key_for)
        opened: dict[str, Any] = json.loads(document)
    except ValueError:
        raise IntegrityError("its sealed part is damaged") from None
    return opened


def not_held(descriptions: Mapping[str, Any]) -> dict[Tier, list[str]]:
    """By tier, what could not come back into an empty service because something that it needs is not in the backup."""
    found = {Tier(name): description.get(NOT_HELD) for name, description in descriptions.items()}
    return {tier: list(sentences) for tier, sentences in found.items() if sentences}


def parts_lost(before: Mapping[str, Any], now: Mapping[str, Any], tier: Tier) -> list[str]:
    """The names of the parts of a tier that one backup's descriptions tell and another's do not."""
    return names_lost(tier, before.get(tier, {}).get(PARTS, ()), now.get(tier, {}).get(PARTS, ()))


def reasons_of(descriptions: Mapping[str, Any], backup_id: str) -> list[str]:
    """The same for a manifest, whose reasons anyone may read: how many, and where to see what."""
    return [
        f"{tier.label} could not come back whole into an empty database: it needs {_things(len(sentences))} not "
        f"in the backup (strata show {backup_id})"
        for tier, sentences in not_held(descriptions).items()
    ]


def _things(number: int) -> str:
    return "1 thing that is" if number == 1 else f"{number} things that are"
