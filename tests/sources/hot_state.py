"""State for the tests of HOT: keys of every type, what a Redis holds, and copies from one Redis to another."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import redis

from strata.model.record import SOURCE_SCHEMA, Encoding, LargeValue, SourceItem, constant_column
from strata.model.scope import Scope
from strata.sources.hot_method import HotMethod
from strata.sources.port import ApplyCounts, KnownKeys, RestoreMode
from strata.sources.redis_hot import RedisHot
from strata.testing import always

EVERYTHING = Scope()
FAR = 4_102_444_800_123  # the year 2100, to the millisecond
PAST = 1_000_000_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Key = tuple[str, bytes]


@dataclass(frozen=True)
class Row:
    """One record as it was read."""

    encoding: str
    value: bytes
    expiry: int | None


def client(url: str, database: int = 0) -> redis.Redis:
    """A client of one database of the server at `url`."""
    made: redis.Redis = redis.Redis.from_url(url.rpartition("/")[0] + f"/{database}")
    return made


def fill_every_type(there: redis.Redis) -> None:
    """Put a key of every type there, with and without expiry."""
    rnd = random.Random(7)
    there.set("string", "value")
    there.set("int", 12345)
    there.set("until", "value", pxat=FAR)
    there.set("empty", "")
    there.set("", "of the empty key")
    there.set(bytes(range(256)), bytes(range(255, -1, -1)))
    there.set("crlf\r\nkey", "crlf\r\nvalue\r\n")
    there.set("1MiB", rnd.randbytes(1 << 20))
    there.set("1MiB+1", rnd.randbytes((1 << 20) + 1), pxat=FAR)
    there.set("20MiB", rnd.randbytes(20 << 20))
    there.setbit("bitmap", 100_000, 1)
    there.pfadd("hyperloglog", *range(2000))
    there.rpush("list", *range(500))
    there.sadd("set", *(f"m{number}" for number in range(500)))
    there.sadd("intset", 1, 2, 3)
    there.zadd("zset", {f"m{number}": number / 3 for number in range(500)})
    there.hset("hash", mapping={"field": "value", "binary": bytes(range(256))})
    there.hset("big hash", mapping={f"field {number}": rnd.randbytes(40) for number in range(50_000)})
    there.pexpireat("zset", FAR)
    for number in range(10):
        there.xadd("stream", {"number": number}, id=f"{number + 1}-0")
    there.xgroup_create("stream", "group", "0")
    there.xreadgroup("group", "consumer", {"stream": ">"}, count=5)
    there.xack("stream", "group", "1-0")


def held(there: redis.Redis) -> dict[bytes, tuple[Any, Any]]:
    """DUMP payload and moment of expiry of every key of a database."""
    keys: list[bytes] = list(there.scan_iter(count=1000))
    pipeline = there.pipeline(transaction=False)
    for key in keys:
        pipeline.dump(key)
        pipeline.pexpiretime(key)  # type: ignore[arg-type]  # bytes do as well
    answers = pipeline.execute()
    return dict(zip(keys, zip(answers[::2], answers[1::2], strict=True), strict=True))


def whole(item: SourceItem) -> SourceItem:
    """The item with its parts in memory, for reading twice."""
    return replace(item, parts=list(item.parts)) if isinstance(item, LargeValue) else item  # type: ignore[arg-type]


def read_items(
    url: str, scope: Scope = EVERYTHING, method: HotMethod = HotMethod.AUTO
) -> tuple[list[SourceItem], dict[str, Any]]:
    """Everything a session yields, and its description."""
    with RedisHot(url, method).connect() as session:
        session.cut(scope)
        items = [whole(item) for item in session.read(scope)]
        return items, session.describe()


def rows(items: Iterable[SourceItem]) -> dict[Key, Row]:
    """The records of the items, by database and key."""
    found = {}
    for item in items:
        for namespace, key, row in _rows(item):
            found[namespace, key] = row
    return found


def _rows(item: SourceItem) -> Iterator[tuple[str, bytes, Row]]:
    if isinstance(item, LargeValue):
        expiry = None if item.expires_at is None else (item.expires_at - EPOCH) // timedelta(milliseconds=1)
        value = b"".join(item.parts)
        assert len(value) == item.size
        yield item.namespace, item.key, Row(item.encoding, value, expiry)
        return
    assert item.schema.equals(SOURCE_SCHEMA)
    names = ("namespace", "key", "encoding", "value")
    columns = [item.column(name).to_pylist() for name in names]
    columns.append(item.column("expires_at").view(pa.int64()).to_pylist())
    for namespace, key, encoding, value, expiry in zip(*columns, strict=True):
        yield namespace, key, Row(encoding, value, expiry)


def batch(records: dict[bytes, bytes], expiry: int | None = None, namespace: str = "0") -> pa.RecordBatch:
    """Strings as a batch of `SOURCE_SCHEMA`."""
    count = len(records)
    return pa.RecordBatch.from_arrays(
        [
            constant_column(namespace, count),
            pa.array(list(records), pa.large_binary()),
            pa.array(list(records.values()), pa.large_binary()),
            constant_column(Encoding.REDIS_STRING, count),
            pa.array([expiry] * count, pa.timestamp("ms", "UTC")),
            pa.nulls(count, pa.timestamp("ms", "UTC")),
            pa.nulls(count, pa.string()),
        ],
        schema=SOURCE_SCHEMA,
    )


def knowing(keys: Iterable[Key]) -> KnownKeys:
    """Says of keys whether they are among these."""
    by_namespace: dict[str, list[bytes]] = {}
    for namespace, key in keys:
        by_namespace.setdefault(namespace, []).append(key)

    def known(namespace: str, asked: pa.Array) -> npt.NDArray[np.bool_]:
        among = pa.array(by_namespace.get(namespace, []), pa.large_binary())
        answer: npt.NDArray[np.bool_] = pc.is_in(asked, among).to_numpy(zero_copy_only=False)
        return answer

    return known


def put_back(
    url: str,
    items: Iterable[SourceItem],
    description: dict[str, Any],
    mode: RestoreMode = RestoreMode.EXACT,
    scope: Scope = EVERYTHING,
) -> ApplyCounts:
    """Restore items and say what was done."""
    kept = list(items)
    with RedisHot(url).apply(description, mode, always) as application:
        for item in kept:
            if isinstance(item, LargeValue):
                application.write_large(item)
            else:
                application.write(item)
        return application.finish(knowing(rows(kept)), scope)
