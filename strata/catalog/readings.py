"""Readings: when each layer of a store was last read back there and proved, and what damage is noted of it since.

A layer is read when it is written, whole, and again by whatever reads it whole: a backup that reads all that it builds
on, a copy of what it brings, `strata verify`. To look that its objects are there is no reading. Each reading counts
from the moment when it began: damage that was noted meanwhile stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from strata.catalog.notes import Note, NoteKind
from strata.catalog.row import LayerFacts, Row
from strata.model.backup_type import RULES, Reads
from strata.model.layer import Document
from strata.model.manifest import BackupMetadata

_TELLING: Final = {NoteKind.VERIFIED, NoteKind.DRILLED, NoteKind.COPIED}
"""The kinds of notes that may tell of a reading."""

_MEMBER: Final = "read"


class Reading(Document):
    """What was read back from a store and proved, as notes tell it."""

    began: datetime
    layers: tuple[str, ...]
    """The layers that were read whole."""
    chunks_of: tuple[str, ...] = ()
    """Layers of which the chunks and their index were read, and nothing else."""

    @classmethod
    def of_backup(cls, manifest: BackupMetadata, began: datetime) -> Reading:
        """All that a restore of the backup would read: its stacks whole, and the chunks of what they borrow from."""
        stacked = dict.fromkeys(ref.layer_id for tier in manifest.tiers for ref in tier.stack)
        lent = dict.fromkeys(ref.layer_id for ref in manifest.borrowed if ref.layer_id not in stacked)
        return cls(began=began, layers=tuple(stacked), chunks_of=tuple(lent))

    @property
    def body(self) -> dict[str, Any]:
        """The member of a note's body that tells of it."""
        return {_MEMBER: self.model_dump(mode="json")}


def reading_of(note: Note) -> Reading | None:
    """The reading that a note tells of, if it does."""
    told = note.body.get(_MEMBER) if note.kind in _TELLING else None
    try:
        began, layers = datetime.fromisoformat(told["began"]), tuple(told["layers"])  # type: ignore[index]
        chunks_of = tuple(told["chunks_of"])  # type: ignore[index]
    except (TypeError, KeyError, ValueError):
        return None
    return Reading.model_construct(began=began, layers=layers, chunks_of=chunks_of) if began.tzinfo else None


class Readings:
    """The readings of one store's layers, and the damage that is noted of them."""

    def __init__(self) -> None:
        self._whole: dict[str, datetime] = {}
        self._chunks: dict[str, datetime] = {}
        self._noted: dict[str, datetime] = {}

    def made(self, rows: Iterable[Row], layers: Mapping[str, LayerFacts]) -> None:
        """Hear of backups that were made in the store: each of their layers was read back there when it was written.

        Those that read all that they build on read these again.
        """
        here = list(rows)
        for layer_id in set[str]().union(*(row.layers for row in here)):
            _later(self._whole, layer_id, layers[layer_id].begun)
        for row in here:
            if RULES[row.backup_type].reads is Reads.EVERYTHING:
                for layer_id in row.layers:
                    _later(self._whole, layer_id, row.created_at)

    def feared(self, layer_id: str, moment: datetime) -> None:
        """Hear of damage that somebody noted without a signature."""
        _later(self._noted, layer_id, moment)

    def noted(self, notes: Iterable[Note]) -> None:
        """Hear of notes, in any order."""
        for note in notes:
            if note.kind is NoteKind.DAMAGED:
                _later(self._noted, note.subject, note.at)
            elif reading := reading_of(note):
                _later(self._whole, note.subject, reading.began)  # of a backup: its manifest was read
                for layer_id in reading.layers:
                    _later(self._whole, layer_id, reading.began)
                for layer_id in reading.chunks_of:
                    _later(self._chunks, layer_id, reading.began)

    def oldest(self, row: Row) -> datetime | None:
        """When the layer of a backup was read that was not read for the longest time; None where one never was."""
        try:  # 60 ns a layer: thousands of backups have dozens
            oldest = min(map(self._whole.__getitem__, row.stacked), default=None)
        except KeyError:
            return None
        if not row.lenders:
            return oldest
        lent = [self._of_chunks(layer_id) for layer_id in row.lent]
        return None if None in lent else min(filter(None, (oldest, *lent)))

    def looked_at(self, layer_id: str, *, whole: bool) -> datetime | None:
        """When a layer (or what it lends) was last read, or last found to be damaged; None where neither ever was."""
        read = self._whole.get(layer_id) if whole else self._of_chunks(layer_id)
        return max(filter(None, (read, self._noted.get(layer_id))), default=None)

    def damaged(self, row: Row) -> bool:
        """Whether damage is noted of its manifest or of a layer that it needs, and no later reading took it back."""
        if not self._noted:
            return False
        return any(self._stands(one, self._whole.get(one)) for one in (row.backup_id, *row.stacked)) or any(
            self._stands(one, self._of_chunks(one)) for one in row.lent
        )

    def damaged_layers(self) -> set[str]:
        """The layers of which that stands, and the backups of whose manifest it does."""
        return {one for one in self._noted if self._stands(one, self._whole.get(one))}

    def _of_chunks(self, layer_id: str) -> datetime | None:
        return max(filter(None, (self._whole.get(layer_id), self._chunks.get(layer_id))), default=None)

    def _stands(self, layer_id: str, read: datetime | None) -> bool:
        noted = self._noted.get(layer_id)
        return noted is not None and (read is None or read < noted)


def _later(moments: dict[str, datetime], name: str, moment: datetime) -> None:
    if name not in moments or moments[name] < moment:
        moments[name] = moment
