"""A backup is one point of all tiers: an application that stands still for the pause finds its state whole in it."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from typing import Self

import psycopg
import pytest

from strata.model.run import Run, RunState
from strata.model.tier import Tier
from tests.pipeline.conftest import PAUSE_KEY, PauseCommands, Pipeline
from workers.local_stack.bot import BotState

KEY = "position:linked"
_UPSERT = (
    "INSERT INTO state_warm (key, data, size_bytes) VALUES (%s, to_jsonb(%s::int), 1) "
    "ON CONFLICT (key) DO UPDATE SET data = excluded.data"
)


class Writer(threading.Thread):
    """Writes number after number into all tiers, one after the other, and never while it is paused.

    In COLD each number is an object of its own, as a bot would keep its models. While it writes, the command before the
    cuts does not come back (`hold`): so the pause is truthful.
    """

    def __init__(self, bot: BotState, commands: PauseCommands) -> None:
        super().__init__(daemon=True)
        self.bot, self.hold = bot, commands.hold
        self.written, self._enough = int(bot.hot.get(KEY) or 0), threading.Event()
        self.failure: BaseException | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self.join()
        self.hold.unlink(missing_ok=True)
        assert self.failure is None

    def run(self) -> None:
        """Write until it is told to stop."""
        try:
            with psycopg.connect(self.bot.warm_url, autocommit=True) as warm:
                while not self._enough.is_set():
                    if not self.bot.hot.exists(PAUSE_KEY):
                        self._write(warm)
        except BaseException as error:  # noqa: BLE001 - told where the test ends
            self.failure = error

    def _write(self, warm: psycopg.Connection[tuple[object, ...]]) -> None:
        self.hold.touch()
        if not self.bot.hot.exists(PAUSE_KEY):  # or the pause began between the two looks
            number = self.written + 1
            self.bot.hot.set(KEY, number)
            warm.execute(_UPSERT, (KEY, number))
            self.bot.s3.put_object(Bucket=self.bot.bucket, Key=f"{self.bot.prefix}{KEY}:{number}", Body=b"")
            self.written = number
        self.hold.unlink()


def writes_on(pipeline: Pipeline, writer: Writer) -> None:
    """Return when it has written some more."""
    enough = writer.written + 20
    pipeline.until(lambda: writer.written > enough, "nothing was written")


def numbers_in(pipeline: Pipeline) -> tuple[int, int, int]:
    """The last number that each tier holds."""
    bot = pipeline.bot
    value = bot.hot.get(KEY)
    assert isinstance(value, bytes)
    row = pipeline.tiers.warm.execute("SELECT data FROM state_warm WHERE key = %s", (KEY,)).fetchone()
    assert row is not None
    pages = bot.s3.get_paginator("list_objects_v2").paginate(Bucket=bot.bucket, Prefix=f"{bot.prefix}{KEY}:")
    names = [entry["Key"] for page in pages for entry in page["Contents"]]
    return int(value), int(row[0]), max(int(name.rpartition(":")[2]) for name in names)


def holds_one_point(pipeline: Pipeline, run: Run) -> None:
    """The backup was made, has no doubt, and brings back one number in all tiers."""
    assert run.state is RunState.DONE, run.reason
    made = pipeline.wiring.depots.nearest.metadata.load(run.run_id)
    assert made.cut_doubts == ()
    pipeline.brought_back(run.run_id)
    hot, warm, cold = numbers_in(pipeline)
    assert hot == warm == cold, made.tiers


def marks(pipeline: Pipeline, run_id: str) -> frozenset[str]:
    """How far the meeting is."""
    return pipeline.wiring.ledger.marks(run_id)


def test_a_backup_under_a_pause_is_one_point(pipeline: Pipeline, pause_commands: PauseCommands) -> None:
    """The application writes on as soon as it may, while COLD is read, and nothing of that is in the backup."""
    for _ in range(3):
        with Writer(pipeline.bot, pause_commands) as writer:
            writes_on(pipeline, writer)
            run = pipeline.wait(pipeline.backup())
        holds_one_point(pipeline, run)


@pytest.mark.chaos
@pytest.mark.timeout(900)
@pytest.mark.parametrize("tier", Tier)
@pytest.mark.parametrize("mark", ["1 {tier}", "paused 1", "1 go", "1 cut hot", "1 cut warm", "1 cut cold"])
def test_a_backup_whose_collector_was_killed_is_one_point(
    pipeline: Pipeline, pause_commands: PauseCommands, tier: Tier, mark: str
) -> None:
    """Whichever collector dies, and wherever the meeting is then: the backup is one point, or it fails and says why."""
    with Writer(pipeline.bot, pause_commands) as writer:
        pipeline.until(lambda: writer.written > 20, "nothing was written")
        run_id = pipeline.backup()
        come = mark.format(tier=tier)
        pipeline.until(lambda: pipeline.wiring.ledger.run(run_id), "it never began")
        pipeline.until(lambda: come in marks(pipeline, run_id), f"the meeting never came to {come}")
        _kill(pipeline, run_id, tier)
        run = pipeline.wait(run_id)
    pipeline.wait_for_workers()
    holds_one_point(pipeline, run)
    assert not pipeline.bot.hot.exists(PAUSE_KEY)


def _kill(pipeline: Pipeline, run_id: str, tier: Tier) -> None:
    """Kill who collects the tier, if anybody still does."""
    for row in pipeline.wiring.ledger.rows(run_id):
        if row.unit == tier.value and row.owner and not row.done:
            with suppress(ProcessLookupError):
                os.kill(int(row.owner.split(":")[1]), signal.SIGKILL)
