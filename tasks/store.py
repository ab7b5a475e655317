"""Stores units, one a task."""

from __future__ import annotations

from celery import shared_task

from tasks.stage import StageTask, wiring
from tasks.units import labelled
from tasks.words import size


@shared_task(base=StageTask, name="tasks.store.store")
def store(run_id: str, unit: str) -> str:
    """Put one unit into the store."""
    return f"{size(wiring().manager.store(run_id, labelled(unit)).stored.size)} stored"
