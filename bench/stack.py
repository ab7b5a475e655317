"""The stack that is measured, and what is done with it: fill, back up, restore, look at its memory."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import data
from bench.memory import children, peak_mb
from strata.engine.recorder import stage_seconds
from strata.model.backup_type import BackupType
from strata.model.manifest import BackupMetadata
from strata.model.run import Run, RunState, StageRow
from strata.sources.port import RestoreMode
from strata.wiring import Wiring
from tasks.enqueue import enqueue_backup, enqueue_restore
from workers.configuration import make_app
from workers.local_stack.demo import bot_of, create_table
from workers.local_stack.stack import LocalStack

URGENT: Final = "urgent:"
"""What the names of the records of an EMERGENCY begin with here: those of its usual scope are spread over all data."""

_WAIT_SECONDS: Final = 1_800
_LOOK_SECONDS: Final = 0.003


@dataclass(frozen=True)
class Backup:
    """A recorded backup, and the seconds from enqueue to recorded."""

    manifest: BackupMetadata
    seconds: float


class Bench:
    """One measured stack; `folder` is for whatever is written beside it."""

    def __init__(self, stack: LocalStack, folder: Path) -> None:
        self.folder, self.settings = folder, stack.settings()
        self.environment = stack.environment()
        self.bot, self.wiring = bot_of(self.settings), Wiring(self.settings)
        self._stack, self._app = stack, make_app(self.settings)

    @property
    def hot_url(self) -> str:
        """HOT's URL."""
        assert self.settings.hot_url
        return self.settings.hot_url.get_secret_value()

    @property
    def warm_url(self) -> str:
        """WARM's URL."""
        assert self.settings.warm_url
        return self.settings.warm_url.get_secret_value()

    def empty(self) -> None:
        """Lose all state; the bot's table is there again, empty."""
        self.bot.wipe()
        create_table(self.settings)

    def fill(self, scale: float) -> None:
        """The data set."""
        self.bot.wipe()
        data.fill_hot(self.hot_url, int(data.HOT_KEYS * scale))
        data.fill_warm(self.warm_url, int(data.WARM_ROWS * scale))
        objects, size = int(data.COLD_OBJECTS * scale), int(data.COLD_BYTES * scale)
        data.fill_cold(self.bot.s3, self.bot.bucket, self.bot.prefix, objects, size)

    def begin(self, backup_type: BackupType, *, fresh: bool = False) -> str:
        """Enqueue a backup; its id."""
        run_id = f"bench-{secrets.token_hex(6)}"
        enqueue_backup(self._app, backup_type, run_id, fresh=fresh)
        return run_id

    def backup(self, backup_type: BackupType, *, fresh: bool = False) -> Backup:
        """A backup through the workers; `fresh` builds on nothing that is there."""
        began = time.perf_counter()
        run_id = self.begin(backup_type, fresh=fresh)
        self.wait(run_id)
        seconds = time.perf_counter() - began
        return Backup(self.wiring.depots.nearest.metadata.load(run_id), seconds)

    def restore(self, backup_id: str) -> tuple[dict[str, float], float]:
        """A restore through the workers, into wiped tiers: seconds of its stages, and of the whole."""
        self.bot.wipe()
        run_id = f"bench-restore-{secrets.token_hex(6)}"
        began = time.perf_counter()
        enqueue_restore(self._app, backup_id, run_id, RestoreMode.EXACT.value)
        self.wait(run_id)
        return stage_seconds(self.rows(run_id)), time.perf_counter() - began

    def state(self, run_id: str) -> RunState | None:
        """Where a run stands; None before a worker has entered it."""
        run = self.wiring.ledger.run(run_id)
        return run.state if run else None

    def rows(self, run_id: str) -> list[StageRow]:
        """The stages of a run so far."""
        return self.wiring.ledger.rows(run_id)

    def wait(self, run_id: str) -> Run:
        """Until a run is done; whatever else becomes of it ends the bench."""
        deadline = time.monotonic() + _WAIT_SECONDS
        while time.monotonic() < deadline:
            run = self.wiring.ledger.run(run_id)
            if run and run.state.final:
                if run.state is not RunState.DONE:
                    raise SystemExit(f"{run_id}: {run.state} {run.reason}")
                return run
            time.sleep(_LOOK_SECONDS)
        raise SystemExit(f"{run_id} did not end in {_WAIT_SECONDS} s")

    def peak_memory(self) -> dict[str, float]:
        """The peak of every worker process so far, MB, by group."""
        peaks: dict[str, float] = {}
        for part in self._stack.status().parts:
            if part.name.startswith("worker-") and part.process is not None:
                pids = [part.process.pid, *children(part.process.pid)]
                peaks[part.name] = max(peak_mb(pid) for pid in pids)
        return peaks


@contextmanager
def measured_stack(folder: Path) -> Iterator[Bench]:
    """A stack of its own, without beat and Flower, that ends with the block."""
    stack = LocalStack(folder / "stack")
    stack.layout.make()
    stack.layout.write_settings({"patterns": f"emergency={URGENT}*"})
    stack.up(beat=False, flower=False)
    try:
        yield Bench(stack, folder)
    finally:
        stack.down()
