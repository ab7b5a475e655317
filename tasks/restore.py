"""Restores: start, check, apply each tier, finish."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from celery import shared_task

from strata.engine import restore_plans
from strata.engine.restore_store import RestoreWish
from strata.errors import StrataError
from strata.model.identity import NOTHING_SEEN, Identities
from strata.model.plan import RestorePlan
from strata.model.run import RunKind
from strata.model.tier import Tier
from strata.planning.restore import rounds
from tasks import canvas
from tasks.stage import FAILURES, MAX_RETRIES, StageTask, backoff, failures_of, wiring
from tasks.starting import NAMED, Confirmed, Mode, Reference, RunId, Speed, StartTask, Store, Tiers
from tasks.words import kept, proved, written


def _planning(name: str, plan: Callable[..., RestorePlan], then: Callable[[RestorePlan], object], says: str) -> Any:
    """A task that plans a restore, and what it does then; all of them take the same arguments."""

    def run(
        self: Any,
        backup: Reference,
        restore_id: RunId | None = None,
        mode: Mode = NAMED,
        tiers: Tiers = (),
        *,
        store: Store | None = None,
        speed: Speed | None = None,
        confirmed: Confirmed = NOTHING_SEEN,
    ) -> str:
        assert restore_id
        then(_asked(self, plan, RestoreWish(restore_id, backup, mode, tiers, store, speed), confirmed))
        return restore_id

    run.__doc__ = says
    task = shared_task(base=StartTask, bind=True, name=name, kind=RunKind.RESTORE, id_argument="restore_id")
    return task(run)


def _send(plan: RestorePlan) -> None:
    canvas.restore(plan).apply_async()


start_restore: Final = _planning(
    "tasks.restore.start_restore",
    restore_plans.start_restore,
    _send,
    """Plan a restore of a backup (id, unique beginning or `latest`) and send its stages; returns the restore's id.

    Backup and mode must be named: nothing is overwritten because an argument was left out. `store` is the storage tier
    it is read from, the first that is configured where none is named; `speed` that of the thaw where one is needed.
    `confirmed` is what the sender saw: a worker that differs refuses.
    """,
)

plan_restore: Final = _planning(
    "tasks.restore.plan_restore",
    restore_plans.plan_restore,
    lambda plan: plan,
    """Enter the plan of a restore in the ledger, with the targets as this worker sees them; returns its id.

    It waits for `confirm_restore`, for 15 minutes; until then nothing is done. The arguments are those of
    `start_restore`.
    """,
)


@shared_task(base=StartTask, name="tasks.restore.confirm_restore", kind=RunKind.RESTORE, id_argument="restore_id")
def confirm_restore(restore_id: RunId) -> str:
    """Begin the restore whose plan was confirmed by its id, and send its stages; returns the id."""
    _send(restore_plans.confirm_restore(wiring().manager, restore_id))
    return restore_id


def _asked(task: Any, plan: Callable[..., RestorePlan], wish: RestoreWish, confirmed: Identities) -> RestorePlan:
    """The plan; what does not answer is asked again, as often as by a stage."""
    failures = failures_of(task.request)

    def again(error: StrataError) -> bool:
        return error.retryable and failures < MAX_RETRIES

    try:
        return plan(wiring().manager, wish, confirmed, again)
    except StrataError as error:
        if not again(error):
            raise
        raise task.retry(
            args=(wish.reference,),
            kwargs={
                "restore_id": wish.run_id,
                "mode": wish.mode.value,
                "tiers": [tier.value for tier in wish.tiers],
                "store": wish.storage_tier and wish.storage_tier.value,
                "speed": wish.speed and wish.speed.value,
                "confirmed": confirmed.model_dump(mode="json"),
            },
            countdown=backoff(failures),
            headers={FAILURES: failures + 1},
            **kept(task.request),
        ) from None


@shared_task(base=StageTask, name="tasks.restore.check")
def check(run_id: str) -> str:
    """Prove the backup whole and the targets fit, before anything is written; returns the objects proved."""
    return proved(wiring().manager.check(run_id))


@shared_task(base=StageTask, name="tasks.restore.apply_all")
def apply_all(run_id: str) -> str:
    """Send the chord that writes WARM back; without WARM, the one for the other tiers."""
    return _send_round(run_id, 0)


@shared_task(base=StageTask, name="tasks.restore.apply_rest")
def apply_rest(run_id: str) -> str:
    """Send the chord that writes the other tiers back, now that WARM is."""
    return _send_round(run_id, 1)


def _send_round(run_id: str, done: int) -> str:
    plan = wiring().manager.restore_plan(run_id)
    canvas.applying(plan, done).apply_async()
    return f"{' and '.join(tier.label for tier in rounds(plan.tiers)[done])} will be written"


@shared_task(base=StageTask, name="tasks.restore.apply_hot")
def apply_hot(run_id: str) -> str:
    """Write Redis back; returns the records written."""
    return written(wiring().manager.apply(run_id, Tier.HOT))


@shared_task(base=StageTask, name="tasks.restore.apply_warm")
def apply_warm(run_id: str) -> str:
    """Write PostgreSQL back; returns the records written."""
    return written(wiring().manager.apply(run_id, Tier.WARM))


@shared_task(base=StageTask, name="tasks.restore.apply_cold")
def apply_cold(run_id: str) -> str:
    """Write S3 back; returns the records written."""
    return written(wiring().manager.apply(run_id, Tier.COLD))


@shared_task(base=StageTask, name="tasks.restore.finish")
def finish(run_id: str) -> str:
    """Sum up and end the restore; returns the backup's id."""
    return wiring().manager.finish(run_id).backup_id


APPLY: Final[dict[Tier, Any]] = {Tier.HOT: apply_hot, Tier.WARM: apply_warm, Tier.COLD: apply_cold}
