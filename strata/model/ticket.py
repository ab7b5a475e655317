"""What each stage leaves for the next: names of bytes, counts and sums, never the bytes.

`Collected -> Merged -> Compressed -> Sealed -> Stored -> Verified`: each stage takes the type before its own, so a
wrong order does not type-check. The documents lie in the run ledger; through the broker goes only the run's id and
the unit's name.
"""

from __future__ import annotations

from typing import Any

from strata.model.layer import Document, LayerRef, ObjectKind, StoredObject, object_name
from strata.model.manifest import Changes
from strata.model.tier import Tier


class Unit(Document):
    """One object on its way to a store; the unit of compress, encrypt and store."""

    tier: Tier
    kind: ObjectKind
    seq: int

    @property
    def label(self) -> str:
        """How messages and the ledger call it: `hot/segment/3`."""
        return f"{self.tier}/{self.kind}/{self.seq}"

    def name_in(self, layer_id: str) -> str:
        """Its name in a store."""
        return object_name(layer_id, self.kind, self.seq)


class Baselined(Document):
    """What the parent holds of a tier lies in the spool: sorted rows without values, and a document on its source."""

    tier: Tier
    stack: tuple[LayerRef, ...]
    objects: tuple[str, ...]
    rows: int
    about: str


class KnownChunks(Document):
    """Chunks that the store holds already are listed in the spool, each with one of these layers."""

    objects: tuple[str, ...]
    layers: tuple[LayerRef, ...]


class Spooled(Document):
    """One object in the spool: its name there, what it holds, and the sum that proves it."""

    unit: Unit
    name: str
    rows: int
    raw_bytes: int
    checksum: str
    chunked: int = 0
    """Of the rows those whose values are in chunks."""
    listed: bool = True
    """False for a segment that becomes compact: its records go into no index."""


class Collected(Document):
    """A tier was read: its raw objects, the index parts, and the document that describes the source."""

    tier: Tier
    objects: tuple[Spooled, ...]
    index_parts: tuple[str, ...]
    description: str
    cut: dict[str, Any]
    records: int
    logical_bytes: int
    borrowed: tuple[str, ...] = ()
    """Layers of other backups that hold chunks of its values."""
    missing: str = ""
    """Why the tier could not be read, in a backup that goes on without it: in words that name no host."""
    failure: str = ""
    """The same, as the source said it."""


class TierMerged(Document):
    """A tier's part of a merge: what will be stored, and the selections that drop rows (by segment number)."""

    tier: Tier
    objects: tuple[Spooled, ...]
    selections: dict[str, str]
    """By unit, the spooled document that lists what of it is not to be stored."""
    stack: tuple[LayerRef, ...]
    """The parent's layers, which this one comes to lie on."""
    records: int
    """Records of the view."""
    kept: int
    """Records of the layer."""
    tombstones: int
    logical_bytes: int
    """Bytes of the view's values."""
    kept_bytes: int
    """Bytes of the layer's values."""
    changes: Changes | None
    borrowed: tuple[str, ...] = ()
    """Layers of other backups that hold chunks of its values."""
    lenders: tuple[Tier, ...] = ()
    """Other tiers of this backup that do."""


class Merged(Document):
    """The tiers were compared and merged: the whole list of what is to be stored."""

    tiers: tuple[TierMerged, ...]

    @property
    def objects(self) -> tuple[Spooled, ...]:
        """Every object of every tier."""
        return tuple(spooled for tier in self.tiers for spooled in tier.objects)

    def find(self, label: str) -> Spooled:
        """The object of one unit."""
        return next(spooled for spooled in self.objects if spooled.unit.label == label)

    def selection(self, unit: Unit) -> str | None:
        """The spooled selection that applies to a unit, if any."""
        tier = next(part for part in self.tiers if part.tier is unit.tier)
        return tier.selections.get(unit.label)


class Compressed(Spooled):
    """A unit was compressed."""


class Sealed(Spooled):
    """A unit was encrypted under the backup's data key: what will be stored, and where in the spool it is."""

    stored: StoredObject


class Stored(Document):
    """A unit is in the store; `checksum` as it was spooled."""

    unit: Unit
    stored: StoredObject
    checksum: str
    chunked: int = 0


class Verified(Document):
    """Every object was read back from the store and is what was collected."""

    objects: int
    records: int
    bytes: int
