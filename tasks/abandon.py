"""The one errback of every canvas."""

from __future__ import annotations

from celery import shared_task

from strata.model.run import RunKind, RunState
from tasks.prune import take_back
from tasks.stage import StageTask, wiring
from tasks.words import about


@shared_task(base=StageTask, name="tasks.abandon.abandon", ignore_result=True)
def abandon(_failed_task_id: object, *, run_id: str) -> None:
    """End the run as FAILED with the reason its stage noted; may be called twice, or for a run that has ended.

    One positional argument: with two, Celery would call it inside the failing worker instead of sending a message.
    """
    wiring().manager.abandon(run_id)
    run = wiring().ledger.run(run_id)
    if run and run.kind is RunKind.BACKUP and run.state is RunState.FAILED:
        take_back.apply_async((run_id,), **about(run_id))
