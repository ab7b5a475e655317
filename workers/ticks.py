"""Beat's ticks say when they were sent by the ledger's clock: importing this module connects Celery's signals."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import Any

from celery.signals import beat_init, before_task_publish

from strata.catalog.beat_ticks import BeatTicks
from strata.errors import StrataError
from strata.planning.ticks import GOOD_FOR, TICKED
from strata.settings import load_settings
from strata.wiring import Wiring


@beat_init.connect
def _beat_begins(**_: object) -> None:
    before_task_publish.connect(mark)  # only here: workers and commands send no ticks
    with suppress(StrataError):
        _ticks().note()


def mark(headers: dict[str, Any], **_: object) -> None:
    """Say in a tick when it is sent. One that is sent while the ledger is silent says nothing, and is always good."""
    if GOOD_FOR in headers:
        with suppress(StrataError):
            headers[TICKED] = _ticks().note()


@cache
def _ticks() -> BeatTicks:
    return Wiring(load_settings()).ticks
