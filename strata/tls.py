"""How connections are encrypted and how the other side is known: one reading for Redis, AMQP, PostgreSQL and S3.

Where TLS is spoken, the server's certificate is verified, authority and name. Options stand in the URL's query:

| option            | value                                                                          |
|-------------------|--------------------------------------------------------------------------------|
| `tls_verify`      | `full` (default), `ca` (any name), `none` (anybody: encrypted, but not proved) |
| `tls_ca`          | a file of the authorities that are trusted, in place of the system's           |
| `tls_certificate` | a file with the client's certificate                                           |
| `tls_key`         | a file with its key, where that is another one                                 |

redis-py's and kombu's names for the same are read too: ssl_cert_reqs, ssl_check_hostname, ssl_ca_certs, ssl_certfile,
ssl_keyfile; and libpq's in a URL of PostgreSQL: sslmode, sslrootcert, sslcert, sslkey.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from strata.errors import SettingError

_HINT: Final = "Options of TLS are tls_verify, tls_ca, tls_certificate and tls_key: see docs/how-to/tls.md."
_BUNDLES: Final = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
"""Where systems keep the authorities they trust, as one file: libpq takes no folder."""


class Verify(StrEnum):
    """What of a server's certificate is verified."""

    FULL = "full"
    """That a trusted authority signed it, and that it is of the host we asked for."""
    CA = "ca"
    """The authority alone."""
    NONE = "none"
    """Nothing: whoever answers is believed."""


@dataclass(frozen=True)
class Tls:
    """Options of TLS; paths of PEM files. None leaves a value to the system or the default."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    verify: Verify = Verify.FULL

    def context(self) -> ssl.SSLContext:
        """For a socket of ours; SettingError where a file cannot be used."""
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.certificate:
                context.load_cert_chain(self.certificate, self.key, _no_password)
        except (OSError, ValueError):
            named = ", ".join(filter(None, (self.ca, self.certificate, self.key)))
            raise SettingError(f"the TLS files cannot be used: {named}", hint=_HINT) from None
        context.check_hostname = self.verify is Verify.FULL
        context.verify_mode = self._mode
        return context

    def for_redis(self) -> dict[str, Any]:
        """For redis-py, and for what kombu and Celery hand on to it."""
        return {
            "ssl_cert_reqs": self._mode,
            "ssl_check_hostname": self.verify is Verify.FULL,
            **_given(ssl_ca_certs=self.ca, ssl_certfile=self.certificate, ssl_keyfile=self.key),
        }

    def for_amqp(self, host: str) -> dict[str, Any]:
        """For py-amqp, which verifies a name where it is told one."""
        return {
            "cert_reqs": self._mode,
            **_given(ca_certs=self.ca, certfile=self.certificate, keyfile=self.key),
            **({"server_hostname": host} if self.verify is Verify.FULL else {}),
        }

    def for_libpq(self) -> dict[str, str]:
        """For libpq."""
        mode = {Verify.FULL: "verify-full", Verify.CA: "verify-ca", Verify.NONE: "require"}[self.verify]
        files = _given(sslcert=self.certificate, sslkey=self.key or self.certificate)
        if self.verify is Verify.NONE:
            return {"sslmode": mode, **files}
        return {"sslmode": mode, "sslrootcert": self.ca or _system_bundle(), **files}

    @property
    def _mode(self) -> ssl.VerifyMode:
        return ssl.CERT_NONE if self.verify is Verify.NONE else ssl.CERT_REQUIRED


def read_url(url: str, default: Tls, *, encrypted: bool) -> tuple[str, Tls]:
    """A URL without its options of TLS, and what they say, each in place of the default's.

    SettingError where an option or its value is not known, or where it stands in a URL without TLS.
    """
    bare, _, query = url.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    ours = {name: value for name, value in pairs if name.startswith(("tls_", "ssl_"))}
    if ours and not encrypted:
        scheme = urlsplit(bare).scheme
        raise SettingError(f"{min(ours)} stands in a URL of {scheme}://, which is without TLS", hint=_HINT)
    rest = urlencode([(name, value) for name, value in pairs if name not in ours])
    return f"{bare}?{rest}" if rest else bare, _read(ours, default)


def redis_access(url: str, default: Tls) -> tuple[str, dict[str, Any]]:
    """A URL of Redis as redis-py's from_url takes it, and the options of TLS that go with it."""
    encrypted = urlsplit(url).scheme == "rediss"
    bare, tls = read_url(url, default, encrypted=encrypted)
    return bare, tls.for_redis() if encrypted else {}


