"""A worker compares its clock with the ledger's, which decides what is stale: importing this connects its signals."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any, Final

from celery.signals import worker_init, worker_ready, worker_shutdown
from celery.utils.log import get_logger

from strata.engine.timekeeping import in_words, off_by
from strata.errors import StrataError
from strata.settings import load_settings
from strata.wiring import Wiring
from tasks.enqueue import LOOK

_AGAIN_SECONDS: Final = 600.0

_logger = get_logger("strata")
_stopped = threading.Event()


@worker_init.connect
def _register_look(**_: object) -> None:
    """Only a worker needs it: Celery's module of such commands is not imported by commands and beat."""
    from celery.worker.control import inspect_command

    inspect_command(name=LOOK)(look)


@worker_ready.connect
def _begin(**_: object) -> None:
    threading.Thread(target=_watch, name="compare the clock", daemon=True).start()


@worker_shutdown.connect
def _end(**_: object) -> None:
    _stopped.set()


def look(state: Any) -> dict[str, Any]:
    """The queues of this worker, and by how many seconds its clock is ahead of the ledger's; None where that is mute.

    Asked in the worker's main loop, so it waits for no more than a brief moment.
    """
    consumer = state.consumer.task_consumer
    queues = [queue.name for queue in consumer.queues] if consumer else []
    off = _off()
    return {"queues": sorted(queues), "ahead": None if off is None else off.total_seconds()}


def _off() -> timedelta | None:
    wiring = Wiring(load_settings())
    try:
        return off_by(wiring.clock, wiring.ticks)
    except StrataError:
        return None


def _watch() -> None:
    while True:
        off = _off()
        if off is not None and (words := in_words(off)):
            _logger.warning(
                "the clock of this machine is %s: what is timed by it (the times of backups, retention) is wrong by as "
                "much; set it right",
                words,
            )
        if _stopped.wait(_AGAIN_SECONDS):
            return
