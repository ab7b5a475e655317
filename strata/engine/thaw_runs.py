"""Restores that wait for a thaw: visited now and then, holding neither a worker nor the lease between the visits.

A visit asks for what is still frozen, looks whether all can be read, and, once it can, takes the lease. Whoever visits,
however often, and wherever the last visit was cut short: the store says what was asked for, the ledger when the next
visit is due. So a visit that was lost is made up for by the sweeper, and one too many does nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from strata.engine.admission import who
from strata.engine.manager import BackupManager
from strata.engine.runner import Attempt, Waits
from strata.engine.timekeeping import moment
from strata.errors import LeaseHeld, RunFailed, StoreUnavailable
from strata.model.plan import RestorePlan
from strata.model.run import Run, RunKind, RunState, Stage
from strata.model.thaw import Thawed, ThawPlan

LEASE_SECONDS: Final = 15.0
"""How soon a restore whose thaw is over asks again for a lease that another run holds."""

_EARLY_SECONDS: Final = 5.0
"""A visit so long before its time (or a quarter of the wait) counts as due: clocks of workers differ."""


@dataclass(frozen=True)
class Visit:
    """What came of a visit: the restore can go on, or is to be visited again in so many seconds, or neither.

    Neither where another visit is on its way: this one was a copy too many.
    """

    ready: bool
    again: float | None = None


class ThawRuns:
    """Brings restores through their thaw."""

    def __init__(self, manager: BackupManager) -> None:
        self._manager = manager
        self._ledger = manager.ledger

    def visit(self, run_id: str) -> Visit:
        """Do what the thaw of a run needs now; may be called at any time, by anybody."""
        run = self._run(run_id)
        if run.state is RunState.DONE:
            return Visit(ready=False)
        if self._is_early(run):
            return Visit(ready=False)
        plan = self._manager.restore_plan(run_id)
        try:
            if plan.thaw:
                self._manager.runner.run(run_id, Stage.THAW, "", Thawed, lambda attempt: self._thaw(run, plan, attempt))
            self._take_lease(run_id)
        except Waits as waits:
            self._ledger.wait(run_id, waits.seconds, waits.why)
            return Visit(ready=False, again=waits.seconds)
        return Visit(ready=True)

    def awaited(self) -> frozenset[str]:
        """The backups that restores which wait will read: they hold no lease, so whoever removes backups must ask."""
        plans = [RestorePlan.model_validate_json(run.plan) for run in self._ledger.waiting() if _restores(run)]
        return frozenset(plan.backup_id for plan in plans)

    def _is_early(self, run: Run) -> bool:
        if run.wakes_at is None:
            return False
        left = run.wakes_at.timestamp() - self._ledger.clock_ms() / 1000
        return left > min(_EARLY_SECONDS, (run.wakes_at - run.updated_at).total_seconds() / 4)

    def _thaw(self, run: Run, plan: RestorePlan, attempt: Attempt) -> Thawed:
        depot = self._manager.restore_stores.read_by(plan)
        thawer = self._manager.restore_stores.thawers[plan.storage_tier]
        assert plan.thaw
        seconds = thawer.policy.look_seconds
        try:
            manifest = depot.metadata.load(plan.backup_id)
            look = thawer.look(manifest, plan.tiers)
            at_speed = thawer.request(look, plan.thaw, attempt.report)
            if look.frozen:
                look = thawer.look(manifest, plan.tiers)
        except StoreUnavailable as error:  # a thaw takes hours: it outlasts that
            self._refuse_overdue(run, plan.thaw)
            raise Waits(seconds, f"its store: {error.sentence}") from None
        attempt.report(look.progress)
        if look.ready:
            return look.thawed()
        self._refuse_overdue(run, plan.thaw)
        progress = look.progress
        slower = "" if at_speed else "; expedited retrieval has no capacity now, standard was asked for"
        raise Waits(seconds, f"a thaw: {progress.objects} of {progress.total} objects can be read{slower}")

    def _refuse_overdue(self, run: Run, thaw: ThawPlan) -> None:
        """RunFailed where it takes more than twice as long as published, and a day."""
        last = run.created_at + timedelta(days=1, hours=2 * thaw.most_hours)
        if moment(self._ledger) > last:
            raise RunFailed(
                f"the thaw in {thaw.store_url} should have ended by {thaw.ready_by(run.created_at):%Y-%m-%d %H:%M} UTC",
                hint="Start the restore again: what was thawed meanwhile is not asked for twice.",
            )

    def _take_lease(self, run_id: str) -> None:
        """Take the lease for a run that has none, or lost it before its restore began."""
        run = self._run(run_id)
        if run.fence is not None and self._manager.lease.renew(run.fence):
            return
        if any(row.stage is not Stage.THAW for row in self._ledger.rows(run_id)):
            return  # it has begun; its stages find for themselves whether they still hold it
        try:
            fence = self._manager.lease.acquire(run_id, who())
        except LeaseHeld as held:
            raise Waits(LEASE_SECONDS, f"the lease: {held.sentence}") from None
        if not self._ledger.grant(run_id, fence):
            self._manager.lease.release(fence)
            raise RunFailed(f"the run {run_id} has ended")

    def _run(self, run_id: str) -> Run:
        run = self._ledger.run(run_id)
        if run is None:
            raise RunFailed(f"no run {run_id} is known")
        if run.state in {RunState.FAILED, RunState.REFUSED}:
            raise RunFailed(run.reason or f"the run {run_id} has ended")
        return run


def _restores(run: Run) -> bool:
    return run.kind is RunKind.RESTORE and bool(run.plan)
