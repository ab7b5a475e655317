"""One local stack with real workers for the pipeline's tests."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals
from typing import Any, TypeVar

import pytest
import redis
from celery import Celery

from strata.clock import Clock
from strata.engine.local import backup_here, restore_here
from strata.engine.restorer import Restored
from strata.model.backup_type import BackupType
from strata.model.manifest import BackupMetadata
from strata.model.run import Run, RunState
from strata.model.tier import Tier
from strata.planning.backup import new_run_id
from strata.settings import Settings
from strata.sources.port import RestoreMode
from strata.wiring import Wiring
from tasks.enqueue import enqueue_backup, enqueue_restore
from tests.pipeline.state import State, Tiers, differences
from workers.configuration import make_app
from workers.local_stack.bot import BotState
from workers.local_stack.demo import bot_of, create_table
from workers.local_stack.stack import LocalStack

Found = TypeVar("Found")

EMERGENCY_SECONDS = 6
STACK_DEPTH = 6
PAUSE_KEY = "system:paused"


@dataclass(frozen=True)
class Pipeline:
    """A running stack, and what a test does with it."""

    stack: LocalStack
    wiring: Wiring
    app: Celery
    bot: BotState
    tiers: Tiers
    here: Wiring = field(repr=False)
    """What makes backups in this process, without pauses, under the same ledger and lease."""

    # --- through the workers --------------------------------------------------------------------------------------

    def backup(self, run_id: str | None = None, kind: BackupType = BackupType.FULL) -> str:
        """Enqueue a backup; returns its id at once."""
        run_id = run_id or new_run_id(kind, self.wiring.clock.now())
        enqueue_backup(self.app, kind, run_id)
        return run_id

    def restore(self, backup: str, mode: RestoreMode = RestoreMode.EXACT) -> str:
        """Enqueue a restore; returns its run id at once."""
        run_id = new_run_id("restore", self.wiring.clock.now())
        enqueue_restore(self.app, backup, run_id, mode.value)
        return run_id

    def wait(self, run_id: str, seconds: float = 120) -> Run:
        """The run, once it has ended."""
        return self.until(lambda: self._ended(run_id), f"{run_id} did not end", seconds)

    def backed_up(self, kind: BackupType = BackupType.FULL) -> BackupMetadata:
        """A backup through the workers, which must succeed."""
        run = self.wait(self.backup(kind=kind))
        assert run.state is RunState.DONE, run.reason
        return self.wiring.depots.nearest.metadata.load(run.run_id)

    def restored(self, backup: str, mode: RestoreMode = RestoreMode.EXACT) -> None:
        """A restore through the workers, which must succeed."""
        run = self.wait(self.restore(backup, mode))
        assert run.state is RunState.DONE, run.reason

    # --- in this process ------------------------------------------------------------------------------------------

    def made(self, kind: BackupType = BackupType.FULL, *, fresh: bool = False) -> BackupMetadata:
        """A backup in this process, which must succeed."""
        manager = self.here.local_manager
        return backup_here(manager, kind, new_run_id(kind, self.here.clock.now()), fresh=fresh)

    def brought_back(
        self, backup: str, tiers: tuple[Tier, ...] = (), mode: RestoreMode = RestoreMode.EXACT
    ) -> Restored:
        """A restore in this process, which must succeed."""
        return restore_here(self.here.local_manager, backup, new_run_id("restore", self.here.clock.now()), mode, tiers)

    def set_up(self, clock: Clock | None = None, **settings: Any) -> Pipeline:
        """The same with other settings, or another clock, for what is done in this process."""
        changed = self.here.settings.model_copy(update=settings)
        here = Wiring(changed, clock=clock or self.here.clock)
        return Pipeline(self.stack, self.wiring, self.app, self.bot, self.tiers, here)

    # --- what breaks ----------------------------------------------------------------------------------------------

    @contextmanager
    def stopped(self, *servers: str) -> Iterator[None]:
        """These servers are down meanwhile."""
        self.tiers.close()
        for name in servers:
            process = self.stack.status().part(name).process
            assert process is not None
            process.end(Signals.SIGINT if name == "postgres" else Signals.SIGTERM, 20)
        try:
            yield
        finally:
            self.stack.up()

    @contextmanager
    def hung(self, *servers: str) -> Iterator[None]:
        """These servers take connections meanwhile, and do not answer."""
        processes = [self.stack.status().part(name).process for name in servers]
        try:
            for process in processes:
                assert process is not None
                assert process.signal(Signals.SIGSTOP)
            yield
        finally:
            for process in processes:
                assert process is not None
                process.signal(Signals.SIGCONT)

    def kill_workers(self) -> None:
        """All workers die at once, and others take their place."""
        workers = [part for part in self.stack.status().parts if part.name.startswith("worker-")]
        for worker in workers:
            if worker.process is not None:
                worker.process.end(Signals.SIGKILL, 20)
        died = {worker.process for worker in workers}

        def replaced() -> bool:
            return not any(part.process in died for part in self.stack.status().parts)

        self.until(replaced, "no workers took their place")
        self.wait_for_workers()

    def strata(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """The command as a person would call it, in the stack's settings and these."""
        changed = {f"STRATA_{name.upper()}": value for name, value in settings.items()}
        return subprocess.run(
            [str(Path(sysconfig.get_path("scripts"), "strata")), *arguments],
            env={**self.stack.environment(), **changed},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    # --- looking --------------------------------------------------------------------------------------------------

    def holds(self, wanted: State, why: object = "") -> None:
        """The tiers hold exactly that."""
        now = self.tiers.now_ms()
        different = differences(wanted, self.tiers.read(), now)
        assert not different, (why, different[:10])

    def until(self, look: Callable[[], Found | None], complaint: str, seconds: float = 60) -> Found:
        """The first thing that `look` finds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := look():
                return found
            time.sleep(0.01)
        raise AssertionError(complaint)

    def objects(self, pattern: str) -> list[Path]:
        """Objects of the store, by a glob below its folder; what a killed writer left half written is none."""
        return sorted(path for path in self.store_folder.glob(pattern) if not path.name.startswith(".tmp-"))

    @property
    def store_folder(self) -> Path:
        """Where the store's objects are."""
        return self.stack.folder / "backups"

    def wait_for_workers(self) -> None:
        """Return when every process of the stack is there and ready."""

        def ready() -> bool:
            status = self.stack.status()
            return status.up and all(part.running and part.ready for part in status.parts)

        self.until(ready, "the workers did not come back", 90)

    def _ended(self, run_id: str) -> Run | None:
        run = self.wiring.ledger.run(run_id)
        return run if run and run.state.final else None


@dataclass(frozen=True)
class PauseCommands:
    """The commands before and after the cuts, as the stack's settings have them: each notes the run it is told."""

    folder: Path

    @property
    def hold(self) -> Path:
        """While this file is there, the command before the cuts does not come back."""
        return self.folder / "hold"

    @property
    def noted(self) -> Path:
        """A line for each call: `before` or `after`, and the run's id."""
        return self.folder / "noted"

    def settings(self) -> dict[str, Any]:
        """The settings that name the commands."""
        script = self.folder / "pause.sh"
        script.write_text(
            f'echo "$1 $STRATA_RUN_ID" >> {self.noted}\n'
            f'while [ "$1" = before ] && [ -e {self.hold} ]; do sleep 0.02; done\n'
        )
        return {"before_cut": f"sh {script} before", "after_cut": f"sh {script} after"}

    def calls(self, run_id: str) -> list[str]:
        """What was called for a run."""
        lines = self.noted.read_text().splitlines() if self.noted.exists() else []
        return [line.split()[0] for line in lines if line.split()[1:] == [run_id]]


@pytest.fixture(scope="session")
def pause_commands(tmp_path_factory: pytest.TempPathFactory) -> PauseCommands:
    """The commands that the workers call around the cuts."""
    return PauseCommands(tmp_path_factory.mktemp("pause"))


@pytest.fixture(scope="session")
def running_stack(tmp_path_factory: pytest.TempPathFactory, pause_commands: PauseCommands) -> Iterator[LocalStack]:
    """Servers and workers, for all tests of the session."""
    stack = LocalStack(tmp_path_factory.mktemp("pipeline") / "stack")
    stack.layout.make()
    stack.layout.write_settings(
        {
            "emergency_seconds": EMERGENCY_SECONDS,
            "stack_depth": STACK_DEPTH,
            "pause_key": PAUSE_KEY,
            "pause_seconds": 20,
            "cache_folder": str(stack.folder / "cache"),
            **pause_commands.settings(),
        }
    )
    stack.up(beat=False, flower=False)  # what beat starts is started by the tests, when it does not disturb them
    yield stack
    stack.down()


@pytest.fixture
def pipeline(running_stack: LocalStack, pause_commands: PauseCommands) -> Iterator[Pipeline]:
    """The stack with an empty store, empty tiers and the bot's table."""
    settings = running_stack.settings()
    wiring, tiers = Wiring(settings), Tiers(bot_of(settings))
    pause_commands.hold.unlink(missing_ok=True)
    forget_all(wiring)
    tiers.wipe()
    create_table(settings)
    here = Wiring(_unpaused(settings))
    yield Pipeline(running_stack, wiring, make_app(settings), tiers.bot, tiers, here)
    tiers.wipe()
    tiers.close()


def forget_all(wiring: Wiring) -> None:
    """Empty the stores, and what is remembered of them: nothing of an earlier test has disappeared for a later one."""
    settings = wiring.settings
    for depot in wiring.depots:
        for name in [info.name for info in depot.store.list() if "/" in info.name]:  # whose they are stays
            depot.store.delete(name)
    with redis.Redis.from_url(settings.result_url.get_secret_value()) as ledger:  # type: ignore[union-attr]
        ledger.delete(*(f"strata:recorded:{depot.store.url}" for depot in wiring.depots))
    shutil.rmtree(settings.cache_folder, ignore_errors=True)


def _unpaused(settings: Settings) -> Settings:
    return settings.model_copy(
        update={"before_cut": None, "after_cut": None, "pause_key": None, "stack_depth": 128, "meeting_seconds": 5.0}
    )
