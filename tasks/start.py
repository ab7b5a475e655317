"""Begins a backup: what beat and people enqueue."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from celery import shared_task

from strata.errors import LeaseHeld, StrataError
from strata.model.run import RunKind
from strata.planning.backup import named_type, new_run_id
from tasks import canvas
from tasks.stage import MAX_RETRIES, backoff, starting, wiring

_AGAIN_SECONDS: Final = 15


@shared_task(bind=True, name="tasks.start.start_backup", max_retries=None)
def start_backup(
    self: Any,
    backup_type: str = "full",
    backup_id: str | None = None,
    *,
    fresh: bool = False,
    patience: int = 0,
    override: str = "",
) -> str:
    """Plan a backup of this type and send its stages; returns the backup's id, by which the ledger can be asked.

    `fresh` builds on nothing that is there. `patience` is for how many seconds a run that holds the lease is waited
    for; then, or at once, the backup is refused. `override` names a document in the spool that is backed up in place of
    the live tiers (tasks.enqueue puts it there). Delivered twice with an id, it sends the same run again, which is
    harmless.
    """
    run_id = backup_id or new_run_id(backup_type, datetime.now(UTC))
    failures = int((self.request.headers or {}).get("strata_failures", 0))

    def again(error: StrataError) -> bool:
        return patience > 0 if isinstance(error, LeaseHeld) else error.retryable and failures < MAX_RETRIES

    with starting(run_id, RunKind.BACKUP):
        manager, held = wiring().manager, None
        try:
            plan = manager.start(named_type(backup_type), run_id, fresh=fresh, override=override, again=again)
            canvas.backup(plan, manager.baseline_units(plan)).apply_async()
        except StrataError as error:
            if not again(error):
                raise
            held = error
    if held is not None:
        waits = isinstance(held, LeaseHeld)
        later = {"fresh": fresh, "override": override, "patience": patience - _AGAIN_SECONDS if waits else patience}
        raise self.retry(
            args=(backup_type, run_id),
            kwargs=later,
            countdown=_AGAIN_SECONDS if waits else backoff(failures),
            headers={"strata_failures": failures + (not waits)},
        )
    return run_id