def read_libpq(given: Mapping[str, Any], tls: Tls) -> dict[str, Any]:
    """Parameters of libpq with TLS verified where it is asked for; `prefer`, its default, asks for none.

    `tls` is what our own options say. libpq's own count where they are given, but `require` verifies, as all our
    connections do, unless tls_verify says otherwise.
    """
    mode = given.get("sslmode")
    if mode in {"disable", "allow", "prefer"} or (mode is None and tls == Tls()):
        return dict(given)
    verify = Verify.CA if mode == "verify-ca" and tls.verify is Verify.FULL else tls.verify
    found = Tls(
        given.get("sslrootcert") or tls.ca,
        given.get("sslcert") or tls.certificate,
        given.get("sslkey") or tls.key,
        verify,
    )
    return {**given, **found.for_libpq()}


def weakness(url: str, default: Tls) -> str:
    """What somebody between us and the server of a URL could do, in words; nothing where that is this machine.

    For redis, rediss, amqp, amqps, unix, http, https and postgresql URLs; SettingError as `read_url`.
    """
    parts = urlsplit(url)
    hosts = parts.netloc.rpartition("@")[2].split(",")
    if all(_is_here(host) for host in hosts):
        return ""
    may_be = parts.scheme.startswith("postgres")
    bare, tls = read_url(url, default, encrypted=may_be or parts.scheme in _ENCRYPTED)
    if may_be:
        return _OF_LIBPQ.get(read_libpq(dict(parse_qsl(urlsplit(bare).query)), tls).get("sslmode", ""), _CLEAR)
    if parts.scheme not in _ENCRYPTED:
        return _CLEAR
    return _UNVERIFIED if tls.verify is Verify.NONE else ""


def _is_here(place: str) -> bool:
    """Whether a host, with its port or without, is this machine: a loopback address, or the path of a socket."""
    host = urlsplit(f"//{place}").hostname or ""
    try:
        return not host or host.startswith(("/", "%2f")) or ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


_ENCRYPTED: Final = frozenset({"rediss", "amqps", "https"})
_CLEAR: Final = "leaves this machine and need not be encrypted: who is in between can read and change what is sent"
_UNVERIFIED: Final = "is encrypted, but the server is not verified: who is in between can pass for it"
_OF_LIBPQ: Final = {"verify-full": "", "verify-ca": "", "require": _UNVERIFIED}


def _read(options: Mapping[str, str], default: Tls) -> Tls:
    unknown = sorted(options.keys() - _FIELDS.keys() - {"ssl_check_hostname"})
    if unknown:
        raise SettingError(f"there is no option of TLS called {unknown[0]}", hint=_HINT)
    values: dict[str, Any] = {_FIELDS[name]: value for name, value in options.items() if name in _FIELDS}
    try:
        verify = Verify(_VERIFY.get(values["verify"].lower(), values["verify"])) if "verify" in values else None
    except ValueError:
        raise SettingError("tls_verify is full, ca or none", hint=_HINT) from None
    if verify in {None, Verify.FULL} and options.get("ssl_check_hostname", "true").lower() in {"false", "0", "no"}:
        verify = Verify.CA
    return Tls(
        values.get("ca", default.ca),
        values.get("certificate", default.certificate),
        values.get("key", default.key),
        verify or default.verify,
    )


_FIELDS: Final = {
    "tls_verify": "verify",
    "tls_ca": "ca",
    "tls_certificate": "certificate",
    "tls_key": "key",
    "ssl_cert_reqs": "verify",
    "ssl_ca_certs": "ca",
    "ssl_certfile": "certificate",
    "ssl_keyfile": "key",
}
_VERIFY: Final = {"required": "full", "cert_required": "full", "cert_none": "none"}


def _given(**values: str | None) -> dict[str, str]:
    return {name: value for name, value in values.items() if value is not None}


def _system_bundle() -> str:
    return next((path for path in _BUNDLES if Path(path).exists()), "system")


def _no_password() -> str:
    """Asked for where a key is encrypted: a process of ours has nobody to ask."""
    raise ValueError("the key is encrypted")
