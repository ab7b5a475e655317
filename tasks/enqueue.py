"""Sends runs to the workers: by task name, so that nothing of the tasks is imported, and within a bounded time.

State that is handed over goes into the sealed spool, and only its name there through the broker.

Whoever enqueues follows the run in the ledger, by its id. No result is asked of Celery.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from celery import Celery
from kombu.exceptions import OperationalError

from strata.errors import BrokerUnavailable
from strata.model.backup_type import BackupType
from strata.model.identity import NOTHING_SEEN, Identities
from strata.model.structure import Structure
from strata.model.thaw import ThawSpeed
from strata.model.tier import StorageTier, Tier
from tasks.words import about_start

if TYPE_CHECKING:
    from strata.engine.handed import State
    from strata.engine.spool import Spool

START_BACKUP: Final = "tasks.start.start_backup"
START_RESTORE: Final = "tasks.restore.start_restore"
PLAN_RESTORE: Final = "tasks.restore.plan_restore"
CONFIRM_RESTORE: Final = "tasks.restore.confirm_restore"
PRUNE: Final = "tasks.upkeep.prune"
COPY_BACKUP: Final = "tasks.copy.copy_backup"

LOOK: Final = "strata_look"
"""What `strata doctor` asks each worker for: its queues, and how far its clock is from the ledger's."""

EMERGENCY: Final = "strata.emergency"
"""The queue of stubborn backups, which have a worker of their own."""

_SECONDS: Final = 4
_TRANSPORT: Final = {
    # Redis: one try, and no answer takes no longer. AMQP: the same by its own names; each ignores the other's.
    "socket_connect_timeout": _SECONDS,
    "socket_timeout": _SECONDS,
    "retry_on_timeout": False,
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.1,
    "interval_max": 0.1,
    "read_timeout": _SECONDS,
    "write_timeout": _SECONDS,
}


def enqueue_backup(
    app: Celery,
    backup_type: BackupType,
    run_id: str,
    override: State | None = None,
    spool: Spool | None = None,
    *,
    fresh: bool = False,
    confirmed: Identities = NOTHING_SEEN,
    structure: Structure = Structure.REBUILT,
) -> None:
    """Ask for a backup of this type under this id; BrokerUnavailable within about five seconds.

    `fresh` builds on nothing that is there. `override` is state to be backed up in place of the live tiers: a mapping,
    or the path of a document. It is left in `spool` (the one that the settings name, where none is given); what is
    wrong with it is raised, and nothing is sent. `confirmed` is what the sender saw: a worker that differs refuses.
    `structure` says whether the statements in it that create tables are kept, to be executed by a restore.
    """
    arguments = {"backup_type": backup_type.value, "backup_id": run_id, "fresh": fresh, **_seen(confirmed)}
    if override is None:
        _send(app, START_BACKUP, run_id, arguments)
        return
    from strata.engine.handed import hand_over
    from strata.planning.backup import checked_run_id
    from strata.settings import load_settings
    from strata.wiring import Wiring

    staging = spool or Wiring(load_settings()).spool
    name = hand_over(staging, checked_run_id(run_id), override, datetime.now(UTC), structure)
    try:
        _send(app, START_BACKUP, run_id, {**arguments, "override": name})
    except BrokerUnavailable:
        staging.delete([name])
        raise


def enqueue_restore(
    app: Celery,
    backup: str,
    run_id: str,
    mode: str,
    tiers: Sequence[Tier] = (),
    *,
    store: StorageTier | None = None,
    speed: ThawSpeed | None = None,
    confirmed: Identities = NOTHING_SEEN,
    task: str = START_RESTORE,
) -> None:
    """Ask for a restore of a backup (its full id) under this run id; no tiers means all the backup holds.

    `store` names the one it is read from, `speed` that of the thaw; the workers' own otherwise. `confirmed` is what the
    sender saw: a worker that differs refuses. By PLAN_RESTORE as `task` only its plan is asked for, which waits in the
    ledger to be confirmed by this run id.
    """
    arguments = {"backup": backup, "restore_id": run_id, "mode": mode, "tiers": [tier.value for tier in tiers]}
    named = {"store": store, "speed": speed}
    chosen = {name: value.value for name, value in named.items() if value}
    _send(app, task, run_id, {**arguments, **chosen, **_seen(confirmed)})


def enqueue_confirmation(app: Celery, run_id: str) -> None:
    """Confirm the plan of that id: the workers begin the restore."""
    _send(app, CONFIRM_RESTORE, run_id, {"restore_id": run_id})


def enqueue_copy(
    app: Celery,
    backup_id: str,
    run_id: str,
    target: StorageTier,
    source: StorageTier | None = None,
    *,
    confirmed: Identities = NOTHING_SEEN,
) -> None:
    """Ask for a copy of a backup (its full id) in another store under this run id."""
    arguments: dict[str, Any] = {
        "backup_id": backup_id,
        "to": target.value,
        "copy_id": run_id,
        "source": source and source.value,
    }
    arguments |= _seen(confirmed)
    _send(app, COPY_BACKUP, run_id, arguments)


def enqueue_prune(app: Celery, run_id: str, *, confirmed: Identities = NOTHING_SEEN) -> None:
    """Ask for a prune under this run id."""
    _send(app, PRUNE, run_id, {"run_id": run_id, **_seen(confirmed)})


def _seen(confirmed: Identities) -> dict[str, Any]:
    return {"confirmed": confirmed.model_dump(mode="json")} if confirmed != NOTHING_SEEN else {}


def _send(app: Celery, task: str, run_id: str, arguments: dict[str, Any]) -> None:
    """Publish once, to the queue of the app's routes; one that is not there yet is declared."""
    queue = app.amqp.router.route({}, task, (), arguments)["queue"]
    with _reaching(app, f"the broker does not answer, so {run_id} was not sent") as connection:
        app.send_task(
            task,
            kwargs=arguments,
            queue=queue,
            declare=[queue],
            connection=connection,
            retry=False,
            ignore_result=True,
            add_to_parent=False,
            **about_start(run_id, arguments),
        )


def check_broker(app: Celery) -> None:
    """BrokerUnavailable unless the broker takes a connection, within about five seconds."""
    with _reaching(app, "the broker does not answer"):
        pass


def ask_workers(
    app: Celery, enough: Callable[[dict[str, dict[str, Any]]], bool], most: float = 6.0
) -> dict[str, dict[str, Any]]:
    """What each worker says of itself, by its name; asked again until that is `enough`, or for so many seconds."""
    said: dict[str, dict[str, Any]] = {}
    with _reaching(app, "the broker does not answer, so no worker can be asked") as connection:
        for _ in range(max(1, round(most))):
            inspect = app.control.inspect(timeout=1.0, connection=connection)
            said |= inspect._request(LOOK) or {}  # noqa: SLF001 - Celery's own commands each call it
            if enough(said):
                break
    return said


@contextmanager
def _reaching(app: Celery, otherwise: str) -> Iterator[Any]:
    """A connection to the broker that answers; BrokerUnavailable where none does."""
    try:
        with app.connection_for_write(connect_timeout=_SECONDS, transport_options=_TRANSPORT) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=_SECONDS)
            yield connection
    except (OperationalError, OSError) as error:
        raise BrokerUnavailable(
            f"{otherwise}: {type(error.__cause__ or error).__name__}",
            hint="Check STRATA_BROKER_URL and its server, or do it without workers: --local.",
        ) from None
