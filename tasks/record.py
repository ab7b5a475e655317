"""Makes the backup exist, and has it copied."""

from __future__ import annotations

from celery import shared_task
from kombu.exceptions import OperationalError

from strata.model.identity import NOTHING_SEEN
from tasks.copy import copy_backup
from tasks.stage import StageTask, logger, wiring
from tasks.words import about


@shared_task(base=StageTask, name="tasks.record.record")
def record(run_id: str) -> str:
    """Write the manifest, end the run, and ask for the copies; returns the backup's id.

    A copy that cannot be asked for is made later (tasks.upkeep.copy_missing): the backup is there.
    """
    manager = wiring().manager
    plan = manager.plan(run_id)
    confirmed = {"confirmed": plan.confirmed.model_dump(mode="json")} if plan.confirmed != NOTHING_SEEN else {}
    backup_id = manager.record(run_id).backup_id
    for target in plan.copies:
        try:
            copy_backup.apply_async(
                args=(backup_id, target.value), kwargs=confirmed, **about(backup_id, to=target.upper())
            )
        except OperationalError:
            logger.warning("the copy of %s to %s was not sent; it will be made later", backup_id, target.upper())
    return backup_id
