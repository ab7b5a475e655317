"""The three tiers as a test sees them, with plain clients: all that is in them, random changes, and a wipe."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

import psycopg
import redis

from workers.local_stack.bot import BotState
from workers.local_stack.parts import TABLE

NAMES: Final = (
    *(f"position:{number}" for number in range(8)),
    *(f"order:{number}" for number in range(8)),
    *(f"ml_model:{number}" for number in range(4)),
    *("portfolio", "portfolio:main", "performance", "performance:day", "strategy:x", "config:critical", "config:other"),
    *("positions", "a position:1", "xportfolio", "ümlaut:ß", "with space/and:slash", "[order]:*"),
)
"""Keys that every tier may hold: of each scope, near it, and outside."""

HOT_ONLY: Final = (b"", b"position:\x00\xff\r\n", b"\\position:*", b"order:?")
_ORDERS: Final = "CREATE TABLE IF NOT EXISTS orders (id int PRIMARY KEY, note text, amount numeric(20, 8))"
_LARGE: Final = 1 << 20
_CLOSE_MS: Final = 10_000

Where = tuple[str, str, bytes]
"""Tier, database or table, key."""


@dataclass(frozen=True)
class Held:
    """What is under a key, and when it goes by itself (ms since 1970, by the tier's clock)."""

    value: Any
    expires: int | None = None


State = dict[Where, Held]


@dataclass(frozen=True)
class Tiers:
    """The servers' state, read and written as the application would."""

    bot: BotState
    _connections: list[psycopg.Connection[tuple[Any, ...]]] = field(default_factory=list)

    @property
    def warm(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection to WARM."""
        if not self._connections or self._connections[-1].closed:
            self._connections.append(psycopg.connect(self.bot.warm_url, autocommit=True))
        return self._connections[-1]

    def make_tables(self) -> None:
        """The tables, where they are not there."""
        self.warm.execute(TABLE)
        self.warm.execute(_ORDERS)

    def wipe(self) -> None:
        """Lose everything."""
        self.bot.wipe()
        self.warm.execute("DROP TABLE IF EXISTS orders")

    def close(self) -> None:
        """Let go of the servers."""
        for connection in self._connections:
            connection.close()

    def read(self) -> State:
        """Everything that is there."""
        return {**dict(self._hot()), **dict(self._warm()), **dict(self._cold())}

    def now_ms(self) -> int:
        """The time by HOT's clock."""
        seconds, microseconds = self.bot.hot.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    def _hot(self) -> Iterator[tuple[Where, Held]]:
        hot = self.bot.hot
        for key in list(hot.scan_iter(count=1000)):
            kind: Any = hot.type(key)
            if kind != b"none":
                expires: Any = hot.pexpiretime(key)
                value = _READERS[kind](hot, key)
                yield ("hot", "0", key), Held((kind, value), expires if expires >= 0 else None)

    def _warm(self) -> Iterator[tuple[Where, Held]]:
        there = {row[0] for row in self.warm.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
        for table, key in (("state_warm", "key"), ("orders", "id")):
            for row in self.warm.execute(f"SELECT {key}::text, t::text FROM {table} t") if table in there else ():
                yield ("warm", table, row[0].encode()), Held(row[1])

    def _cold(self) -> Iterator[tuple[Where, Held]]:
        bot = self.bot
        pages = bot.s3.get_paginator("list_objects_v2").paginate(Bucket=bot.bucket, Prefix=bot.prefix)
        for name in [entry["Key"] for page in pages for entry in page.get("Contents", [])]:
            answer = bot.s3.get_object(Bucket=bot.bucket, Key=name)
            value = answer["ContentType"], tuple(sorted(answer["Metadata"].items())), answer["Body"].read()
            yield ("cold", "", name.removeprefix(bot.prefix).encode()), Held(value)


_READERS: Final[dict[bytes, Callable[[Any, bytes], Any]]] = {
    b"string": lambda hot, key: hot.get(key),
    b"hash": lambda hot, key: hot.hgetall(key),
    b"list": lambda hot, key: hot.lrange(key, 0, -1),
    b"set": lambda hot, key: hot.smembers(key),
    b"zset": lambda hot, key: hot.zrange(key, 0, -1, withscores=True),
    b"stream": lambda hot, key: (hot.xrange(key), hot.xinfo_groups(key)),
}


def covered(state: State, patterns: Iterable[str], tiers: Iterable[str] = ("hot", "warm", "cold")) -> State:
    """The part of a state that a scope covers."""
    names = tuple(patterns)
    return {
        where: held
        for where, held in state.items()
        if where[0] in tiers and any(fnmatchcase(where[2].decode("latin-1"), name) for name in names)
    }


def differences(wanted: State, found: State, now_ms: int) -> list[str]:
    """What is missing, there too much, or different; a key that has expired by now must be gone.

    One that expires just now may be there or not.
    """
    close = {
        where
        for state in (wanted, found)
        for where, held in state.items()
        if held.expires is not None and now_ms <= held.expires < now_ms + _CLOSE_MS
    }
    wanted = {where: held for where, held in wanted.items() if held.expires is None or held.expires > now_ms}
    names = (wanted.keys() | found.keys()) - close
    return [
        f"{where}: {_short(wanted.get(where))} was to be, {_short(found.get(where))} is"
        for where in sorted(names)
        if wanted.get(where) != found.get(where)
    ]


def _short(held: Held | None) -> str:
    shown = repr(held)
    return shown if len(shown) < 300 else f"{shown[:300]}..."


class Life:
    """Random changes to the three tiers."""

    def __init__(self, tiers: Tiers, source: random.Random) -> None:
        self._tiers, self._source = tiers, source
        self._long: psycopg.Connection[tuple[Any, ...]] | None = None
        self._number = 0

    def go_on(self, steps: int) -> None:
        """So many changes, of every kind."""
        self._tiers.make_tables()
        kinds = {
            self._set: 4,
            self._structure: 4,
            self._expiry: 2,
            self._row: 4,
            self._order: 3,
            self._object: 3,
            self._gone: 4,
            self._move: 2,
            self._transaction: 2,
            self._upheaval: 0.5,
        }
        for _ in range(steps):
            self._source.choices(list(kinds), list(kinds.values()))[0]()

    def settle(self) -> None:
        """End what is still open, one way or the other."""
        if self._long is not None:
            if self._source.random() < 0.7:
                self._long.commit()
            else:
                self._long.rollback()
            self._long.close()
            self._long = None

    @property
    def _hot(self) -> redis.Redis:
        return self._tiers.bot.hot

    def _name(self) -> str:
        return self._source.choice(NAMES)

    def _hot_name(self) -> bytes:
        return self._source.choice((*(name.encode() for name in NAMES), *HOT_ONLY))

    def _bytes(self) -> bytes:
        """Mostly a few, at times none, at times so many that they are stored in chunks; often seen before."""
        source = self._source
        size = source.choices((0, source.randrange(1, 200), _LARGE + source.randrange(2 * _LARGE)), (1, 12, 1))[0]
        return random.Random(source.randrange(40)).randbytes(size)

    def _set(self) -> None:
        if self._source.random() < 0.2:
            self._hot.set(self._hot_name(), self._bytes(), keepttl=True)
        else:
            self._hot.set(self._hot_name(), self._bytes())

    def _structure(self) -> None:
        """Change a hash, a list, a set, a sorted set or a stream; a key of another type becomes one."""
        source, hot, key = self._source, self._hot, self._hot_name()
        kind, few = source.choice(("hash", "list", "set", "zset", "stream")), range(source.randrange(1, 5))
        if hot.type(key) != kind.encode():
            hot.delete(key)
        member = f"m{source.randrange(6)}"
        match kind:
            case "hash":
                hot.hset(key, mapping={f"f{number}": source.randbytes(9) for number in few})
            case "list":
                hot.rpush(key, *(source.randbytes(3) for _ in few))
            case "set":
                hot.sadd(key, *(f"m{number}" for number in few), member)
            case "zset":
                hot.zadd(key, {member: source.random(), "always": 1})
            case _:
                hot.xadd(key, {"number": source.randrange(9)})

    def _expiry(self) -> None:
        """A key will go far in the future, soon, or no longer by itself."""
        key, source = self._hot_name(), self._source
        match source.randrange(3):
            case 0:
                self._hot.pexpire(key, source.randrange(3_600_000, 9_000_000))
            case 1:
                self._hot.pexpire(key, source.randrange(1, 2_000))
            case _:
                self._hot.persist(key)

    def _row(self) -> None:
        data = {"n": self._source.randrange(5), "text": self._source.choice(("a\tb", "\\N", "ü", "x" * 3000, "'"))}
        self._put_row(self._name(), data if self._source.random() < 0.8 else None)

    def _put_row(self, name: str, data: Any) -> None:
        self._tiers.warm.execute(
            "INSERT INTO state_warm (key, data, version) VALUES (%s, %s, 1) "
            "ON CONFLICT (key) DO UPDATE SET data = excluded.data, version = state_warm.version + %s",
            (name, json.dumps(data), self._source.randrange(2)),
        )

    def _order(self) -> None:
        """Insert, change, renumber or remove an order."""
        source, warm = self._source, self._tiers.warm
        number, other = source.randrange(30), source.randrange(30)
        match source.randrange(4):
            case 0:
                warm.execute("DELETE FROM orders WHERE id = %s", (number,))
            case 1:
                warm.execute(
                    "UPDATE orders SET id = %s WHERE id = %s AND NOT EXISTS (SELECT FROM orders WHERE id = %s)",
                    (other, number, other),
                )
            case _:
                warm.execute(
                    "INSERT INTO orders VALUES (%s, %s, %s) "
                    "ON CONFLICT (id) DO UPDATE SET note = excluded.note, amount = excluded.amount",
                    (number, source.choice((None, "", "note")), source.choice((None, source.random()))),
                )

    def _transaction(self) -> None:
        """A transaction that lasts while others, and backups, come and go; with one inside it. Its rows are its own."""
        if self._long is not None:
            self.settle()
            return
        self._long, self._number = psycopg.connect(self._tiers.bot.warm_url), self._number + 1
        row = "INSERT INTO state_warm (key, data) VALUES (%s, %s)"
        self._long.execute(row, (f"position:long {self._number}", "1"))
        self._long.execute("UPDATE state_warm SET version = version + 1 WHERE key LIKE 'position:long %'")
        with suppress(ZeroDivisionError), self._long.transaction():
            self._long.execute(row, (f"inner {self._number}", "2"))
            if self._source.random() < 0.3:
                raise ZeroDivisionError
        self._long.execute("DELETE FROM state_warm WHERE key = %s", (f"inner {self._number - 2}",))

    def _upheaval(self) -> None:
        """What changes every key or row of a kind, or none, and moves where they are."""
        self.settle()
        warm = self._tiers.warm
        match self._source.randrange(6):
            case 0:
                warm.execute("VACUUM FREEZE state_warm")
            case 1:
                warm.execute("VACUUM FULL")
            case 2:
                warm.execute("TRUNCATE orders")
            case 3:
                warm.execute("UPDATE orders SET amount = 1")
            case 4:
                self._hot.flushall()
            case _:
                with warm.transaction():
                    warm.execute("CREATE TABLE copied AS TABLE orders")
                    warm.execute("DROP TABLE orders")
                    warm.execute(_ORDERS)
                    warm.execute("INSERT INTO orders TABLE copied")
                    warm.execute("DROP TABLE copied")

    def _object(self) -> None:
        self._put_object(self._name(), self._bytes())

    def _put_object(self, name: str, body: bytes) -> None:
        bot = self._tiers.bot
        kind = self._source.choice(("application/json", "application/octet-stream"))
        bot.s3.put_object(Bucket=bot.bucket, Key=f"{bot.prefix}{name}", Body=body, ContentType=kind)

    def _gone(self) -> None:
        bot, name = self._tiers.bot, self._name()
        match self._source.randrange(3):
            case 0:
                self._hot.delete(self._hot_name())
            case 1:
                self._tiers.warm.execute("DELETE FROM state_warm WHERE key = %s", (name,))
            case _:
                bot.s3.delete_object(Bucket=bot.bucket, Key=f"{bot.prefix}{name}")

    def _move(self) -> None:
        """A key goes from one tier to another, as an ageing value does."""
        name, bot = self._name(), self._tiers.bot
        if self._source.random() < 0.5:
            if self._hot.type(name) == b"string":
                value = self._hot.get(name)
                assert isinstance(value, bytes)
                self._put_object(name, value)
                self._hot.delete(name)
        else:
            row = self._tiers.warm.execute("DELETE FROM state_warm WHERE key = %s RETURNING data", (name,)).fetchone()
            if row:
                self._hot.set(name, json.dumps(row[0]))
                bot.s3.delete_object(Bucket=bot.bucket, Key=f"{bot.prefix}{name}")
