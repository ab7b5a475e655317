"""HOT is read and restored whole, against real servers."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pytest

from strata.errors import SourceError, SourceUnavailable
from strata.model.record import LARGE_VALUE, Encoding, LargeValue
from strata.model.scope import Scope
from strata.model.tier import Tier
from strata.sources.hot_method import HotMethod
from strata.sources.port import RestoreMode, StateSource
from strata.sources.redis_hot import RedisHot
from strata.sources.redis_read import DatabaseReader
from strata.sources.redis_transaction import ExpiryCommand
from strata.sources.redis_url import parse_address
from strata.sources.resp import Connection
from strata.testing import always
from tests.sources.hot_state import (
    EVERYTHING,
    FAR,
    PAST,
    Row,
    batch,
    client,
    fill_every_type,
    held,
    knowing,
    put_back,
    read_items,
    rows,
    whole,
)
from workers.local_stack.servers import RedisServer, free_port, start_redis

DESCRIPTION: dict[str, Any] = {"server": "valkey", "version": "8.1.8", "databases": [0], "dump_version": None}


def test_it_is_a_state_source(hot_url: str) -> None:
    """RedisHot offers what the port asks for."""
    source: StateSource = RedisHot(hot_url)
    assert source.tier is Tier.HOT


def test_every_type_comes_back_byte_for_byte(hot_url: str) -> None:
    """Read, flush, restore: DUMP and expiry of every key are what they were."""
    there = client(hot_url)
    fill_every_type(there)
    before = held(there)
    items, description = read_items(hot_url)
    there.flushall()
    counts = put_back(hot_url, items, description)
    assert held(there) == before
    assert counts.written == len(before)
    assert (counts.removed, counts.expired) == (0, 0)
    assert counts.bytes == sum(len(row.value) for row in rows(items).values())


def test_a_restore_can_be_run_again(hot_url: str) -> None:
    """Restoring over what is there already gives the same state and the same counts."""
    there = client(hot_url)
    fill_every_type(there)
    before = held(there)
    items, description = read_items(hot_url)
    counts = put_back(hot_url, items, description)
    assert counts.written == len(before)
    assert held(there) == before


def test_strings_are_plain_values_and_the_rest_dumps(hot_url: str) -> None:
    """Strings, numbers, bitmaps and HyperLogLogs read as the bytes GET gives; other types as DUMP gives."""
    there = client(hot_url)
    fill_every_type(there)
    found = rows(read_items(hot_url)[0])
    for key in there.scan_iter():
        row = found["0", key]
        is_string = there.type(key) == b"string"
        assert row.encoding == (Encoding.REDIS_STRING if is_string else Encoding.REDIS_DUMP)
        assert row.value == (there.get(key) if is_string else there.dump(key))
    assert len(found) == there.dbsize()


def test_expiries_are_kept_to_the_millisecond(hot_url: str) -> None:
    """The moment of expiry is absolute; a key without one stays without one."""
    there = client(hot_url)
    there.set("until", "1", pxat=FAR)
    there.set("for ever", "1")
    there.rpush("list", 1)
    there.pexpireat("list", FAR + 1)
    found = rows(read_items(hot_url)[0])
    assert {key: row.expiry for (_, key), row in found.items()} == {
        b"until": FAR,
        b"for ever": None,
        b"list": FAR + 1,
    }


def test_an_expiry_no_calendar_knows_is_read_as_the_end_of_time(hot_url: str) -> None:
    """An expiry after the year 9999 does not break the reading."""
    there = client(hot_url)
    there.set("late", "1", pxat=10**17)
    there.set("late and large", b"1" * (LARGE_VALUE + 1), pxat=10**17)
    found = rows(read_items(hot_url)[0])
    assert {row.expiry for row in found.values()} == {253_402_300_799_999}


@pytest.mark.parametrize("expiring", [0, 5000])
def test_every_key_is_read_whether_keys_expire_or_not(hot_url: str, expiring: int) -> None:
    """Where no key expires expiries are not asked for one by one, and still every row is right."""
    there = client(hot_url)
    pipeline = there.pipeline(transaction=False)
    for number in range(20_000):
        pipeline.set(f"k{number}", number if number % 7 else "", pxat=FAR + number if number < expiring else None)
    pipeline.execute()
    found = rows(read_items(hot_url)[0])
    assert len(found) == 20_000
    for number in range(20_000):
        value = str(number).encode() if number % 7 else b""
        assert found["0", f"k{number}".encode()] == Row(
            Encoding.REDIS_STRING, value, FAR + number if number < expiring else None
        )


@pytest.mark.parametrize("expiry", [None, FAR])
def test_rare_long_values_and_other_types_are_read_among_many_short_ones(hot_url: str, expiry: int | None) -> None:
    """Reading trusts that values stay short after many short ones; the odd ones still come out right."""
    there = client(hot_url)
    pipeline = there.pipeline(transaction=False)
    for number in range(40_000):
        pipeline.set(f"k{number}", number, pxat=expiry)
    for number in range(20):
        pipeline.set(f"long{number}", bytes([number]) * 100_000, pxat=expiry)
        pipeline.set(f"empty{number}", "")
        pipeline.rpush(f"list{number}", number)
    pipeline.execute()
    found = rows(read_items(hot_url)[0])
    assert len(found) == there.dbsize() == 40_060
    assert all(found["0", b"k%d" % number].value == b"%d" % number for number in range(40_000))
    for number in range(20):
        long = Row(Encoding.REDIS_STRING, bytes([number]) * 100_000, expiry)
        assert found["0", b"long%d" % number] == long
        assert found["0", b"empty%d" % number] == Row(Encoding.REDIS_STRING, b"", None)
        assert found["0", b"list%d" % number].value == there.dump(f"list{number}")


def test_the_first_expiry_during_the_reading_is_not_missed(hot_url: str) -> None:
    """Keys that get an expiry while none had one before are read with it."""
    there = client(hot_url)
    there.mset({f"k{number}": "v" for number in range(30_000)})
    with RedisHot(hot_url).connect() as session:
        session.cut()
        reading = session.read(EVERYTHING)
        items = [next(reading)]
        pipeline = there.pipeline(transaction=False)
        for number in range(30_000):
            pipeline.pexpireat(f"k{number}", FAR)
        pipeline.execute()
        items += reading
    found = rows(items)
    assert len(found) == 30_000
    assert {row.expiry for row in found.values()} == {None, FAR}


def test_remaining_time_and_moment_tell_the_same_expiry(hot_url: str) -> None:
    """Before Redis 7 the moment is reckoned from TIME and PTTL, and comes out the same to the millisecond."""
    there = client(hot_url)
    fill_every_type(there)
    pipeline = there.pipeline(transaction=False)
    for number in range(5000):
        pipeline.set(f"k{number}", number, pxat=FAR + number if number % 2 else None)
    pipeline.execute()
    read = {}
    for expiry in (ExpiryCommand.MOMENT, ExpiryCommand.REMAINING):
        with Connection(parse_address(hot_url)) as connection:
            read[expiry] = rows(DatabaseReader(connection, 0, expiry).read(None))
    assert read[ExpiryCommand.MOMENT] == read[ExpiryCommand.REMAINING]


def test_several_databases_are_read_and_restored(hot_url: str) -> None:
    """The namespace is the database; each record goes back into its own."""
    url = hot_url.rpartition("/")[0] + "/0,3,5"
    for database in (0, 3, 5):
        client(hot_url, database).mset({"same": f"of {database}", f"only {database}": "1"})
    client(hot_url, 4).set("not named", "1")
    items, description = read_items(url)
    assert {namespace for namespace, _ in rows(items)} == {"0", "3", "5"}
    before = [held(client(hot_url, database)) for database in (0, 3, 5)]
    for database in (0, 3, 5):
        client(hot_url, database).flushdb()
        client(hot_url, database).set("later", "1")
    counts = put_back(url, items, description)
    assert (counts.written, counts.removed) == (6, 3)
    assert [held(client(hot_url, database)) for database in (0, 3, 5)] == before
    assert client(hot_url, 4).get("not named") == b"1"


def test_a_scope_reads_the_keys_its_globs_match(hot_url: str) -> None:
    """Only matching keys are read; one that matches twice is there at least once."""
    there = client(hot_url)
    there.mset({"position:1": "a", "order:1": "b", "other": "c"})
    there.rpush("position:list", 1)
    found = rows(read_items(hot_url, Scope(("position:*", "order:*", "*:1")))[0])
    assert {key for _, key in found} == {b"position:1", b"position:list", b"order:1"}


def test_keys_named_in_full_are_read_without_a_look_at_the_others(hot_url: str) -> None:
    """A pattern without glob characters is a key: it is asked for by name, whatever it holds, or is not there."""
    there = client(hot_url)
    there.mset({f"k{number}": "v" for number in range(5000)})
    fill_every_type(there)
    names = [key.decode() for key in there.scan_iter() if not set(key) & set(b"*?[\\") and not key.startswith(b"k")]
    scope = Scope((*names, "not there", "until", "k[12]"))
    with RedisHot(hot_url).connect() as session:
        session.cut(scope)
        there.config_resetstat()
        found = rows(whole(item) for item in session.read(Scope(tuple(names))))
        assert "cmdstat_scan" not in there.info("commandstats")
        found_by_both = rows(whole(item) for item in session.read(scope))
    everything = rows(read_items(hot_url)[0])
    assert found == {("0", name.encode()): everything["0", name.encode()] for name in names}
    assert found_by_both == found | {("0", key): everything["0", key] for key in (b"k1", b"k2")}


@pytest.mark.parametrize("expiry", [None, FAR])
def test_keys_named_in_full_that_are_not_there_are_left_out(hot_url: str, expiry: int | None) -> None:
    """A name that nothing answers to gives no record, neither an empty one."""
    there = client(hot_url)
    there.set("empty", "", pxat=expiry)
    found = rows(read_items(hot_url, Scope(("empty", "not there", *(f"nor {number}" for number in range(3000)))))[0])
    assert {key for _, key in found} == {b"empty"}


def test_an_empty_database_reads_as_nothing(hot_url: str) -> None:
    """No keys, no items, and no error."""
    items, description = read_items(hot_url)
    assert items == []
    assert description["dump_version"] is None


def test_the_cut_says_when_and_where(hot_url: str) -> None:
    """Cut and description are plain JSON with the position of the server and the number of keys."""
    client(hot_url).mset({"a": "1", "b": "2"})
    client(hot_url).rpush("list", 1)
    with RedisHot(hot_url).connect() as session:
        cut = json.loads(json.dumps(session.cut()))
        described = json.loads(json.dumps(session.describe()))
    assert cut["keys"] == {"0": 3}
    assert cut["method"] == "scan"
    assert "repl-diskless-sync-delay" in cut["why"]
    assert cut["time"].endswith("+00:00")
    assert len(cut["replication_id"]) == 40
    assert isinstance(cut["replication_offset"], int)
    version, parts = described["version"], [["0"]]
    assert described == {
        "server": "valkey",
        "version": version,
        "databases": [0],
        "dump_version": 80,
        "parts": parts,
    }


def test_keys_out_of_the_users_reach_are_none_of_a_scopes_business(hot_url: str) -> None:
    """A user who may touch the keys of the scope alone can back it up, whichever keys SCAN shows first."""
    server = client(hot_url)
    server.mset({f"other:{number}": "1" for number in range(50)} | {"app:1": "x"})
    server.acl_setuser("bot", enabled=True, nopass=True, keys=["app:*"], categories=["+@all"])
    try:
        limited = urlsplit(hot_url)._replace(netloc=f"bot:any@{urlsplit(hot_url).netloc.rpartition('@')[2]}").geturl()
        with RedisHot(limited, HotMethod.SCAN).connect() as session:
            session.cut(Scope(("app:*",)))
            session.describe()
            items = list(session.read(Scope(("app:*",))))
    finally:
        server.acl_deluser("bot")
    assert [key for item in items if isinstance(item, pa.RecordBatch) for key in item["key"].to_pylist()] == [b"app:1"]


def test_large_values_come_as_streams(hot_url: str) -> None:
    """A value over LARGE_VALUE bytes, string or dump, is a LargeValue; one of exactly that size stands in a batch."""
    fill_every_type(client(hot_url))
    items, _ = read_items(hot_url)
    large = {item.key: item.size for item in items if isinstance(item, LargeValue)}
    assert large.pop(b"big hash") > LARGE_VALUE
    assert large == {b"1MiB+1": LARGE_VALUE + 1, b"20MiB": 20 << 20}


def test_batches_stay_small_whatever_the_values(hot_url: str) -> None:
    """Batches hold a few MiB, with values from bytes to a MiB in one database."""
    there = client(hot_url)
    sizes = [10] * 3000 + [8 << 10] * 600 + [300 << 10] * 40 + [1 << 20] * 12
    for start in range(0, len(sizes), 500):
        there.mset({f"k{start + place}": b"x" * size for place, size in enumerate(sizes[start : start + 500])})
    items, _ = read_items(hot_url)
    batches = [item for item in items if isinstance(item, pa.RecordBatch)]
    assert sum(item.num_rows for item in batches) == len(sizes)
    assert max(item.nbytes for item in batches) < 5 << 20


def test_a_large_string_is_of_one_moment(hot_url: str) -> None:
    """A string that is overwritten again and again while it is read never comes out mixed."""
    there = client(hot_url)
    size = 9 << 20
    there.set("k", b"a" * size)
    over = threading.Event()

    def overwrite() -> None:
        with client(hot_url) as writer:
            while not over.is_set():
                writer.set("k", b"b" * size)
                writer.set("k", b"a" * size)

    thread = threading.Thread(target=overwrite)
    thread.start()
    try:
        for _ in range(5):
            value = rows(read_items(hot_url)[0])["0", b"k"].value
            assert value in {b"a" * size, b"b" * size}
    finally:
        over.set()
        thread.join()


def test_keys_that_change_or_go_during_the_reading_are_taken_as_they_are(hot_url: str) -> None:
    """Untouched keys are all read; deleted ones may be missing, changed ones are of the old or the new type."""
    there = client(hot_url)
    there.mset({f"k{number}": "v" * 100 for number in range(30_000)})
    with RedisHot(hot_url).connect() as session:
        session.cut()
        reading = session.read(EVERYTHING)
        items = [next(reading)]
        pipeline = there.pipeline(transaction=False)
        for number in range(0, 30_000, 3):
            pipeline.delete(f"k{number}")
            pipeline.delete(f"k{number + 1}")
            pipeline.rpush(f"k{number + 1}", "now a list")
        pipeline.execute()
        items += reading
    found = rows(items)
    assert {number for number in range(2, 30_000, 3) if ("0", f"k{number}".encode()) in found} == set(
        range(2, 30_000, 3)
    )
    lists = [row for row in found.values() if row.encoding == Encoding.REDIS_DUMP]
    assert 0 < len(lists) <= 10_000
    assert sum(("0", f"k{number}".encode()) in found for number in range(1, 30_000, 3)) == 10_000


def test_a_database_of_hashes_does_not_fill_the_servers_error_statistics(hot_url: str) -> None:
    """Looking at keys as strings first is given up where most are none."""
    there = client(hot_url)
    pipeline = there.pipeline(transaction=False)
    for number in range(20_000):
        pipeline.hset(f"h{number}", "field", number)
    pipeline.execute()
    there.config_resetstat()
    items, description = read_items(hot_url)
    assert len(rows(items)) == 20_000
    assert description["dump_version"] == 80
    assert there.info("stats")["total_error_replies"] < 5000


def test_expired_records_are_dropped_and_counted(hot_url: str) -> None:
    """What expired since the backup is not written; an exact restore removes its key as well."""
    there = client(hot_url)
    for mode, left in ((RestoreMode.OVERLAY, b"later"), (RestoreMode.EXACT, None)):
        there.set("gone", "later")
        with RedisHot(hot_url).apply(DESCRIPTION, mode, always) as application:
            application.write(batch({b"gone": b"old", b"gone too": b"old"}, expiry=PAST))
            application.write(batch({b"kept": b"1"}, expiry=FAR))
            application.write_large(_large(b"large and gone", b"x", PAST))
            counts = application.finish(knowing([("0", b"gone"), ("0", b"kept")]), EVERYTHING)
        assert (counts.written, counts.expired) == (1, 3)
        assert counts.removed == (mode is RestoreMode.EXACT)
        assert there.get("gone") == left
        assert there.pexpiretime("kept") == FAR


def test_exact_removes_what_the_backup_does_not_hold(hot_url: str) -> None:
    """Keys that came later go, all of them and nothing else, and are counted."""
    there = client(hot_url)
    there.mset({f"k{number}": "v" for number in range(5000)})
    items, description = read_items(hot_url)
    there.mset({f"later{number}": "v" for number in range(5000)})
    there.delete("k0")
    counts = put_back(hot_url, items, description)
    assert (counts.written, counts.removed) == (5000, 5000)
    assert there.dbsize() == 5000
    assert there.get("k0") == b"v"


def test_exact_removes_within_the_scope_only(hot_url: str) -> None:
    """A restore of some patterns leaves keys outside of them alone."""
    there = client(hot_url)
    there.set("position:1", "1")
    scope = Scope(("position:*",))
    items, description = read_items(hot_url, scope)
    there.mset({"position:2": "later", "order:1": "later"})
    counts = put_back(hot_url, items, description, scope=scope)
    assert counts.removed == 1
    assert sorted(there.keys()) == [b"order:1", b"position:1"]


def test_overlay_leaves_other_keys_alone(hot_url: str) -> None:
    """Records are written over; nothing is removed."""
    there = client(hot_url)
    there.mset({"a": "1", "b": "2"})
    items, description = read_items(hot_url)
    there.mset({"a": "changed", "later": "3"})
    counts = put_back(hot_url, items, description, RestoreMode.OVERLAY)
    assert (counts.written, counts.removed) == (2, 0)
    assert there.mget("a", "b", "later") == [b"1", b"2", b"3"]


def test_a_batch_may_mix_databases_and_encodings(hot_url: str) -> None:
    """Rows find their database and command whatever stands beside them."""
    url = hot_url.rpartition("/")[0] + "/0,3"
    client(hot_url, 0).set("string", "0", pxat=FAR)
    client(hot_url, 3).rpush("list", 3)
    items, description = read_items(url)
    mixed = pa.Table.from_batches(items).unify_dictionaries().combine_chunks().to_batches()
    assert len(mixed) == 1
    before = held(client(hot_url, 0)), held(client(hot_url, 3))
    client(hot_url).flushall()
    assert put_back(url, mixed, description).written == 2
    assert (held(client(hot_url, 0)), held(client(hot_url, 3))) == before


def test_a_large_value_cut_short_writes_nothing(hot_url: str) -> None:
    """A stream that ends early or fails leaves the key as it was, and is an error."""
    there = client(hot_url)
    there.set("k", "before")
    short = LargeValue("0", b"k", Encoding.REDIS_STRING, 3 << 20, iter([b"x" * (1 << 20)]))
    with (
        RedisHot(hot_url).apply(DESCRIPTION, RestoreMode.OVERLAY, always) as application,
        pytest.raises(SourceError, match="1,048,576 bytes in place of 3,145,728"),
    ):
        application.write_large(short)
    assert there.get("k") == b"before"


def test_a_database_the_url_does_not_name_is_refused(hot_url: str) -> None:
    """A backup of databases that the target's URL leaves out is refused before anything is written."""
    with pytest.raises(SourceError, match="holds database 3, 5"):
        RedisHot(hot_url).check({**DESCRIPTION, "databases": [0, 3, 5]})


