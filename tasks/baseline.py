"""Lays out what earlier backups hold, one tier a task."""

from __future__ import annotations

from celery import shared_task

from strata.model.ticket import Baselined
from tasks.stage import StageTask, wiring


@shared_task(base=StageTask, name="tasks.baseline.baseline")
def baseline(run_id: str, unit: str) -> str:
    """Write into the spool what the parent holds of a tier, or which chunks are stored."""
    laid_out = wiring().manager.baseline(run_id, unit)
    return f"{laid_out.rows:,} records" if isinstance(laid_out, Baselined) else "the chunks that are stored"
