"""Upkeep: finds runs that stopped moving, and what dead runs left in the spool.

Celery loses a chord in two windows shorter than a millisecond, and a killed worker keeps its messages for minutes.
The ledger knows what is done, so a run that shows no sign of life is simply sent again, whole: done stages answer
at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol, runtime_checkable

from strata.catalog.catalogue import Catalogue
from strata.clock import Clock
from strata.engine.manager import BackupManager
from strata.engine.restore_plans import let_lapse
from strata.engine.spool import Spool
from strata.engine.timekeeping import moment
from strata.errors import StorageError
from strata.model.plan import CopyPlan
from strata.model.run import Run, RunKind
from strata.planning.backup import is_our_id
from strata.planning.missing import MissingCopy, missing_copies
from strata.planning.retention import RetentionService
from strata.planning.tier_strategy import TierStrategy

STALLED_SECONDS: Final = 30.0
"""A run nobody renewed for so long has stopped: a working stage renews every 5 s."""

MAX_RESENT: Final = 10
_FORGOTTEN: Final = timedelta(days=1)
_COPIES: Final = 4
"""Copies under way at a time."""


@runtime_checkable
class Tidied(Protocol):
    """A store that can be rid of what was begun and never finished."""

    def abort_unfinished(self, older_than: timedelta) -> int:
        """Remove what was begun longer ago than this; how many such things there were."""
        ...


@dataclass(frozen=True)
class Upkeep:
    """Looks after runs and the spool."""

    manager: BackupManager
    spool: Spool
    clock: Clock
    catalogue: Catalogue
    strategy: TierStrategy
    retention: RetentionService
    tidied: Sequence[Tidied] = ()
    """The stores in which writers that died leave something."""

    def stalled(self) -> list[Run]:
        """Runs to send again, each marked; one that was sent too often is ended as FAILED instead.

        A run that waits is older than most: it is asked for by itself.
        """
        again, ledger = [], self.manager.ledger
        for run in {run.run_id: run for run in (*ledger.runs(200), *ledger.waiting())}.values():
            if run.state.final or let_lapse(self.manager, run):
                continue
            times = ledger.mark_resent(run.run_id, STALLED_SECONDS * (1 + run.resent / 2))
            if times is not None and times > MAX_RESENT:
                self.manager.abandon(run.run_id, f"no worker moved it on, though it was sent {MAX_RESENT} times again")
            elif times is not None:
                again.append(run)
        return again

    def sweep_spool(self) -> list[str]:
        """Remove what ended runs left, and what no ledger has known for a day; the ids swept.

        A folder that neither the ledger knows nor is named like a run is not ours to remove.
        """
        swept = []
        for run_id, newest in sorted(self.spool.runs().items()):
            run = self.manager.ledger.run(run_id)
            if (run and run.state.final) or (run is None and is_our_id(run_id) and self._forgotten(newest)):
                self.spool.sweep(run_id)
                swept.append(run_id)
        return swept

    def sweep_stores(self) -> list[str]:
        """Remove what writers that died left unfinished in stores; the failures of stores that could not be asked."""
        failures = []
        for store in self.tidied:
            try:
                store.abort_unfinished(_FORGOTTEN)
            except StorageError as error:  # one store that is not well keeps no other from being tidied
                failures.append(error.sentence)
        return failures

    def missing_copies(self) -> list[MissingCopy]:
        """The copies to be made now: those that are missing, and that no run is making."""
        view, now = self.catalogue.view(), self.clock.now()
        moves, retention = self.strategy.moves(view.judgement, now), self.retention.decide(view.judgement, now)
        copies = [run for run in self.manager.ledger.runs(200) if run.kind is RunKind.COPY and not run.state.final]
        under_way = {(plan.backup_id, plan.target) for plan in map(_copy_plan, copies)}
        found = missing_copies(view.judgement, self.strategy.place, retention, moves)
        wanted = [
            one for one in found if (one.backup_id, one.target) not in under_way and one.target not in view.silent
        ]
        return wanted[: max(_COPIES - len(under_way), 0)]

    def _forgotten(self, newest: datetime) -> bool:
        return moment(self.manager.ledger) - newest > _FORGOTTEN


def _copy_plan(run: Run) -> CopyPlan:
    return CopyPlan.model_validate_json(run.plan)