def test_a_database_the_server_does_not_have_is_refused(redis_server: RedisServer) -> None:
    """A database number out of the server's range is an error, not an empty database."""
    source = RedisHot(redis_server.url.rpartition("/")[0] + "/99")
    with pytest.raises(SourceError, match="out of range"), source.connect() as session:
        session.cut()


def test_dumps_of_a_newer_server_are_refused_and_strings_are_not(hot_url: str) -> None:
    """A payload version the server does not take is found before anything is written; without dumps all is well."""
    source = RedisHot(hot_url)
    newer = {"server": "valkey", "version": "99.0", "databases": [0]}
    with pytest.raises(SourceError, match=r"cannot take what valkey 99\.0 dumped"):
        source.check({**newer, "dump_version": 4000})
    source.check({**newer, "dump_version": None})
    source.check({**newer, "dump_version": 11})
    assert client(hot_url).dbsize() == 0


def test_a_rehearsal_is_not_an_application(hot_url: str) -> None:
    """apply() cannot be begun in a mode that must not write."""
    with pytest.raises(ValueError, match="check"), RedisHot(hot_url).apply(DESCRIPTION, RestoreMode.REHEARSE, always):
        pass


def test_a_server_that_does_not_answer_is_never_an_empty_one() -> None:
    """Every way in says SourceUnavailable, with host, port, reason and a hint."""
    port = free_port()
    source = RedisHot(f"redis://:s3cr3t@127.0.0.1:{port}/0")
    sentence = f"HOT \\(Redis\\) at 127.0.0.1:{port} does not answer: connection refused"
    with pytest.raises(SourceUnavailable, match=sentence), source.connect():
        pass
    with pytest.raises(SourceUnavailable, match=sentence) as caught:
        source.check(DESCRIPTION)
    with pytest.raises(SourceUnavailable, match=sentence), source.apply(DESCRIPTION, RestoreMode.EXACT, always):
        pass
    assert caught.value.hint
    assert "s3cr3t" not in repr(source) + str(caught.value) + caught.value.hint


