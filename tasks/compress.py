"""Compresses units, one a task."""

from __future__ import annotations

from celery import shared_task

from tasks.stage import StageTask, wiring
from tasks.units import labelled


@shared_task(base=StageTask, name="tasks.compress.compress")
def compress(run_id: str, unit: str) -> str:
    """Compress one unit in the spool."""
    return f"{wiring().manager.compress(run_id, labelled(unit)).rows:,} records"
