"""One local stack with real workers for the pipeline's tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from celery import Celery

from strata.model.backup_type import BackupType
from strata.model.run import Run
from strata.planning.backup import new_run_id
from strata.sources.port import RestoreMode
from strata.wiring import Wiring
from tasks.enqueue import enqueue_backup, enqueue_restore
from workers.configuration import make_app
from workers.local_stack.bot import BotState
from workers.local_stack.demo import bot_of, create_table
from workers.local_stack.stack import LocalStack


@dataclass(frozen=True)
class Pipeline:
    """A running stack, and what a test does with it."""

    stack: LocalStack
    wiring: Wiring
    app: Celery
    bot: BotState

    def backup(self, run_id: str | None = None) -> str:
        """Enqueue a FULL backup; returns its id at once."""
        run_id = run_id or new_run_id("full", self.wiring.clock.now())
        enqueue_backup(self.app, BackupType.FULL, run_id)
        return run_id

    def restore(self, backup: str, mode: RestoreMode = RestoreMode.EXACT) -> str:
        """Enqueue a restore; returns its run id at once."""
        run_id = new_run_id("restore", self.wiring.clock.now())
        enqueue_restore(self.app, backup, run_id, mode.value)
        return run_id

    def wait(self, run_id: str, seconds: float = 120) -> Run:
        """The run, once it has ended."""
        return self.until(lambda: self._ended(run_id), f"{run_id} did not end", seconds)

    def until(self, look: Callable[[], Run | None], complaint: str, seconds: float = 60) -> Run:
        """The first thing that `look` finds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := look():
                return found
            time.sleep(0.01)
        raise AssertionError(complaint)

    def _ended(self, run_id: str) -> Run | None:
        run = self.wiring.ledger.run(run_id)
        return run if run and run.state.final else None


@pytest.fixture(scope="session")
def running_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """Servers, workers and beat, for all tests of the session."""
    stack = LocalStack(tmp_path_factory.mktemp("pipeline") / "stack")
    stack.up(flower=False)
    yield stack
    stack.down()


@pytest.fixture
def pipeline(running_stack: LocalStack) -> Iterator[Pipeline]:
    """The stack with empty tiers and the bot's table."""
    settings = running_stack.settings()
    bot = bot_of(settings)
    bot.wipe()
    create_table(settings)
    yield Pipeline(running_stack, Wiring(settings), make_app(settings), bot)
    bot.wipe()
