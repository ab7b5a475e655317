"""Which ledger a URL leads to, and which Redis a URL of ledger or broker names."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final, cast
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

import redis

from strata.catalog.redis_answers import asking
from strata.model.identity import LEDGER, Identity

_SECONDS: Final = 2
_PORT: Final = 6379
_ID_KEY: Final = "strata:ledger:id"


def ledger_identity(client: redis.Redis) -> Identity:
    """The ledger by a random id that is set in it once, by whoever asks first; it survives restarts with the ledger."""
    with asking("the ledger"):
        client.set(_ID_KEY, uuid4().hex, nx=True)
        ledger_id = cast("bytes", client.get(_ID_KEY)).decode()
    return Identity(part=LEDGER, server={"ledger id": (ledger_id,)}, words="the run ledger")


def redis_identity(part: str, url: str, connect: Callable[[float], redis.Redis]) -> Identity:
    """The server by its run id, and the database by its number, as those of HOT are known.

    `connect` makes a client that waits for so many seconds. Where the server does not answer, or says nothing of
    itself, its address is what there is.
    """
    run_id = ""
    with suppress(redis.RedisError, TypeError, ValueError), connect(_SECONDS) as client:
        run_id = str(cast("dict[str, str]", client.info("server")).get("run_id", ""))
    parts = urlsplit(url)
    database = dict(parse_qsl(parts.query)).get("db") or parts.path.strip("/") or "0"
    return Identity(
        part=part,
        server={"run id": (run_id,)} if run_id else {},
        place=f"database {database}",
        address=f"{parts.hostname}:{parts.port or _PORT}",
    )
