"""The collectors' meeting, and the application that stands still for it: for the cuts, and never for longer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import psycopg
import pytest
from pydantic import SecretStr

from strata.catalog.history import RunBook
from strata.errors import RunFailed, SourceUnavailable, StrataError
from strata.model.backup_type import BackupType
from strata.model.run import Run, RunKind, RunState
from strata.planning.backup import new_run_id
from tests.pipeline.conftest import PAUSE_KEY, PauseCommands, Pipeline

SKEW_MS = 2_000
"""Between the first and the last cut: a few ms on an idle machine, where the tests run there is no such thing."""


@pytest.fixture
def commands(tmp_path: Path) -> PauseCommands:
    """Commands of the test's own."""
    return PauseCommands(tmp_path)


def pausing(pipeline: Pipeline, commands: PauseCommands, seconds: float = 20) -> Pipeline:
    """Backups in this process that pause the application by a key and by commands."""
    return pipeline.set_up(pause_key=PAUSE_KEY, pause_seconds=seconds, **commands.settings())


class Application(threading.Thread):
    """Looks all the time whether it is to stand still; what it saw is in `seen`, each value once."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__(daemon=True)
        self.seen: list[bytes | None] = []
        self._hot, self._enough = pipeline.bot.hot, threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self.join()

    def run(self) -> None:
        """Look until it is told to stop."""
        while not self._enough.is_set():
            value = self._hot.get(PAUSE_KEY)
            assert value is None or isinstance(value, bytes)
            if not self.seen or self.seen[-1] != value:
                self.seen.append(value)


def test_the_application_stands_still_for_the_cuts_and_not_after(
    pipeline: Pipeline, pause_commands: PauseCommands
) -> None:
    """Through the workers: the key holds the run's id from before the cuts to after them; each command ran once.

    The skew between the cuts is recorded.
    """
    pipeline.bot.hot.set("order:1", "1")
    with Application(pipeline) as application:
        made = pipeline.backed_up()
    assert application.seen == [None, made.backup_id.encode(), None]
    assert pause_commands.calls(made.backup_id) == ["before", "after"]
    assert made.skew_ms is not None
    assert made.skew_ms < SKEW_MS


def test_the_key_of_the_pause_is_in_no_backup(pipeline: Pipeline, commands: PauseCommands) -> None:
    """However HOT is read, the key that is there at the cut is not backed up, is no change, and does not come back."""
    pipeline.bot.hot.set("order:1", "1")
    first = pausing(pipeline, commands).made()
    second = pausing(pipeline, commands).made(BackupType.INCREMENTAL)
    assert [made.records for made in (first, second)] == [1, 1]
    assert second.added_bytes == 0
    pipeline.tiers.wipe()
    pipeline.brought_back(first.backup_id)
    assert pipeline.bot.hot.keys("*") == [b"order:1"]


@pytest.mark.parametrize("kind", ["string", "hash"])
def test_a_pause_of_somebody_else_stays(pipeline: Pipeline, commands: PauseCommands, kind: str) -> None:
    """Who paused the application by hand finds it paused after a backup, and after a restore."""
    hot = pipeline.bot.hot
    hot.set("order:1", "1")
    if kind == "string":
        hot.set(PAUSE_KEY, "by hand")
    else:
        hot.hset(PAUSE_KEY, "by", "hand")
    before = pipeline.tiers.read()
    made = pausing(pipeline, commands).made()
    pipeline.holds(before)
    pausing(pipeline, commands).brought_back(made.backup_id)
    pipeline.holds(before)


def test_an_emergency_asks_nobody_to_stand_still(pipeline: Pipeline, commands: PauseCommands) -> None:
    """No command is run, no key is set."""
    pipeline.bot.hot.set("position:1", "1")
    with Application(pipeline) as application:
        made = pausing(pipeline, commands).made(BackupType.EMERGENCY)
    assert application.seen == [None]
    assert commands.calls(made.backup_id) == []


@pytest.mark.parametrize("how", ["fails", "is slow", "is nowhere"])
def test_a_before_that_fails_fails_the_run_and_is_undone_once(
    pipeline: Pipeline, commands: PauseCommands, how: str
) -> None:
    """The run is FAILED for it, by the setting's name; `after` ran once, the key is gone, and no tier was held long."""
    noting = commands.settings()["after_cut"]
    before = {"fails": "sh -c 'exit 3'", "is slow": "sleep 60", "is nowhere": "no-such-command"}[how]
    there = pipeline.set_up(pause_key=PAUSE_KEY, pause_seconds=1.0, before_cut=before, after_cut=noting)
    began = time.monotonic()
    with Application(pipeline) as application, pytest.raises(RunFailed, match="STRATA_BEFORE_CUT"):
        there.made()
    assert time.monotonic() - began < 15
    run_id = application.seen[1]
    assert run_id is not None
    assert application.seen == [None, run_id, None]
    assert commands.calls(run_id.decode()) == ["after"]
    assert pipeline.wiring.lease.holder() is None
    assert pipeline.made().backup_type is BackupType.FULL


def test_an_after_that_fails_fails_the_run(pipeline: Pipeline) -> None:
    """An application that may still stand still is no success; the key is gone in any case, and so is the lease."""
    there = pipeline.set_up(pause_key=PAUSE_KEY, pause_seconds=1.0, after_cut="sh -c 'exit 3'")
    with pytest.raises(RunFailed, match="STRATA_AFTER_CUT"):
        there.made()
    assert not pipeline.bot.hot.exists(PAUSE_KEY)
    assert pipeline.wiring.lease.holder() is None
    assert pipeline.objects("manifests/*") == []


