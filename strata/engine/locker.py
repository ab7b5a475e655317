"""Locker: keeps the objects of a backup from being removed, by the store's own power, for as long as it is kept.

Layers that newer backups lie on are locked for longer with each of them. Ends are whole days, and noted beside the
layers, so that of a stack only what must be locked for longer is asked of the store: once a day, not at each backup.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from strata.catalog.notes import NoteBook, NoteKind
from strata.clock import Clock
from strata.engine.parallel import in_parallel
from strata.model.backup_type import BackupType
from strata.model.layer import Layer, layer_document_name
from strata.model.manifest import BackupMetadata, manifest_name
from strata.storage.port import LockingStore, LockMode

_THREADS: Final = 8


@dataclass(frozen=True)
class Locker:
    """Locks what one store holds; `days` says for how many a type of backup is kept.

    What is older and stays all the same, by a keep rule or a pin, is not locked.
    """

    store: LockingStore
    mode: LockMode
    days: Callable[[BackupType], int]
    book: NoteBook
    clock: Clock

    def lock_layers(self, backup_type: BackupType, created_at: datetime, layers: Sequence[Layer]) -> None:
        """Lock every object of the layers that a backup is about to name."""
        until = self._until(backup_type, created_at)
        for layer in layers if until > self.clock.now() else ():
            if not self._is_locked(layer.layer_id, until):
                self._lock((*(stored.name for stored in layer.objects), layer_document_name(layer.layer_id)), until)
                self._note(layer.layer_id, until)

    def lock_manifest(self, manifest: BackupMetadata) -> None:
        """Lock the manifest of a backup whose layers are locked; from then on its copy counts as immutable."""
        until = self._until(manifest.backup_type, manifest.created_at)
        if until > self.clock.now() and not self._is_locked(manifest.backup_id, until):
            self._lock([manifest_name(manifest.backup_id)], until)
            self._note(manifest.backup_id, until)

    def _until(self, backup_type: BackupType, created_at: datetime) -> datetime:
        """The end of the last day on which the backup is kept, in UTC."""
        last = created_at.astimezone(UTC) + timedelta(days=self.days(backup_type))
        return last.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)

    def _is_locked(self, subject: str, until: datetime) -> bool:
        ends = [note.body.get("until") for note in self.book.of(subject) if note.kind is NoteKind.LOCKED]
        return any(isinstance(end, str) and datetime.fromisoformat(end) >= until for end in ends)

    def _lock(self, names: Iterable[str], until: datetime) -> None:
        in_parallel(lambda name: self.store.lock(name, until, self.mode), names, _THREADS)

    def _note(self, subject: str, until: datetime) -> None:
        body = {"until": until.isoformat(), "mode": self.mode.value}
        self.book.add(NoteKind.LOCKED, subject, self.clock.now(), body)
