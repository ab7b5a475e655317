"""What is remembered of the stores, in Redis beside the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from strata.catalog.redis_answers import asking

_INSTALLATION: Final = "strata:installation"
_RECORDED: Final = "strata:recorded:"
_NEWEST: Final = 64
"""Backups of a store that are remembered."""


class RedisMemory:
    """Implements StoreMemory beside the ledger: shared by all workers, and without an end."""

    def __init__(self, client: Any) -> None:
        self._redis = client

    def installation(self) -> str | None:
        with asking("the ledger"):
            told = self._redis.get(_INSTALLATION)
        return told.decode() if told else None

    def name(self, installation: str) -> str | None:
        with asking("the ledger"):
            self._redis.set(_INSTALLATION, installation, nx=True)
        return self.installation()

    def remember(self, url: str, backup_id: str, generation: int) -> None:
        with asking("the ledger"), self._redis.pipeline(transaction=False) as pipe:
            pipe.zadd(_RECORDED + url, {backup_id: generation})
            pipe.zremrangebyrank(_RECORDED + url, 0, -_NEWEST - 1)
            pipe.execute()

    def forget(self, url: str, backups: Sequence[str]) -> None:
        if backups:
            with asking("the ledger"):
                self._redis.zrem(_RECORDED + url, *backups)

    def recall(self, url: str) -> Mapping[str, int]:
        with asking("the ledger"):
            found = self._redis.zrange(_RECORDED + url, 0, -1, withscores=True)
        return {name.decode(): int(generation) for name, generation in found}
