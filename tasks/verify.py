"""Reads back what was stored: by a backup, and what was not read for the longest time."""

from __future__ import annotations

from celery import shared_task

from strata.engine.store_prover import StoreProved
from strata.planning.tables import budget
from tasks.stage import StageTask, logger, wiring
from tasks.starting import StartTask
from tasks.words import proved, size


@shared_task(base=StageTask, name="tasks.verify.verify")
def verify(run_id: str) -> str:
    """Read every object back from the store and prove it; returns how many."""
    return proved(wiring().manager.verify(run_id))


@shared_task(base=StartTask, name="tasks.verify.prove_oldest")
def prove_oldest() -> list[str]:
    """Read back what was not read for the longest time, as far as STRATA_VERIFY_BUDGET goes, and note what is found.

    Returns what was read of each store, in words.
    """
    prover, settings = wiring().prover, wiring().settings
    readable, layers = prover.due()
    read = prover.prove(readable, layers, budget(settings.verify_budget).at_most(settings.stage_seconds / 2))
    for store in read:
        for damage in store.damages:
            logger.error("%s: %s is damaged: %s", store.storage_tier.upper(), damage.name, damage.reason)
        if store.failure:
            logger.error("%s was not read to the end: %s", store.storage_tier.upper(), store.failure)
    return [_told(store) for store in read]


def _told(store: StoreProved) -> str:
    left = f", {store.left} layers left" if store.left else ""
    hurt = f", {len(store.damages)} damaged" if store.damages else ""
    return f"{store.storage_tier}: {store.layers} layers, {size(store.bytes)}{hurt}{left}"
