"""HOT is read from the replication stream: all of one moment, whole or not at all, and by SCAN where that cannot be."""

from __future__ import annotations

import json
import random
import re
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from strata.errors import SourceError, SourceUnavailable
from strata.model.record import LargeValue
from strata.model.scope import Scope
from strata.sources.hot_method import HotMethod
from strata.sources.redis_hot import RedisHot
from strata.sources.redis_sync import SyncStream
from strata.sources.redis_url import parse_address
from tests.sources.hot_state import EVERYTHING, FAR, client, fill_every_type, held, put_back, read_items, rows, whole
from tests.sources.test_redis_rdb import rdb
from tests.sources.test_resp import greet, listening
from workers.local_stack.servers import start_redis

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"
SYNC = HotMethod.SYNC
PART = Scope(("position:*",))


def why(url: str, scope: Scope = EVERYTHING, method: HotMethod = HotMethod.AUTO) -> str:
    """Why HOT was read by SCAN; empty where it was not."""
    with RedisHot(url, method).connect() as session:
        return str(session.cut(scope).get("why", ""))


def as_user(url: str, name: str) -> str:
    """The URL for another user, whose password is `made-up`."""
    return url.replace(url.partition("@")[0], f"redis://{name}:made-up")


@pytest.mark.parametrize("compression", ["yes", "no"])
@pytest.mark.parametrize("diskless", ["yes", "no"])
def test_the_stream_gives_what_scan_gives(stream_url: str, compression: str, diskless: str) -> None:
    """Every type, in several databases, compressed or not, sent at once or from a file: the very same records."""
    url = stream_url.rpartition("/")[0] + "/0,3"
    there = client(url)
    fill_every_type(there)
    there.sadd("big set", *range(3000), "no number")
    there.zadd("big zset", {f"m{number}": number / 3 for number in range(3000)})
    there.rpush("long list", *(b"%d" % number * 30 for number in range(3000)))
    client(url, 3).mset({"in 3": "v", "k": "v" * 1000})
    client(url, 4).set("in 4", "v")
    there.config_set("rdbcompression", compression)
    there.config_set("repl-diskless-sync", diskless)
    by_stream, by_scan = read_items(url, method=SYNC), read_items(url, method=HotMethod.SCAN)
    assert rows(by_stream[0]) == rows(by_scan[0])
    assert by_stream[1] == by_scan[1]
    assert ("0", b"in 4") not in rows(by_stream[0])


def test_what_the_stream_gave_comes_back_byte_for_byte(stream_url: str) -> None:
    """Read, flush, restore: DUMP and expiry of every key are what they were."""
    there = client(stream_url)
    fill_every_type(there)
    before = held(there)
    items, description = read_items(stream_url, method=SYNC)
    there.flushall()
    counts = put_back(stream_url, items, description)
    assert held(there) == before
    assert counts.written == len(before)


def test_nothing_that_happens_after_the_cut_is_seen(stream_url: str) -> None:
    """Writes, deletions and even FLUSHDB between the cut and the reading do not change what is read."""
    there = client(stream_url)
    there.mset({f"k{number}": random.Random(number).randbytes(200) for number in range(30_000)})
    there.rpush("list", 1)
    before = held(there)
    with RedisHot(stream_url, SYNC).connect() as session:
        session.cut()
        there.rpush("list", 2)
        there.set("k1", "changed", pxat=FAR)
        there.set("later", "v")
        there.flushdb()
        found = rows(session.read(EVERYTHING))
    assert {key for _, key in found} == set(before)
    assert found["0", b"list"].value == before[b"list"][0]
    assert found["0", b"k1"].value == random.Random(1).randbytes(200)


def test_a_flush_of_all_breaks_the_stream(stream_url: str) -> None:
    """FLUSHALL makes the server end its child: that is an error which a retry may help, never a short reading."""
    there = client(stream_url)
    there.mset({f"k{number}": random.Random(number).randbytes(1000) for number in range(30_000)})
    with RedisHot(stream_url, SYNC).connect() as session:
        session.cut()
        there.flushall()
        with pytest.raises(SourceUnavailable, match="closed the connection"):
            list(session.read(EVERYTHING))


def test_a_key_that_moves_is_seen_exactly_once(stream_url: str) -> None:
    """A record renamed again and again while HOT is read is in each reading once: no reading falls between."""
    there = client(stream_url)
    there.mset({f"k{number}": "v" for number in range(5000)})
    there.set("here", "moving")
    over = threading.Event()

    def move() -> None:
        with client(stream_url) as mover:
            while not over.is_set():
                mover.rename("here", "there")
                mover.rename("there", "here")

    thread = threading.Thread(target=move)
    thread.start()
    try:
        for _ in range(5):
            found = rows(read_items(stream_url, method=SYNC)[0])
            assert len(found) == 5001
            assert [row.value for key, row in found.items() if key[1] in {b"here", b"there"}] == [b"moving"]
    finally:
        over.set()
        thread.join()


