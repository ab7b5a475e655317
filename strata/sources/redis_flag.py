"""A key in HOT that the application looks at: set before the cuts, removed after them, gone by itself in any case."""

from __future__ import annotations

from typing import Final

from strata.sources.redis_url import parse_address
from strata.sources.resp import Connection
from strata.tls import Tls

_HELD: Final = """
local kind = redis.call('TYPE', KEYS[1]).ok
local mine = kind == 'string' and redis.call('GET', KEYS[1]) == ARGV[1]
"""
_SET: Final = f"""{_HELD}
if kind ~= 'none' and not mine then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
""".encode()
_REMOVE: Final = f"{_HELD} if mine then return redis.call('DEL', KEYS[1]) end return 0".encode()


class RedisFlag:
    """Implements Flag by a key in the first database that the URL of HOT names.

    Where the key is there already somebody else has paused the application: it stays, before and after.
    """

    def __init__(self, url: str, key: str, tls: Tls | None = None) -> None:
        self._address = parse_address(url, tls)
        self.namespace, self.key = str(self._address.databases[0]), key.encode()

    def set(self, value: str, seconds: float) -> None:
        self._evaluate(_SET, value.encode(), b"%d" % int(seconds * 1000))

    def is_set(self) -> bool:
        with Connection(self._address) as connection:
            connection.select(self._address.databases[0])
            return bool(connection.ask(b"EXISTS", self.key))

    def clear(self, value: str) -> None:
        self._evaluate(_REMOVE, value.encode())

    def _evaluate(self, script: bytes, *arguments: bytes) -> None:
        with Connection(self._address) as connection:
            connection.select(self._address.databases[0])
            connection.ask(b"EVAL", script, b"1", self.key, *arguments)
