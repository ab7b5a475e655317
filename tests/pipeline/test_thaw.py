"""Restores out of an archive through real workers: they wait in nobody's hands, and outlive every worker."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import pytest

from strata.model.run import Run, RunState, Stage
from strata.model.tier import StorageTier
from strata.planning.backup import new_run_id
from strata.wiring import Wiring
from tasks.enqueue import enqueue_restore
from tests.glacier import Glacier
from tests.pipeline.conftest import Pipeline
from tests.pipeline.state import Life, State, Tiers
from workers.configuration import make_app
from workers.local_stack.demo import bot_of, create_table
from workers.local_stack.stack import LocalStack
from workers.queues import CONTROL

pytestmark = pytest.mark.timeout(400)

LOOK_SECONDS = 3
UPKEEP_SECONDS = 10


@pytest.fixture(scope="module")
def glacier(moto_endpoint: str) -> Glacier:
    """The bucket of the ARCHIVE store."""
    glacier = Glacier(moto_endpoint, "pipeline-archive")
    glacier.client.create_bucket(Bucket=glacier.bucket)
    return glacier


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, glacier: Glacier) -> Iterator[LocalStack]:
    """Servers and the workers that restores need, with an archive."""
    stack = LocalStack(tmp_path_factory.mktemp("thaw") / "stack")
    stack.layout.make()
    stack.layout.write_settings(
        {
            "archive_url": f"s3://{glacier.bucket}/strata",
            "archive_endpoint": glacier.endpoint,
            "archive_region": "us-east-1",
            "archive_access_key_id": "test",
            "archive_secret_access_key": "test",
            "thaw_look_seconds": LOOK_SECONDS,
        }
    )
    stack.up(["control", "store"], beat=False, flower=False)
    yield stack
    stack.down()


@dataclass
class Archived:
    """A backup in the archive, and the tiers changed since."""

    pipeline: Pipeline
    state: State
    backup_id: str
    frozen: list[str]
    _upkeep_due: float = field(default=0.0)

    def restore(self) -> str:
        """Enqueue a restore from the archive."""
        run_id = new_run_id("restore", self.pipeline.wiring.clock.now())
        enqueue_restore(self.pipeline.app, self.backup_id, run_id, "exact", store=StorageTier.ARCHIVE)
        return run_id

    def waiting(self, run_id: str) -> Run | None:
        """The run, while it waits for its thaw."""
        run = self.pipeline.wiring.ledger.run(run_id)
        assert run is None or run.state is RunState.RUNNING, run.reason
        return run if run and run.wakes_at and run.waits_for.startswith("a thaw: ") else None

    def ended_with_upkeep(self, run_id: str) -> Run | None:
        """The run, if it has ended; does what beat does meanwhile."""
        if time.monotonic() > self._upkeep_due:
            self._upkeep_due = time.monotonic() + UPKEEP_SECONDS
            self.pipeline.app.send_task("tasks.upkeep.resend_stalled", queue=CONTROL, ignore_result=True)
        run = self.pipeline.wiring.ledger.run(run_id)
        return run if run and run.state.final else None


@pytest.fixture
def archived(stack: LocalStack, glacier: Glacier) -> Iterator[Archived]:
    """The tiers with state in them, backed up and archived; then lived on."""
    settings = stack.settings()
    tiers = Tiers(bot_of(settings))
    tiers.wipe()
    create_table(settings)
    wiring = Wiring(settings)
    pipeline = Pipeline(stack, wiring, make_app(settings), tiers.bot, tiers, Wiring(settings))
    life = Life(tiers, random.Random(4))
    life.go_on(80)
    life.settle()
    state, made = tiers.read(), pipeline.made()
    frozen = glacier.archive(pipeline.store_folder, "strata/")
    life.go_on(40)
    life.settle()
    yield Archived(pipeline, state, made.backup_id, frozen)
    for name in [info.name for info in wiring.depots.nearest.store.list()]:
        wiring.depots.nearest.store.delete(name)
    glacier.empty()
    tiers.wipe()
    tiers.close()


def test_a_restore_outlives_all_workers_while_it_waits_for_its_thaw(archived: Archived, glacier: Glacier) -> None:
    """Asked for, waited for; all workers are killed, others come, the thaw ends: every record comes back."""
    pipeline = archived.pipeline
    with glacier.holding():
        run_id = archived.restore()
        run = pipeline.until(partial(archived.waiting, run_id), f"{run_id} did not come to wait")
        assert glacier.asked() == set(archived.frozen)
        assert run.fence is None
        assert pipeline.wiring.lease.holder() is None
        pipeline.kill_workers()
        assert not archived.ended_with_upkeep(run_id)
    ended = pipeline.until(partial(archived.ended_with_upkeep, run_id), f"{run_id} did not end", 200)
    assert ended.state is RunState.DONE, ended.reason
    assert pipeline.wiring.lease.holder() is None
    pipeline.holds(archived.state)


def test_a_waiting_restore_holds_no_worker_and_comes_again_by_itself(archived: Archived, glacier: Glacier) -> None:
    """Without any upkeep it looks again and again; meanwhile no process is busy and a backup is made; then it ends."""
    pipeline = archived.pipeline
    with glacier.holding():
        run_id = archived.restore()
        seen = {pipeline.until(partial(archived.waiting, run_id), "it did not come to wait").wakes_at}

        def idle() -> bool:
            active = pipeline.app.control.inspect(timeout=2).active()
            return bool(active) and not any(active.values())  # busy only for the moment of a look

        pipeline.until(idle, "a process is held")

        def told() -> str:
            said = pipeline.strata("runs").stdout
            return said if "WAITING" in said else ""  # not while it looks

        said = pipeline.until(told, "the runs do not show it waiting")
        assert "waits for a thaw: " in said
        assert "until about" in said
        pipeline.made()

        def looked_thrice() -> bool:
            if run := archived.waiting(run_id):
                seen.add(run.wakes_at)
            return len(seen) >= 3

        pipeline.until(looked_thrice, "it did not look again")
        rows = pipeline.wiring.ledger.rows(run_id)
        assert [(row.stage, row.done) for row in rows] == [(Stage.THAW, False)]
    ended = pipeline.wait(run_id)
    assert ended.state is RunState.DONE, ended.reason
    assert ended.resent == 0
    pipeline.holds(archived.state)


def test_the_command_shows_the_plan_and_what_it_waits_for(archived: Archived, glacier: Glacier) -> None:
    """--dry-run asks for nothing; unasked it does nothing; with --yes it waits, tells so, and restores."""
    pipeline, arguments = archived.pipeline, ("restore", archived.backup_id, "--store", "archive")
    dry = pipeline.strata(*arguments, "--dry-run", "--speed", "standard")
    assert dry.returncode == 0, dry.stderr
    assert f"{len(archived.frozen)} objects" in dry.stderr
    assert "3-5 h" in dry.stderr
    assert "USD" in dry.stderr
    refused = pipeline.strata(*arguments)
    assert refused.returncode == 11
    assert glacier.asked() == set()
    with glacier.holding():
        sent = pipeline.strata(*arguments, "--yes", "--no-wait")
        assert sent.returncode == 0, sent.stderr
        run_id = sent.stdout.strip()
        pipeline.until(partial(archived.waiting, run_id), "it did not come to wait")
    assert pipeline.wait(run_id).state is RunState.DONE
    for name in archived.frozen:
        glacier.expire(name)
    done = pipeline.strata(*arguments, "--yes")
    assert done.returncode == 0, done.stderr
    assert "is restored" in done.stdout
    pipeline.holds(archived.state)
