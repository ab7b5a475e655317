"""How far this machine's clock is from the ledger's, which all workers share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from strata.clock import Clock
from strata.planning.tables import spoken

NOTED: Final = timedelta(seconds=5)
"""A clock that is further off is told of. The answer of a busy server takes a moment too."""


class Timekeeper(Protocol):
    """What has the clock that counts."""

    def clock_ms(self) -> float:
        """Milliseconds since 1970."""
        ...


def off_by(clock: Clock, timekeeper: Timekeeper) -> timedelta:
    """By how much the clock is ahead of the timekeeper's; negative where it is behind.

    The question takes a while: the answer is compared with the middle of it.
    """
    before = clock.now()
    told = moment(timekeeper)
    after = clock.now()
    return before + (after - before) / 2 - told


def moment(timekeeper: Timekeeper) -> datetime:
    """The time of day by the timekeeper's clock, in UTC."""
    return datetime.fromtimestamp(timekeeper.clock_ms() / 1000, UTC)


def in_words(off: timedelta) -> str:
    """`26 s ahead of the ledger's`, or nothing where it agrees well enough."""
    if abs(off) < NOTED:
        return ""
    return f"{spoken(abs(off))} {'ahead of' if off > timedelta() else 'behind'} the ledger's"
