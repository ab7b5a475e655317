"""When a message is due and when it is worthless, told without comparing the clocks of two machines."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from celery import Task
from celery.worker.request import Request

from strata.clock import SystemClock

COUNTDOWN: Final = "strata_countdown"
"""A header: in how many seconds the message was to be done when it was sent."""


class DueTask(Task):
    """A task whose countdown is a span on every machine.

    Celery turns a countdown into a moment by the sender's clock, and the worker waits for that moment by its own: a
    worker that is a minute behind would wait a minute longer each time. The span travels too, and no worker waits
    longer than it.
    """

    abstract = True
    Request = "tasks.due:DueRequest"

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """As Celery's, with the countdown among the headers."""
        if (seconds := options.get("countdown")) is not None:
            options["headers"] = {**(options.get("headers") or {}), COUNTDOWN: seconds}
        return super().apply_async(args, kwargs, **options)


class DueRequest(Request):
    """A message as a worker received it; due after its countdown at the latest."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        seconds = self._request_dict.get(COUNTDOWN)
        due: datetime | None = self._eta  # type: ignore[has-type] # its package has no types
        if due is not None and isinstance(seconds, int | float):
            self._eta = min(due, SystemClock().now() + timedelta(seconds=seconds))
