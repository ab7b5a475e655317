"""COLD, read as records and written back: what an object is survives the round trip."""

from __future__ import annotations

import json
import os
import threading
import tracemalloc
from collections.abc import Callable, Generator

import pytest

from strata.content.marks import PartMarker
from strata.model.coverage import Parts
from strata.model.record import LARGE_VALUE, LargeValue
from strata.model.scope import Scope
from strata.model.tier import Tier
from strata.planning.parts import lost
from strata.sources.port import ApplyCounts, RestoreMode
from strata.sources.s3_cold import S3Cold
from tests.sources.s3_objects import EVERYTHING, MIB, Service, copy, names_in, put, read_all
from workers.local_stack.servers import S3Server

ODD_NAMES = [
    "plain", "a b", " lead", "trail ", "ü/日本/🎉", "x//y", "/lead", "pl+us", "per%cent", "per%20x", "am&p", "q?uest",
    "h#ash", 'quo"te', "'", "<xml>", "*star", "[b]", "back\\slash", "ctl\x01x", "tab\tx", "cr\rx", "\x7f", "dir/",
    "deep//", "./dot", "a/../b", "a/./b", ".", "..", "\u2028", "\ufffe", "~t",
]  # fmt: skip


def threads_of_s3() -> int:
    return sum(thread.name.startswith("s3_") for thread in threading.enumerate())


def test_an_object_is_read_with_all_that_belongs_to_it(moto: Service, moto_bucket: str) -> None:
    """Body, content type, headers, user metadata and storage class are in the record; the ETag is not."""
    moto.client.put_object(
        Bucket=moto_bucket, Key="models/a", Body=b"weights", ContentType="application/x-model", ContentEncoding="gzip",
        CacheControl="no-cache", ContentDisposition="attachment", ContentLanguage="de", StorageClass="STANDARD_IA",
        Metadata={"Owner": "bot v2", "empty": ""},
    )  # fmt: skip
    with moto.cold(f"{moto_bucket}/models").connect() as session:
        (batch,) = session.read(EVERYTHING)
    (row,) = batch.to_pylist()
    assert (row["namespace"], row["key"], row["value"], row["encoding"]) == ("", b"a", b"weights", "s3/object")
    assert row["expires_at"] is None
    assert row["modified_at"].tzinfo is not None
    assert row["attrs"] == (
        '{"cache_control":"no-cache","content_disposition":"attachment","content_encoding":"gzip",'
        '"content_language":"de","content_type":"application/x-model",'
        '"metadata":{"empty":"","owner":"bot v2"},"storage_class":"STANDARD_IA"}'
    )


def test_a_restored_bucket_reads_as_the_one_it_came_from(moto: Service, moto_bucket: str) -> None:
    """Headers, metadata, storage class, small, empty and large objects come back as they were."""
    client = moto.client
    client.put_object(Bucket=moto_bucket, Key="old/empty", Body=b"")
    client.put_object(Bucket=moto_bucket, Key="old/row", Body=os.urandom(LARGE_VALUE), StorageClass="STANDARD_IA")
    client.put_object(Bucket=moto_bucket, Key="old/large", Body=os.urandom(LARGE_VALUE + 1), ContentType="text/x")
    client.put_object(
        Bucket=moto_bucket, Key="old/huge", Body=os.urandom(40 * MIB), ContentType="x/y", Metadata={"owner": "bot v2"}
    )
    source, target = moto.cold(f"{moto_bucket}/old"), moto.cold(f"{moto_bucket}/new")
    counts = copy(source, target)
    before = read_all(source)
    assert read_all(target) == before
    assert {key: seen.large for key, seen in before.items()} == {
        b"empty": False, b"row": False, b"large": True, b"huge": True,
    }  # fmt: skip
    assert counts == ApplyCounts(written=4, bytes=42 * MIB + 1)


def test_odd_names_come_back_as_they_were(moto: Service, moto_bucket: str) -> None:
    """Names with controls, percent signs, double slashes, dots, emoji and a final slash survive the round trip."""
    put(moto.client, moto_bucket, *(f"old/{name}" for name in ODD_NAMES))
    source, target = moto.cold(f"{moto_bucket}/old/"), moto.cold(f"{moto_bucket}/new/")
    copy(source, target)
    found = read_all(target)
    assert {key.decode() for key in found} == set(ODD_NAMES)
    assert all(seen.value == b"old/" + key for key, seen in found.items())


def test_odd_names_are_removed_as_well(moto: Service, moto_bucket: str) -> None:
    """An exact restore removes names that the XML of a delete request cannot hold."""
    put(moto.client, moto_bucket, "old/kept", *(f"new/{name}" for name in ODD_NAMES))
    counts = copy(moto.cold(f"{moto_bucket}/old"), moto.cold(f"{moto_bucket}/new"), RestoreMode.EXACT)
    assert (counts.written, counts.removed) == (1, len(ODD_NAMES))
    assert names_in(moto.client, moto_bucket) == ["new/kept", "old/kept"]


def test_a_listing_of_many_pages_is_read_to_its_end(seeded: Callable[..., tuple[S3Server, S3Cold]]) -> None:
    """1,050 objects, more than one page holds, are all read, in batches of at most 1,000 rows."""
    _, source = seeded({f"k{number:04}": number % 3 for number in range(1050)})
    with source.connect() as session:
        batches = list(session.read(EVERYTHING))
    assert [batch.num_rows for batch in batches] == [1000, 50]
    keys = {key for batch in batches for key in batch.column("key").to_pylist()}
    assert keys == {b"k%04d" % number for number in range(1050)}


