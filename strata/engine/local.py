"""The same stages in this process: for the day there is no broker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Final, TypeVar

from strata.engine.manager import BackupManager
from strata.engine.restorer import Restored
from strata.engine.thaw_runs import ThawRuns
from strata.errors import StrataError
from strata.model.backup_type import BackupType
from strata.model.manifest import BackupMetadata
from strata.model.thaw import ThawSpeed
from strata.model.tier import StorageTier, Tier
from strata.sources.port import RestoreMode

_THREADS: Final = 2

Item = TypeVar("Item")


def backup_here(
    manager: BackupManager, backup_type: BackupType, run_id: str, *, fresh: bool = False, override: str = ""
) -> BackupMetadata:
    """A whole backup, stage by stage; whatever fails abandons the run and is raised."""
    plan = manager.start(backup_type, run_id, fresh=fresh, override=override)

    def unit(label: str) -> None:
        manager.compress(run_id, label)
        manager.encrypt(run_id, label)
        manager.store(run_id, label)

    def collect(tier: Tier) -> None:
        with _noting_failure(manager, run_id):  # at once: the other collectors wait for this one
            manager.collect(run_id, tier)

    def stages() -> None:
        in_parallel(lambda unit: manager.baseline(run_id, unit), manager.baseline_units(plan), _THREADS)
        in_parallel(collect, [part.tier for part in plan.included], len(Tier))
        merged = manager.merge(run_id)
        in_parallel(unit, [spooled.unit.label for spooled in merged.objects], _THREADS)
        manager.verify(run_id)
        manager.record(run_id)

    _or_abandon(manager, run_id, stages)
    return manager.metadata.load(run_id)


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
            thaws = ThawRuns(manager)
            while (again := thaws.visit(run_id).again) is not None:
                rest(again)
        manager.check(run_id)
        in_parallel(lambda tier: manager.apply(run_id, tier), plan.tiers, len(Tier))

    _or_abandon(manager, run_id, stages)
    return manager.finish(run_id)


def in_parallel(work: Callable[[Item], object], items: Iterable[Item], threads: int) -> None:
    """Do the work for every item, a few at a time; the first failure is raised, and no further item is begun."""
    stopped = threading.Event()

    def begin(item: Item) -> None:
        if not stopped.is_set():
            try:
                work(item)
            except BaseException:
                stopped.set()
                raise

    with ThreadPoolExecutor(threads) as pool:
        try:
            for done in as_completed([pool.submit(begin, item) for item in items]):
                done.result()
        except BaseException:
            stopped.set()
            raise


def _or_abandon(manager: BackupManager, run_id: str, stages: Callable[[], None]) -> None:
    try:
        with _noting_failure(manager, run_id):
            stages()
    except BaseException:
        manager.abandon(run_id)
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
