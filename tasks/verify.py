"""Reads back what was stored."""

from __future__ import annotations

from celery import shared_task

from tasks.stage import StageTask, wiring


@shared_task(base=StageTask, name="tasks.verify.verify")
def verify(run_id: str) -> int:
    """Read every object back from the store and prove it; returns how many."""
    return wiring().manager.verify(run_id).objects
