"""What one day does to the state: records changed, deleted and added at random, and some new objects."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final, TypeVar

import psycopg

from bench import data
from bench.stack import Bench

CHANGED, DELETED, ADDED = 0.01, 0.001, 0.002
"""Shares of the records of HOT and of WARM."""

NEW_OBJECTS: Final = 20
"""At scale 1, of the size of the others."""

_FAR: Final = 10_000_000
"""Numbers of a day's new records begin at so many times the day, where the data set has none."""

_UPDATE: Final = """
UPDATE state_warm
SET data = jsonb_set(jsonb_set(data, '{price}', to_jsonb(round((random() * 50000)::numeric, 2))), '{status}',
                     to_jsonb((ARRAY['open', 'filled', 'cancelled'])[1 + floor(random() * 3)::int])),
    last_accessed = now(), checksum = md5(random()::text), version = version + 1
WHERE key = ANY(%s)
"""

Name = TypeVar("Name")


@dataclass(frozen=True)
class Day:
    """How many records and objects a day changed."""

    changed: int
    deleted: int
    added: int
    objects: int


def pass_day(bench: Bench, scale: float, day: int) -> Day:
    """Let one day pass; the same for the same data and day, but for the order in which the servers keep it."""
    source = random.Random(day)
    hot, warm = _hot(bench, source, day), _warm(bench, source, day)
    objects = max(int(NEW_OBJECTS * scale), 2)
    size = data.COLD_BYTES // data.COLD_OBJECTS * objects
    data.fill_cold(bench.bot.s3, bench.bot.bucket, f"{bench.bot.prefix}day-{day}/", objects, size, seed=100 + day)
    return Day(hot.changed + warm.changed, hot.deleted + warm.deleted, hot.added + warm.added, objects)


def _hot(bench: Bench, source: random.Random, day: int) -> Day:
    client = bench.bot.hot
    names = sorted(client.scan_iter(count=5_000))
    changed, deleted = _picked(source, names)
    texts = [name.decode() for name in changed]
    data.put_hot(client, source, ((name, int(name.rpartition(":")[2])) for name in texts))
    if deleted:
        client.delete(*deleted)
    added = range(day * _FAR, day * _FAR + int(ADDED * len(names)))
    data.put_hot(client, source, ((data.hot_name(source, number), number) for number in added))
    return Day(len(changed), len(deleted), len(added), 0)


def _warm(bench: Bench, source: random.Random, day: int) -> Day:
    with psycopg.connect(bench.warm_url) as connection:
        names = [row[0] for row in connection.execute("SELECT key FROM state_warm ORDER BY key")]
        changed, deleted = _picked(source, names)
        connection.execute(_UPDATE, [changed])
        connection.execute("DELETE FROM state_warm WHERE key = ANY(%s)", [deleted])
        added = int(ADDED * len(names))
        data.put_warm(connection, day * _FAR + 1, day * _FAR + added)
        return Day(len(changed), len(deleted), added, 0)


def _picked(source: random.Random, names: list[Name]) -> tuple[list[Name], list[Name]]:
    """Some to change, and some others to delete."""
    changed = int(CHANGED * len(names))
    picked = source.sample(names, changed + int(DELETED * len(names)))
    return picked[:changed], picked[changed:]
