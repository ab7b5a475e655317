"""Begins a backup: what beat and people enqueue."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from celery import shared_task

from strata.errors import LeaseHeld
from strata.model.run import RunKind
from strata.planning.backup import named_type, new_run_id
from tasks import canvas
from tasks.stage import starting, wiring

_AGAIN_SECONDS: Final = 15


@shared_task(bind=True, name="tasks.start.start_backup", max_retries=None)
def start_backup(
    self: Any,
    backup_type: str = "full",
    backup_id: str | None = None,
    *,
    fresh: bool = False,
    patience: int = 0,
    override: str = "",
) -> str:
    """Plan a backup of this type and send its stages; returns the backup's id, by which the ledger can be asked.

    `fresh` builds on nothing that is there. `patience` is for how many seconds a run that holds the lease is waited
    for; then, or at once, the backup is refused. `override` names a document in the spool that is backed up in place of
    the live tiers (tasks.enqueue puts it there). Delivered twice with an id, it sends the same run again, which is
    harmless.
    """
    run_id = backup_id or new_run_id(backup_type, datetime.now(UTC))
    with starting(run_id, RunKind.BACKUP):
        manager = wiring().manager
        try:
            plan = manager.start(named_type(backup_type), run_id, fresh=fresh, patient=patience > 0, override=override)
            canvas.backup(plan, manager.baseline_units(plan)).apply_async()
        except LeaseHeld:
            if patience <= 0:
                raise
            plan = None
    if plan is None:
        later = {"fresh": fresh, "patience": patience - _AGAIN_SECONDS, "override": override}
        raise self.retry(args=(backup_type, run_id), kwargs=later, countdown=_AGAIN_SECONDS)
    return run_id
