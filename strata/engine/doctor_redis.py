"""Trying the Redis that holds the ledger or the broker's queues: does it answer, and does it keep what it is given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import redis

from strata.catalog.redis_answers import asking
from strata.engine.doctor import Finding, Verdict
from strata.errors import BrokerUnavailable

_NEVER: Final = "noeviction"


def keeps(client: redis.Redis, what: str, losing: str, setting: str) -> Iterator[Finding]:
    """Whether the server keeps what it is given; BrokerUnavailable where it does not answer or will not.

    `what` is what it holds, `losing` what follows when it removes a part of that, `setting` what names the server.
    """
    try:
        with asking(what), client:
            client.ping()
            told = _told(client)
    except BrokerUnavailable as error:
        hint = error.hint.replace("STRATA_RESULT_URL", setting)
        raise BrokerUnavailable(error.sentence, hint=hint) from None
    yield Finding("answer", Verdict.SAFE, "answers")
    yield eviction(told, losing)


def eviction(told: Mapping[str, Any], losing: str) -> Finding:
    """What a server's memory settings come to: one that may evict forgets what it was told to keep."""
    policy, most = str(told.get("maxmemory_policy", "")), int(told.get("maxmemory", 0) or 0)
    if not policy:
        return Finding("eviction", Verdict.SAFE, "does not say whether it evicts")
    if policy == _NEVER or not most:
        return Finding("eviction", Verdict.SAFE, "evicts nothing")
    return Finding(
        "eviction",
        Verdict.FAILED,
        f"it removes keys when it holds {most:,} bytes (maxmemory-policy {policy}): {losing}",
        "Set its maxmemory-policy to noeviction.",
    )


def _told(client: redis.Redis) -> dict[str, Any]:
    try:
        return client.info("memory")
    except redis.ResponseError:  # a user who may not ask, or a server that has no such section
        return {}
