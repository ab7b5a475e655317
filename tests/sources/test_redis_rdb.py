"""RDB streams of several servers are split into the records that these servers hold, or refused."""

from __future__ import annotations

import hashlib
import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strata.errors import SourceError, SourceUnavailable
from strata.model.record import LARGE_VALUE, Encoding, LargeValue, SourceItem
from strata.sources.hot_method import HotMethod
from strata.sources.redis_rdb import RdbSplitter
from strata.sources.redis_window import crc64
from tests.sources.hot_state import FAR, Key, Row, client, fill_every_type, read_items, rows, whole

RDB = Path(__file__).parent / "rdb"
SERVERS = sorted(file.stem for file in RDB.glob("*.rdb"))
NOW = 1_700_000_000_000


def pieces(data: bytes, size: int) -> Callable[[], bytes]:
    """What gives the bytes piece by piece, and then none."""
    starts = iter(range(0, len(data), size))

    def receive() -> bytes:
        start = next(starts, len(data))
        return data[start : start + size]

    return receive


def split(
    data: bytes, piece: int = 1 << 20, databases: tuple[int, ...] = (0, 3, 4), now: int = NOW
) -> list[SourceItem]:
    """The records of an RDB, large values with their parts in memory."""
    return [whole(item) for item in RdbSplitter(pieces(data, piece)).records(databases, now)]


def saved(there: redis.Redis) -> bytes:
    """All databases of a server as an RDB."""
    there.save()
    return Path(str(there.config_get("dir")["dir"]), "dump.rdb").read_bytes()


def rdb(*parts: bytes, checksum: bool = True) -> bytes:
    """An RDB of version 11 that holds the parts."""
    data = b"REDIS0011" + b"".join(parts) + b"\xff"
    return data + struct.pack("<Q", crc64(data) if checksum else 0)


def digests(found: dict[Key, Row]) -> list[list[Any]]:
    """Records with the hash of the value in its place, as the files beside the RDBs have them."""
    return [
        [database, key.hex(), row.encoding, hashlib.blake2b(row.value, digest_size=16).hexdigest(), row.expiry]
        for (database, key), row in sorted(found.items())
    ]


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("piece", [1, 1000, 50_000, 1 << 20])
def test_the_rdb_of_a_server_has_what_its_scan_gave(server: str, piece: int) -> None:
    """From Redis 6.2 to 8.2 and Valkey 9.1: every type's value, byte for byte what GET or DUMP gave on that server."""
    expected = json.loads((RDB / f"{server}.json").read_text())
    assert digests(rows(split((RDB / f"{server}.rdb").read_bytes(), piece))) == expected


def test_the_known_servers_are_several() -> None:
    """The files are there, and of products and versions that count differently."""
    heads = [RdbSplitter(pieces((RDB / f"{server}.rdb").read_bytes(), 999)).head for server in SERVERS]
    assert {(head.product, head.version) for head in heads} == {
        (b"REDIS", 9), (b"REDIS", 10), (b"REDIS", 12), (b"VALKEY", 80)
    }  # fmt: skip
    assert all(head.is_known and head.saved_at for head in heads)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(seed=st.integers(0, 1 << 32), piece=st.integers(1, 100_000), compression=st.sampled_from(["yes", "no"]))
def test_random_keys_are_split_as_they_are_read_one_by_one(
    stream_url: str, seed: int, piece: int, compression: str
) -> None:
    """Whatever a server holds, and however its RDB is cut into pieces, the records are those of SCAN."""
    there = client(stream_url)
    there.flushall()
    there.config_set("rdbcompression", compression)
    _fill_randomly(there, random.Random(seed))
    expected = rows(read_items(stream_url, method=HotMethod.SCAN)[0])
    items = split(saved(there), piece)
    assert rows(items) == expected
    assert sum(1 if isinstance(item, LargeValue) else item.num_rows for item in items) == len(expected)


def _fill_randomly(there: redis.Redis, rnd: random.Random) -> None:
    pipe = there.pipeline(transaction=False)
    for _ in range(rnd.randrange(150)):
        key = rnd.choice((rnd.randbytes, lambda size: b"x" * size, lambda size: b"%d" % size))(rnd.randrange(70))
        if rnd.random() < 0.05:
            key *= 400
        _put_random(pipe, rnd, key)
        if rnd.random() < 0.3:
            pipe.pexpireat(key, FAR + rnd.randrange(1000))
    pipe.execute(raise_on_error=False)  # a key that comes twice may be of another type


