"""Makes the backup exist."""

from __future__ import annotations

from celery import shared_task

from tasks.stage import StageTask, wiring


@shared_task(base=StageTask, name="tasks.record.record")
def record(run_id: str) -> str:
    """Write the manifest, end the run; returns the backup's id."""
    return wiring().manager.record(run_id).backup_id
