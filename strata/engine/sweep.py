"""Sweep: removes from one store what a prune's plan says, manifests before the layers that were theirs.

What began since the plan was made counts: copies say what they are about to need, and these notes are looked at again
every few seconds, before anything more goes. Killed half way, it leaves layers and notes that nothing names, which the
next one removes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Final

from strata.catalog.history import HISTORY, is_failed_run
from strata.catalog.metadata import MANIFESTS, backup_id_of
from strata.catalog.notes import NOTES, NoteKind, parse_name
from strata.catalog.removals import KEPT_DAYS, REMOVED, is_removal
from strata.catalog.restore_notes import SUBJECT, past
from strata.clock import Clock
from strata.engine.depot import Depot
from strata.engine.parallel import in_parallel
from strata.engine.runner import Attempt
from strata.errors import ObjectLocked, StorageError, StoreFull
from strata.model.layer import Document, layer_of_object
from strata.model.manifest import manifest_name
from strata.model.removal import StorePrune
from strata.model.run import Progress
from strata.model.tier import StorageTier
from strata.planning.prune import INTENT_DAYS
from strata.storage.port import ObjectInfo

SWEEP_SECONDS: Final = 600.0
"""How long a sweep holds the lease; what is left then goes with the next one."""

_THREADS: Final = 8
_LOOK_SECONDS: Final = 2.0
"""How old the last look at the intents of copies may be when a layer goes."""

_MOST_FAILED: Final = 3

_KEEPING: Final = ((NoteKind.PINNED, NoteKind.UNPINNED), (NoteKind.HELD, NoteKind.RELEASED))

_OLD_RUNS: Final = timedelta(days=180)
"""For so long it is told which runs failed."""

_ENDED: Final = timedelta(days=7)
"""For so long it stays noted that a restore began, and that this has ended: each backup reads it."""


class Swept(Document):
    """What a prune removed from one store."""

    storage_tier: StorageTier
    manifests: int = 0
    layers: int = 0
    objects: int = 0
    bytes: int = 0
    locked: int = 0
    """Objects that the store itself did not let go."""
    left: int = 0
    """Backups and layers for the next sweep: this one took its time, or they are locked, or needed after all."""
    frozen: tuple[str, ...] = ()
    """Why nothing was to be removed."""
    failed: tuple[str, ...] = ()
    """Why something could not be removed that was to be."""


class Sweep:
    """The removal of what one plan says; `named` are the layers of each backup."""

    def __init__(
        self, depot: Depot, plan: StorePrune, named: Mapping[str, Sequence[str]], attempt: Attempt, clock: Clock
    ) -> None:
        self._depot, self._plan, self._named = depot, plan, named
        self._attempt, self._clock = attempt, clock
        self._until = clock.monotonic() + SWEEP_SECONDS
        self._looked, self._wanted = float("-inf"), frozenset[str]()
        self._objects = self._bytes = self._locked = 0
        self._failed: list[str] = []

    def run(self) -> Swept:
        """Remove it all, or as much as there is time for; what cannot be removed is told, and keeps nothing else."""
        gone = layers = 0
        try:
            stayed: set[str] = set()
            told = self._tell_removal()
            for item in self._plan.manifests:
                if self._try(self._remove_manifest, item.name):
                    gone += 1
                else:
                    stayed.update(self._named.get(item.name, ()))
            if not told:
                self._tell_removal()
            remove = partial(self._remove_layer, stayed)
            layers = sum(self._try(remove, layer.layer_id) for layer in self._plan.layers)
            self._remove_left_notes()
        except StorageError as error:
            self._failed.append(error.sentence)
        return Swept(
            storage_tier=self._depot.tier,
            manifests=gone,
            layers=layers,
            objects=self._objects,
            bytes=self._bytes,
            locked=self._locked,
            left=len(self._plan.manifests) - gone + len(self._plan.layers) - layers,
            failed=tuple(dict.fromkeys(self._failed)),
        )

    def _try(self, remove: Callable[[str], bool], name: str) -> bool:
        """Whether it is gone. After some failures no more is tried: each takes the time of all its retries."""
        if len(self._failed) >= _MOST_FAILED:
            return False
        try:
            return remove(name)
        except StorageError as error:
            self._failed.append(error.sentence)
            return False

    def _tell_removal(self) -> bool:
        """Say in the store what is about to go from it; where it is full, that has to wait until something went."""
        names = [item.name for item in self._plan.manifests]
        if not names:
            return True
        try:
            self._depot.removals.add(names, self._clock.now(), self._attempt.claim.run_id)
        except StoreFull:
            return False
        return True

    def _remove_manifest(self, backup_id: str) -> bool:
        """Whether it is gone; its notes go after it."""
        self._attempt.check()
        if self._clock.monotonic() > self._until:
            return False
        try:
            self._depot.store.delete(manifest_name(backup_id))
        except ObjectLocked:
            self._locked += 1
            return False
        self._remove_notes(backup_id)
        return True

    def _remove_layer(self, stayed: set[str], layer_id: str) -> bool:
        """Whether all of it is gone, its notes too."""
        if layer_id in stayed or self._clock.monotonic() > self._until or layer_id in self._intended():
            return False
        gone, whole = self._remove_all(list(_objects(self._depot, layer_id)))
        self._objects += len(gone)
        self._bytes += sum(info.size for info in gone)
        self._attempt.report(Progress(objects=self._objects, bytes=self._bytes, total=self._plan.objects))
        if whole:
            self._remove_notes(layer_id)
        return whole

    def _remove_notes(self, subject: str) -> None:
        self._remove_all([info for info in self._depot.store.list(f"{NOTES}{subject}/") if parse_name(info.name)])

    def _remove_left_notes(self) -> None:
        """Notes of backups and layers that are gone, which a sweep that was cut short left; old failures of runs.

        What people keep stays noted, and so do a copy under way and a restore that was not finished.
        """
        store, now = self._depot.store, self._clock.now()
        noted: dict[str, list[tuple[NoteKind, ObjectInfo]]] = {}
        for info in store.list(NOTES):
            if name := parse_name(info.name):
                noted.setdefault(name.subject, []).append((name.kind, info))
        # Listed after the notes: but for those of a copy, each follows what it is of.
        there = {backup_id_of(info.name) for info in store.list(MANIFESTS)}
        there |= {layer for info in store.list("layers/") if (layer := layer_of_object(info.name))}
        there |= {layer for layers in self._named.values() for layer in layers}  # a lost one is noted as damaged
        for subject in sorted(noted.keys() - there - {SUBJECT}):
            kinds = {kind for kind, _ in noted[subject]}
            under_copy = any(
                kind is NoteKind.COPYING and info.modified > now - timedelta(days=INTENT_DAYS)
                for kind, info in noted[subject]
            )
            if not under_copy and not self._kept(subject, kinds):
                self._remove_all([info for _, info in noted[subject]])
        on_restores = {info.name: info for _, info in noted.get(SUBJECT, [])}
        for names in past(self._depot.book.named(SUBJECT), now - _ENDED) if on_restores else ():
            self._remove_all([on_restores[name] for name in names if name in on_restores])
        long_ago = now - timedelta(days=KEPT_DAYS)
        self._remove_all([info for info in store.list(REMOVED) if is_removal(info.name) and info.modified < long_ago])
        old = (info for info in store.list(HISTORY) if info.modified < now - _OLD_RUNS)
        self._remove_all([info for info in old if is_failed_run(info.name)])

    def _kept(self, subject: str, kinds: set[NoteKind]) -> bool:
        """Whether people keep it: by the names of notes, but only a signed one lets go of it."""
        kept = [let_go for keep, let_go in _KEEPING if keep in kinds]
        signed = {note.kind for note in self._depot.book.of(subject)} if kept else set()
        return any(let_go not in signed for let_go in kept)

    def _remove_all(self, found: Sequence[ObjectInfo]) -> tuple[list[ObjectInfo], bool]:
        """The objects that are gone, and whether that is all of them; a link or a pipe is not ours, and stays."""
        found = [info for info in found if info.regular]
        gone: list[ObjectInfo] = []

        def remove(info: ObjectInfo) -> None:
            self._attempt.check()
            with suppress(ObjectLocked):
                self._depot.store.delete(info.name)
                gone.append(info)

        in_parallel(remove, found, _THREADS)
        self._locked += len(found) - len(gone)
        return gone, len(gone) == len(found)

    def _intended(self) -> frozenset[str]:
        """Layers that copies which began since the plan was made are about to need."""
        now = self._clock.monotonic()
        if now - self._looked >= _LOOK_SECONDS or self._looked == float("-inf"):
            self._looked, self._wanted = now, frozenset(self._read_intents())
        return self._wanted

    def _read_intents(self) -> Iterator[str]:
        listed = (parse_name(info.name) for info in self._depot.store.list(NOTES))
        subjects = {name.subject for name in listed if name and name.kind is NoteKind.COPYING}
        oldest = self._clock.now() - timedelta(days=INTENT_DAYS)
        for subject in subjects:
            for note in self._depot.book.of(subject):
                if note.kind is NoteKind.COPYING and note.at > oldest:
                    yield from note.body.get("layers", ())


def _objects(depot: Depot, layer_id: str) -> Iterator[ObjectInfo]:
    """The objects of a layer, packs included."""
    for prefix in (f"layers/{layer_id}/", f"chunks/{layer_id}-"):
        yield from (info for info in depot.store.list(prefix) if layer_of_object(info.name) == layer_id)
