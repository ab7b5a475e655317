"""Where a Redis is, how to get in, and which of its databases are meant: read from one URL.

redis://user:password@host:6379/0,3 or rediss://... (TLS) or unix:///path/to/socket?db=0,3. Options stand in the query:
socket_timeout, socket_connect_timeout, and those of TLS (strata/tls.py).
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from redis.connection import parse_url

from strata.errors import SettingError
from strata.tls import Tls, read_url

_CONNECT_SECONDS: Final = 5.0
_REPLY_SECONDS: Final = 30.0
_DATABASES: Final = re.compile(r"\d{1,6}(,\d{1,6})*")


@dataclass(frozen=True)
class RedisAddress:
    """A Redis server and some of its databases; its text and repr show neither user nor password."""

    host: str
    port: int
    path: str
    databases: tuple[int, ...]
    username: str | None = field(repr=False)
    password: str | None = field(repr=False)
    tls: ssl.SSLContext | None = field(repr=False)
    connect_seconds: float
    reply_seconds: float

    def __str__(self) -> str:
        if self.path:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(url: str, default: Tls | None = None) -> RedisAddress:
    """The server and databases that a URL names; SettingError, without the URL in it, where it is not one.

    `default` are the options of TLS that the URL does not give.
    """
    try:
        parts = urlsplit(url)
        encrypted = parts.scheme == "rediss"
        url, tls = read_url(url, default or Tls(), encrypted=encrypted)
        query = dict(parse_qsl(urlsplit(url).query))
        named = query.pop("db", None) or ("" if parts.scheme == "unix" else unquote(parts.path).strip("/"))
        rest = f"{url.partition('?')[0]}?{urlencode(query)}"  # redis-py reads one database at most
        options: dict[str, Any] = parse_url(rest)  # type: ignore[no-untyped-call]
    except ValueError:  # its text may quote a part of the password
        raise SettingError("the URL of HOT (Redis) cannot be read", hint=_EXAMPLES) from None
    return RedisAddress(
        host=options.get("host", "localhost"),
        port=options.get("port", 6379),
        path=options.get("path", ""),
        databases=_databases(named or "0"),
        username=options.get("username"),
        password=options.get("password"),
        tls=tls.context() if encrypted else None,
        connect_seconds=options.get("socket_connect_timeout", _CONNECT_SECONDS),
        reply_seconds=options.get("socket_timeout", _REPLY_SECONDS),
    )


_EXAMPLES: Final = "Write redis://:password@host:6379/0 or, for several databases, .../0,3 - and rediss:// for TLS."


def _databases(named: str) -> tuple[int, ...]:
    if not _DATABASES.fullmatch(named):
        raise SettingError("the URL of HOT (Redis) must name its databases by numbers", hint=_EXAMPLES)
    return tuple(dict.fromkeys(int(number) for number in named.split(",")))
