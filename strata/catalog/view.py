"""What the catalogue says over all stores at one moment: entries with their copies, what was not told, and sums."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Final

from strata.catalog.last_read import readings_of
from strata.catalog.notes import Note, NoteKind
from strata.catalog.row import Row
from strata.catalog.shelf import Gone, Shelf
from strata.catalog.unreadable import Unreadable
from strata.model.backup_type import BackupType
from strata.model.copies import BackupStatus, CatalogueEntry, Copy
from strata.model.layer import Document
from strata.model.tier import StorageTier
from strata.planning.goodness import Judgement


class Sum(Document):
    """Backups in sum: `stored_bytes` counts each layer once for each store."""

    backups: int = 0
    logical_bytes: int = 0
    stored_bytes: int = 0

    @property
    def ratio(self) -> float | None:
        """How often the stored bytes go into the logical ones; None where nothing is stored."""
        return self.logical_bytes / self.stored_bytes if self.stored_bytes else None


class Statistics(Document):
    """What all stores hold: over all, for each type, for each store.

    Backups and logical bytes over all and for a type count each backup once, for a store each copy there. A layer that
    several backups name counts for the type of the oldest of them, which wrote it unless that one is gone.
    """

    all: Sum
    types: dict[BackupType, Sum]
    stores: dict[StorageTier, Sum]


@dataclass(frozen=True)
class View:
    """The catalogue at one moment, newest backup first."""

    entries: list[CatalogueEntry]
    unreadable: list[Unreadable]
    """What a store did not give or nothing vouches for; of a manifest that other stores give too, that copy."""
    ignored: list[Unreadable]
    """Notes that nothing vouches for; they have no effect."""
    silent: dict[StorageTier, str]
    """Stores that did not answer, and why: what lies there is not known."""
    gone: list[Gone] = field(default_factory=list)
    """Backups that disappeared, newest first."""
    shelves: list[Shelf] = field(repr=False, default_factory=list)

    @cached_property
    def judgement(self) -> Judgement:
        """Which of them are good."""
        return Judgement(self.entries)

    def entry(self, backup_id: str) -> CatalogueEntry | None:
        """The backup of a full id."""
        return next((one for one in self.entries if one.backup_id == backup_id), None)

    def find(
        self,
        *,
        backup_type: BackupType | None = None,
        status: BackupStatus | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        prefix: str = "",
        store: StorageTier | None = None,
    ) -> list[CatalogueEntry]:
        """The entries that fit all that is given; `since` counts itself, `until` does not."""
        return [
            one
            for one in self.entries
            if backup_type in {None, one.backup_type}
            and (status is None or self._is(one, status))
            and (since is None or one.created_at >= since)
            and (until is None or one.created_at < until)
            and one.backup_id.startswith(prefix)
            and (store is None or one.copy_in(store) is not None)
        ]

    def _is(self, entry: CatalogueEntry, status: BackupStatus) -> bool:
        doubtful = status is BackupStatus.DOUBTFUL
        return bool(self.judgement.doubts(entry)) if doubtful else status in entry.statuses

    def statistics(self) -> Statistics:
        """Everything in sum."""
        types: dict[BackupType, list[int]] = {}
        stores = {shelf.tier: [0, 0, 0] for shelf in self.shelves}
        layers = {shelf.tier: shelf.layers for shelf in self.shelves}
        counted: dict[StorageTier, set[str]] = {tier: set() for tier in stores}
        for entry in reversed(self.entries):
            kind = types.setdefault(entry.backup_type, [0, 0, 0])
            kind[0] += 1
            kind[1] += entry.logical_bytes
            for copy in entry.copies:
                shelf, seen = stores[copy.storage_tier], counted[copy.storage_tier]
                new = [layer_id for layer_id in entry.layers if layer_id not in seen]
                seen.update(new)
                stored = sum(layers[copy.storage_tier][layer_id].stored_bytes for layer_id in new)
                shelf[0] += 1
                shelf[1] += entry.logical_bytes
                shelf[2] += stored
                kind[2] += stored
        return Statistics(
            all=_sum([sum(column) for column in zip(*types.values(), strict=True)]),
            types={kind: _sum(types[kind]) for kind in BackupType if kind in types},
            stores={tier: _sum(figures) for tier, figures in stores.items()},
        )


def view_of(shelves: list[Shelf], silent: dict[StorageTier, str]) -> View:
    """The shelves' backups merged by id, in the order in which the shelves stand."""
    rows: dict[str, Row] = {}
    copies: dict[str, list[Copy]] = {}
    for shelf in shelves:
        copied = _Copies(shelf)
        for row in shelf.rows:
            rows.setdefault(row.backup_id, row)
            copies.setdefault(row.backup_id, []).append(copied.of(row))
    decided = _Decisions(note for shelf in shelves for note in shelf.notes)
    entries = [_entry(row, tuple(copies[backup_id]), decided) for backup_id, row in rows.items()]
    entries.sort(key=lambda one: (one.generation, one.created_at), reverse=True)
    return View(
        entries,
        [one for shelf in shelves for one in sorted(shelf.bad, key=lambda one: one.name, reverse=True)],
        [one for shelf in shelves for one in shelf.ignored],
        silent,
        sorted((one for shelf in shelves for one in shelf.gone), key=lambda one: one.generation, reverse=True),
        shelves,
    )


