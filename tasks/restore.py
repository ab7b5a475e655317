"""Restores: start, check, apply each tier, finish."""

from __future__ import annotations

from typing import Any, Final

from celery import shared_task

from strata.model.run import RunKind
from strata.model.tier import Tier
from tasks import canvas
from tasks.stage import StageTask, wiring
from tasks.starting import NAMED, Mode, Reference, RunId, Speed, StartTask, Store, Tiers


@shared_task(base=StartTask, name="tasks.restore.start_restore", kind=RunKind.RESTORE, id_argument="restore_id")
def start_restore(
    backup: Reference,
    restore_id: RunId | None = None,
    mode: Mode = NAMED,
    tiers: Tiers = (),
    *,
    store: Store | None = None,
    speed: Speed | None = None,
) -> str:
    """Plan a restore of a backup (id, unique beginning or `latest`) and send its stages; returns the restore's id.

    Backup and mode must be named: nothing is overwritten because an argument was left out. `store` is the storage tier
    it is read from, the first that is configured where none is named; `speed` that of the thaw where one is needed.
    """
    assert restore_id
    plan = wiring().manager.start_restore(backup, restore_id, mode, tiers, store, speed)
    canvas.restore(plan).apply_async()
    return restore_id


@shared_task(base=StageTask, name="tasks.restore.check")
def check(run_id: str) -> int:
    """Prove the backup whole and the targets fit, before anything is written; returns the objects proved."""
    return wiring().manager.check(run_id).objects


@shared_task(base=StageTask, bind=True, name="tasks.restore.apply_all")
def apply_all(self: Any, run_id: str) -> Any:
    """Become the chord that writes WARM back; without WARM, the one for the other tiers."""
    raise self.replace(canvas.applying(wiring().manager.restore_plan(run_id)))


@shared_task(base=StageTask, bind=True, name="tasks.restore.apply_rest")
def apply_rest(self: Any, run_id: str) -> Any:
    """Become the chord that writes the other tiers back, now that WARM is."""
    raise self.replace(canvas.applying(wiring().manager.restore_plan(run_id), done=1))


@shared_task(base=StageTask, name="tasks.restore.apply_hot")
def apply_hot(run_id: str) -> int:
    """Write Redis back; returns the records written."""
    return wiring().manager.apply(run_id, Tier.HOT).written


@shared_task(base=StageTask, name="tasks.restore.apply_warm")
def apply_warm(run_id: str) -> int:
    """Write PostgreSQL back; returns the records written."""
    return wiring().manager.apply(run_id, Tier.WARM).written


@shared_task(base=StageTask, name="tasks.restore.apply_cold")
def apply_cold(run_id: str) -> int:
    """Write S3 back; returns the records written."""
    return wiring().manager.apply(run_id, Tier.COLD).written


@shared_task(base=StageTask, name="tasks.restore.finish")
def finish(run_id: str) -> str:
    """Sum up and end the restore; returns the backup's id."""
    return wiring().manager.finish(run_id).backup_id


APPLY: Final[dict[Tier, Any]] = {Tier.HOT: apply_hot, Tier.WARM: apply_warm, Tier.COLD: apply_cold}
