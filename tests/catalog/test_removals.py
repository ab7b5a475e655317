"""What disappeared: known to a witness, not listed, and not removed by us."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis

from strata.catalog.redis_memory import RedisMemory
from strata.catalog.removals import KEPT_DAYS, RemovalBook, disappeared
from strata.model.manifest import manifest_name
from strata.seal.keyring import FileKeyring
from strata.storage.memory import MemoryStore

NOW = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
GENERATION = int(NOW.timestamp() * 1000)


@pytest.fixture
def keyring(folder: Path) -> FileKeyring:
    """A keyring."""
    return FileKeyring.create(folder / "keyring.json", NOW)


def test_what_is_known_and_not_listed_disappeared(keyring: FileKeyring) -> None:
    """Unless a removal names it, which counts for good."""
    book = RemovalBook(MemoryStore(), keyring)
    known = {"one": GENERATION, "two": GENERATION + 1}
    assert disappeared(known, ["one", "two", "three"], book, NOW) == {}
    assert disappeared(known, ["one"], book, NOW) == {"two": GENERATION + 1}
    book.add(["two"], NOW, "prune")
    assert disappeared(known, ["one"], book, NOW) == {}


def test_what_is_recorded_during_a_listing_did_not_disappear(keyring: FileKeyring) -> None:
    """A witness may know of a backup that came after the store was listed: it is listed again."""
    store = MemoryStore()
    store.put(manifest_name("two"), [b"{}"])
    assert disappeared({"two": GENERATION}, [], RemovalBook(store, keyring), NOW) == {}


def test_a_removal_that_nothing_vouches_for_explains_nothing(keyring: FileKeyring, folder: Path) -> None:
    """Neither one of another keyring, nor one that was changed, nor one of another store."""
    store = MemoryStore()
    other = FileKeyring.create(folder / "other.json", NOW)
    RemovalBook(store, other).add(["one"], NOW, "prune")
    RemovalBook(store, keyring).add(["two"], NOW, "prune")
    (forged,) = [info.name for info in store.list("removed/") if b'"two"' in store.get(info.name)]
    data = store.get(forged)
    store.delete(forged)
    store.put(forged, [data.replace(b'"two"', b'"one"')])
    assert disappeared({"one": GENERATION}, [], RemovalBook(store, keyring), NOW) == {"one": GENERATION}


def test_what_is_older_than_removals_are_kept_is_not_missed(keyring: FileKeyring) -> None:
    """Nothing would explain it any more."""
    later = NOW + timedelta(days=KEPT_DAYS)
    assert disappeared({"one": GENERATION}, [], RemovalBook(MemoryStore(), keyring), later) == {}


def test_the_ledger_remembers_the_newest_of_each_store(hot_url: str) -> None:
    """A bounded number, by generation; what was removed is forgotten."""
    with redis.Redis.from_url(hot_url) as client:
        memory = RedisMemory(client)
        for number in range(100):
            memory.remember("file:///one", f"backup-{number:03d}", number)
        memory.remember("file:///two", "other", 1)
        kept = memory.recall("file:///one")
        assert (len(kept), min(kept), kept["backup-099"]) == (64, "backup-036", 99)
        memory.forget("file:///one", ["backup-099"])
        assert "backup-099" not in memory.recall("file:///one")
        assert memory.recall("file:///two") == {"other": 1}
        assert (memory.name("first"), memory.name("second"), memory.installation()) == ("first", "first", "first")
