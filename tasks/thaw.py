"""Waits for archived objects without holding a worker: a visit, and a message for the next one."""

from __future__ import annotations

from typing import Any, Final

from celery import shared_task

from strata.errors import BrokerUnavailable
from tasks import canvas
from tasks.stage import StageTask, wiring

_SILENT_SECONDS: Final = 60
"""When to come again where the ledger does not answer: a thaw outlasts that."""


@shared_task(base=StageTask, bind=True, name="tasks.thaw.thaw")
def thaw(self: Any, run_id: str) -> bool:
    """Ask for what is frozen; come again later, or send the restore's stages once all can be read.

    A message that is lost meanwhile is sent again by `tasks.upkeep.resend_stalled`; a copy too many ends here.
    """
    try:
        visit = wiring().thaws.visit(run_id)
    except BrokerUnavailable:
        self.later(_SILENT_SECONDS)
    if visit.again is not None:
        self.later(min(visit.again, wiring().settings.stage_seconds))  # the broker redelivers what is held longer
    if visit.ready:
        canvas.restoring(wiring().manager.restore_plan(run_id)).apply_async()
    return visit.ready