def test_a_server_killed_during_the_reading_ends_it_with_an_error(folder: Path) -> None:
    """The stream does not end early: it raises SourceUnavailable, from None."""
    server = start_redis(folder)
    try:
        client(server.url).mset({f"k{number}": b"v" * 1000 for number in range(30_000)})
        with RedisHot(server.url).connect() as session:
            session.cut()
            reading = session.read(EVERYTHING)
            next(reading)
            server.child.kill()
            server.child.wait()
            with pytest.raises(SourceUnavailable, match=f"127.0.0.1:{server.port}") as caught:
                list(reading)
        assert caught.value.__suppress_context__
        assert server.password not in str(caught.value)
    finally:
        server.stop()


def test_a_server_killed_during_a_restore_is_an_error(folder: Path) -> None:
    """A restore that loses its server says so."""
    server = start_redis(folder)
    try:
        with RedisHot(server.url).apply(DESCRIPTION, RestoreMode.EXACT, always) as application:
            application.write(batch({b"a": b"1"}))
            server.child.kill()
            server.child.wait()
            with pytest.raises(SourceUnavailable):
                application.finish(knowing([]), EVERYTHING)
    finally:
        server.stop()


def test_a_full_server_refuses_in_a_sentence_without_keys(folder: Path) -> None:
    """Memory is full: an error that says how many records and what to do, with no key in it."""
    server = start_redis(folder, options=["--maxmemory", "4mb"])
    try:
        with RedisHot(server.url).apply(DESCRIPTION, RestoreMode.OVERLAY, always) as application:
            application.write(batch({b"private %d" % number: b"v" * 1000 for number in range(8000)}))
            with pytest.raises(SourceError, match=r"refused [\d,]+ of 8,000 records: OOM") as caught:
                application.finish(knowing([]), EVERYTHING)
        assert "maxmemory" in caught.value.hint
        assert "private" not in str(caught.value)
    finally:
        server.stop()


