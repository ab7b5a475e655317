"""What a prune does, store by store: mark, wait out the grace, sweep. Pure: it is told what lies where.

What it never does: take a layer that a manifest remaining in that store names; take anything from a store with a
manifest that cannot be read, for its reach is not known; take anything while a clock lies. Every manifest counts until
it is gone itself, so a plan that is carried out half way (manifests first, then layers) leaves orphans at worst, and
the next prune sweeps them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from strata.model.copies import CatalogueEntry, Copy
from strata.model.removal import (
    Decision,
    Move,
    PrunePlan,
    Reasoned,
    RetentionPlan,
    StorePrune,
    SweptLayer,
)
from strata.model.tier import StorageTier
from strata.planning.clocks import TOLERANCE
from strata.planning.soundness import counted, named
from strata.planning.tables import spoken

_NAMED: Final = 3

INTENT_DAYS: Final = 7
"""For how many days the note of a copy that is being made protects its layers."""


@dataclass(frozen=True)
class ListedLayer:
    """What a store's listing shows of a layer, its packs included; `modified` is that of its newest object."""

    objects: int
    bytes: int
    modified: datetime


@dataclass(frozen=True)
class Intent:
    """The note of a copy into the store: the layers that it is about to bring."""

    backup_id: str
    layers: tuple[str, ...]
    noted_at: datetime


@dataclass(frozen=True)
class StoreState:
    """What lies in a store besides the copies that the catalogue tells of."""

    storage_tier: StorageTier
    layers: Mapping[str, ListedLayer]
    intents: Sequence[Intent] = ()
    unreadable: Sequence[str] = ()
    """Names of manifests that cannot be read, for whatever reason."""
    gone: Sequence[str] = ()
    """Backups that disappeared."""


@dataclass(frozen=True)
class PruneRules:
    """How long what is to go stays nevertheless."""

    grace: timedelta = timedelta(hours=24)
    """From a backup's mark to its removal, and the age of an orphan."""
    intent: timedelta = timedelta(days=INTENT_DAYS)
    """How long the note of a copy protects its layers."""


@dataclass(frozen=True)
class PruneState:
    """Everything that a prune depends on.

    `entries` are all backups of the catalogue; `running` the ids of runs that have not ended (their layers are named
    `<run id>-<tier>`); `releases` the copies that may go because ARCHIVE has one (`TierStrategy.moves`).
    """

    entries: Sequence[CatalogueEntry]
    retention: RetentionPlan
    stores: Sequence[StoreState]
    now: datetime
    running: frozenset[str] = frozenset()
    releases: Sequence[Move] = ()
    rules: PruneRules = field(default_factory=PruneRules)


def plan_prune(state: PruneState) -> PrunePlan:
    """The plan; an empty one where there is nothing to do. Its order is that of the ids, whatever that of the input."""
    decisions = {decision.backup_id: decision for decision in state.retention.decisions}
    entries = sorted(
        (entry for entry in state.entries if entry.backup_id in decisions), key=lambda entry: entry.backup_id
    )
    frozen = state.retention.frozen
    unmarks = tuple(
        Reasoned(name=entry.backup_id, reason=why)
        for entry in entries
        if (why := _unmarked(entry, decisions[entry.backup_id], state.now))
    )
    marks = tuple(
        Reasoned(name=entry.backup_id, reason=_joined(decisions[entry.backup_id]))
        for entry in entries
        if not frozen and entry.removal_marked_at is None and not decisions[entry.backup_id].keep
    )
    stores = tuple(
        StorePrune(storage_tier=store.storage_tier, frozen=stopped)
        if (stopped := (*frozen, *_unreadable(store), *_gone(store)))
        else _StorePlanner(state, store, decisions).plan(entries)
        for store in state.stores
    )
    return PrunePlan(created_at=state.now, marks=marks, unmarks=unmarks, stores=stores, frozen=frozen)


