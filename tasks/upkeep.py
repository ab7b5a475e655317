"""What beat runs between the backups."""

from __future__ import annotations

from celery import shared_task

from strata.model.plan import BackupPlan, CopyPlan, RestorePlan
from strata.model.run import RunKind
from tasks import canvas
from tasks.stage import wiring


@shared_task(name="tasks.upkeep.resend_stalled")
def resend_stalled() -> list[str]:
    """Send again, whole, every run that shows no sign of life: done stages answer at once. Returns their ids."""
    runs = wiring().upkeep.stalled()
    for run in runs:
        if run.kind is RunKind.BACKUP:
            plan = BackupPlan.model_validate_json(run.plan)
            canvas.backup(plan, wiring().manager.baseline_units(plan)).apply_async()
        elif run.kind is RunKind.COPY:
            canvas.copy(CopyPlan.model_validate_json(run.plan)).apply_async()
        else:
            canvas.restore(RestorePlan.model_validate_json(run.plan)).apply_async()
    return [run.run_id for run in runs]


@shared_task(name="tasks.upkeep.sweep_spool")
def sweep_spool() -> list[str]:
    """Remove staging that no run needs; returns the ids of the runs it belonged to."""
    return wiring().upkeep.sweep_spool()
