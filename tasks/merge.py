"""Brings the collected tiers together, and sends what is to be stored."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from strata.engine.meeting import call_round
from tasks import canvas
from tasks.stage import StageTask, logger, wiring


@shared_task(base=StageTask, bind=True, name="tasks.merge.merge")
def merge(self: Any, run_id: str) -> Any:
    """Merge, then become the chord that compresses, encrypts and stores each unit.

    Where a cut was lost it becomes, in place of that, the chord that reads all tiers again.
    """
    manager = wiring().manager
    plan = manager.plan(run_id)
    if not manager.is_collected(run_id):
        logger.warning("%s: the tiers were not cut together; all of them are collected again", run_id)
        call_round(manager.ledger, run_id)
        raise self.replace(canvas.collecting(plan))
    raise self.replace(canvas.storing(plan, manager.merge(run_id)))
