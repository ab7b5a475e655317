"""Pruner: marks what need not be kept, and after the time of grace removes it.

It works under the lease, so no backup and no restore that takes it runs beside it; a copy into the store says what it
is about to need (`copying` notes), and these are looked at again before every layer goes. Manifests go before their
layers: killed half way, it leaves layers that nothing names, and notes of backups that are gone, which the next one
sweeps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

from strata.catalog.catalogue import Catalogue
from strata.catalog.metadata import MANIFESTS, backup_id_of
from strata.catalog.notes import NOTES, NoteKind, parse_name
from strata.catalog.shelf import Shelf
from strata.catalog.view import View
from strata.clock import Clock
from strata.engine.depot import Depot, Depots
from strata.engine.parallel import in_parallel
from strata.engine.runner import Attempt
from strata.errors import ObjectLocked
from strata.model.layer import Document, layer_of_object
from strata.model.manifest import manifest_name
from strata.model.removal import PrunePlan, Reasoned, RetentionPlan, StorePrune
from strata.model.run import Progress
from strata.model.tier import StorageTier, Tier
from strata.planning.prune import INTENT_DAYS, Intent, ListedLayer, PruneRules, PruneState, StoreState, plan_prune
from strata.planning.retention import RetentionService
from strata.planning.tier_strategy import TierStrategy
from strata.storage.port import ObjectInfo

_THREADS: Final = 8
_BATCH: Final = 32
"""Layers that go before the intents are looked at again."""

_KEEPING: Final = ((NoteKind.PINNED, NoteKind.UNPINNED), (NoteKind.HELD, NoteKind.RELEASED))

SWEEP_SECONDS: Final = 600.0
"""How long a sweep holds the lease; what is left then goes with the next one."""


class Marked(Document):
    """Backups that a prune marked for removal, and those whose mark it took back."""

    marked: tuple[str, ...] = ()
    unmarked: tuple[str, ...] = ()


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
    """Layers for the next sweep, because this one took its time."""
    frozen: tuple[str, ...] = ()


class Pruned(Document):
    """A whole prune."""

    marks: Marked
    stores: tuple[Swept, ...]


@dataclass(frozen=True)
class Rules:
    """What decides: who stays how long, and where."""

    retention: RetentionService
    strategy: TierStrategy
    prune: PruneRules


@dataclass(frozen=True)
class Pruner:
    """Plans prunes, and carries them out. The catalogue must be one without a cache."""

    depots: Depots
    catalogue: Catalogue
    rules: Rules
    clock: Clock

    def plan(self, running: frozenset[str]) -> tuple[PrunePlan, RetentionPlan]:
        """What a prune would do now, and why each backup stays or goes; nothing is done.

        `running` are the ids of runs that have not ended, and of the backups they restore or copy.
        """
        _, plan, retention = self._planned(running)
        return plan, retention

    def _planned(self, running: frozenset[str]) -> tuple[View, PrunePlan, RetentionPlan]:
        view, now = self.catalogue.view(), self.clock.now()
        retention = self.rules.retention.decide(view.entries, now)
        if view.silent:
            retention = retention.model_copy(update={"frozen": (*retention.frozen, *_silent(view))})
        stores = [_state_of(self.depots.of(shelf.tier), shelf) for shelf in view.shelves]
        state = PruneState(
            entries=view.entries,
            retention=retention,
            stores=stores,
            now=now,
            running=running,
            releases=self.rules.strategy.moves(view.entries, now).releases,
            rules=self.rules.prune,
        )
        return view, plan_prune(state), retention

    def mark(self, running: frozenset[str]) -> Marked:
        """Note, wherever they lie, which backups go when the grace is over, and which stay after all."""
        view, plan, _ = self._planned(running)
        now, copies = self.clock.now(), {entry.backup_id: entry.copies for entry in view.entries}

        def note(kind: NoteKind, item: Reasoned) -> None:
            for copy in copies[item.name]:
                self.depots.of(copy.storage_tier).book.add(kind, item.name, now, {"reason": item.reason})

        in_parallel(partial(note, NoteKind.REMOVED), plan.marks, _THREADS)
        in_parallel(partial(note, NoteKind.KEPT), plan.unmarks, _THREADS)
        return Marked(
            marked=tuple(item.name for item in plan.marks), unmarked=tuple(item.name for item in plan.unmarks)
        )

    def sweep(self, tier: StorageTier, running: frozenset[str], attempt: Attempt) -> Swept:
        """Remove from a store what has waited out its grace, by a plan made now."""
        plan, _ = self.plan(running)
        planned = next((store for store in plan.stores if store.storage_tier is tier), None)
        if planned is None or planned.frozen:
            return Swept(storage_tier=tier, frozen=planned.frozen if planned else plan.frozen)
        return _Sweep(self.depots.of(tier), planned, attempt, self.clock).run()


class _Sweep:
    """The removal of what one plan says, from one store."""

    def __init__(self, depot: Depot, plan: StorePrune, attempt: Attempt, clock: Clock) -> None:
        self._depot, self._plan, self._attempt, self._clock = depot, plan, attempt, clock
        self._until = clock.monotonic() + SWEEP_SECONDS
        self._objects = self._bytes = self._locked = 0

    def run(self) -> Swept:
        """Manifests first: what they named is then nobody's."""
        kept = [item.name for item in self._plan.manifests if not self._remove_manifest(item.name)]
        layers = self._layers() if not kept else []  # a manifest that stays keeps its layers: the next plan knows
        gone = 0
        for start in range(0, len(layers), _BATCH):
            if self._clock.monotonic() > self._until:
                break
            batch = layers[start : start + _BATCH]
            wanted = self._intended()
            gone += self._remove_layers([layer_id for layer_id in batch if layer_id not in wanted])
        self._remove_left_notes()
        return Swept(
            storage_tier=self._depot.tier,
            manifests=len(self._plan.manifests) - len(kept),
            layers=gone,
            objects=self._objects,
            bytes=self._bytes,
            locked=self._locked,
            left=len(self._plan.layers) - gone,
        )

    def _layers(self) -> list[str]:
        return [layer.layer_id for layer in self._plan.layers]

    def _remove_manifest(self, backup_id: str) -> bool:
        """Whether it is gone; its notes go after it."""
        self._attempt.check()
        try:
            self._depot.store.delete(manifest_name(backup_id))
        except ObjectLocked:
            self._locked += 1
            return False
        for info in list(self._depot.store.list(f"{NOTES}{backup_id}/")):
            self._delete(info)
        return True

    def _remove_left_notes(self) -> None:
        """Notes of backups that are gone, which a sweep that was cut short left; what people keep stays noted."""
        noted: dict[str, list[tuple[NoteKind, ObjectInfo]]] = {}
        for info in self._depot.store.list(NOTES):
            if name := parse_name(info.name):
                noted.setdefault(name.subject, []).append((name.kind, info))
        # Listed after the notes: but for that of a copy, each follows its manifest.
        there = {backup_id_of(info.name) for info in self._depot.store.list(MANIFESTS)}
        oldest = self._clock.now() - timedelta(days=INTENT_DAYS)
        for subject in sorted(noted.keys() - there):
            kinds = {kind for kind, _ in noted[subject]}
            under_copy = any(kind is NoteKind.COPYING and info.modified > oldest for kind, info in noted[subject])
            kept = any(keep in kinds and let_go not in kinds for keep, let_go in _KEEPING)
            if not under_copy and not kept and subject.rpartition("-")[2] not in set(Tier):  # else it is a layer's
                for _, info in noted[subject]:
                    self._delete(info)

    def _remove_layers(self, layer_ids: Sequence[str]) -> int:
        found = [info for layer_id in layer_ids for info in _objects(self._depot, layer_id)]
        in_parallel(self._delete, found, _THREADS)
        self._objects += len(found)
        self._bytes += sum(info.size for info in found)
        self._attempt.report(Progress(objects=self._objects, bytes=self._bytes, total=self._plan.objects))
        return len(layer_ids)

    def _delete(self, info: ObjectInfo) -> None:
        self._attempt.check()
        try:
            self._depot.store.delete(info.name)
        except ObjectLocked:
            self._locked += 1

    def _intended(self) -> set[str]:
        """Layers that copies which began since the plan was made are about to need."""
        subjects = {
            name.subject
            for info in self._depot.store.list(NOTES)
            if (name := parse_name(info.name)) and name.kind is NoteKind.COPYING
        }
        notes = [note for subject in subjects for note in self._depot.book.of(subject)]
        oldest = self._clock.now() - timedelta(days=INTENT_DAYS)
        intents = [note for note in notes if note.kind is NoteKind.COPYING and note.at > oldest]
        return {layer for note in intents for layer in note.body.get("layers", ())}


