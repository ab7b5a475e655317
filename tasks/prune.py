"""The stages of a prune: mark, sweep store by store, finish (`tasks.upkeep.prune` starts it).

And what removes from a store the objects of a backup that failed.
"""

from __future__ import annotations

from typing import Any, Final

from celery import shared_task

from strata.engine import taken_back
from strata.model.tier import StorageTier
from tasks.stage import StageTask, logger, wiring
from tasks.units import one_of
from tasks.words import size

_AGAIN_SECONDS: Final = 5


@shared_task(base=StageTask, name="tasks.prune.mark")
def mark(run_id: str) -> str:
    """Mark the backups that need not be kept, and take back marks of those that must."""
    marked = wiring().prunes.mark(run_id)
    for sentence in marked.missed:
        logger.error("a mark of %s is not in every store: %s", run_id, sentence)
    return f"{len(marked.marked)} marked, {len(marked.unmarked)} unmarked"


@shared_task(base=StageTask, name="tasks.prune.sweep_store")
def sweep_store(run_id: str, store: str) -> str:
    """Remove from one store what has waited out its grace, and what nothing names."""
    swept = wiring().prunes.sweep(run_id, one_of(StorageTier, store))
    for sentence in swept.failed:
        logger.error("%s could not remove all from %s: %s", run_id, store.upper(), sentence)
    return f"{swept.manifests} backups, {swept.layers} layers, {size(swept.bytes)}"


@shared_task(base=StageTask, name="tasks.prune.finish")
def finish(run_id: str) -> str:
    """Sum up and end the prune; returns the bytes that it freed."""
    return f"{size(sum(store.bytes for store in wiring().prunes.finish(run_id).stores))} freed"


@shared_task(base=StageTask, bind=True, name="tasks.prune.take_back")
def take_back(self: Any, run_id: str) -> str:
    """Remove what a failed backup stored and no manifest names; comes again while another try may still write."""
    taken = taken_back.take_back(wiring().manager, run_id)
    if taken is None:
        self.later(_AGAIN_SECONDS)
    return f"{taken} objects taken back"