def test_a_collector_that_fails_leaves_no_pause(pipeline: Pipeline, commands: PauseCommands) -> None:
    """PostgreSQL is down: the run fails by its name, the application goes on at once, what paused it ran once."""
    there = pausing(pipeline, commands).set_up(warm_url=SecretStr("postgresql://nobody@127.0.0.1:1/nothing"))
    began = time.monotonic()
    with Application(pipeline) as application, pytest.raises(SourceUnavailable, match="PostgreSQL"):
        there.made()
    assert time.monotonic() - began < 4  # the meeting's 5 s are not waited for
    assert application.seen[-1] is None
    for run_id in filter(None, application.seen):
        assert commands.calls(run_id.decode()) == ["before", "after"]


def test_a_tier_that_fails_at_its_cut_leaves_no_pause(pipeline: Pipeline, commands: PauseCommands) -> None:
    """It connects, and then its tables cannot be locked: the others are not held, and the application goes on."""
    with psycopg.connect(pipeline.bot.warm_url) as connection:
        connection.execute("REVOKE ALL ON state_warm FROM PUBLIC")
        connection.execute("CREATE ROLE reader LOGIN PASSWORD 'reader'")
    url = pipeline.bot.warm_url.replace("postgres:", "reader:", 1).split("@")[1]
    there = pausing(pipeline, commands).set_up(warm_url=SecretStr(f"postgresql://reader:reader@{url}"))
    try:
        with Application(pipeline) as application, pytest.raises(StrataError, match="PostgreSQL"):
            there.made()
    finally:
        pipeline.tiers.warm.execute("DROP ROLE reader")
    assert application.seen[-1] is None
    run_id = application.seen[1]
    assert run_id is not None
    assert commands.calls(run_id.decode()) == ["before", "after"]


@pytest.fixture
def held_process(pipeline: Pipeline, commands: PauseCommands) -> Iterator[subprocess.Popen[bytes]]:
    """A process that makes a backup, and has paused the application for its cuts."""
    commands.hold.touch()
    settings = {"pause_key": PAUSE_KEY, "pause_seconds": "1.5", **commands.settings()}
    settings["result_url"] = "redis://127.0.0.1:1/1"  # so its lease ends with it
    environment = {f"STRATA_{name.upper()}": value for name, value in settings.items()}
    with subprocess.Popen(
        [sys.executable, "-m", "strata.cli.main", "backup", "full", "--local"],
        env={**os.environ, **pipeline.stack.environment(), **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        pipeline.until(lambda: pipeline.bot.hot.exists(PAUSE_KEY), "the pause never began")
        yield process
        commands.hold.unlink()
        process.kill()


def test_a_killed_process_leaves_a_pause_that_ends_by_itself(
    pipeline: Pipeline, held_process: subprocess.Popen[bytes]
) -> None:
    """Killed between the pause and the cuts: the key goes by itself, within twice the time a pause may last."""
    held_process.send_signal(signal.SIGKILL)
    held_process.wait()
    left = pipeline.bot.hot.pttl(PAUSE_KEY)
    assert isinstance(left, int)
    assert 0 < left <= 3_000
    pipeline.until(lambda: not pipeline.bot.hot.exists(PAUSE_KEY), "the pause did not end", 5)


def test_a_killed_collector_pauses_again_and_goes_on(pipeline: Pipeline, pause_commands: PauseCommands) -> None:
    """A worker's process dies in the pause: its work is done again, the backup is whole, the application goes on."""
    pipeline.bot.hot.set("order:1", "1")
    pause_commands.hold.touch()
    run_id = pipeline.backup()
    pipeline.until(lambda: pause_commands.calls(run_id), "the run never came to its cuts")
    (owner,) = [row.owner for row in pipeline.wiring.ledger.rows(run_id) if row.unit == "hot"]
    pause_commands.hold.unlink()
    os.kill(_pid_of(owner), signal.SIGKILL)
    run = pipeline.wait(run_id)
    assert run.state is RunState.DONE, run.reason
    assert not pipeline.bot.hot.exists(PAUSE_KEY)
    calls = pause_commands.calls(run_id)
    assert calls == ["before", "after"] * (len(calls) // 2)
    pipeline.wait_for_workers()


def _pid_of(owner: str) -> int:
    return int(owner.split(":")[1])


def test_a_pause_that_a_dead_run_left_is_ended_by_the_collecting_workers(
    pipeline: Pipeline, pause_commands: PauseCommands
) -> None:
    """The run ends on control, which may not enter HOT elsewhere; the key goes and the command runs, by collect."""
    now, run_id = pipeline.wiring.clock.now(), new_run_id("full", pipeline.wiring.clock.now())
    ledger = pipeline.wiring.ledger
    ledger.create(Run(run_id=run_id, kind=RunKind.BACKUP, state=RunState.RUNNING, created_at=now, updated_at=now))
    ledger.mark(run_id, "paused 1")
    pipeline.bot.hot.set(PAUSE_KEY, run_id)
    pipeline.app.send_task("tasks.abandon.abandon", ("an-id",), {"run_id": run_id}, ignore_result=True)
    assert pipeline.wait(run_id).state is RunState.FAILED
    pipeline.until(lambda: not pipeline.bot.hot.exists(PAUSE_KEY), "the pause did not end")
    pipeline.until(lambda: "resumed 1" in ledger.marks(run_id), "nobody noted that the pause has ended")
    assert pause_commands.calls(run_id) == ["after"]
    worked = Path(pipeline.stack.status().part("worker-collect").log).read_text()
    assert "tasks.collect.end_pause" in worked
    kept = RunBook(pipeline.wiring.depots.nearest.store, pipeline.wiring.keyring).all()
    assert run_id in [run.run_id for run in kept]
