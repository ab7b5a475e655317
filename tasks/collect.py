"""Reads the tiers, each in a task of its own."""

from __future__ import annotations

from typing import Any, Final

from celery import shared_task

from strata.model.tier import Tier
from tasks import canvas
from tasks.stage import StageTask, wiring


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
    """Where what was collected is described; nothing where it is to be collected again (`merge` sees to that)."""
    collected = wiring().manager.collect(run_id, tier)
    return collected.description if collected else ""


@shared_task(base=StageTask, bind=True, name="tasks.collect.collect_all")
def collect_all(self: Any, run_id: str) -> Any:
    """Become the chord that reads the tiers."""
    raise self.replace(canvas.collecting(wiring().manager.plan(run_id)))


COLLECT: Final[dict[Tier, Any]] = {Tier.HOT: collect_hot, Tier.WARM: collect_warm, Tier.COLD: collect_cold}
