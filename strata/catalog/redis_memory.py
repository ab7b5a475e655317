"""What is remembered of the stores, in Redis beside the ledger."""

from __future__ import annotations

from typing import Any, Final

from strata.catalog.redis_answers import asking

_INSTALLATION: Final = "strata:installation"


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
