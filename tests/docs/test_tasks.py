"""docs/tasks.md names every task, on the queue it really goes to."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path

from celery import current_app

from beat_schedule import BEAT_SCHEDULE
from strata.planning.ticks import GOOD_FOR
from tasks.enqueue import EMERGENCY
from workers.configuration import TASK_MODULES
from workers.queues import QUEUES, ROUTES

_ROWS = dict(re.findall(r"^\| `(tasks\.[\w.]+)` \| ([\w.]+) \|", Path("docs/tasks.md").read_text(), re.MULTILINE))


def tasks_known() -> set[str]:
    """The names of all tasks."""
    for module in TASK_MODULES:
        import_module(module)
    current_app.finalize()
    return {name for name in current_app.tasks if name.startswith("tasks.")}


def test_every_task_is_documented_on_its_queue() -> None:
    """No task is missing, none is invented, and each queue is the one its route names."""
    assert set(_ROWS) == tasks_known()
    for name, queue in _ROWS.items():
        (route,) = [ROUTES[name]] if name in ROUTES else [ROUTES[one] for one in ROUTES if fnmatch(name, one)]
        assert route["queue"] == queue


def test_every_queue_exists_and_every_tick_is_worthless_before_the_next() -> None:
    """A tick that no worker took is worthless once the next one comes."""
    named = {route["queue"] for route in ROUTES.values()}
    assert named | {EMERGENCY} == {queue.name for queue in QUEUES}
    for entry in BEAT_SCHEDULE.values():
        assert entry["task"] in tasks_known()
        assert entry["options"]["headers"][GOOD_FOR] < entry["schedule"]
        assert "expires" not in entry["options"], "a moment by beat's clock means nothing on a worker's"
