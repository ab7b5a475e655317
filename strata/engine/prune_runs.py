"""Prunes as runs: under the lease, mark first, then one store after the other; each stage behind the ledger's guard."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from strata.catalog.ledger import Ledger
from strata.engine.admission import who
from strata.engine.manager import BackupManager
from strata.engine.pruner import Marked, Pruned, Pruner
from strata.engine.sweep import Swept
from strata.engine.timekeeping import in_words, off_by
from strata.errors import LeaseHeld, RunFailed, SettingError, StrataError
from strata.model.identity import KEYRING, LEDGER, NOTHING_SEEN, RETENTION, Identities
from strata.model.plan import PruneOrder
from strata.model.run import RunKind, RunState, Stage
from strata.model.tier import StorageTier
from strata.planning.clocks import TOLERANCE
from strata.planning.identity import refuse_unseen

_KNOWN_RUNS = 10_000


@dataclass(frozen=True)
class PruneRuns:
    """Starts prunes, does their stages, and ends them."""

    manager: BackupManager
    pruner: Pruner
    others: Sequence[Ledger] = ()
    """Further ledgers whose runs are to be left alone: that of the workers, where this process has its own."""
    timekeeper: Ledger | None = None
    """The ledger whose clock ours must agree with: by a clock that is ahead everything would be old enough to go."""

    @property
    def running(self) -> frozenset[str]:
        """The ids of runs that have not ended, and of the backups that they restore or copy."""
        ledgers = (self.manager.ledger, *self.others)
        known = [run for ledger in ledgers for run in (*ledger.runs(_KNOWN_RUNS), *ledger.waiting())]
        runs = [run for run in known if not run.state.final]
        used = {json.loads(run.plan).get("backup_id", "") for run in runs if run.plan}
        return frozenset({run.run_id for run in runs} | used - {""})

    def start(self, run_id: str, confirmed: Identities = NOTHING_SEEN, *, again: bool = False) -> PruneOrder:
        """Take the lease and enter the run; LeaseHeld is no refusal where it is tried `again`.

        `confirmed` is what the sender saw: every store from which something may go must be among it.
        """
        if self.manager.known(run_id, RunKind.PRUNE) is not None:
            return self.order(run_id)
        fence = None
        try:
            stores = tuple(depot.tier for depot in self.manager.depots)
            refuse_unseen(confirmed, stores)
            self.manager.looks.compare_tiers(confirmed)
            self.manager.looks.compare(run_id, confirmed, LEDGER, KEYRING, RETENTION, *stores)
            self._compare_clocks()
            fence = self.manager.lease.acquire(run_id, who())
            now = self.pruner.clock.now()
            order = PruneOrder(prune_id=run_id, created_at=now, stores=stores, confirmed=confirmed)
        except StrataError as error:
            if not (again and isinstance(error, LeaseHeld)):
                self.manager.refuse(run_id, RunKind.PRUNE, fence, error)
            raise
        self.manager.begin(run_id, RunKind.PRUNE, order.model_dump_json(), fence)
        return self.order(run_id)

    def _compare_clocks(self) -> None:
        """SettingError where this machine's clock is off: each stage may be another machine's."""
        if self.timekeeper is None:
            return
        off = off_by(self.pruner.clock, self.timekeeper)
        if abs(off) > TOLERANCE:
            raise SettingError(
                f"nothing is pruned: this machine's clock is {in_words(off)}",
                hint="Set the clocks right; by a wrong one backups seem older than they are.",
            )

    def order(self, run_id: str) -> PruneOrder:
        """What a prune under way was asked to do."""
        run = self.manager.ledger.run(run_id)
        if run is None or not run.plan:
            raise RunFailed(run.reason if run else f"no run {run_id} is known")
        return PruneOrder.model_validate_json(run.plan)

    def mark(self, run_id: str) -> Marked:
        """Mark what may go, take back other marks."""
        self.order(run_id)
        self._compare_clocks()
        others = self.running - {run_id}
        return self.manager.runner.run(
            run_id, Stage.MARK, "", Marked, lambda attempt: self.pruner.mark(others, attempt)
        )

    def sweep(self, run_id: str, tier: StorageTier) -> Swept:
        """Remove from one store what has waited out its grace."""
        self.manager.result(run_id, Stage.MARK, "")
        if tier not in self.order(run_id).stores:
            raise RunFailed(f"{run_id} does not prune {tier.upper()}: its order does not name it")
        self._compare_clocks()
        others = self.running - {run_id}
        return self.manager.runner.run(
            run_id, Stage.SWEEP, tier, Swept, lambda attempt: self.pruner.sweep(tier, others, attempt)
        )

    def finish(self, run_id: str) -> Pruned:
        """Sum up and end the run."""
        order = self.order(run_id)

        def work(_: object) -> Pruned:
            marks = Marked.model_validate_json(self.manager.result(run_id, Stage.MARK, ""))
            swept = [self.manager.result(run_id, Stage.SWEEP, tier) for tier in order.stores]
            return Pruned(marks=marks, stores=tuple(Swept.model_validate_json(one) for one in swept))

        pruned = self.manager.runner.run(run_id, Stage.FINISH, "", Pruned, work)
        self.manager.close(run_id, RunState.DONE)
        return pruned


def prune_here(runs: PruneRuns, run_id: str) -> Pruned:
    """A whole prune in this process."""
    order = runs.start(run_id)
    try:
        runs.mark(run_id)
        for tier in order.stores:
            runs.sweep(run_id, tier)
    except BaseException as error:
        reason = error.sentence if isinstance(error, StrataError) else f"{type(error).__name__} stopped it"
        runs.manager.abandon(run_id, reason)
        raise
    return runs.finish(run_id)
