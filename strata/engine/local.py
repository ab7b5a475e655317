"""The same stages in this process: for the day there is no broker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from strata.engine.copier import CopyMade
from strata.engine.dead import of_this_process
from strata.engine.manager import BackupManager
from strata.engine.meeting import call_round
from strata.engine.parallel import in_parallel
from strata.engine.restorer import Restored
from strata.engine.taken_back import take_back
from strata.errors import StrataError
from strata.model.backup_type import BackupType
from strata.model.manifest import BackupMetadata
from strata.model.thaw import ThawSpeed
from strata.model.tier import StorageTier, Tier
from strata.planning.restore import rounds
from strata.sources.port import RestoreMode

_THREADS: Final = 2


def backup_here(
    manager: BackupManager,
    backup_type: BackupType,
    run_id: str,
    *,
    fresh: bool = False,
    override: str = "",
    ready: Callable[[], None] = lambda: None,
) -> BackupMetadata:
    """A whole backup, stage by stage, once `ready` raises nothing; whatever fails abandons the run and is raised."""
    plan = manager.start(backup_type, run_id, fresh=fresh, override=override)

    def unit(label: str) -> None:
        manager.compress(run_id, label)
        manager.encrypt(run_id, label)
        manager.store(run_id, label)

    def collect(tier: Tier) -> None:
        with _noting_failure(manager, run_id):  # at once: the other collectors wait for this one
            manager.collect(run_id, tier)

    def stages() -> None:
        ready()
        in_parallel(lambda unit: manager.baseline(run_id, unit), manager.baseline_units(plan), _THREADS)
        while not manager.is_collected(run_id):
            call_round(manager.ledger, run_id)
            in_parallel(collect, [part.tier for part in plan.included], len(Tier))
        merged = manager.merge(run_id)
        in_parallel(unit, [spooled.unit.label for spooled in merged.objects], _THREADS)
        manager.verify(run_id)
        manager.record(run_id)

    _or_abandon(manager, run_id, stages)
    return manager.depot(plan).metadata.load(run_id)


def restore_here(
    manager: BackupManager,
    reference: str,
    run_id: str,
    mode: RestoreMode,
    tiers: tuple[Tier, ...],
    *,
    storage_tier: StorageTier | None = None,
    speed: ThawSpeed | None = None,
    rest: Callable[[float], None] = time.sleep,
) -> Restored:
    """A whole restore, stage by stage; between the visits of a thaw it rests.

    Cut short while it rests, it can be called again under another id: what was asked for is not asked for again.
    """
    plan = manager.start_restore(reference, run_id, mode, tiers, storage_tier, speed)

    def stages() -> None:
        if plan.thaw:
            from strata.engine.thaw_runs import ThawRuns

            thaws = ThawRuns(manager)
            while (again := thaws.visit(run_id).again) is not None:
                rest(again)
        manager.check(run_id)
        for together in rounds(plan.tiers):
            in_parallel(lambda tier: manager.apply(run_id, tier), together, len(Tier))

    _or_abandon(manager, run_id, stages)
    return manager.finish(run_id)


def copy_here(
    manager: BackupManager, backup_id: str, run_id: str, target: StorageTier, source: StorageTier | None = None
) -> CopyMade:
    """A whole copy to another store, part by part."""
    plan = manager.start_copy(backup_id, run_id, target, source)

    def stages() -> None:
        for part in plan.parts:
            manager.copy(run_id, part.number)

    _or_abandon(manager, run_id, stages)
    return manager.finish_copy(run_id)


def _or_abandon(manager: BackupManager, run_id: str, stages: Callable[[], None]) -> None:
    try:
        with of_this_process(manager.spool, run_id), _noting_failure(manager, run_id):
            stages()
    except BaseException:
        manager.abandon(run_id)
        with suppress(StrataError):  # the failure that brought us here is the one to report
            take_back(manager, run_id)
        raise


@contextmanager
def _noting_failure(manager: BackupManager, run_id: str) -> Iterator[None]:
    """Note why the run fails; of several reasons the first one counts."""
    try:
        yield
    except BaseException as error:
        sentence = error.sentence if isinstance(error, StrataError) else f"{type(error).__name__} stopped it"
        manager.ledger.note_failure(run_id, sentence, error.code if isinstance(error, StrataError) else "")
        raise
