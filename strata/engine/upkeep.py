"""Upkeep: finds runs that stopped moving, and what dead runs left in the spool.

Celery loses a chord in two windows shorter than a millisecond, and a killed worker keeps its messages for minutes.
The ledger knows what is done, so a run that shows no sign of life is simply sent again, whole: done stages answer
at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from strata.clock import Clock
from strata.engine.manager import BackupManager
from strata.engine.spool import Spool
from strata.model.run import Run
from strata.planning.backup import is_our_id

STALLED_SECONDS: Final = 30.0
"""A run nobody renewed for so long has stopped: a working stage renews every 5 s."""

MAX_RESENT: Final = 10
_FORGOTTEN: Final = timedelta(days=1)


@dataclass(frozen=True)
class Upkeep:
    """Looks after runs and the spool."""

    manager: BackupManager
    spool: Spool
    clock: Clock

    def stalled(self) -> list[Run]:
        """Runs to send again, each marked; one that was sent too often is ended as FAILED instead.

        A run that waits is older than most: it is asked for by itself.
        """
        again, ledger = [], self.manager.ledger
        for run in {run.run_id: run for run in (*ledger.runs(200), *ledger.waiting())}.values():
            if run.state.final:
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
        for run_id in sorted(self.spool.runs()):
            run = self.manager.ledger.run(run_id)
            if (run and run.state.final) or (run is None and is_our_id(run_id) and self._forgotten(run_id)):
                self.spool.sweep(run_id)
                swept.append(run_id)
        return swept

    def _forgotten(self, run_id: str) -> bool:
        newest = self.spool.newest(run_id)
        return newest is not None and self.clock.now() - newest > _FORGOTTEN
