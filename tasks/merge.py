"""Brings the collected tiers together, and sends what is to be stored."""

from __future__ import annotations

from celery import shared_task

from strata.engine.meeting import call_round
from tasks import canvas
from tasks.stage import StageTask, logger, wiring
from tasks.words import size


@shared_task(base=StageTask, name="tasks.merge.merge")
def merge(run_id: str) -> str:
    """Merge, then send the chord that compresses, encrypts and stores each unit.

    Where a cut was lost it sends, in place of that, the chord that reads all tiers again.
    """
    manager = wiring().manager
    plan = manager.plan(run_id)
    if not manager.is_collected(run_id):
        logger.warning("%s: the tiers were not cut together; all of them are collected again", run_id)
        call_round(manager.ledger, run_id)
        canvas.collecting(plan).apply_async()
        return "the tiers were not cut together; all of them are collected again"
    merged = manager.merge(run_id)
    canvas.storing(plan, merged).apply_async()
    return f"{len(merged.objects)} objects to be stored, {size(sum(one.raw_bytes for one in merged.objects))}"