def test_the_cut_says_which_way_and_where(stream_url: str) -> None:
    """A cut by the stream has the moment, replication id and offset of the fork, and is plain JSON."""
    there = client(stream_url)
    there.mset({"a": "1", "b": "2"})
    there.rpush("list", 1)
    with RedisHot(stream_url, SYNC).connect() as session:
        began = datetime.now(UTC).timestamp()
        cut = json.loads(json.dumps(session.cut()))
        described = session.describe()
        list(session.read(EVERYTHING))
    assert (cut["method"], cut["keys"]) == ("sync", {"0": 3})
    assert "why" not in cut
    assert cut["replication_id"] == there.info("replication")["master_replid"]
    assert 0 <= cut["replication_offset"] <= there.info("replication")["master_repl_offset"]
    assert -0.01 <= datetime.fromisoformat(cut["time"]).timestamp() - began < 5
    assert described["dump_version"] == 80


def test_an_empty_server_reads_as_nothing(stream_url: str) -> None:
    """No keys, no items, and no error."""
    items, description = read_items(stream_url, method=SYNC)
    assert items == []
    assert description["dump_version"] is None


def test_a_scope_of_patterns_is_taken_out_of_the_stream(stream_url: str) -> None:
    """Where the stream is asked for, a scope reads what its globs match, small or large, at one moment too."""
    there = client(stream_url)
    there.mset(
        {"position:1": "a", "order:1": "b", "other": "c", "position:large": b"x" * (2 << 20), "large": "x" * (2 << 20)}
    )
    there.rpush("position:list", 1)
    found = rows(read_items(stream_url, Scope(("position:*", "order:1")), SYNC)[0])
    assert {key for _, key in found} == {b"position:1", b"position:large", b"position:list", b"order:1"}


def test_a_second_reading_is_by_scan(stream_url: str) -> None:
    """A stream is read once; reading again in the same session shows the server as it is by then."""
    there = client(stream_url)
    there.set("k", "v")
    with RedisHot(stream_url, SYNC).connect() as session:
        session.cut()
        first = rows(session.read(EVERYTHING))
        there.set("later", "v")
        second = rows(session.read(EVERYTHING))
    assert {key for _, key in first} == {b"k"}
    assert {key for _, key in second} == {b"k", b"later"}


def test_a_session_that_does_not_read_leaves_nothing_behind(stream_url: str) -> None:
    """The server's child and our connection are gone soon after the session, whether it read all, some or nothing."""
    there = client(stream_url)
    there.mset({f"k{number}": random.Random(number).randbytes(1000) for number in range(20_000)})
    for wanted in (0, 1, 1000):
        with RedisHot(stream_url, SYNC).connect() as session:
            session.cut()
            for _ in zip(range(wanted), session.read(EVERYTHING), strict=False):
                pass
        while there.info("persistence")["rdb_bgsave_in_progress"] or there.info("replication")["connected_slaves"]:
            pass
    assert not [one for one in there.client_list() if one["name"] == "strata"]


def test_it_is_the_stream_where_it_begins_at_once(stream_url: str) -> None:
    """By default everything is read from the stream of a server that does not make us wait."""
    assert why(stream_url) == ""


def test_it_is_scan_where_only_some_keys_are_read(stream_url: str) -> None:
    """A few keys among millions are not worth a fork and a stream of all."""
    assert why(stream_url, PART) == "only some keys are read"
    assert why(stream_url, PART, SYNC) == ""


def test_it_is_scan_where_the_stream_would_have_to_be_waited_for(hot_url: str) -> None:
    """A server as it comes waits 5 s for more replicas; that is told, and a server that writes a file first is not."""
    assert why(hot_url) == "the server's stream begins after 5 s (repl-diskless-sync-delay)"
    there = client(hot_url)
    there.config_set("repl-diskless-sync", "no")
    assert why(hot_url) == ""
    there.config_set("repl-diskless-sync", "yes")


def test_it_is_scan_where_the_setting_says_so(stream_url: str) -> None:
    """STRATA_HOT_METHOD=scan forks nothing."""
    assert why(stream_url, method=HotMethod.SCAN) == "STRATA_HOT_METHOD is scan"


def test_it_is_scan_while_the_server_saves(folder: Path) -> None:
    """A server has one child at a time; its stream would wait until that has ended."""
    server = start_redis(folder, options=["--repl-diskless-sync-delay", "0", "--rdb-key-save-delay", "100000000"])
    try:
        there = client(server.url)
        there.set("k", "v")
        there.bgsave()
        assert why(server.url).startswith("the server is saving")
    finally:
        server.child.kill()
        server.stop()


