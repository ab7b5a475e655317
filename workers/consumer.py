"""What a worker takes from its queues: task messages, and no others.

Celery 5.7 unpacks the body of a message in the worker's main process and expects what it would have written itself.
Anything else ends the worker; the message is delivered again, and so ends the next one. Here a message is looked at
before Celery sees it: one that is no task message is rejected, with a line in the log that quotes nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from celery.signals import task_rejected
from celery.utils.log import get_task_logger
from celery.worker.consumer import Consumer

logger = get_task_logger("strata")

_TEXT: Final = str | None
_HEADERS: Final[Mapping[str, Any]] = {
    "task": str,
    "id": str,
    "root_id": _TEXT,
    "parent_id": _TEXT,
    "group": _TEXT,
    "shadow": _TEXT,
    "eta": _TEXT,
    "expires": _TEXT,
    "argsrepr": _TEXT,
    "kwargsrepr": _TEXT,
    "origin": _TEXT,
    "retries": int | None,
    "timelimit": list | tuple | None,
}
"""The headers of a task message that the worker's main process uses, and what each may be."""
_SHOWN: Final = 80


class TaskConsumer(Consumer):
    """Celery's consumer, behind a look at each message."""

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """As Celery's; what is no task message goes no further, and none ends the worker."""
        handle = super().create_task_handler(*args, **kwargs)

        def on_task_received(message: Any) -> None:
            fault = fault_of(message)
            if not fault:
                try:
                    handle(message)
                except (*self.connection_errors, *self.connection.channel_errors):
                    raise  # of the broker; the message will come again
                except Exception as error:  # noqa: BLE001 - whatever it is, it would end each worker in turn
                    fault = f"Celery stopped at it ({type(error).__name__})"
            if fault:
                self._reject(message, fault)

        return on_task_received

    def _reject(self, message: Any, fault: str) -> None:
        queue = str((message.delivery_info or {}).get("routing_key", ""))[:_SHOWN]
        logger.error("a message in %s is no task message and was thrown away: %s", queue or "the queue", fault)
        if not message.acknowledged:
            message.reject_log_error(logger, self.connection_errors)
        task_rejected.send(sender=self, message=message, exc=None)


def fault_of(message: Any) -> str:
    """Why a message is no task message, without a word of what it holds; nothing where it is one."""
    headers = message.headers
    if not isinstance(headers, Mapping) or not {"task", "id"} <= headers.keys():
        return "it names no task and no id"
    for name, kind in _HEADERS.items():
        if not isinstance(headers.get(name), kind):
            return f"its header {name} is of the wrong kind"
    try:
        body = message.payload
    except Exception as error:  # noqa: BLE001 - each decoder has errors of its own
        return f"its body cannot be read ({type(error).__name__})"
    match body:
        case [list() | tuple(), dict(), dict() | None]:
            return ""
    return "its body is not the arguments of a task"
