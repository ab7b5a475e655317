"""Layers and the stored objects they are made of."""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict

from strata.model.tier import Tier


class Document(BaseModel):
    """Base of every frozen value that is written down as JSON; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ObjectKind(StrEnum):
    """What a sealed object holds."""

    SEGMENT = "segment"
    """Records."""
    INDEX = "index"
    """Keys and fingerprints of a layer, sorted by key hash."""
    PACK = "pack"
    """Chunks of large values."""
    CHUNK_INDEX = "chunk-index"
    """Which pack holds which chunk."""
    DOCUMENT = "document"
    """One small JSON document."""


class LayerKind(StrEnum):
    """Whether a layer stands alone."""

    BASE = "base"
    DELTA = "delta"


class StoredObject(Document):
    """One object of a layer in a store; sizes in bytes, `digest` the BLAKE3 of the sealed bytes in hex."""

    name: str
    kind: ObjectKind
    seq: int
    rows: int
    raw_bytes: int
    size: int
    digest: str
    proof: str
    """What its rows must add up to (see docs/format.md): 16 bytes in hex, meaningless without the keyring."""
    listed: bool
    """False for a compact segment, whose records the index does not list; true for every other object."""


class LayerRef(Document):
    """A layer as a manifest names it: what its document says in sum, and the document's BLAKE3 in hex."""

    layer_id: str
    backup_id: str
    created_at: datetime
    tier: Tier
    kind: LayerKind
    fingerprint_key_id: str
    records: int
    tombstones: int
    chunked: int
    logical_bytes: int
    stored_bytes: int
    objects: int
    digest: str


class Layer(Document):
    """What one backup wrote for one tier: the document that lies beside its objects."""

    format: int
    layer_id: str
    backup_id: str
    """The backup that wrote it."""
    created_at: datetime
    tier: Tier
    kind: LayerKind
    fingerprint_key_id: str
    records: int
    tombstones: int
    chunked: int
    """Records whose values are in chunks."""
    logical_bytes: int
    """Bytes of the values, before chunking and compression."""
    objects: tuple[StoredObject, ...]
    borrows: tuple[LayerRef, ...] = ()
    """Other layers that hold chunks of its values."""

    @property
    def stored_bytes(self) -> int:
        """Bytes its objects take in a store."""
        return sum(stored.size for stored in self.objects)

    def of_kind(self, kind: ObjectKind) -> tuple[StoredObject, ...]:
        """Its objects of one kind, by sequence number."""
        return tuple(stored for stored in self.objects if stored.kind is kind)


_SUFFIX = {ObjectKind.SEGMENT: "seg", ObjectKind.INDEX: "idx", ObjectKind.CHUNK_INDEX: "cdx"}


def object_name(layer_id: str, kind: ObjectKind, seq: int) -> str:
    """The name of a layer's object in every store: packs lie in `chunks/`, all else below the layer."""
    if kind is ObjectKind.PACK:
        return f"chunks/{layer_id}-{seq:06d}.pack"
    return f"layers/{layer_id}/{seq:06d}.{_SUFFIX[kind]}"


def layer_document_name(layer_id: str) -> str:
    """The name of a layer's document in every store."""
    return f"layers/{layer_id}/layer.json"


_ID: Final = r"([A-Za-z0-9-]{1,48}-(?:hot|warm|cold))"
_OF_LAYER: Final = re.compile(
    rf"layers/{_ID}/(?:layer\.json|[0-9]{{6,}}\.(?:seg|idx|cdx))|chunks/{_ID}-[0-9]{{6,}}\.pack", re.ASCII
)


def layer_of_object(name: str) -> str | None:
    """The layer that an object's name says it belongs to; None where it is not a name that we give."""
    found = _OF_LAYER.fullmatch(name)
    return (found[1] or found[2]) if found else None
