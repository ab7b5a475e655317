"""The start of an EMERGENCY waits behind nothing, whoever sends it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis

from strata.model.backup_type import BackupType
from strata.planning.backup import new_run_id
from strata.settings import Settings
from tasks.enqueue import EMERGENCY, START_BACKUP, enqueue_backup
from workers.configuration import make_app
from workers.queues import CONTROL, GROUPS


@pytest.mark.parametrize(
    ("args", "kwargs", "queue"),
    [
        (("emergency",), {}, EMERGENCY),
        (("EMERGENCY", "an-id"), {}, EMERGENCY),
        ((), {"backup_type": "emergency", "patience": 3}, EMERGENCY),
        ((BackupType.EMERGENCY,), None, EMERGENCY),
        (("full",), {}, CONTROL),
        ((), {}, CONTROL),
        (None, None, CONTROL),
        ((["emergency"],), {}, CONTROL),
        ((7,), {"backup_type": None}, CONTROL),
    ],
)
def test_the_type_of_a_start_chooses_its_queue(args: Any, kwargs: Any, queue: str) -> None:
    """By place or by name; what is no type goes where it is refused."""
    app = make_app(Settings(broker_url="redis://127.0.0.1", result_url="redis://127.0.0.1"))
    assert app.amqp.router.route({}, START_BACKUP, args, kwargs)["queue"].name == queue


def test_other_tasks_of_that_argument_stay_on_their_queue() -> None:
    """Only a start of a backup has a type."""
    app = make_app(Settings(broker_url="redis://127.0.0.1", result_url="redis://127.0.0.1"))
    assert app.amqp.router.route({}, "tasks.upkeep.prune", ("emergency",), {})["queue"].name == CONTROL


def test_the_workers_of_that_queue_have_no_other() -> None:
    """Nothing else can keep them busy."""
    assert [group for group, (queues, _) in GROUPS.items() if EMERGENCY in queues] == ["emergency"]
    assert GROUPS["emergency"][0] == (EMERGENCY,)


def test_celery_call_sends_an_emergency_to_its_own_workers(hot_url: str, folder: Path) -> None:
    """As a person would in haste: no queue is named; other starts go to control, and our own sender does the same."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STRATA_")}
    environment |= {"STRATA_BROKER_URL": hot_url, "STRATA_RESULT_URL": hot_url}
    subprocess.run(
        [sys.executable, "-m", "celery", "-A", "workers", "call", START_BACKUP, "--args", '["emergency"]'],
        env=environment,
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=60,
    )
    app = make_app(Settings(broker_url=hot_url, result_url=hot_url))
    for kind in (BackupType.EMERGENCY, BackupType.FULL):
        enqueue_backup(app, kind, new_run_id(kind, app.now()))
    with redis.Redis.from_url(hot_url) as queues:
        assert (queues.llen(EMERGENCY), queues.llen(CONTROL)) == (2, 1)
