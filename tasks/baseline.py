"""Lays out what earlier backups hold, one tier a task."""

from __future__ import annotations

from celery import shared_task

from tasks.stage import StageTask, wiring


@shared_task(base=StageTask, name="tasks.baseline.baseline")
def baseline(run_id: str, unit: str) -> str:
    """Write into the spool what the parent holds of a tier, or which chunks are stored."""
    wiring().manager.baseline(run_id, unit)
    return unit
