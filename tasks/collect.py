"""Reads the tiers, each in a task of its own."""

from __future__ import annotations

from typing import Any, Final

from celery import shared_task

from strata.model.tier import Tier
from tasks import canvas
from tasks.stage import StageTask, wiring
from tasks.words import size


@shared_task(base=StageTask, name="tasks.collect.collect_hot")
def collect_hot(run_id: str) -> str:
    """Read Redis into the spool."""
    return _collect(run_id, Tier.HOT)


@shared_task(base=StageTask, name="tasks.collect.collect_warm")
def collect_warm(run_id: str) -> str:
    """Read PostgreSQL into the spool."""
    return _collect(run_id, Tier.WARM)


@shared_task(base=StageTask, name="tasks.collect.collect_cold")
def collect_cold(run_id: str) -> str:
    """Read S3 into the spool."""
    return _collect(run_id, Tier.COLD)


def _collect(run_id: str, tier: Tier) -> str:
    """What was collected, in words."""
    collected = wiring().manager.collect(run_id, tier)
    if collected is None:  # `merge` sees to that
        return f"{tier.label} is collected again, with all others"
    if collected.missing:
        return f"{tier.label} was left out"
    return f"{collected.records:,} records, {size(collected.logical_bytes)}"


@shared_task(base=StageTask, name="tasks.collect.collect_all")
def collect_all(run_id: str) -> str:
    """Send the chord that reads the tiers."""
    plan = wiring().manager.plan(run_id)
    canvas.collecting(plan).apply_async()
    return f"{len(plan.included)} tiers are collected"


@shared_task(base=StageTask, name="tasks.collect.end_pause")
def end_pause(run_id: str) -> str:
    """Let the application go on, where a collector of the run died in the pause; may be called twice."""
    return "the application goes on" if wiring().manager.end_pause(run_id) else "no pause was left"


COLLECT: Final[dict[Tier, Any]] = {Tier.HOT: collect_hot, Tier.WARM: collect_warm, Tier.COLD: collect_cold}