def test_a_replica_out_of_touch_is_neither_read_nor_restored_into(folder: Path) -> None:
    """A replica without its primary may hold old data or none: reading it waits, restoring is refused."""
    server = start_redis(folder, options=["--replicaof", "127.0.0.1", str(free_port())])
    try:
        with pytest.raises(SourceUnavailable, match="lost its primary"), RedisHot(server.url).connect():
            pass
        with pytest.raises(SourceError, match="lost its primary"):
            RedisHot(server.url).check(DESCRIPTION)
    finally:
        server.stop()


def test_a_replica_in_touch_is_read_and_not_restored_into(folder: Path) -> None:
    """Backups may be taken from a replica; a restore into one is refused as permanent."""
    primary = start_redis(folder / "primary", options=["--repl-diskless-sync-delay", "0"])
    of_it = ["--replicaof", "127.0.0.1", str(primary.port), "--masterauth", primary.password]
    replica = start_redis(folder / "replica", options=[*of_it, "--appendonly", "no"])
    try:
        there = client(primary.url)
        there.set("k", "v")
        while not there.wait(1, 100):  # asked again and again: one long WAIT missed a replica that came meanwhile
            pass
        assert rows(read_items(replica.url)[0])["0", b"k"].value == b"v"
        with pytest.raises(SourceError, match="is a replica") as caught:
            RedisHot(replica.url).check(DESCRIPTION)
        assert not caught.value.retryable
    finally:
        replica.stop()
        primary.stop()