def test_a_save_that_was_begun_for_a_replica_is_no_cut(folder: Path) -> None:
    """A server shares it with us. It lacks what was written since, and may be of before the application was paused."""
    server = start_redis(folder, options=["--repl-diskless-sync", "no", "--rdb-key-save-delay", "200000"])
    try:
        there = client(server.url)
        there.mset({f"k{number}": "v" for number in range(8)})
        replica = there.connection_pool.get_connection()
        replica.send_command("PSYNC", "?", "-1")  # type: ignore[no-untyped-call]
        while not there.info("persistence")["rdb_bgsave_in_progress"]:
            pass
        there.set("later", "v")
        with (
            RedisHot(server.url, SYNC).connect() as session,
            pytest.raises(SourceUnavailable, match="had begun for a replica"),
        ):
            session.cut()
        replica.disconnect()  # type: ignore[no-untyped-call]
    finally:
        server.child.kill()
        server.stop()


@pytest.mark.parametrize(
    ("commands", "reason"), [(["-psync"], "NOPERM"), (["-replconf"], "NOPERM"), (["-config"], "CONFIG GET")]
)
def test_a_user_without_the_permission_reads_by_scan_and_is_told(
    stream_url: str, commands: list[str], reason: str
) -> None:
    """What the server's ACL forbids is the reason that stands in the cut; all is read all the same."""
    there = client(stream_url)
    there.acl_setuser("narrow", enabled=True, passwords="+made-up", keys="*", commands=["+@all", *commands])
    try:
        fill_every_type(there)
        url = as_user(stream_url, "narrow")
        assert reason in why(url)
        assert rows(read_items(url)[0]) == rows(read_items(stream_url, method=HotMethod.SCAN)[0])
        if reason == "NOPERM":
            with pytest.raises(SourceError, match="NOPERM") as caught:
                why(url, method=SYNC)
            assert "made-up" not in str(caught.value)
    finally:
        there.acl_deluser("narrow")


def test_the_permissions_that_the_page_names_are_enough(stream_url: str) -> None:
    """A user with what docs/settings.md asks for, and nothing else, reads every type by the stream."""
    named = re.findall(r"in an ACL `(.+?)`, besides\s+`(.+?)`", DOCUMENT.read_text(), re.DOTALL)
    rules = " ".join(named[0]).split()
    categories, commands = [rule for rule in rules if "@" in rule], [rule for rule in rules if "@" not in rule]
    there = client(stream_url)
    fill_every_type(there)
    there.acl_setuser("named", enabled=True, passwords="+made-up", keys="*", categories=categories, commands=commands)
    try:
        with RedisHot(as_user(stream_url, "named")).connect() as session:
            assert session.cut()["method"] == "sync"
            assert len(rows(session.read(EVERYTHING))) == there.dbsize()
            assert len(rows(session.read(EVERYTHING))) == there.dbsize()  # by SCAN
    finally:
        there.acl_deluser("named")


def test_a_replica_is_read_by_its_own_stream(folder: Path) -> None:
    """A replica in touch forks in its primary's place; the position is the primary's history."""
    at_once = ["--repl-diskless-sync-delay", "0"]
    primary = start_redis(folder / "primary", options=at_once)
    of_it = ["--replicaof", "127.0.0.1", str(primary.port), "--masterauth", primary.password, "--appendonly", "no"]
    replica = start_redis(folder / "replica", options=[*at_once, *of_it])
    try:
        there = client(primary.url)
        fill_every_type(there)
        while not there.wait(1, 100):
            pass
        with RedisHot(replica.url).connect() as session:
            cut = session.cut()
            found = rows(session.read(EVERYTHING))
        assert cut["method"] == "sync"
        assert cut["replication_id"] == there.info("replication")["master_replid"]
        assert found == rows(read_items(replica.url, method=HotMethod.SCAN)[0])
    finally:
        replica.stop()
        primary.stop()


@pytest.mark.parametrize("diskless", ["yes", "no"])
def test_a_server_killed_in_mid_stream_is_an_error(folder: Path, diskless: str) -> None:
    """The stream breaks with SourceUnavailable, from None: what came is never taken for all there is."""
    server = start_redis(folder, options=["--repl-diskless-sync-delay", "0", "--repl-diskless-sync", diskless])
    try:
        there = client(server.url)
        for number in range(60):
            there.mset({f"k{number}:{at}": random.Random(at).randbytes(1000) for at in range(1000)})
        with RedisHot(server.url).connect() as session:
            assert session.cut()["method"] == "sync"
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


