"""Queues, and which task goes to which.

A queue stands for what its workers must be given: source credentials (collect, restore), keys (seal), the store
(store). A deployment starts a worker group for each, and gives it no more than that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from kombu import Exchange, Queue

from strata.model.backup_type import RULES, Manner
from tasks.enqueue import EMERGENCY, START_BACKUP

CONTROL: Final = "strata.control"
COLLECT: Final = "strata.collect"
SEAL: Final = "strata.seal"
STORE: Final = "strata.store"
RESTORE: Final = "strata.restore"

EXCHANGE: Final = Exchange("strata", type="direct", durable=True)

QUEUES: Final = tuple(
    Queue(name, EXCHANGE, routing_key=name, durable=True)
    for name in (CONTROL, COLLECT, SEAL, STORE, RESTORE, EMERGENCY)
)

ROUTES: Final = {
    "tasks.start.*": {"queue": CONTROL, "routing_key": CONTROL},
    "tasks.baseline.*": {"queue": CONTROL, "routing_key": CONTROL},
    "tasks.collect.collect_all": {"queue": CONTROL, "routing_key": CONTROL},
    "tasks.merge.*": {"queue": CONTROL, "routing_key": CONTROL},
    "tasks.record.*": {"queue": CONTROL, "routing_key": CONTROL},
    "tasks.abandon.*": {"queue": CONTROL, "routing_key": CONTROL},
    "tasks.upkeep.*": {"queue": CONTROL, "routing_key": CONTROL},
    "tasks.collect.*": {"queue": COLLECT, "routing_key": COLLECT},
    "tasks.compress.*": {"queue": SEAL, "routing_key": SEAL},
    "tasks.encrypt.*": {"queue": SEAL, "routing_key": SEAL},
    "tasks.store.*": {"queue": STORE, "routing_key": STORE},
    "tasks.copy.copy_backup": {"queue": CONTROL, "routing_key": CONTROL},
    "tasks.copy.*": {"queue": STORE, "routing_key": STORE},
    "tasks.prune.*": {"queue": STORE, "routing_key": STORE},
    "tasks.verify.*": {"queue": STORE, "routing_key": STORE},
    "tasks.thaw.*": {"queue": STORE, "routing_key": STORE},
    "tasks.restore.*": {"queue": RESTORE, "routing_key": RESTORE},
}

_STUBBORN: Final = {kind.value for kind, rule in RULES.items() if rule.manner is Manner.STUBBORN}


def lane_of_start(
    name: str, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None, _options: Any, **_: Any
) -> dict[str, str] | None:
    """The queue of the start of a stubborn backup, whoever sends it: a command, beat, or `celery call`.

    Celery asks it before the routes. The stages are sent to the same queue by the start itself (tasks.canvas).
    """
    if name != START_BACKUP:
        return None
    asked = (kwargs or {}).get("backup_type", args[0] if args else "")
    return {"queue": EMERGENCY, "routing_key": EMERGENCY} if str(asked).lower() in _STUBBORN else None


GROUPS: Final = {
    "control": ((CONTROL,), 2),
    "collect": ((COLLECT,), 3),
    "seal": ((SEAL,), 2),
    "store": ((STORE, RESTORE), 3),
    "emergency": ((EMERGENCY,), 3),
}
"""Worker groups of a small deployment: their queues, and how many processes (collect and restore: one a tier)."""
