"""Lays out what earlier backups hold, one tier a task."""

from __future__ import annotations

from celery import shared_task

from strata.model.ticket import Baselined
from tasks.stage import StageTask, wiring
from tasks.units import among


@shared_task(base=StageTask, name="tasks.baseline.baseline")
def baseline(run_id: str, unit: str) -> str:
    """Write into the spool what the parent holds of a tier, or which chunks are stored."""
    manager = wiring().manager
    laid_out = manager.baseline(run_id, among(unit, manager.baseline_units(manager.plan(run_id))))
    return f"{laid_out.rows:,} records" if isinstance(laid_out, Baselined) else "the chunks that are stored"
