"""A key in HOT that the application looks at: set before the cuts, removed after them, gone by itself in any case."""

from __future__ import annotations

from typing import Final

from strata.sources.redis_url import parse_address
from strata.sources.resp import Connection

_REMOVE: Final = b"if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class RedisFlag:
    """Implements Flag by a key in the first database that the URL of HOT names."""

    def __init__(self, url: str, key: str) -> None:
        self._address = parse_address(url)
        self._key = key.encode()

    def set(self, value: str, seconds: float) -> None:
        with Connection(self._address) as connection:
            connection.select(self._address.databases[0])
            connection.ask(b"SET", self._key, value.encode(), b"PX", b"%d" % int(seconds * 1000))

    def clear(self, value: str) -> None:
        with Connection(self._address) as connection:
            connection.select(self._address.databases[0])
            connection.ask(b"EVAL", _REMOVE, b"1", self._key, value.encode())
