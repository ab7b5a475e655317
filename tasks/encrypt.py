"""Encrypts units, one a task."""

from __future__ import annotations

from celery import shared_task

from tasks.stage import StageTask, wiring
from tasks.units import labelled
from tasks.words import size


@shared_task(base=StageTask, name="tasks.encrypt.encrypt")
def encrypt(run_id: str, unit: str) -> str:
    """Seal one unit under the backup's data key."""
    sealed = wiring().manager.encrypt(run_id, labelled(unit))
    return f"{size(sealed.stored.raw_bytes)} became {size(sealed.stored.size)}"
