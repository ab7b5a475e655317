"""The slow way: a state manager that is asked for one key after the other, on the same servers with plain clients.

It does what Bot V2's own does, as published (GPT-Trader, `src/bot_v2/state`: state_manager.py, repositories.py,
utils/adapters.py, and backup/collector.py, which falls back to it), request by request:

- one client for each tier, all of them synchronous, though the methods are coroutines; one key at a time;
- the keys of a pattern are asked of all three tiers: KEYS, a LIKE, a listing of the prefix;
- a key is looked for in HOT, then in WARM, then in COLD, wherever the pattern found it;
- a row found in WARM gets a new `last_accessed`, and that is committed, before the next key is asked for.

Left out, so that every reading finds the same state, and because it would only make it slower: what was found in WARM
or COLD is not written to the tier above. Its cache is left out too: a backup's process has read no key before.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final, Self, cast

import psycopg
import redis
from botocore.exceptions import ClientError

from strata.settings import Settings
from workers.local_stack.demo import bot_of

_PATTERNS: Final = ("*",)
"""All of the state that bench/direct.py writes, once; Bot V2 asks for seven patterns, position:* to strategy:*."""


class StateManager:
    """`get_keys_by_pattern`, then `get_state` for each key."""

    def __init__(self, settings: Settings) -> None:
        assert settings.hot_url
        bot = bot_of(settings)
        self._hot = redis.Redis.from_url(settings.hot_url.get_secret_value(), decode_responses=True)
        self._warm = psycopg.connect(bot.warm_url)
        self._s3, self._bucket, self._prefix = bot.s3, bot.bucket, bot.prefix

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._warm.close()
        self._hot.close()

    def collect(self) -> dict[str, Any]:
        """All state, as a backup through the state manager gathers it."""
        return asyncio.run(self._collect())

    async def _collect(self) -> dict[str, Any]:
        found = {}
        for pattern in _PATTERNS:
            for key in await self.get_keys_by_pattern(pattern):
                found[key] = await self.get_state(key)
        return found

    async def get_keys_by_pattern(self, pattern: str) -> list[str]:
        """The keys of all tiers that match a pattern (`*` alone stands for anything)."""
        keys = set(cast("list[str]", self._hot.keys(pattern)))
        like = pattern.replace("*", "%")
        keys.update(row[0] for row in self._warm.execute("SELECT key FROM state_warm WHERE key LIKE %s", [like]))
        prefix = self._prefix + pattern.partition("*")[0]
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
            keys.update(entry["Key"].removeprefix(self._prefix) for entry in page.get("Contents", []))
        return list(keys)

    async def get_state(self, key: str) -> Any:
        """The value of a key, wherever it lies."""
        if (value := cast("str | None", self._hot.get(key))) is not None:
            return json.loads(value)
        if (row := self._row(key)) is not None:
            return row
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=self._prefix + key)
        except ClientError:
            return None
        return json.loads(answer["Body"].read())

    def _row(self, key: str) -> Any:
        row = self._warm.execute("SELECT data FROM state_warm WHERE key = %s", [key]).fetchone()
        if row is None:
            return None
        self._warm.execute("UPDATE state_warm SET last_accessed = now() WHERE key = %s", [key])
        self._warm.commit()
        return row[0]
