"""Notes of damage: a layer that is found not to be what was written is built on no more.

Whoever reads layers of other backups for a new one, reads them through here. The run that finds the damage fails, by
name; the next one plans around it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from strata.catalog.metadata import BackupMetadataManager
from strata.clock import Clock
from strata.content.index import SortedRows
from strata.errors import LOST, KeyringError, StorageError


@dataclass(frozen=True)
class DamageNotes:
    """The notes of one store."""

    metadata: BackupMetadataManager
    clock: Clock

    @property
    def layers(self) -> set[str]:
        """The layers of which damage was noted."""
        return self.metadata.damaged_layers()

    def note(self, layer_id: str) -> None:
        """Note a layer; where that fails, the damage itself is what is told."""
        with suppress(StorageError, KeyringError):
            self.metadata.note_damaged(layer_id, self.clock.now())

    @contextmanager
    def watching(self, layer_id: str) -> Iterator[None]:
        """Note the layer where what is read of it is damaged or gone; the error goes on."""
        try:
            yield
        except LOST:
            self.note(layer_id)
            raise

    def watched(self, rows: SortedRows, layer_id: str) -> SortedRows:
        """The same rows of a layer's index, read while watching."""

        def read(number: int) -> object:
            with self.watching(layer_id):
                return rows.read(number)

        return replace(rows, read=read)