def test_bytes_round_trip_on_a_plain_service(rclone: Service, bucket: str) -> None:
    """On a service of weak semantics bodies of every size class come back, and extra objects go."""
    bodies = {"empty": b"", "row": os.urandom(1000), "large": os.urandom(3 * MIB), "huge": os.urandom(21 * MIB)}
    for name, body in bodies.items():
        rclone.client.put_object(Bucket=bucket, Key=f"old/{name}", Body=body)
    put(rclone.client, bucket, "new/extra", "new/deep/extra")
    source, target = rclone.cold(f"{bucket}/old"), rclone.cold(f"{bucket}/new")
    counts = copy(source, target, RestoreMode.EXACT)
    assert {key.decode(): seen.value for key, seen in read_all(target).items()} == bodies
    assert (counts.written, counts.removed) == (4, 2)


@pytest.mark.parametrize(("mode", "removed"), [(RestoreMode.EXACT, 2), (RestoreMode.OVERLAY, 0)])
def test_only_an_exact_restore_removes_and_only_in_its_scope(
    moto: Service, moto_bucket: str, mode: RestoreMode, removed: int
) -> None:
    """EXACT removes what the backup lacks within the scope; OVERLAY, other keys and other prefixes are left alone."""
    put(moto.client, moto_bucket, "old/model:1", "new/model:1", "new/model:2", "new/model:x/3", "new/other", "newer")
    source, target = moto.cold(f"{moto_bucket}/old"), moto.cold(f"{moto_bucket}/new")
    counts = copy(source, target, mode, Scope(("model:*",)))
    assert (counts.written, counts.removed) == (1, removed)
    assert read_all(target)[b"model:1"].value == b"old/model:1"
    gone = {"new/model:2", "new/model:x/3"} if removed else set()
    every = {"old/model:1", "new/model:1", "new/model:2", "new/model:x/3", "new/other", "newer"}
    assert set(names_in(moto.client, moto_bucket)) == every - gone


def test_a_scope_covers_keys_below_the_prefix(moto: Service, moto_bucket: str) -> None:
    """Globs match the whole key, with case, across slashes; the prefix's own folder marker is no record."""
    put(moto.client, moto_bucket, "cold/", "cold/Model:1", "cold/model:1", "cold/model:a/b", "cold/x/model:1", "colder")
    source = moto.cold(f"{moto_bucket}/cold")
    assert set(read_all(source, Scope(("model:*",)))) == {b"model:1", b"model:a/b"}
    assert set(read_all(source, Scope(("*/model:?", "[M]odel:1")))) == {b"x/model:1", b"Model:1"}
    assert set(read_all(source)) == {b"Model:1", b"model:1", b"model:a/b", b"x/model:1"}


def test_cut_and_description_hold_what_a_restore_needs(moto: Service, moto_bucket: str) -> None:
    """They are JSON: the service's time, bucket, prefix, host and versioning; no credentials."""
    source = moto.cold(f"{moto_bucket}/cold")
    with source.connect() as session:
        cut, description = session.cut(), session.describe()
    assert cut["method"] == "listing"
    assert cut["time"].endswith("+00:00")
    host = moto.endpoint.removeprefix("http://")
    assert description == {
        "bucket": moto_bucket,
        "prefix": "cold/",
        "endpoint": host,
        "versioned": False,
        "parts": [["cold/"]],
    }
    assert source.tier is Tier.COLD
    source.check(json.loads(json.dumps(description)))


@pytest.mark.parametrize(
    ("before", "now", "lacking"),
    [("", "cold", 1), ("cold", "cold/sub", 1), ("cold/sub", "cold", 0), ("cold", "", 0), ("cold", "colder", 1)],
)
def test_a_narrower_prefix_is_seen_and_a_wider_one_covers_it(
    moto: Service, moto_bucket: str, before: str, now: str, lacking: int
) -> None:
    """By what the descriptions tell of their parts, without a name of them."""
    marks = []
    for prefix in (before, now):
        with moto.cold(f"{moto_bucket}/{prefix}").connect() as session:
            session.cut()
            marks.append(PartMarker(bytes(32)).marks("cold", session.describe()["parts"]))
    assert lost(Parts("k", marks[0]), Parts("k", marks[1])) == lacking


def test_a_reading_that_is_closed_early_leaves_no_threads(seeded: Callable[..., tuple[S3Server, S3Cold]]) -> None:
    """Closing the stream, or the session around it, ends the threads that read ahead."""
    _, source = seeded({f"k{number}": 12 * MIB for number in range(9)})
    with source.connect() as session:
        items = session.read(EVERYTHING)
        next(items)
        assert threads_of_s3() > 0
        assert isinstance(items, Generator)
        items.close()
        assert threads_of_s3() == 0
        left_open = session.read(EVERYTHING)
        next(left_open)
    assert threads_of_s3() == 0


def test_memory_is_bounded_whatever_an_object_weighs(seeded: Callable[..., tuple[S3Server, S3Cold]]) -> None:
    """Reading 200 MiB in one object and 40 MiB in many holds 4 threads times 8 MiB and a batch, not more."""
    _, source = seeded({"a": 200 * MIB, **{f"k{number:03}": MIB for number in range(40)}})
    total = 0
    with source.connect() as session:
        session.cut()
        tracemalloc.start()
        for item in session.read(EVERYTHING):
            total += sum(map(len, item.parts)) if isinstance(item, LargeValue) else item.nbytes
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert total >= 240 * MIB
    assert peak < 60 * MIB
