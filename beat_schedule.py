"""When: each entry names a task, its cadence in seconds, and after how long a tick that nobody took is worthless."""

from __future__ import annotations

from typing import Any, Final

from strata.planning.ticks import good_for

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE

BEAT_SCHEDULE: Final[dict[str, dict[str, Any]]] = {
    "full-backup": {
        "task": "tasks.start.start_backup",
        "schedule": 24 * _HOUR,
        "args": ("full",),
        "kwargs": {"patience": _HOUR},
        "options": good_for(12 * _HOUR),
    },
    "differential-backup": {
        "task": "tasks.start.start_backup",
        "schedule": 6 * _HOUR,
        "args": ("differential",),
        "kwargs": {"patience": _HOUR},
        "options": good_for(3 * _HOUR),
    },
    "incremental-backup": {
        "task": "tasks.start.start_backup",
        "schedule": 15 * _MINUTE,
        "args": ("incremental",),
        "options": good_for(10 * _MINUTE),
    },
    "resend-stalled-runs": {
        "task": "tasks.upkeep.resend_stalled",
        "schedule": 30,
        "options": good_for(25),
    },
    "sweep": {
        "task": "tasks.upkeep.sweep",
        "schedule": _HOUR,
        "options": good_for(_HOUR // 2),
    },
    "copy-missing": {
        "task": "tasks.upkeep.copy_missing",
        "schedule": _HOUR,
        "options": good_for(_HOUR // 2),
    },
    "prove-oldest": {
        "task": "tasks.verify.prove_oldest",
        "schedule": 6 * _HOUR,
        "options": good_for(3 * _HOUR),
    },
    "prune": {
        "task": "tasks.upkeep.prune",
        "schedule": 24 * _HOUR,
        "kwargs": {"patience": _HOUR},
        "options": good_for(12 * _HOUR),
    },
}
"""Beat only ticks: what a tick starts, the task plans. A FULL and a DIFFERENTIAL wait for a run that holds the lease;
an INCREMENTAL is refused then, for the next one is due soon."""
