"""Begins a backup: what beat and people enqueue."""

from __future__ import annotations

from typing import Any, Final

from celery import shared_task

from strata.errors import LeaseHeld, StrataError
from strata.model.backup_type import BackupType
from strata.model.identity import NOTHING_SEEN
from strata.model.run import RunKind
from tasks import canvas
from tasks.stage import FAILURES, MAX_RETRIES, backoff, failures_of, wiring
from tasks.starting import Confirmed, Name, Patience, RunId, StartTask, Type
from tasks.words import kept

_AGAIN_SECONDS: Final = 15


@shared_task(base=StartTask, bind=True, name="tasks.start.start_backup", kind=RunKind.BACKUP, id_argument="backup_id")
def start_backup(
    self: Any,
    backup_type: Type = BackupType.FULL,
    backup_id: RunId | None = None,
    *,
    fresh: bool = False,
    patience: Patience = 0,
    override: Name = "",
    confirmed: Confirmed = NOTHING_SEEN,
) -> str:
    """Plan a backup of this type and send its stages; returns the backup's id, by which the ledger can be asked.

    `fresh` builds on nothing that is there. `patience` is for how many seconds a run that holds the lease is waited
    for; then, or at once, the backup is refused. `override` names a document in the spool that is backed up in place of
    the live tiers (tasks.enqueue puts it there). `confirmed` is what the sender saw: a worker that differs refuses.
    Delivered twice with an id, it sends the same run again, which is harmless.
    """
    assert backup_id
    failures = failures_of(self.request)

    def again(error: StrataError) -> bool:
        return patience > 0 if isinstance(error, LeaseHeld) else error.retryable and failures < MAX_RETRIES

    manager = wiring().manager
    try:
        plan = manager.start(backup_type, backup_id, fresh=fresh, override=override, confirmed=confirmed, again=again)
        canvas.backup(plan, manager.baseline_units(plan)).apply_async()
    except StrataError as error:
        if not again(error):
            raise
        waits = isinstance(error, LeaseHeld)
        left = max(patience - _AGAIN_SECONDS, 0) if waits else patience
        raise self.retry(
            args=(backup_type.value, backup_id),
            kwargs={
                "fresh": fresh,
                "override": override,
                "patience": left,
                "confirmed": confirmed.model_dump(mode="json"),
            },
            countdown=_AGAIN_SECONDS if waits else backoff(failures),
            headers={FAILURES: failures + (not waits)},
            **kept(self.request),
        ) from None
    return backup_id
