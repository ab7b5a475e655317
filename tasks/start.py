"""Begins a backup: what beat and people enqueue."""

from __future__ import annotations

from datetime import UTC, datetime

from celery import shared_task

from strata.model.run import RunKind
from strata.planning.backup import named_type, new_run_id
from tasks import canvas
from tasks.stage import starting, wiring


@shared_task(name="tasks.start.start_backup")
def start_backup(backup_type: str = "full", backup_id: str | None = None, *, fresh: bool = False) -> str:
    """Plan a backup of this type and send its stages; returns the backup's id, by which the ledger can be asked.

    `fresh` builds on nothing that is there. Delivered twice with an id, it sends the same run again, which is harmless.
    """
    run_id = backup_id or new_run_id(backup_type, datetime.now(UTC))
    with starting(run_id, RunKind.BACKUP):
        plan = wiring().manager.start(named_type(backup_type), run_id, fresh=fresh)
        canvas.backup(plan, wiring().manager.baseline_units(plan)).apply_async()
    return run_id
