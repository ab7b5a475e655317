"""Brings the collected tiers together, and sends what is to be stored."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from tasks import canvas
from tasks.stage import StageTask, wiring


@shared_task(base=StageTask, bind=True, name="tasks.merge.merge")
def merge(self: Any, run_id: str) -> Any:
    """Merge, then become the chord that compresses, encrypts and stores each unit."""
    manager = wiring().manager
    raise self.replace(canvas.storing(manager.plan(run_id), manager.merge(run_id)))