def stream_of(*sends: bytes) -> Callable[[socket.socket], None]:
    """A server that lets anybody be a replica, and then sends what is given."""

    def serve(peer: socket.socket) -> None:
        greet(peer)
        for until, answers in ((b"8.1.8\r\n", [b"+OK\r\n+OK\r\n-ERR Unrecognized option\r\n"]), (b"-1\r\n", sends)):
            received = b""
            while not received.endswith(until):
                received += peer.recv(4096)
            for data in answers:
                peer.sendall(data)

    return serve


def read_stream(*sends: bytes) -> dict[bytes, bytes]:
    """The values that a server's sends give."""
    with listening(stream_of(*sends)) as url:
        stream = SyncStream(parse_address(url), "8.1.8")
        try:
            found = rows(whole(item) for item in stream.splitter.records((0,), 0))
        finally:
            stream.close()
    return {key: row.value for (_, key), row in found.items()}


POSITION = b"+FULLRESYNC " + b"a" * 40 + b" 1234\r\n"
MARK = b"0123456789" * 4
SMALL = rdb(b"\xfe\x00\x00\x01k\x01v")
LONG = rdb(b"\xfe\x00\x00\x01k\x80" + (3 << 20).to_bytes(4, "big") + b"x" * (3 << 20))


@pytest.mark.parametrize(("data", "piece"), [(SMALL, 1), (SMALL, 7), (SMALL, 1000), (LONG, 99_999)])
def test_both_ways_of_saying_where_it_ends_are_understood(data: bytes, piece: int) -> None:
    """By size, and by a mark that is cut in pieces; empty lines while the server prepares are passed over."""
    size, marked = b"$%d\r\n" % len(data) + data, b"$EOF:" + MARK + b"\r\n" + data + MARK
    for sent in (size, size + b"*1\r\n$4\r\nPING\r\n", marked):
        pieces = [sent[start : start + piece] for start in range(0, len(sent), piece)]
        found = read_stream(b"\n", b"\n\n", POSITION, b"\n", *pieces)
        assert found == {b"k": b"v" if data is SMALL else b"x" * (3 << 20)}


@pytest.mark.parametrize(
    ("sends", "said"),
    [
        ([b"-NOMASTERLINK Can't SYNC while not connected with my master\r\n"], "NOMASTERLINK"),
        ([b"-ERR unknown command 'PSYNC'\r\n"], "unknown command"),
        ([b"-LOADING Redis is loading the dataset in memory\r\n"], "LOADING"),
        ([b"+CONTINUE\r\n"], "not known"),
        ([POSITION], "closed the connection"),
        ([POSITION, b"$-1\r\n"], "damaged"),
        ([POSITION, b"$EOF:short\r\n"], "damaged"),
        ([b"x" * 10_000], "damaged"),
        ([POSITION, b"$%d\r\n" % len(SMALL), SMALL[:-1]], "closed the connection"),
        ([POSITION, b"$%d\r\n" % (len(SMALL) - 1), SMALL], "ends early"),
        ([POSITION, b"$%d\r\n" % (len(SMALL) + 1), SMALL + b"x"], "goes on"),
        ([POSITION, b"$EOF:" + MARK + b"\r\n", SMALL], "closed the connection"),
        ([POSITION, b"$EOF:" + MARK + b"\r\n", SMALL[:-3] + MARK], "ends early"),
        ([POSITION, b"$EOF:" + MARK + b"\r\n", LONG[: 2 << 20] + MARK], "ends early"),
    ],
)
def test_a_stream_that_is_not_whole_is_an_error(sends: list[bytes], said: str) -> None:
    """Refusals, nonsense and streams that end before or behind their end never give records as all there are."""
    with pytest.raises(SourceError, match=said):
        read_stream(*sends)


def test_a_version_that_is_not_known_is_seen_before_anything_is_read() -> None:
    """A newer server may send what is not known here: that shows before the first record."""
    newer = SMALL.replace(b"REDIS0011", b"REDIS0099")
    with listening(stream_of(POSITION, b"$%d\r\n" % len(newer), newer)) as url:
        assert not SyncStream(parse_address(url), "8.1.8").splitter.head.is_known


def test_large_values_stream_from_the_server(stream_url: str) -> None:
    """A string of 64 MiB comes in parts of a few MiB, and the record behind it is right."""
    there = client(stream_url)
    for text in (random.Random(1).randbytes(1 << 20), b"again and again "):
        there.set("long", text * ((64 << 20) // len(text)))
        there.set("short", "v")
        with RedisHot(stream_url, SYNC).connect() as session:
            session.cut()
            small = []
            for item in session.read(EVERYTHING):
                if isinstance(item, LargeValue):
                    sizes = [len(part) for part in item.parts]
                    assert (sum(sizes), max(sizes) < 5 << 20) == (64 << 20, True)
                else:
                    small.append(item)
        assert set(rows(small)) == {("0", b"short")}