class _Decisions:
    """What people and prunes decided of backups, over all stores: of each pair of notes the later one counts."""

    def __init__(self, notes: Iterable[Note]) -> None:
        self.pinned: dict[str, bool] = {}
        self.held: dict[str, bool] = {}
        self.removed: dict[str, datetime] = {}
        self.accepted: set[str] = set()
        deciding = (note for note in notes if note.kind in _DECIDING)
        for note in sorted(deciding, key=lambda note: (note.at, note.kind in _KEEPING)):
            match note.kind:
                case NoteKind.PINNED | NoteKind.UNPINNED:
                    self.pinned[note.subject] = note.kind is NoteKind.PINNED
                case NoteKind.HELD | NoteKind.RELEASED:
                    self.held[note.subject] = note.kind is NoteKind.HELD
                case NoteKind.ACCEPTED:
                    self.accepted.add(note.subject)
                case NoteKind.REMOVED:  # marked again, the first mark counts
                    self.removed.setdefault(note.subject, note.at)
                case _:
                    self.removed.pop(note.subject, None)


_KEEPING: Final = {NoteKind.PINNED, NoteKind.HELD, NoteKind.KEPT}
"""Of two notes of one moment these count."""
_DECIDING: Final = {*_KEEPING, NoteKind.ACCEPTED, NoteKind.UNPINNED, NoteKind.RELEASED, NoteKind.REMOVED}


class _Copies:
    """What one store says of its copies."""

    def __init__(self, shelf: Shelf) -> None:
        self._tier, self._url = shelf.tier, shelf.store.url
        self._readings = readings_of(shelf)
        self._locks: dict[str, datetime] = {}
        for note in shelf.notes:
            if note.kind is NoteKind.LOCKED and (until := _moment(note.body.get("until"))):
                self._locks[note.subject] = max(until, self._locks.get(note.subject, until))

    def of(self, row: Row) -> Copy:
        """The store's copy of a backup."""
        return Copy.model_construct(
            storage_tier=self._tier,
            store_url=self._url,
            locked_until=self._locks.get(row.backup_id),
            verified_at=self._readings.oldest(row),
            damaged=self._readings.damaged(row),
        )


def _entry(row: Row, copies: tuple[Copy, ...], decided: _Decisions) -> CatalogueEntry:
    return CatalogueEntry.model_construct(
        backup_id=row.backup_id,
        backup_type=row.backup_type,
        generation=row.generation,
        created_at=row.created_at,
        recorded_at=row.recorded_at,
        parent=row.parent,
        covers=row.covers,
        records=row.records,
        logical_bytes=row.logical_bytes,
        added_bytes=row.added_bytes,
        stacked_bytes=row.stacked_bytes,
        layers=row.layers,
        copies=copies,
        installation=row.installation,
        sealed_by=row.sealed_by,
        pinned=decided.pinned.get(row.backup_id, False),
        legal_hold=decided.held.get(row.backup_id, False),
        removal_marked_at=decided.removed.get(row.backup_id),
        accepted=row.backup_id in decided.accepted,
    )


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return moment if moment and moment.tzinfo else None


def _sum(figures: list[int]) -> Sum:
    backups, logical, stored = figures or (0, 0, 0)
    return Sum(backups=backups, logical_bytes=logical, stored_bytes=stored)
