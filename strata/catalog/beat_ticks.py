"""The ledger's clock, which beat, workers and commands share, and when beat last sent something by it."""

from __future__ import annotations

from typing import Final, cast

import redis

from strata.catalog.redis_answers import asking

_KEY: Final = "strata:beat"

_NOTE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[1], now)
return now
"""


class BeatTicks:
    """The clock, and beat's signs of life."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def clock_ms(self) -> float:
        """Milliseconds since 1970."""
        with asking("the ledger"):
            seconds, microseconds = self._redis.time()
        return seconds * 1000 + microseconds / 1000

    def note(self) -> int:
        """Note that beat sends something now; the moment, in milliseconds since 1970 by the ledger's clock."""
        with asking("the ledger"):
            return cast("int", self._redis.eval(_NOTE, 1, _KEY))

    def last_ms(self) -> int | None:
        """When beat last sent something, or None where it never did."""
        with asking("the ledger"):
            noted = cast("bytes | None", self._redis.get(_KEY))
        return int(noted) if noted else None
