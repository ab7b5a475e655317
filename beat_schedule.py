"""When: each entry names a task, its cadence in seconds, and after how long an unstarted one is worthless."""

from __future__ import annotations

from typing import Any, Final

_HOUR: Final = 3600

BEAT_SCHEDULE: Final[dict[str, dict[str, Any]]] = {
    "full-backup": {
        "task": "tasks.start.start_backup",
        "schedule": 24 * _HOUR,
        "args": ("full",),
        "options": {"expires": 12 * _HOUR},
    },
    "resend-stalled-runs": {
        "task": "tasks.upkeep.resend_stalled",
        "schedule": 30,
        "options": {"expires": 25},
    },
    "sweep-spool": {
        "task": "tasks.upkeep.sweep_spool",
        "schedule": _HOUR,
        "options": {"expires": _HOUR // 2},
    },
}
"""Beat only ticks: a backup that is due twice is refused by the lease; what a tick starts, the task plans."""
