"""Workers killed in the middle: the run completes or is FAILED with its reason, and the next run works."""

from __future__ import annotations

import os
import random
import secrets
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from strata.model.backup_type import RULES, BackupType
from strata.model.run import Run, RunState, Stage
from tests.pipeline.conftest import PAUSE_KEY, Pipeline
from tests.pipeline.state import Life, State, covered
from workers.queues import CONTROL

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

UPKEEP_SECONDS = 10
"""How often stalled runs are looked for; the stack's own beat does not run here."""


class Ticking:
    """Does what beat does between backups while something is waited for."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline, self._due = pipeline, 0.0

    def ended(self, run_id: str) -> Run | None:
        """The run, if it has ended."""
        if time.monotonic() > self._due:
            self._due = time.monotonic() + UPKEEP_SECONDS
            self._pipeline.app.send_task("tasks.upkeep.resend_stalled", queue=CONTROL, ignore_result=True)
        run = self._pipeline.wiring.ledger.run(run_id)
        return run if run and run.state.final else None


@pytest.fixture
def source() -> random.Random:
    """Chance, whose seed is shown where a test fails."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # noqa: T201
    return random.Random(seed)


@pytest.mark.parametrize("victim", ["child", "worker"])
def test_a_killed_worker_never_costs_a_backup_or_leaves_half_of_one(
    pipeline: Pipeline, rounds: int, victim: str, source: random.Random
) -> None:
    """Whatever process is killed, at any point of a backup of any type: exactly one whole backup, or a clear failure.

    What was recorded restores to the state of its moment.
    """
    life, moments = Life(pipeline.tiers, source), list[tuple[Run, BackupType, State]]()
    life.go_on(60)
    for number in range(rounds if victim == "worker" else 3 * rounds):  # a lost worker takes 30 s to be missed
        kind = source.choice(list(BackupType)) if number else BackupType.FULL
        state = pipeline.tiers.read()
        run_id = pipeline.backup(kind=kind)
        moment = source.random()
        pipeline.until(partial(_has_come, pipeline, run_id, moment), f"{run_id} never moved")
        _kill(pipeline, victim, source)
        run = _end_of(pipeline, run_id)
        _assert_whole_or_failed(pipeline, run, number)
        if run.state is RunState.DONE:
            moments.append((run, kind, state))
        pipeline.wait_for_workers()
        life.go_on(10)
    assert moments
    life.settle()
    for run, kind, state in moments[:: max(1, rounds // 5)]:
        _assert_restores(pipeline, run, kind, state)


@pytest.mark.parametrize("stage", [Stage.BASELINE, Stage.COLLECT, Stage.MERGE, Stage.VERIFY, Stage.RECORD])
def test_whoever_works_on_a_stage_is_killed(pipeline: Pipeline, stage: Stage, source: random.Random) -> None:
    """The very process that holds a unit of that stage dies, of an INCREMENTAL: it is done again, or says why not."""
    life = Life(pipeline.tiers, source)
    life.go_on(60)
    pipeline.backed_up()
    life.go_on(30)
    life.settle()
    state = pipeline.tiers.read()
    run_id = pipeline.backup(kind=BackupType.INCREMENTAL)
    pipeline.until(partial(_killed_at, pipeline, run_id, stage), f"{run_id} never came to {stage}")
    run = _end_of(pipeline, run_id)
    _assert_whole_or_failed(pipeline, run, stage)
    pipeline.wait_for_workers()
    if run.state is not RunState.DONE:
        run = pipeline.wait(pipeline.backup(kind=BackupType.INCREMENTAL))
    _assert_restores(pipeline, run, BackupType.INCREMENTAL, state)


def test_all_workers_die_in_an_emergency(pipeline: Pipeline, source: random.Random) -> None:
    """Nobody is left to go on: when workers are there again the EMERGENCY is done, or has failed by name."""
    life = Life(pipeline.tiers, source)
    life.go_on(60)
    life.settle()
    state = pipeline.tiers.read()
    run_id = pipeline.backup(kind=BackupType.EMERGENCY)
    pipeline.until(partial(_has_come, pipeline, run_id, source.random()), f"{run_id} never moved")
    pipeline.kill_workers()
    run = _end_of(pipeline, run_id)
    _assert_whole_or_failed(pipeline, run, "emergency")
    if run.state is not RunState.DONE:
        run = pipeline.wait(pipeline.backup(kind=BackupType.EMERGENCY))
    _assert_restores(pipeline, run, BackupType.EMERGENCY, state)


def _end_of(pipeline: Pipeline, run_id: str) -> Run:
    return pipeline.until(partial(Ticking(pipeline).ended, run_id), f"{run_id} did not end", 300)


def _assert_whole_or_failed(pipeline: Pipeline, run: Run, why: object) -> None:
    held = {one.backup_id for one in pipeline.wiring.depots.nearest.metadata.history()[0]}
    assert (run.state is RunState.DONE) == (run.run_id in held), (why, run.state, run.reason)
    assert run.state is RunState.DONE or run.reason
    assert pipeline.wiring.lease.holder() is None
    assert not pipeline.bot.hot.exists(PAUSE_KEY)


def _assert_restores(pipeline: Pipeline, run: Run, kind: BackupType, state: State) -> None:
    assert run.state is RunState.DONE, run.reason
    made = pipeline.wiring.depots.nearest.metadata.load(run.run_id)
    missing = {content.tier.value for content in made.tiers if not content.included}
    assert not missing or kind is BackupType.EMERGENCY
    pipeline.tiers.wipe()
    pipeline.restored(run.run_id)
    there = {where: held for where, held in state.items() if where[0] not in missing}
    pipeline.holds(covered(there, RULES[made.backup_type].patterns), (kind, run.run_id))


def _has_come(pipeline: Pipeline, run_id: str, moment: float) -> Run | None:
    """The run, once about that part of its stages has begun (or it has ended)."""
    run = pipeline.wiring.ledger.run(run_id)
    if run is None:
        return None
    expected = 3 + 3 + 1 + 3 * 6 + 2
    return run if run.state.final or len(pipeline.wiring.ledger.rows(run_id)) >= moment * expected else None


def _killed_at(pipeline: Pipeline, run_id: str, stage: Stage) -> bool:
    """Whether somebody who works on the stage was killed (or the run ended before anybody could be)."""
    run = pipeline.wiring.ledger.run(run_id)
    if run is None:
        return False
    for row in pipeline.wiring.ledger.rows(run_id):
        if row.stage is stage and not row.done:
            try:
                os.kill(int(row.owner.split(":")[1]), signal.SIGKILL)
            except ProcessLookupError:
                continue
            return True
    return run.state.final


def _kill(pipeline: Pipeline, victim: str, source: random.Random) -> None:
    parts = [part for part in pipeline.stack.status().parts if part.name.startswith("worker-") and part.process]
    chosen = source.choice(parts).process
    assert chosen is not None
    children = Path(f"/proc/{chosen.pid}/task/{chosen.pid}/children").read_text().split()
    target = chosen.pid if victim == "worker" or not children else int(source.choice(children))
    os.kill(target, signal.SIGKILL)
