"""Takes back at once what a failed backup stored, so that a store which it filled is full no longer.

By the rules of the sweep: only objects that the run's own stages say they stored, under names of its own layers that
no manifest names, in a store all of whose manifests can be read. What else it left goes with the next prune; what was
found damaged is kept for a look at the disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from strata.engine.depot import Depot
from strata.engine.manager import BackupManager
from strata.engine.parallel import in_parallel
from strata.errors import IntegrityError, StorageError
from strata.model.layer import layer_of_object
from strata.model.plan import BackupPlan
from strata.model.run import RunKind, RunState, Stage
from strata.model.ticket import Stored

_THREADS: Final = 8


def take_back(manager: BackupManager, run_id: str) -> int | None:
    """Remove what a failed backup stored; how many objects, or None while another try may still write."""
    run = manager.ledger.run(run_id)
    if run is None or run.kind is not RunKind.BACKUP or run.state is not RunState.FAILED or not run.plan:
        return 0
    if run.code == IntegrityError.code:
        return 0
    if not manager.ledger.idle(run_id):
        return None
    if any(row.stage is Stage.RECORD for row in manager.ledger.rows(run_id)):
        return 0  # it may have been about to be recorded
    plan = BackupPlan.model_validate_json(run.plan)
    depot, gone = manager.depot(plan), list[str]()

    def remove(name: str) -> None:
        with suppress(StorageError):  # one that is locked, or may not be removed here, goes with a prune
            depot.store.delete(name)
            gone.append(name)

    layers = {part.layer_id for part in plan.included} - _kept(depot, plan)
    in_parallel(remove, [name for name in _stored(manager, run_id) if layer_of_object(name) in layers], _THREADS)
    return len(gone)


def _kept(depot: Depot, plan: BackupPlan) -> set[str | None]:
    """The layers that manifests name: all of the run's where one cannot be read, or where the run has one."""
    known = depot.metadata.context().backups
    if len(known) != len(depot.metadata.listed) or plan.backup_id in depot.metadata.listed:
        return {part.layer_id for part in plan.included}
    return {ref.layer_id for backup in known for tier in backup.tiers for ref in tier.stack}


def _stored(manager: BackupManager, run_id: str) -> Iterator[str]:
    for result in manager.ledger.results(run_id, Stage.STORE).values():
        yield Stored.model_validate_json(result).stored.name