def test_a_cluster_is_refused(folder: Path) -> None:
    """Redis Cluster is named as not supported, rather than read in part."""
    server = start_redis(folder, options=["--cluster-enabled", "yes", "--cluster-port", str(free_port())])
    try:
        with pytest.raises(SourceError, match="Cluster, which is not supported"), RedisHot(server.url).connect():
            pass
    finally:
        server.stop()


def test_a_user_who_may_not_write_is_found_by_the_check(hot_url: str) -> None:
    """check() asks the server, so a user without permission is told before the restore."""
    there = client(hot_url)
    there.acl_setuser(
        "reader",
        enabled=True,
        passwords="+made-up",
        keys="*",
        categories=["+@read", "+@connection"],
        commands=["+info"],
    )
    try:
        source = RedisHot(hot_url.replace(hot_url.partition("@")[0], "redis://reader:made-up"))
        with pytest.raises(SourceError, match="NOPERM") as caught:
            source.check(DESCRIPTION)
        assert "made-up" not in str(caught.value) + repr(source)
    finally:
        there.acl_deluser("reader")


def _large(key: bytes, value: bytes, expiry: int) -> LargeValue:
    moment = pa.scalar(expiry, pa.timestamp("ms", "UTC")).as_py()
    return LargeValue("0", key, Encoding.REDIS_STRING, len(value), iter([value]), moment)
