"""Copies recorded backups to further stores: start, copy part by part, finish."""

from __future__ import annotations

from celery import shared_task

from strata.engine.copier import Copied
from strata.model.identity import NOTHING_SEEN
from strata.model.run import RunKind
from tasks import canvas
from tasks.stage import StageTask, wiring
from tasks.starting import Confirmed, Reference, RunId, StartTask, Store
from tasks.units import number_of
from tasks.words import size


@shared_task(base=StartTask, name="tasks.copy.copy_backup", kind=RunKind.COPY, id_argument="copy_id")
def copy_backup(
    backup_id: Reference,
    to: Store,
    copy_id: RunId | None = None,
    source: Store | None = None,
    *,
    confirmed: Confirmed = NOTHING_SEEN,
) -> str:
    """Plan a copy of a backup (its full id) to a storage tier and send its parts; returns the copy's id.

    `source` is the storage tier it is read from, the nearest that holds it otherwise. `confirmed` is what the
    sender saw: a worker that differs refuses.
    """
    assert copy_id
    canvas.copy(wiring().manager.start_copy(backup_id, copy_id, to, source, confirmed)).apply_async()
    return copy_id


@shared_task(base=StageTask, name="tasks.copy.copy_part")
def copy_part(run_id: str, number: str) -> str:
    """Copy the objects of one part that the target lacks, and read them back there."""
    manager = wiring().manager
    return _told(manager.copy(run_id, number_of(number, len(manager.copy_plan(run_id).parts))))


@shared_task(base=StageTask, name="tasks.copy.finish_copy")
def finish_copy(run_id: str) -> str:
    """See that all is there and write the manifest: now the copy exists."""
    made = wiring().manager.finish_copy(run_id)
    where = f"{made.backup_id} is in {made.storage_tier.upper()}"
    return f"{where}: {made.copied} of {made.objects} objects copied, {size(made.bytes)}"


def _told(copied: Copied) -> str:
    return f"{copied.objects} objects, {size(copied.bytes)}"
