"""Generates state like a trading bot's: the same data for the same scale, every time."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

import psycopg
import redis

HOT_KEYS: Final = 200_000
WARM_ROWS: Final = 400_000
COLD_OBJECTS: Final = 400
COLD_BYTES: Final = 600_000_000
_BATCH: Final = 5_000
_KINDS: Final = ("position", "order", "portfolio", "config", "ml_model", "performance")

_WARM: Final = """
CREATE TABLE IF NOT EXISTS state_warm (
    key varchar(255) PRIMARY KEY, data jsonb NOT NULL, created_at timestamp NOT NULL DEFAULT now(),
    last_accessed timestamp, size_bytes int, checksum varchar(64), version int NOT NULL DEFAULT 1
)
"""

_ROWS: Final = """
INSERT INTO state_warm
SELECT (ARRAY['order', 'portfolio_history', 'strategy', 'ml_feature'])[1 + n %% 4] || ':' || lpad(n::text, 9, '0'),
       ('{"id":' || n || ',"symbol":"' || (ARRAY['BTC-USD', 'ETH-USD', 'SOL-USD', 'ADA-USD'])[1 + (n * 7) %% 4]
        || '","side":"' || (ARRAY['buy', 'sell'])[1 + n %% 2] || '","price":' || (n * 7919) %% 5000000 / 100.0
        || ',"status":"filled","venue":"coinbase","client_order_id":"' || md5(n::text) || '","fills":['
        || substr(repeat(',{"p":' || (n * 104729) %% 5000000 / 100.0 || ',"q":' || (n * 31) %% 99991 / 1000.0
                         || ',"t":' || 1700000000 + n || ',"venue":"coinbase","fee":0.25}', 5), 2)
        || '],"signature":"' || md5((n + 1)::text) || md5((n + 2)::text) || '"}')::jsonb,
       now() - n * interval '1 second', now(), 640, md5(n::text), 1
FROM generate_series(%s::bigint, %s::bigint) AS n
"""


def fill_hot(url: str, keys: int = HOT_KEYS) -> None:
    """Positions, orders, portfolio and configuration as JSON strings of about 312 bytes; 2 % other types."""
    source = random.Random(1)
    with redis.Redis.from_url(url) as client:
        put_hot(client, source, ((hot_name(source, number), number) for number in range(keys)))


def hot_name(source: random.Random, number: int) -> str:
    """The key of a HOT record."""
    return f"{_KINDS[number % 6]}:{source.getrandbits(40):x}:{number}"


def put_hot(client: redis.Redis, source: random.Random, records: Iterable[tuple[str, int]]) -> None:
    """Write new values under these keys; what type each is depends on its number."""
    rest = iter(records)
    while batch := list(islice(rest, _BATCH)):
        with client.pipeline(transaction=False) as pipe:
            for name, number in batch:
                if number % 50:
                    pipe.set(name, position(source, number), ex=86_400 * 30 if number % 10 == 0 else None)
                elif number % 100:
                    pipe.hset(name, mapping={f"f{i}": source.random() for i in range(12)})
                else:
                    pipe.rpush(name, *(source.getrandbits(64) for _ in range(20)))
            pipe.execute()


def position(source: random.Random, number: int) -> str:
    """A position as JSON, about 312 bytes."""
    return (
        f'{{"id":{number},"symbol":"{source.choice(("BTC-USD", "ETH-USD", "SOL-USD"))}","side":"long",'
        f'"quantity":{source.random() * 10:.8f},"entry_price":{source.random() * 50000:.2f},'
        f'"mark_price":{source.random() * 50000:.2f},"unrealized_pnl":{source.random() * 1000:.4f},'
        f'"leverage":{source.randint(1, 20)},"opened_at":"2026-11-{source.randint(1, 28):02d}T12:00:00Z",'
        f'"strategy":"momentum-{source.randint(1, 9)}","stop_loss":{source.random() * 50000:.2f},'
        f'"tags":["live","auto"],"note":"{source.getrandbits(128):032x}"}}'
    )


def fill_warm(url: str, rows: int = WARM_ROWS) -> None:
    """Rows of Bot V2's table, about 850 bytes of jsonb each."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_WARM)
        put_warm(connection, 1, rows)
        connection.execute("VACUUM ANALYZE state_warm")


def put_warm(connection: psycopg.Connection, first: int, last: int) -> None:
    """Add the rows of these numbers."""
    for start in range(first, last + 1, 100_000):
        connection.execute(_ROWS, (start, min(start + 99_999, last)))


def fill_cold(
    client: Any, bucket: str, prefix: str, objects: int = COLD_OBJECTS, total: int = COLD_BYTES, *, seed: int = 2
) -> None:
    """Objects from 4 KB to tens of MB, a quarter of the bytes incompressible."""
    source = random.Random(seed)
    sizes = [source.lognormvariate(0, 1.5) for _ in range(objects)]
    weight = total / sum(sizes)
    words = b"".join(
        b'{"epoch":%d,"loss":%.6f,"w":"%016x"}\n' % (i, source.random(), source.getrandbits(64)) for i in range(40_000)
    )
    for number, size in enumerate(sizes):
        length = max(int(size * weight), 4096)
        noise = source.randbytes(length // 4)
        start = source.randrange(len(words) // 2)
        text = (words[start:] * (length // len(words) + 2))[: length - len(noise)]
        name = f"{prefix}models/{number % 20:02d}/{number:06d}.bin"
        client.put_object(Bucket=bucket, Key=name, Body=noise + text)
