"""Whether a tick of beat is still worth anything when a worker takes it.

Celery's own `expires` is a moment by the sender's clock that is compared with the worker's: with a worker's clock half
a minute ahead, a task that is sent every 30 s is never done. So a tick says for how long it is good and when it was
sent by the ledger's clock, and whoever takes it asks that clock again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from strata.planning.tables import spoken

GOOD_FOR: Final = "strata_good_for"
"""A header of a tick: after how many seconds it is worthless."""
TICKED: Final = "strata_ticked_ms"
"""A header of a tick: when it was sent, in milliseconds since 1970 by the ledger's clock."""


def good_for(seconds: float) -> dict[str, Any]:
    """The options of a beat entry whose ticks are worthless after so many seconds."""
    return {"headers": {GOOD_FOR: seconds}}


def is_timed(headers: Mapping[str, Any]) -> bool:
    """Whether these are the headers of a tick that says when it was sent; another is always good."""
    return isinstance(headers.get(GOOD_FOR), int | float) and isinstance(headers.get(TICKED), int | float)


def stale(headers: Mapping[str, Any], now_ms: float) -> str:
    """Why a tick is worth nothing any more, at that moment of the ledger's clock; or nothing."""
    if not is_timed(headers):
        return ""
    age = timedelta(milliseconds=now_ms - headers[TICKED])
    limit = timedelta(seconds=headers[GOOD_FOR])
    return f"not done: sent {spoken(age)} ago, and good for {spoken(limit)}" if age > limit else ""
