"""Workers killed in the middle: the run completes or is FAILED with its reason, and the next run works."""

from __future__ import annotations

import os
import random
import secrets
import signal
from functools import partial
from pathlib import Path

import pytest

from strata.model.run import Run, RunState
from tests.pipeline.conftest import Pipeline
from workers.local_stack.bot import differences

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200)]


@pytest.mark.parametrize("victim", ["child", "worker"])
def test_a_killed_worker_never_costs_a_backup_or_leaves_half_of_one(
    pipeline: Pipeline, rounds: int, victim: str
) -> None:
    """Whatever process is killed, at any point: exactly one whole backup, or a clear failure."""
    source = random.Random(int.from_bytes(secrets.token_bytes(4)))
    pipeline.bot.write()
    before = pipeline.bot.read()
    for number in range(rounds):
        run_id = pipeline.backup()
        pipeline.until(partial(_has_come, pipeline, run_id, source.random()), f"{run_id} never moved")
        _kill(pipeline, victim, source)
        run = pipeline.wait(run_id, 300)
        held = {one.backup_id for one in pipeline.wiring.metadata.history()[0]}
        assert (run.state is RunState.DONE) == (run_id in held), (number, run.state, run.reason)
        assert run.state is RunState.DONE or run.reason
        assert pipeline.wiring.lease.holder() is None
        _wait_for_workers(pipeline)
    last = pipeline.wait(pipeline.backup())
    assert last.state is RunState.DONE, last.reason
    pipeline.bot.wipe()
    restored = pipeline.wait(pipeline.restore(last.run_id))
    assert restored.state is RunState.DONE, restored.reason
    assert not any(differences(before, pipeline.bot.read()).values())


def _has_come(pipeline: Pipeline, run_id: str, moment: float) -> Run | None:
    """The run, once about that part of its stages has begun (or it has ended)."""
    run = pipeline.wiring.ledger.run(run_id)
    if run is None:
        return None
    expected = 3 + 1 + 3 * 8 + 2
    return run if run.state.final or len(pipeline.wiring.ledger.rows(run_id)) >= moment * expected else None


def _kill(pipeline: Pipeline, victim: str, source: random.Random) -> None:
    parts = [part for part in pipeline.stack.status().parts if part.name.startswith("worker-") and part.process]
    chosen = source.choice(parts).process
    assert chosen is not None
    children = Path(f"/proc/{chosen.pid}/task/{chosen.pid}/children").read_text().split()
    target = chosen.pid if victim == "worker" or not children else int(source.choice(children))
    os.kill(target, signal.SIGKILL)


def _wait_for_workers(pipeline: Pipeline) -> None:
    def ready() -> Run | None:
        status = pipeline.stack.status()
        all_ready = status.up and all(part.running and part.ready for part in status.parts)
        return pipeline.wiring.ledger.runs(1)[0] if all_ready else None

    pipeline.until(ready, "the workers did not come back", 90)
