"""A backup that fails after it stored something leaves nothing in the store."""

from __future__ import annotations

from strata.engine.parallel import in_parallel
from strata.model.backup_type import BackupType
from strata.model.run import RunState
from strata.model.tier import Tier
from strata.planning.backup import new_run_id
from tests.pipeline.conftest import Pipeline
from workers.queues import CONTROL


def test_workers_take_back_what_a_failed_backup_stored(pipeline: Pipeline) -> None:
    """Whoever ends the run need not have the right to remove objects: a worker of the store does it."""
    pipeline.bot.hot.set("position:1", "100")
    manager, run_id = pipeline.here.manager, new_run_id("full", pipeline.here.clock.now())
    manager.start(BackupType.FULL, run_id)
    in_parallel(lambda tier: manager.collect(run_id, tier), list(Tier), len(Tier))
    label = manager.merge(run_id).objects[0].unit.label
    manager.compress(run_id, label)
    manager.encrypt(run_id, label)
    manager.store(run_id, label)
    assert pipeline.objects(f"*/{run_id}-*/*")
    pipeline.app.send_task("tasks.abandon.abandon", ("a failed task",), {"run_id": run_id}, queue=CONTROL)
    assert pipeline.wait(run_id).state is RunState.FAILED
    pipeline.until(lambda: not pipeline.objects(f"*/{run_id}-*/*"), "what was stored is still there")
