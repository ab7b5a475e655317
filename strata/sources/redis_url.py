"""Where a Redis is, how to get in, and which of its databases are meant: read from one URL.

redis://user:password@host:6379/0,3 or rediss://... (TLS) or unix:///path/to/socket?db=0,3. Options stand in the query
and are redis-py's: socket_timeout, socket_connect_timeout, ssl_cert_reqs, ssl_check_hostname, ssl_ca_certs,
ssl_ca_path, ssl_ca_data, ssl_certfile, ssl_keyfile, ssl_password, ssl_min_version, ssl_ciphers.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from redis.connection import parse_url

from strata.errors import SettingError

_CONNECT_SECONDS: Final = 5.0
_REPLY_SECONDS: Final = 30.0
_DATABASES: Final = re.compile(r"\d{1,6}(,\d{1,6})*")
_VERIFY: Final = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
_TLS_OPTIONS: Final = frozenset(
    {"ssl_cert_reqs", "ssl_check_hostname", "ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_certfile", "ssl_keyfile"}
    | {"ssl_password", "ssl_min_version", "ssl_ciphers"}
)


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


def parse_address(url: str) -> RedisAddress:
    """The server and databases that a URL names; SettingError, without the URL in it, where it is not one."""
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
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
        tls=_tls_context(options) if parts.scheme == "rediss" else None,
        connect_seconds=options.get("socket_connect_timeout", _CONNECT_SECONDS),
        reply_seconds=options.get("socket_timeout", _REPLY_SECONDS),
    )


_EXAMPLES: Final = "Write redis://:password@host:6379/0 or, for several databases, .../0,3 - and rediss:// for TLS."


def _databases(named: str) -> tuple[int, ...]:
    if not _DATABASES.fullmatch(named):
        raise SettingError("the URL of HOT (Redis) must name its databases by numbers", hint=_EXAMPLES)
    return tuple(dict.fromkeys(int(number) for number in named.split(",")))


def _tls_context(options: dict[str, Any]) -> ssl.SSLContext:
    """TLS as the options say; verifies the server unless told otherwise, and refuses options it does not know."""
    unknown = sorted(name for name in options if name.startswith("ssl_") and name not in _TLS_OPTIONS)
    verify = _VERIFY.get(options.get("ssl_cert_reqs", "required"))
    if unknown or verify is None:
        what = ", ".join(unknown) or "that value of ssl_cert_reqs"
        raise SettingError(f"the URL of HOT (Redis) has options that are not supported: {what}")
    context = ssl.create_default_context()
    context.check_hostname = options.get("ssl_check_hostname", True) and verify is not ssl.CERT_NONE
    context.verify_mode = verify
    try:
        _load_tls_files(context, options)
    except (OSError, ValueError):
        raise SettingError(
            "the certificate files or TLS options in the URL of HOT (Redis) cannot be used",
            hint="Check ssl_ca_certs, ssl_certfile, ssl_keyfile, ssl_min_version and ssl_ciphers.",
        ) from None
    return context


def _load_tls_files(context: ssl.SSLContext, options: dict[str, Any]) -> None:
    trusted = [options.get(name) for name in ("ssl_ca_certs", "ssl_ca_path", "ssl_ca_data")]
    if any(trusted):
        context.load_verify_locations(*trusted)
    if certificate := options.get("ssl_certfile"):
        context.load_cert_chain(certificate, options.get("ssl_keyfile"), options.get("ssl_password"))
    if ciphers := options.get("ssl_ciphers"):
        context.set_ciphers(ciphers)
    if version := options.get("ssl_min_version"):
        context.minimum_version = ssl.TLSVersion(version)
