"""Thawer: plans what a restore must thaw, asks for it in batches, and says when all of it can be read.

It keeps no state: each look asks the store, so it goes on after days, in another process, wherever it was cut short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from strata.engine.restorer import BackupRestorer
from strata.model.manifest import BackupMetadata
from strata.model.run import Progress
from strata.model.thaw import Heat, ObjectState, Thawed, ThawPlan, ThawSpeed
from strata.model.tier import Tier
from strata.planning.thaw import BATCH, Prices, plan_thaw, speed_for
from strata.storage.thawing import Asked, S3Thaw

LOOK_SECONDS: Final = 600.0


@dataclass(frozen=True)
class ThawPolicy:
    """How thaws are asked for: the speed, for how many days, at which prices, and how often they are looked at."""

    speed: ThawSpeed
    days: int
    prices: Prices
    look_seconds: float = LOOK_SECONDS


@dataclass(frozen=True)
class Look:
    """How the objects of a restore stand at one moment."""

    states: Sequence[ObjectState]

    @property
    def frozen(self) -> list[ObjectState]:
        """Those that were not asked for, or whose copy has expired."""
        return [state for state in self.states if state.heat is Heat.FROZEN]

    @property
    def ready(self) -> bool:
        """Whether every one can be read."""
        return all(state.heat.readable for state in self.states)

    @property
    def progress(self) -> Progress:
        """How many can be read, of all."""
        readable = [state.size for state in self.states if state.heat.readable]
        return Progress(objects=len(readable), bytes=sum(readable), total=len(self.states))

    def thawed(self) -> Thawed:
        """What a thaw that is over leaves."""
        return Thawed(
            objects=len(self.states),
            bytes=sum(state.size for state in self.states),
            until=min((state.until for state in self.states if state.until), default=None),
        )


class Thawer:
    """Thaws what restores read from one store."""

    def __init__(self, store_url: str, thaw: S3Thaw, restorer: BackupRestorer, policy: ThawPolicy) -> None:
        self._url, self._thaw, self._restorer = store_url, thaw, restorer
        self.policy = policy

    def plan(self, manifest: BackupMetadata, tiers: tuple[Tier, ...], speed: ThawSpeed | None = None) -> ThawPlan:
        """What restoring the tiers must thaw, how long it takes and what it costs; asks for nothing."""
        states = self.look(manifest, tiers).states
        return plan_thaw(self._url, states, speed or self.policy.speed, self.policy.days, self.policy.prices)

    def look(self, manifest: BackupMetadata, tiers: tuple[Tier, ...]) -> Look:
        """How every object stands that restoring the tiers reads."""
        return Look(self._thaw.states([stored.name for _, stored in self._restorer.objects(manifest, tiers)]))

    def request(self, look: Look, plan: ThawPlan, report: Callable[[Progress], None]) -> bool:
        """Ask for what is frozen, batch by batch; whether all could be asked for at the plan's speed.

        Where expedited retrieval has no capacity, standard is asked for instead. May be cut short and called again.
        """
        at_speed = True
        for batch in _batches(look.frozen):
            report(look.progress)
            refused = self._ask(batch, plan.speed, plan.days) if at_speed else batch
            if refused:
                at_speed = False
                self._ask(refused, ThawSpeed.STANDARD, plan.days)
        return at_speed

    def _ask(self, batch: Sequence[ObjectState], speed: ThawSpeed, days: int) -> list[ObjectState]:
        """Ask for a batch; those that cannot be had at this speed now."""
        refused = []
        for storage_class in dict.fromkeys(state.storage_class for state in batch):
            states = [state for state in batch if state.storage_class == storage_class]
            answers = self._thaw.request_all(states, days, speed_for(storage_class, speed))
            refused += [state for state, asked in zip(states, answers, strict=True) if asked is Asked.NOT_AT_THIS_SPEED]
        return refused


def _batches(states: Sequence[ObjectState]) -> Iterator[Sequence[ObjectState]]:
    for start in range(0, len(states), BATCH):
        yield states[start : start + BATCH]
