"""State managers as applications have them: over three dicts and over a real Redis, sync and async."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any, ClassVar

import redis
import redis.asyncio


class StateCategory(Enum):
    """Where a key belongs."""

    HOT = "hot"
    WARM = "warm"
    COLD = "cold"


class OneByOne:
    """The least that will do: three dicts, keys set one at a time, none removed, no category."""

    def __init__(self) -> None:
        self.dicts: dict[StateCategory, dict[str, Any]] = {category: {} for category in StateCategory}

    def fill(self, states: Mapping[str, Any]) -> None:
        """Hold exactly these."""
        for held in self.dicts.values():
            held.clear()
        for key, value in states.items():
            self.dicts[category_of(key)][key] = value

    def held(self) -> dict[str, Any]:
        """All keys of all three."""
        return {key: value for held in self.dicts.values() for key, value in held.items()}

    def get_keys_by_pattern(self, pattern: str) -> list[str]:
        return [key for key in self.held() if fnmatchcase(key, pattern)]

    def get_state(self, key: str) -> Any:
        return self.held().get(key)

    def set_state(self, key: str, value: Any) -> bool:
        self.dicts[StateCategory.HOT][key] = value
        return True


class ThreeDicts(OneByOne):
    """One that takes many keys at once, each into the dict of its category, and removes keys."""

    def batch_set_state(self, items: Mapping[str, tuple[Any, StateCategory]]) -> int:
        for key, (value, category) in items.items():
            self.dicts[category][key] = value
        return len(items)

    def delete_state(self, key: str) -> bool:
        return any([held.pop(key, None) is not None for held in self.dicts.values()])  # noqa: C419 - from all of them

    def category_of(self, key: str) -> StateCategory:
        return category_of(key)


class AsyncOneByOne:
    """`OneByOne` whose every method is a coroutine; says how many ran together."""

    def __init__(self) -> None:
        self.inner = ThreeDicts()
        self.together = self.most = 0

    async def get_keys_by_pattern(self, pattern: str) -> list[str]:
        return self.inner.get_keys_by_pattern(pattern)

    async def get_state(self, key: str) -> Any:
        self.together += 1
        self.most = max(self.most, self.together)
        await asyncio.sleep(0)
        self.together -= 1
        return self.inner.get_state(key)

    async def set_state(self, key: str, value: Any) -> None:
        self.inner.set_state(key, value)


class AsyncThreeDicts(AsyncOneByOne):
    """`ThreeDicts` whose every method is a coroutine."""

    async def batch_set_state(self, items: Mapping[str, tuple[Any, StateCategory]]) -> int:
        return self.inner.batch_set_state(items)

    async def delete_state(self, key: str) -> bool:
        return self.inner.delete_state(key)

    async def category_of(self, key: str) -> StateCategory:
        return self.inner.category_of(key)


class Snapshotting(ThreeDicts):
    """One that gives all of one moment at once; what is asked for key by key is of a later one."""

    async def create_snapshot(self) -> dict[str, Any]:
        return self.held()

    def get_state(self, _key: str) -> Any:
        return "later"


class RedisStates:
    """JSON texts in the Redis that `url` names."""

    url: ClassVar[str] = ""

    def __init__(self) -> None:
        self._client = redis.Redis.from_url(self.url, decode_responses=True)

    def get_keys_by_pattern(self, pattern: str) -> list[str]:
        return list(self._client.scan_iter(pattern))

    def get_state(self, key: str) -> Any:
        text = self._client.get(key)
        return None if text is None else json.loads(str(text))

    def batch_set_state(self, items: Mapping[str, tuple[Any, Any]]) -> None:
        self._client.mset({key: json.dumps(value) for key, (value, _) in items.items()})

    def delete(self, key: str) -> Any:
        return self._client.delete(key)

    def close(self) -> None:
        self._client.close()


class AsyncRedisStates:
    """The same with an async client, which belongs to the event loop it is first used in."""

    def __init__(self) -> None:
        self._client = redis.asyncio.Redis.from_url(RedisStates.url, decode_responses=True)

    async def get_keys_by_pattern(self, pattern: str) -> list[str]:
        return [key async for key in self._client.scan_iter(pattern)]

    async def get_state(self, key: str) -> Any:
        text = await self._client.get(key)
        return None if text is None else json.loads(text)

    async def set_state(self, key: str, value: Any) -> None:
        await self._client.set(key, json.dumps(value))

    async def delete_state(self, key: str) -> Any:
        return await self._client.delete(key)

    async def aclose(self) -> None:
        await self._client.aclose()


async def made_later() -> AsyncRedisStates:
    """A state manager that takes an event loop to be made."""
    return AsyncRedisStates()


def category_of(key: str) -> StateCategory:
    """Configuration and models are WARM, archives COLD, all else HOT."""
    if key.startswith("archive:"):
        return StateCategory.COLD
    return StateCategory.WARM if key.startswith(("config:", "ml_model:")) else StateCategory.HOT


one_by_one = OneByOne()
three_dicts = ThreeDicts()
async_one_by_one = AsyncOneByOne()
async_three_dicts = AsyncThreeDicts()
snapshotting = Snapshotting()


class Outer:
    """Holds one inside, as applications do."""

    manager = three_dicts


class Incomplete:
    """Lists keys and no more."""

    def get_keys_by_pattern(self, _pattern: str) -> list[str]:
        return []


class ReadOnly(Incomplete):
    """Takes nothing."""

    def get_state(self, _key: str) -> None:
        return None
