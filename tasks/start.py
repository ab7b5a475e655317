"""Begins a backup: what beat and people enqueue."""

from __future__ import annotations

from datetime import UTC, datetime

from celery import shared_task

from strata.model.run import RunKind
from strata.planning.backup import named_type, new_run_id
from tasks import canvas
from tasks.stage import starting, wiring


@shared_task(name="tasks.start.start_backup")
def start_backup(backup_type: str = "full", backup_id: str | None = None, *, override: str = "") -> str:
    """Plan a backup of this type and send its stages; returns the backup's id, by which the ledger can be asked.

    `override` names a document in the spool that is backed up in place of the live tiers (tasks.enqueue puts it there).
    Delivered twice with an id, it sends the same run again, which is harmless.
    """
    run_id = backup_id or new_run_id(backup_type, datetime.now(UTC))
    with starting(run_id, RunKind.BACKUP):
        plan = wiring().manager.start(named_type(backup_type), run_id, override=override)
        canvas.backup(plan).apply_async()
    return run_id
