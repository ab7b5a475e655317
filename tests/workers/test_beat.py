"""Beat, as README starts it, sends each entry of the schedule once it is due, to the queue of its task."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from celery.beat import PersistentScheduler

from beat_schedule import BEAT_SCHEDULE
from strata.settings import Settings
from workers.configuration import make_app
from workers.queues import CONTROL, QUEUES

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
SECONDS = 60


def everything_due(app: Celery, folder: Path) -> Path:
    """A schedule file by which each entry was sent long ago."""
    path = folder / "schedule"
    scheduler = PersistentScheduler(app, schedule_filename=str(path))
    for entry in scheduler.schedule.values():
        entry.last_run_at = LONG_AGO
    scheduler.close()
    return path


@pytest.fixture
def sent(hot_url: str, folder: Path) -> Iterator[dict[str, list[dict[str, Any]]]]:
    """The messages that a real beat sends when all is due, by queue."""
    app = make_app(Settings(broker_url=hot_url, result_url=hot_url))
    schedule = everything_due(app, folder)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("STRATA_")}
    log = folder / "log"
    with log.open("wb") as output:
        beat = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "workers", "beat", f"--schedule={schedule}"],
            env={**inherited, "STRATA_BROKER_URL": hot_url, "STRATA_RESULT_URL": hot_url, "TMPDIR": str(folder)},
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
    try:
        with redis.Redis.from_url(hot_url) as queues:
            deadline = time.monotonic() + SECONDS
            while sum(queues.llen(queue.name) for queue in QUEUES) < len(BEAT_SCHEDULE):
                assert beat.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield {queue.name: [json.loads(one) for one in queues.lrange(queue.name, 0, -1)] for queue in QUEUES}
    finally:
        beat.terminate()
        beat.wait(30)


def test_beat_sends_what_is_due_to_the_queues_of_the_tasks(sent: dict[str, list[dict[str, Any]]]) -> None:
    """Each entry once, by its task's plain name; what starts or looks after runs goes to control."""
    told = sorted(message["headers"]["task"] for messages in sent.values() for message in messages)
    assert told == sorted(entry["task"] for entry in BEAT_SCHEDULE.values())
    assert {message["headers"]["shadow"] for messages in sent.values() for message in messages} == {None}
    assert {"tasks.start.start_backup", "tasks.upkeep.prune"} <= {
        message["headers"]["task"] for message in sent[CONTROL]
    }
