"""What each task must be able to enter, beside the queue and the spool: a task stands on a queue whose workers can.

A duty that its own worker cannot do is sent to one that can, as `collect.end_pause` is, and nothing that must be
written down waits for it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Need(StrEnum):
    """What a worker group is given, by the names of the chart's values."""

    TIERS = "tiers"
    """The addresses of the tiers, without passwords."""
    SOURCES = "sources"
    """The same with passwords, and the application's commands around the cuts."""
    STORE = "store"
    """The stores' volumes and credentials."""


_NOTHING: Final[frozenset[Need]] = frozenset()
_STORE: Final = frozenset({Need.STORE})
_SOURCES: Final = frozenset({Need.SOURCES})
_BOTH: Final = _STORE | _SOURCES

DUTIES: Final[dict[str, frozenset[Need]]] = {
    # a backup
    "tasks.start.start_backup": _STORE | {Need.TIERS},
    "tasks.baseline.baseline": _STORE,
    "tasks.collect.collect_all": _NOTHING,
    "tasks.collect.collect_hot": _SOURCES,
    "tasks.collect.collect_warm": _SOURCES,
    "tasks.collect.collect_cold": _SOURCES,
    "tasks.collect.end_pause": _SOURCES,
    "tasks.merge.merge": _NOTHING,
    "tasks.compress.compress": _NOTHING,
    "tasks.encrypt.encrypt": _NOTHING,
    "tasks.store.store": _STORE,
    "tasks.verify.verify": _STORE,
    "tasks.record.record": _STORE,
    # any run that failed: written down beside the backups
    "tasks.abandon.abandon": _STORE,
    # a restore: its marks are notes in the store
    "tasks.restore.start_restore": _BOTH,
    "tasks.restore.plan_restore": _BOTH,
    "tasks.restore.confirm_restore": _BOTH,
    "tasks.thaw.thaw": _STORE,
    "tasks.restore.check": _BOTH,
    "tasks.restore.apply_all": _NOTHING,
    "tasks.restore.apply_hot": _BOTH,
    "tasks.restore.apply_warm": _BOTH,
    "tasks.restore.apply_rest": _NOTHING,
    "tasks.restore.apply_cold": _BOTH,
    "tasks.restore.finish": _STORE,
    # copies, prunes, upkeep
    "tasks.copy.copy_backup": _STORE,
    "tasks.copy.copy_part": _STORE,
    "tasks.copy.finish_copy": _STORE,
    "tasks.upkeep.prune": _STORE,
    "tasks.prune.mark": _STORE,
    "tasks.prune.sweep_store": _STORE,
    "tasks.prune.take_back": _STORE,
    "tasks.prune.finish": _STORE,
    "tasks.upkeep.resend_stalled": _STORE,
    "tasks.upkeep.sweep": _STORE,
    "tasks.upkeep.copy_missing": _STORE,
    "tasks.verify.prove_oldest": _STORE,
}