class _StorePlanner:
    """Plans one store of which all is known."""

    def __init__(self, state: PruneState, store: StoreState, decisions: Mapping[str, Decision]) -> None:
        self._state, self._store, self._decisions = state, store, decisions
        self._tier, self._now, self._rules = store.storage_tier, state.now, state.rules
        self._released = {move.backup_id: move.reason for move in state.releases if move.source is self._tier}
        self._waiting: list[Reasoned] = []

    def plan(self, entries: Sequence[CatalogueEntry]) -> StorePrune:
        """Which manifests go, and which layers no other one in the store names."""
        going: list[Reasoned] = []
        reached: set[str] = set()
        last_named: set[str] = set()
        for entry in self._state.entries:
            if entry.copy_in(self._tier) and entry.backup_id not in self._decisions:
                reached.update(entry.layers)
        for entry in entries:
            copy = entry.copy_in(self._tier)
            if copy is None:
                continue
            if why := self._goes(entry, copy):
                going.append(Reasoned(name=entry.backup_id, reason=why))
                last_named.update(entry.layers)
            else:
                reached.update(entry.layers)
        return StorePrune(
            storage_tier=self._tier,
            manifests=tuple(going),
            layers=self._swept(reached, last_named),
            waiting=tuple(self._waiting),
        )

    def _goes(self, entry: CatalogueEntry, copy: Copy) -> str:
        """Why its manifest goes from this store now, or nothing; what is to go and must wait is noted."""
        decision, marked = self._decisions[entry.backup_id], entry.removal_marked_at
        why, wait = "", ""
        if not decision.keep and marked is not None and marked <= self._now + TOLERANCE:
            left = marked + self._rules.grace - self._now
            why = f"{_joined(decision)}; marked {marked:%Y-%m-%d %H:%M}"
            wait = f"its grace ends in {spoken(left)}" if left > timedelta() else ""
        elif marked is None and entry.backup_id in self._released and _has_good_copy(entry, StorageTier.ARCHIVE):
            why = self._released[entry.backup_id]
        if why and copy.locked_until is not None and copy.locked_until > self._now:
            wait = f"it is locked until {copy.locked_until:%Y-%m-%d %H:%M}"
        if why and entry.backup_id in self._state.running:
            wait = "a run of it has not ended"
        if wait:
            self._waiting.append(Reasoned(name=entry.backup_id, reason=wait))
        return "" if wait else why

    def _swept(self, reached: set[str], last_named: set[str]) -> tuple[SweptLayer, ...]:
        intents: dict[str, Intent] = {}
        for intent in self._store.intents:
            if self._now - intent.noted_at < self._rules.intent:
                intents.update(dict.fromkeys(intent.layers, intent))
        swept: list[SweptLayer] = []
        for layer_id in sorted(self._store.layers.keys() - reached):
            listed, orphan = self._store.layers[layer_id], layer_id not in last_named
            if wait := self._must_stay(layer_id, intents, listed if orphan else None):
                self._waiting.append(Reasoned(name=layer_id, reason=wait))
                continue
            why = "no backup in the store names it" if orphan else "the last backups that name it go"
            swept.append(SweptLayer(layer_id=layer_id, objects=listed.objects, bytes=listed.bytes, reason=why))
        return tuple(swept)

    def _must_stay(self, layer_id: str, intents: Mapping[str, Intent], orphan: ListedLayer | None) -> str:
        if intent := intents.get(layer_id):
            return f"a copy of {intent.backup_id} is being made with it"
        if layer_id.rpartition("-")[0] in self._state.running:
            return "its run has not ended"
        if orphan is not None and self._now - orphan.modified < self._rules.grace:
            return f"no backup names it, but it is younger than {spoken(self._rules.grace)}"
        return ""


def _unmarked(entry: CatalogueEntry, decision: Decision, now: datetime) -> str:
    """Why a mark is taken back, or nothing. One that a lying clock keeps stays marked: nothing goes meanwhile."""
    if entry.removal_marked_at is None:
        return ""
    if decision.keep and not decision.frozen:
        return _joined(decision)
    if entry.removal_marked_at > now + TOLERANCE:
        return f"it was marked at a time later than now ({entry.removal_marked_at:%Y-%m-%d %H:%M}), by a wrong clock"
    return ""


def _unreadable(store: StoreState) -> tuple[str, ...]:
    if not store.unreadable:
        return ()
    names = ", ".join(sorted(store.unreadable)[:_NAMED])
    more = f" and {len(store.unreadable) - _NAMED} more" if len(store.unreadable) > _NAMED else ""
    where = store.storage_tier.upper()
    return (f"nothing is removed from {where} because {names}{more} cannot be read: what it needs is not known",)


def _gone(store: StoreState) -> tuple[str, ...]:
    if not store.gone:
        return ()
    lost = f"{counted(len(store.gone), 'backup')} disappeared there ({named(store.gone)})"
    return (f"nothing is removed from {store.storage_tier.upper()} because {lost} and nothing of ours removed them",)


def _has_good_copy(entry: CatalogueEntry, tier: StorageTier) -> bool:
    copy = entry.copy_in(tier)
    return copy is not None and copy in entry.good_copies


def _joined(decision: Decision) -> str:
    return "; ".join(decision.reasons)
