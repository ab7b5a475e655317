"""Pruner: marks what need not be kept, and after the time of grace removes it.

It works under the lease, so no backup and no restore that takes it runs beside it; a copy into the store says what it
is about to need (`copying` notes), and these are looked at again before every layer goes. Manifests go before their
layers: killed half way, it leaves layers that nothing names, which the next one sweeps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

from strata.catalog.catalogue import Catalogue
from strata.catalog.metadata import MANIFESTS
from strata.catalog.notes import NOTES, NoteKind, parse_name
from strata.catalog.owner import Owner
from strata.catalog.shelf import Shelf
from strata.catalog.view import View
from strata.clock import Clock
from strata.engine.depot import Depot, Depots
from strata.engine.parallel import in_parallel
from strata.engine.runner import Attempt
from strata.engine.sweep import Sweep, Swept
from strata.errors import StorageError
from strata.model.layer import Document, layer_of_object
from strata.model.removal import MovePlan, PrunePlan, Reasoned, RetentionPlan
from strata.model.tier import StorageTier
from strata.planning.prune import Intent, ListedLayer, PruneRules, PruneState, StoreState, plan_prune
from strata.planning.retention import RetentionService
from strata.planning.tier_strategy import TierStrategy
from strata.storage.port import ObjectInfo

_THREADS: Final = 8
_INSTANT: Final = timedelta(milliseconds=1)


class Marked(Document):
    """Backups that a prune marked for removal, and those whose mark it took back."""

    marked: tuple[str, ...] = ()
    unmarked: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
    """Why notes of it are not in every store that holds the backup."""


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
class Planned:
    """What a prune would do, what that rests on, and what moves by age: its releases are in the prune already."""

    view: View
    prune: PrunePlan
    retention: RetentionPlan
    moves: MovePlan


@dataclass(frozen=True)
class Pruner:
    """Plans prunes, and carries them out. The catalogue must be one without a cache."""

    depots: Depots
    catalogue: Catalogue
    rules: Rules
    clock: Clock
    owner: Owner | None = None
    """Says whose the stores are: nothing is planned where one is not ours."""

    def plan(self, running: frozenset[str]) -> Planned:
        """What a prune would do now, and why each backup stays, goes or moves; nothing is done.

        `running` are the ids of runs that have not ended, and of the backups they restore or copy.
        """
        view, now = self.catalogue.view(), self.clock.now()
        if self.owner:
            for shelf in view.shelves:
                self.owner.check(shelf.tier)
        retention = self.rules.retention.decide(view.judgement, now)
        if view.silent:
            retention = retention.model_copy(update={"frozen": (*retention.frozen, *_silent(view))})
        stores = [_state_of(self.depots.of(shelf.tier), shelf) for shelf in view.shelves]
        moves = self.rules.strategy.moves(view.judgement, now)
        state = PruneState(
            entries=view.entries,
            retention=retention,
            stores=stores,
            now=now,
            running=running,
            releases=moves.releases,
            rules=self.rules.prune,
        )
        return Planned(view, plan_prune(state), retention, moves)

    def mark(self, running: frozenset[str], attempt: Attempt) -> Marked:
        """Note, wherever they lie, which backups go when the grace is over, and which stay after all."""
        planned = self.plan(running)
        plan = planned.prune
        now, entries = self.clock.now(), {entry.backup_id: entry for entry in planned.view.entries}
        missed: list[str] = []

        def note(kind: NoteKind, item: Reasoned) -> None:
            entry = entries[item.name]
            before = entry.removal_marked_at  # by another clock, perhaps: what takes it back must come after it
            at = max(now, before + _INSTANT) if kind is NoteKind.KEPT and before else now
            for copy in entry.copies:
                attempt.check()
                try:
                    self.depots.of(copy.storage_tier).book.add(kind, item.name, at, {"reason": item.reason})
                except StorageError as error:  # a store that is full must be swept all the same
                    missed.append(error.sentence)

        in_parallel(partial(note, NoteKind.REMOVED), plan.marks, _THREADS)
        in_parallel(partial(note, NoteKind.KEPT), plan.unmarks, _THREADS)
        return Marked(
            marked=tuple(item.name for item in plan.marks),
            unmarked=tuple(item.name for item in plan.unmarks),
            missed=tuple(dict.fromkeys(missed)),
        )

    def sweep(self, tier: StorageTier, running: frozenset[str], attempt: Attempt) -> Swept:
        """Remove from a store what has waited out its grace, by a plan made now."""
        whole = self.plan(running)
        planned = next((store for store in whole.prune.stores if store.storage_tier is tier), None)
        if planned is None or planned.frozen:
            return Swept(storage_tier=tier, frozen=planned.frozen if planned else whole.prune.frozen)
        named = {entry.backup_id: entry.layers for entry in whole.view.entries}
        depot = self.depots.of(tier)
        swept = Sweep(depot, planned, named, attempt, self.clock).run()
        if self.owner:
            self.owner.forget(depot.store.url, [item.name for item in planned.manifests])
        return swept


def _state_of(depot: Depot, shelf: Shelf) -> StoreState:
    """What lies in a store besides the backups of the catalogue."""
    try:
        layers = listed_layers(info for prefix in ("layers/", "chunks/") for info in depot.store.list(prefix))
        hidden = []
    except StorageError:  # a store that is not well keeps no other from being pruned
        layers, hidden = {}, ["layers/ or chunks/"]
    unread = [*shelf.bad, *(one for one in shelf.ignored if one.keyless or _may_keep(one.name))]
    return StoreState(
        storage_tier=depot.tier,
        layers=layers,
        intents=[
            Intent(note.subject, tuple(note.body.get("layers", ())), note.at)
            for note in shelf.notes
            if note.kind is NoteKind.COPYING
        ],
        gone=[one.backup_id for one in shelf.gone],
        unreadable=[*hidden, *(one.name for one in unread if one.name.startswith((MANIFESTS, NOTES)))],
    )


def _may_keep(name: str) -> bool:
    """Whether a note is one that keeps a backup: nothing vouches for it, but a bit may have flipped in it."""
    note = parse_name(name)
    return note is not None and note.kind in {NoteKind.PINNED, NoteKind.HELD, NoteKind.KEPT}


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


def _silent(view: View) -> Iterator[str]:
    for tier in view.silent:
        yield f"nothing is removed while {tier.upper()} does not answer: what was decided there is not known"