def _state_of(depot: Depot, shelf: Shelf) -> StoreState:
    """What lies in a store besides the backups of the catalogue."""
    unread = [*shelf.bad, *(one for one in shelf.ignored if one.keyless)]
    return StoreState(
        storage_tier=depot.tier,
        layers=listed_layers(info for prefix in ("layers/", "chunks/") for info in depot.store.list(prefix)),
        intents=[
            Intent(note.subject, tuple(note.body.get("layers", ())), note.at)
            for note in shelf.notes
            if note.kind is NoteKind.COPYING
        ],
        unreadable=[one.name for one in unread if one.name.startswith((MANIFESTS, NOTES))],
    )


def listed_layers(objects: Iterable[ObjectInfo]) -> Mapping[str, ListedLayer]:
    """The layers that a listing shows, packs included."""
    found: dict[str, list[ObjectInfo]] = {}
    for info in objects:
        if layer_id := layer_of_object(info.name):
            found.setdefault(layer_id, []).append(info)
    return {
        layer_id: ListedLayer(len(infos), sum(info.size for info in infos), max(info.modified for info in infos))
        for layer_id, infos in found.items()
    }


def _objects(depot: Depot, layer_id: str) -> Iterator[ObjectInfo]:
    """The objects of a layer, packs included."""
    for prefix in (f"layers/{layer_id}/", f"chunks/{layer_id}-"):
        yield from (info for info in depot.store.list(prefix) if layer_of_object(info.name) == layer_id)


def _silent(view: View) -> Iterator[str]:
    for tier in view.silent:
        yield f"nothing is removed while {tier.upper()} does not answer: what was decided there is not known"
