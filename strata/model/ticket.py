"""What each stage leaves for the next: names of bytes, counts and sums, never the bytes.

`Collected -> Merged -> Compressed -> Sealed -> Stored -> Verified`: each stage takes the type before its own, so a
wrong order does not type-check. The documents lie in the run ledger; through the broker goes only the run's id and
the unit's name.
"""

from __future__ import annotations

from typing import Any

from strata.model.layer import Document, ObjectKind, StoredObject, object_name
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


class Spooled(Document):
    """One object in the spool: its name there, what it holds, and the sum that proves it."""

    unit: Unit
    name: str
    rows: int
    raw_bytes: int
    checksum: str


class Collected(Document):
    """A tier was read: its raw objects, the index parts, and the document that describes the source."""

    tier: Tier
    objects: tuple[Spooled, ...]
    index_parts: tuple[str, ...]
    description: str
    cut: dict[str, Any]
    records: int
    logical_bytes: int


class TierMerged(Document):
    """A tier's part of a merge: what will be stored, and the selections that drop rows (by segment number)."""

    tier: Tier
    objects: tuple[Spooled, ...]
    selections: dict[int, str]
    records: int
    tombstones: int
    logical_bytes: int


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
        return tier.selections.get(unit.seq) if unit.kind is ObjectKind.SEGMENT else None


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


class Verified(Document):
    """Every object was read back from the store and is what was collected."""

    objects: int
    records: int
    bytes: int
