"""A small simulation of Bot V2: writes its state over the three tiers, reads it back record by record, wipes it.

It reads and writes with the plain clients, not with Strata's sources: what it finds equal is equal for anybody.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg
import redis

_SYMBOLS: Final = ("BTC-USD", "ETH-USD", "SOL-USD", "ADA-USD", "AVAX-USD", "LINK-USD")
_BATCH: Final = 2_000

_INSERT: Final = "COPY state_warm (key, data, created_at, last_accessed, size_bytes, checksum, version) FROM STDIN"


@dataclass(frozen=True)
class BotState:
    """Where the bot keeps its state."""

    hot: redis.Redis = field(repr=False)
    warm_url: str = field(repr=False)
    s3: Any = field(repr=False)
    bucket: str
    prefix: str

    def write(self, seed: int = 7) -> dict[str, int]:
        """Write a trading day: 20,000 records in HOT, 15,000 in WARM, 300 in COLD; how many of each."""
        source = random.Random(seed)  # noqa: S311 - a simulation
        return {
            "hot": self._write_hot(source),
            "warm": self._write_warm(source),
            "cold": self._write_cold(source),
        }

    def read(self) -> dict[tuple[str, str], bytes]:
        """Every record of the three tiers: (tier, key) to what must come back."""
        return {**dict(self._read_hot()), **dict(self._read_warm()), **dict(self._read_cold())}

    def wipe(self) -> None:
        """Lose everything, as a disaster would: Redis flushed, the table dropped, the objects deleted."""
        self.hot.flushall()
        with psycopg.connect(self.warm_url) as connection:
            connection.execute("DROP TABLE IF EXISTS state_warm")
        for name in list(self._objects()):
            self.s3.delete_object(Bucket=self.bucket, Key=name)

    def _write_hot(self, source: random.Random) -> int:
        records = [
            (f"position:{symbol}:{number}", _position(source, symbol)) for symbol in _SYMBOLS for number in range(1_000)
        ]
        records += [(f"order:{number:06d}", _order(source)) for number in range(12_000)]
        records += [(f"portfolio:{name}", _portfolio(source)) for name in ("current", "previous", "daily")]
        records += [(f"config:{number}", {"limit": source.random()}) for number in range(1_000)]
        for start in range(0, len(records), _BATCH):
            with self.hot.pipeline(transaction=False) as pipe:
                for number, (key, value) in enumerate(records[start : start + _BATCH]):
                    pipe.set(key, json.dumps(value), ex=86_400 + number if key.startswith("order") else None)
                pipe.execute()
        return len(records) + self._write_structures(source)

    def _write_structures(self, source: random.Random) -> int:
        with self.hot.pipeline(transaction=False) as pipe:
            for symbol in _SYMBOLS:
                pipe.hset(f"performance:{symbol}", mapping={f"day-{day}": source.gauss(0, 1) for day in range(90)})
                pipe.zadd(f"strategy:ranking:{symbol}", {f"momentum-{n}": source.random() for n in range(50)})
                pipe.rpush(f"trades:{symbol}", *(json.dumps(_order(source)) for _ in range(200)))
                for _ in range(50):
                    pipe.xadd(f"ticks:{symbol}", {"price": source.random() * 50_000})
            pipe.execute()
        return 4 * len(_SYMBOLS)

    def _write_warm(self, source: random.Random) -> int:
        now, rows = datetime(2026, 11, 1, 12, tzinfo=UTC).replace(tzinfo=None), 15_000
        with psycopg.connect(self.warm_url) as connection, connection.cursor() as cursor, cursor.copy(_INSERT) as copy:
            for number in range(rows):
                data = json.dumps({"order": _order(source), "note": source.choice(("tab\there", "ümlaut", "plain"))})
                age = timedelta(seconds=number)
                digest = hashlib.sha256(data.encode()).hexdigest()
                copy.write_row((f"strategy:{number:06d}", data, now - age, now, len(data), digest, 1 + number % 9))
        return rows

    def _write_cold(self, source: random.Random) -> int:
        for number in range(299):
            body = json.dumps({"model": number, "weights": [source.random() for _ in range(50 + number)]}).encode()
            self.s3.put_object(
                Bucket=self.bucket, Key=f"{self.prefix}ml_model:{number}", Body=body, ContentType="application/json"
            )
        self.s3.put_object(Bucket=self.bucket, Key=f"{self.prefix}ml_model:large", Body=source.randbytes(6_000_000))
        return 300

    def _read_hot(self) -> Iterator[tuple[tuple[str, str], bytes]]:
        keys = list(self.hot.scan_iter(count=_BATCH))
        for start in range(0, len(keys), _BATCH):
            batch = keys[start : start + _BATCH]
            with self.hot.pipeline(transaction=False) as pipe:
                for key in batch:
                    pipe.dump(key)
                    pipe.pexpiretime(key)
                answers = pipe.execute()
            for key, payload, expiry in zip(batch, answers[::2], answers[1::2], strict=True):
                yield ("hot", key.decode()), payload + str(expiry).encode()

    def _read_warm(self) -> Iterator[tuple[tuple[str, str], bytes]]:
        with psycopg.connect(self.warm_url) as connection:
            for row in connection.execute("SELECT key, state_warm::text FROM state_warm"):
                yield ("warm", row[0]), row[1].encode()

    def _read_cold(self) -> Iterator[tuple[tuple[str, str], bytes]]:
        for name in self._objects():
            answer = self.s3.get_object(Bucket=self.bucket, Key=name)
            yield ("cold", name), answer["ContentType"].encode() + b"\0" + answer["Body"].read()

    def _objects(self) -> Iterator[str]:
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix):
            yield from (entry["Key"] for entry in page.get("Contents", []))


def differences(before: dict[tuple[str, str], bytes], after: dict[tuple[str, str], bytes]) -> dict[str, int]:
    """How many records are missing, changed, or there that were not."""
    return {
        "missing": len(before.keys() - after.keys()),
        "changed": sum(before[key] != after[key] for key in before.keys() & after.keys()),
        "unexpected": len(after.keys() - before.keys()),
    }


def _position(source: random.Random, symbol: str) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "side": source.choice(("long", "short")),
        "quantity": source.random() * 10,
        "entry_price": source.random() * 50_000,
        "leverage": source.randint(1, 10),
        "stop_loss": source.random() * 40_000,
        "opened_at": f"2026-11-{source.randint(1, 20):02d}T09:30:00Z",
        "tags": ["live", "auto"],
    }


def _order(source: random.Random) -> dict[str, Any]:
    return {
        "id": f"{source.getrandbits(64):016x}",
        "symbol": source.choice(_SYMBOLS),
        "type": "limit",
        "price": round(source.random() * 50_000, 2),
        "quantity": round(source.random() * 5, 8),
        "status": source.choice(("open", "filled", "cancelled")),
        "fills": [round(source.random(), 6) for _ in range(4)],
    }


def _portfolio(source: random.Random) -> dict[str, Any]:
    return {
        "equity": source.random() * 1e6,
        "cash": source.random() * 1e5,
        "weights": {s: source.random() for s in _SYMBOLS},
    }
