"""What a failure of the Redis that holds ledger and lease means."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import redis

from strata.errors import BrokerUnavailable

_HINT: Final = "Check STRATA_RESULT_URL and its server."


@contextmanager
def asking(what: str) -> Iterator[None]:
    """BrokerUnavailable where the server does not answer, or answers that it will not."""
    try:
        with refusing(what):
            yield
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise BrokerUnavailable(f"{what} (Redis) does not answer: {type(error).__name__}", hint=_HINT) from None


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """BrokerUnavailable where the server answers that it will not: a wrong password, no such database, no memory.

    It is quoted, as its words hold no secret; silence passes as it is. A server that cannot prove who it is is none
    that is silent.
    """
    try:
        yield
    except (redis.ResponseError, redis.AuthenticationError) as error:
        words = str(error).partition("\n")[0][:120] or type(error).__name__
        raise BrokerUnavailable(f"{what} (Redis) refuses: {words}", hint=_HINT) from None
    except redis.ConnectionError as error:
        if untrusted := _untrusted(error):
            raise BrokerUnavailable(
                f"{what} (Redis) has a certificate that is not trusted: {untrusted}",
                hint="Name its authority: STRATA_TLS_CA, or tls_ca in the URL.",
            ) from None
        raise


def _untrusted(error: BaseException | None) -> str:
    """What is wrong with a certificate, where that is why a connection failed."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        error = error.__cause__ or error.__context__
    return ""
