"""What the catalogue keeps of one manifest: all that listing and planning ask, a hundredth of the manifest's size."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from strata.catalog.notes import Note
from strata.model.backup_type import BackupType
from strata.model.coverage import Coverage
from strata.model.manifest import BackupMetadata


class Stamp(NamedTuple):
    """What a listing says of an object: where it differs, the object is another one."""

    size: int
    modified: int
    """Microseconds since 1970."""


class Row(NamedTuple):
    """One manifest in sum."""

    backup_id: str
    backup_type: BackupType
    generation: int
    created_at: datetime
    recorded_at: datetime
    parent: str | None
    covers: tuple[Coverage, ...]
    records: int
    logical_bytes: int
    added_bytes: int
    stacked_bytes: int
    store_id: str
    """The store it was made in."""
    installation: str
    """Who made it."""
    sealed_by: str
    """The key that wraps its data key."""
    layers: tuple[str, ...]
    """Those of its stacks, and last those that only lend chunks."""
    lenders: int
    """How many only lend chunks."""

    @property
    def stacked(self) -> tuple[str, ...]:
        """The layers of its stacks."""
        return self.layers[: len(self.layers) - self.lenders] if self.lenders else self.layers

    @property
    def lent(self) -> tuple[str, ...]:
        """The layers that only lend chunks."""
        return self.layers[len(self.layers) - self.lenders :] if self.lenders else ()


class LayerFacts(NamedTuple):
    """One layer in sum."""

    stored_bytes: int
    begun: datetime
    """When the backup began that wrote it."""


class Entered(NamedTuple):
    """A manifest's row or a note, with the key that signed it: once verified, for good."""

    stamp: Stamp
    key_id: str
    value: Row | Note


class Kept(NamedTuple):
    """What is known of one store: by name, and the layers by id."""

    rows: dict[str, Entered]
    notes: dict[str, Entered]
    layers: dict[str, LayerFacts]


def row_of(manifest: BackupMetadata) -> tuple[Row, dict[str, LayerFacts]]:
    """A manifest's row, and its layers."""
    stacked = {layer.layer_id: layer for tier in manifest.tiers for layer in tier.stack}
    lent = {layer.layer_id: layer for layer in manifest.borrowed if layer.layer_id not in stacked}
    facts = {one.layer_id: LayerFacts(one.stored_bytes, one.created_at) for one in (*stacked.values(), *lent.values())}
    row = Row(
        backup_id=manifest.backup_id,
        backup_type=manifest.backup_type,
        generation=manifest.generation,
        created_at=manifest.created_at,
        recorded_at=manifest.recorded_at,
        parent=manifest.parent,
        covers=manifest.covers,
        records=manifest.records,
        logical_bytes=manifest.logical_bytes,
        added_bytes=manifest.added_bytes,
        stacked_bytes=manifest.stacked_bytes,
        store_id=manifest.store_id,
        installation=manifest.installation,
        sealed_by=manifest.key_id,
        layers=tuple(facts),
        lenders=len(lent),
    )
    return row, facts
