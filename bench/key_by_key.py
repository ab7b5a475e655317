"""The slow way: a state manager that is asked for one key after the other, on the same servers with plain clients."""

from __future__ import annotations

import json
from typing import Any, Self, cast

import psycopg
import redis
from botocore.exceptions import ClientError

from bench.stack import Bench


class StateManager:
    """`get_keys_by_pattern`, then `get_state` for each key: HOT first, then WARM, then COLD, until one has it."""

    def __init__(self, bench: Bench) -> None:
        self._hot = redis.Redis.from_url(bench.hot_url)
        self._warm = psycopg.connect(bench.warm_url, autocommit=True)
        self._s3, self._bucket, self._prefix = bench.bot.s3, bench.bot.bucket, bench.bot.prefix

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._warm.close()
        self._hot.close()

    def collect(self) -> dict[str, Any]:
        """All state, as a backup through the state manager gathers it."""
        return {key: self.get_state(key) for key in self.get_keys_by_pattern("*")}

    def get_keys_by_pattern(self, pattern: str) -> list[str]:
        """The keys of all tiers that match a pattern (`*` alone stands for anything)."""
        keys = [name.decode() for name in self._hot.scan_iter(match=pattern, count=1_000)]
        like = pattern.replace("*", "%")
        keys += [row[0] for row in self._warm.execute("SELECT key FROM state_warm WHERE key LIKE %s", [like])]
        prefix = self._prefix + pattern.partition("*")[0]
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
            keys += [entry["Key"].removeprefix(self._prefix) for entry in page.get("Contents", [])]
        return keys

    def get_state(self, key: str) -> Any:
        """The value of a key, wherever it lies."""
        if (value := cast("bytes | None", self._hot.get(key))) is not None:
            return json.loads(value)
        if row := self._warm.execute("SELECT data FROM state_warm WHERE key = %s", [key]).fetchone():
            return row[0]
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=self._prefix + key)
        except ClientError:
            return None
        return json.loads(answer["Body"].read())
