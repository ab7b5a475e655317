"""What beat runs between the backups."""

from __future__ import annotations

from typing import Any, Final

from celery import shared_task

from strata.errors import LeaseHeld
from strata.model.identity import NOTHING_SEEN
from strata.model.plan import BackupPlan, CopyPlan, PruneOrder, RestorePlan
from strata.model.run import RunKind
from tasks import canvas
from tasks.copy import copy_backup
from tasks.stage import logger, wiring
from tasks.starting import Confirmed, Patience, RunId, StartTask
from tasks.words import about, kept

_AGAIN_SECONDS: Final = 15


@shared_task(base=StartTask, name="tasks.upkeep.resend_stalled")
def resend_stalled() -> list[str]:
    """Send again, whole, every run that shows no sign of life: done stages answer at once. Returns their ids."""
    runs = wiring().upkeep.stalled()
    for run in runs:
        if run.kind is RunKind.BACKUP:
            plan = BackupPlan.model_validate_json(run.plan)
            canvas.backup(plan, wiring().manager.baseline_units(plan)).apply_async()
        elif run.kind is RunKind.COPY:
            canvas.copy(CopyPlan.model_validate_json(run.plan)).apply_async()
        elif run.kind is RunKind.PRUNE:
            canvas.prune(PruneOrder.model_validate_json(run.plan)).apply_async()
        else:
            canvas.restore(RestorePlan.model_validate_json(run.plan)).apply_async()
    return [run.run_id for run in runs]


@shared_task(base=StartTask, name="tasks.upkeep.sweep")
def sweep() -> list[str]:
    """Remove staging that no run needs, and what writers that died left unfinished in stores.

    Returns the ids of the runs whose staging it was.
    """
    swept = wiring().upkeep.sweep_spool()
    for failure in wiring().upkeep.sweep_stores():
        logger.warning("a store was not tidied: %s", failure)
    return swept


@shared_task(base=StartTask, name="tasks.upkeep.copy_missing")
def copy_missing() -> list[str]:
    """Send the copies that placement names and no store holds, newest backups first; returns what was sent."""
    sent = []
    for missing in wiring().upkeep.missing_copies():
        logger.warning("%s has no copy in %s, though %s", missing.backup_id, missing.target.upper(), missing.reason)
        copy_backup.apply_async(
            args=(missing.backup_id, missing.target.value), **about(missing.backup_id, to=missing.target.upper())
        )
        sent.append(f"{missing.backup_id} to {missing.target}")
    return sent


@shared_task(base=StartTask, bind=True, name="tasks.upkeep.prune", kind=RunKind.PRUNE, id_argument="run_id")
def prune(
    self: Any, run_id: RunId | None = None, *, patience: Patience = 0, confirmed: Confirmed = NOTHING_SEEN
) -> str:
    """Mark what need not be kept, and remove what was marked long enough ago; returns the prune's id.

    `patience` is for how many seconds a run that holds the lease is waited for. `confirmed` is what the sender saw: a
    worker that differs refuses.
    """
    assert run_id
    try:
        canvas.prune(wiring().prunes.start(run_id, confirmed, again=patience > 0)).apply_async()
    except LeaseHeld:
        if patience <= 0:
            raise
        left = max(patience - _AGAIN_SECONDS, 0)
        later = {"patience": left, "confirmed": confirmed.model_dump(mode="json")}
        raise self.retry(args=(run_id,), kwargs=later, countdown=_AGAIN_SECONDS, **kept(self.request)) from None
    return run_id
