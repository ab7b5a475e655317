"""A worker takes task messages, and no other message ends it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from celery.app.defaults import NAMESPACES
from kombu.message import Message
from kombu.utils.imports import symbol_by_name

from strata.settings import Settings
from workers.configuration import configuration
from workers.consumer import TaskConsumer, fault_of

HEADERS = {"task": "tasks.verify.verify", "id": "an-id", "retries": 0, "timelimit": [None, None], "eta": None}


def message(body: Any = ((), {}, {}), headers: Any = HEADERS, content_type: str = "application/json") -> Message:
    """A message that is never sent."""
    return Message(
        body=json.dumps(body),
        headers=headers,
        content_type=content_type,
        content_encoding="utf-8",
        accept={"application/json"},
    )


@pytest.mark.parametrize("embed", [{}, None, {"chain": None}])
def test_what_celery_writes_is_a_task_message(embed: Any) -> None:
    """Arguments by place, by name, and what follows."""
    assert fault_of(message((["run1"], {"unit": "hot"}, embed))) == ""


@pytest.mark.parametrize(
    ("faulty", "fault"),
    [
        (message(headers={}), "it names no task and no id"),
        (message(headers={"task": "tasks.verify.verify"}), "it names no task and no id"),
        (message(headers={**HEADERS, "id": 7}), "its header id is of the wrong kind"),
        (message(headers={**HEADERS, "task": None}), "its header task is of the wrong kind"),
        (message(headers={**HEADERS, "retries": "many"}), "its header retries is of the wrong kind"),
        (message(headers={**HEADERS, "timelimit": "long"}), "its header timelimit is of the wrong kind"),
        (message(headers={**HEADERS, "eta": 7}), "its header eta is of the wrong kind"),
        (message(("secret", {}, {})), "its body is not the arguments of a task"),
        (message(([], ["secret"], {})), "its body is not the arguments of a task"),
        (message(([], {}, "secret")), "its body is not the arguments of a task"),
        (message(content_type="application/x-python-serialize"), "its body cannot be read (ContentDisallowed)"),
    ],
)
def test_what_is_no_task_message_is_told_without_its_content(faulty: Message, fault: str) -> None:
    """In a sentence that names the part, and quotes nothing."""
    assert fault_of(faulty) == fault


def test_the_workers_have_that_consumer() -> None:
    """It takes the place of Celery's by Celery's own setting."""
    settings = Settings(broker_url="redis://127.0.0.1", result_url="redis://127.0.0.1")
    assert "consumer" in NAMESPACES["worker"]
    assert symbol_by_name(configuration(settings)["worker_consumer"]) is TaskConsumer