def _put_random(pipe: Any, rnd: random.Random, key: bytes) -> None:
    def value() -> bytes:
        size = rnd.choice((0, 5, 60, 70, 300, 16_380, 16_390, 70_000))
        return rnd.choice(
            (rnd.randbytes(size), b"ab" * (size // 2), b"%d" % (rnd.randrange(-1 << 40, 1 << 40) >> rnd.randrange(40)))
        )

    many = rnd.choice((1, 3, 20, 200))
    match rnd.randrange(6):
        case 0:
            pipe.rpush(key, *(value()[:2000] for _ in range(many)))
        case 1:
            pipe.sadd(key, *(value()[:200] for _ in range(many)))
        case 2:
            pipe.hset(key, mapping={value()[:200]: value()[:200] for _ in range(many)})
        case 3:
            pipe.zadd(key, {value()[:200]: rnd.random() for _ in range(many)})
        case 4:
            pipe.xadd(key, {value()[:200]: value()[:200]}, id=f"{rnd.randrange(1, 1000)}-1")
        case _:
            pipe.set(key, value())


def test_large_values_come_in_parts_as_they_arrive(stream_url: str) -> None:
    """Long strings, compressed or not, are given in parts of a few MiB; any value over LARGE_VALUE is a LargeValue."""
    there = client(stream_url)
    fill_every_type(there)
    there.set("20MiB of text", b"a long story " * ((20 << 20) // 13))
    expected = {key: len(there.get(key) or b"") for key in (b"1MiB+1", b"20MiB", b"20MiB of text")}
    sizes: dict[bytes, int] = {}
    for item in RdbSplitter(pieces(saved(there), 1 << 20)).records((0,), NOW):
        if isinstance(item, LargeValue):
            parts = [len(part) for part in item.parts]
            assert sum(parts) == item.size > LARGE_VALUE
            assert max(parts) < 5 << 20
            sizes[item.key] = item.size
    assert sizes.pop(b"big hash") == len(there.dump("big hash") or b"")
    assert sizes == expected


def test_a_large_value_that_nobody_took_is_passed_over(stream_url: str) -> None:
    """What follows a large value is read right, whether its parts were taken or not."""
    there = client(stream_url)
    fill_every_type(there)
    data = saved(there)
    untouched = list(RdbSplitter(pieces(data, 1 << 20)).records((0,), NOW))
    small = [item for item in untouched if not isinstance(item, LargeValue)]
    assert rows(small) == {key: row for key, row in rows(split(data)).items() if len(row.value) <= LARGE_VALUE}


def test_strings_that_grow_a_lot_come_in_batches_of_the_usual_size(stream_url: str) -> None:
    """What a window of a MiB becomes is not one batch of eighty, and every row keeps its own expiry."""
    with client(stream_url) as there:
        for number in range(600):
            there.set(f"zeros:{number}", f"{number:06d}" + "0" * 15_000, pxat=FAR + number if number % 3 else None)
        items = split(saved(there))
    assert all(item.nbytes < 2 << 20 for item in items if not isinstance(item, LargeValue))
    found = rows(items)
    assert {(key, row.value[:6], row.expiry) for (_, key), row in found.items()} == {
        (b"zeros:%d" % number, b"%06d" % number, FAR + number if number % 3 else None) for number in range(600)
    }


def test_only_the_databases_that_are_named_are_given(stream_url: str) -> None:
    """One stream holds all databases; others than those named are passed over, large values too."""
    for database in range(4):
        client(stream_url, database).mset({"k": database, "large": b"x" * (LARGE_VALUE + 1)})
        client(stream_url, database).rpush("list", database)
    found = rows(split(saved(client(stream_url)), databases=(1, 3)))
    assert {key for key in found if key[1] == b"k"} == {("1", b"k"), ("3", b"k")}
    assert len(found) == 6


def test_what_had_expired_at_the_cut_is_left_out(stream_url: str) -> None:
    """A server writes keys that it has not yet removed; to a reader they are gone, as they are to SCAN."""
    there = client(stream_url)
    for key, value in {"short": "v", "text": "v" * 1000, "large": "v" * (LARGE_VALUE + 1)}.items():
        there.set(f"at {key}", value, pxat=FAR)
        there.set(f"later {key}", value, pxat=FAR + 1)
        there.set(f"never {key}", value)
    there.rpush("at list", 1)
    there.pexpireat("at list", FAR)
    data = saved(there)
    assert len(rows(split(data, now=FAR))) == 10
    assert {key for _, key in rows(split(data, now=FAR + 1)) if key.startswith(b"at")} == set()
    assert len(rows(split(data, now=FAR + 1))) == 6


def test_the_payload_version_is_told_only_where_there_is_a_payload(stream_url: str) -> None:
    """Strings go back into any server, so a backup of strings asks for no version."""
    there = client(stream_url)
    there.set("string", "v")
    for expected in (None, 80):
        splitter = RdbSplitter(pieces(saved(there), 1 << 20))
        list(splitter.records((0,), NOW))
        assert splitter.dump_version == expected
        there.rpush("list", 1)


@settings(deadline=None, max_examples=150)
@given(server=st.sampled_from(SERVERS), share=st.floats(0, 1, exclude_max=True), piece=st.integers(100, 50_000))
def test_a_torn_stream_is_never_a_short_one(server: str, share: float, piece: int) -> None:
    """Wherever a stream ends before its end, reading it is an error that a retry may help."""
    data = (RDB / f"{server}.rdb").read_bytes()
    with pytest.raises(SourceUnavailable):
        split(data[: int(len(data) * share)], piece)


@settings(deadline=None, max_examples=300)
@given(server=st.sampled_from(SERVERS), share=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_changed_byte_is_never_taken(server: str, share: float, flip: int) -> None:
    """Whatever byte is changed on the way, reading ends with an error: the checksum sees what nothing else does."""
    data = bytearray((RDB / f"{server}.rdb").read_bytes())
    data[int(len(data) * share)] ^= flip
    with pytest.raises(SourceError):
        split(bytes(data))


def test_a_stream_without_checksum_is_taken() -> None:
    """A server told to make none (rdbchecksum no) sends 0 in its place."""
    parts = (b"\xfe\x00", b"\x00\x01k\x01v")
    assert len(rows(split(rdb(*parts, checksum=False)))) == len(rows(split(rdb(*parts)))) == 1
    with pytest.raises(SourceUnavailable, match="checksum"):
        split(rdb(*parts)[:-1] + b"\x00")


@pytest.mark.parametrize("kind", [6, 8, 26, 99, 243, 246])
def test_what_is_not_known_is_named_and_refused(kind: int) -> None:
    """A type or opcode of a newer server is an error with its number, a way out, and no key in it."""
    with pytest.raises(SourceError, match=f"of type {kind}, which is not known") as caught:
        split(rdb(b"\xfe\x00", bytes([kind]), b"\x07private\x01v"))
    assert "scan" in caught.value.hint
    assert "private" not in str(caught.value)
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (1, b"\x02\x01a\x01b"),  # list
        (3, b"\x03\x01a\x031.5\x01b\xfe\x01c\xfd"),  # sorted set of old
        (7, b"\x81abcdefgh\x02\x05\x01\x41\x02\x04????????\x03????\x05\x02hi\x00"),  # of a module
        (14, b"\x01\x03abc"),  # quicklist of ziplists
        (19, b"\x00" + b"\x01" * 8 + b"\x01\x01g\x01\x01\x01\x00\x01\x01c????????\x00"),  # stream of Redis 7.0 RCs
        (22, b"\x02\x00\x01f\x01v\x41\x02\x01g\x01w"),  # fields that expire, of Redis 7.4 RCs
        (23, b"\x03abc"),
    ],
)
def test_layouts_that_no_server_here_writes_are_passed(kind: int, value: bytes) -> None:
    """Values of older servers and of modules come as the payload that DUMP would give: type, value, version, CRC."""
    data = rdb(b"\xfe\x00", bytes([kind]), b"\x01k", value, b"\x00\x04next\x01v")
    payload = bytes([kind]) + value + b"\x0b\x00"
    for piece in (1, 1000):
        found = rows(split(data, piece))
        assert found["0", b"k"] == Row(Encoding.REDIS_DUMP, payload + struct.pack("<Q", crc64(payload)), None)
        assert found["0", b"next"].value == b"v"


def test_what_stands_between_records_is_passed() -> None:
    """Opcodes of every kind, an expiry in seconds and one in milliseconds; only expiries mean something."""
    noise = (
        b"\xf4\x01\x02\x03" + b"\xf5\x03lib" + b"\xf7\x05\x02\x01\x05\x01x\x00" + b"\xfa\x01a\x01b" + b"\xfb\x01\x01"
    )
    records = (
        b"\xfd" + struct.pack("<i", 2_000_000_000) + b"\xf8\x41\x00" + b"\x00\x01a\x01v"
        b"\xfc" + struct.pack("<q", FAR) + b"\xf9\x07" + b"\x00\x01b\x01v"
        b"\xf8\x05" + b"\x00\x01c\x01v"
    )  # fmt: skip
    found = rows(split(rdb(noise, b"\xfe\x00", noise, records, noise, records.replace(b"\x01a", b"\x01A"), noise)))
    assert {key: row.expiry for (_, key), row in found.items()} == {
        b"a": 2_000_000_000_000, b"A": 2_000_000_000_000, b"b": FAR, b"c": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    "data", [b"", b"REDIS", b"HTTP/1.1 200 OK", b"REDISxxxx" + bytes(20), b"OTHER0011" + bytes(20)]
)
def test_what_is_no_rdb_is_refused(data: bytes) -> None:
    """Anything that does not begin as an RDB is an error."""
    with pytest.raises(SourceUnavailable, match="damaged"):
        split(data)


def test_what_goes_on_behind_the_end_is_refused() -> None:
    """Bytes behind the checksum are an error: somebody counted wrong."""
    with pytest.raises(SourceUnavailable, match="goes on"):
        split(rdb(b"\xfe\x00\x00\x01k\x01v") + b"x")


def test_a_record_outside_of_every_database_is_refused() -> None:
    """No record is taken for one of a database that was not named."""
    with pytest.raises(SourceUnavailable, match="outside"):
        split(rdb(b"\x00\x01k\x01v"))
