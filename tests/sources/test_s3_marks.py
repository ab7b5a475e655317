"""COLD compared with what a parent holds: what is as it was is named and not read, and nothing else is."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from strata.errors import SourceError
from strata.model.record import LargeValue
from strata.model.scope import Scope
from strata.sources.port import Reading
from strata.sources.s3_bucket import Entry
from strata.sources.s3_cold import S3Cold
from strata.sources.s3_marks import mark_of
from tests.s3_proxy import spoiling_proxy
from tests.sources.s3_objects import (
    EVERYTHING,
    MIB,
    SECRET,
    Compared,
    Held,
    Service,
    compare,
    hold,
    make_old,
    marks_in,
    put,
    read_all,
)
from workers.local_stack.servers import S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

Fill = Callable[[dict[str, int]], tuple["S3Client", str, S3Cold]]
SIZES = {"empty": 0, "row": 10, "other": 20, "large": 2 * MIB, "huge": 20 * MIB}
NAMES = {name.encode() for name in SIZES}


def test_what_has_not_changed_is_named_and_not_read(filled: Fill) -> None:
    """Every object gets a mark, and one whose mark the parent holds is Unchanged, whatever its size."""
    _, _, source = filled(SIZES)
    held = hold(source)
    assert set(held.kept) == NAMES
    assert all(mark and len(mark) == 16 for mark in held.kept.values())
    found = compare(source, held)
    assert (set(found.unchanged), found.read, found.claimed) == (NAMES, {}, {})


def test_what_has_not_changed_is_not_asked_for(moto: Service, moto_bucket: str) -> None:
    """A reading of nothing new consists of listings: no object is requested."""
    put(moto.client, moto_bucket, "deep/a", "deep/b")
    make_old(moto_bucket)
    held = hold(moto.cold(moto_bucket))
    paths: list[str] = []
    with spoiling_proxy(moto.endpoint, lambda _, path: paths.append(path)) as endpoint:
        held.description["endpoint"] = endpoint.removeprefix("http://")
        found = compare(Service(endpoint, "k", SECRET).cold(moto_bucket), held)
    assert found == Compared(unchanged=[b"deep/a", b"deep/b"])
    assert len(paths) == 1  # of the cut
    assert all("list-type=2" in path for path in paths)


def test_what_is_new_changed_or_gone_is_told_from_the_rest(filled: Fill) -> None:
    """Overwritten objects (of the same size, too) and new ones are read, deleted ones are not there."""
    client, bucket, source = filled({**SIZES, "gone": 5, "grows": 5})
    held = hold(source)
    client.put_object(Bucket=bucket, Key="row", Body=b"1234567890")
    client.put_object(Bucket=bucket, Key="large", Body=os.urandom(2 * MIB))
    client.put_object(Bucket=bucket, Key="grows", Body=os.urandom(9 * MIB))
    client.put_object(Bucket=bucket, Key="new", Body=b"")
    client.delete_object(Bucket=bucket, Key="gone")
    found = compare(source, held)
    assert set(found.read) == {b"row", b"large", b"grows", b"new"}
    assert set(found.unchanged) == {b"empty", b"other", b"huge"}
    assert all(found.read[key] != held.kept.get(key) for key in found.read)
    assert None not in found.read.values()
    assert not found.claimed


def test_the_same_content_written_again_is_read_again(filled: Fill) -> None:
    """A rewrite may have changed what the ETag does not cover, so a later time is a change."""
    client, bucket, source = filled({"a": 10, "b": 10})
    held = hold(source)
    client.put_object(Bucket=bucket, Key="a", Body=bytes(10))
    found = compare(source, held)
    assert (set(found.read), found.unchanged) == ({b"a"}, [b"b"])


def test_a_change_of_the_metadata_alone_is_a_change(moto: Service, moto_bucket: str) -> None:
    """An object copied onto itself with other metadata is read, with the new metadata."""
    put(moto.client, moto_bucket, "a", "b")
    make_old(moto_bucket)
    source = moto.cold(moto_bucket)
    held = hold(source)
    moto.client.copy_object(
        Bucket=moto_bucket, Key="a", CopySource=f"{moto_bucket}/a", Metadata={"owner": "x"}, MetadataDirective="REPLACE"
    )
    assert set(compare(source, held).read) == {b"a"}
    assert read_all(source)[b"a"].attrs["metadata"] == {"owner": "x"}


@pytest.mark.parametrize("changed", [[], [7], [0, 999, 1000, 2499]])
def test_many_pages_are_compared_page_by_page(
    seeded: Callable[..., tuple[S3Server, S3Cold]], changed: list[int]
) -> None:
    """Of 2,500 objects the marks are looked up a page at a time; the changed ones are read, wherever they stand."""
    server, source = seeded({f"k{number:04}": 3 for number in range(2500)})
    held = hold(source)
    client = Service(server.endpoint, server.access_key, server.secret_key).client
    names = {b"k%04d" % number for number in changed}
    for name in names:
        client.put_object(Bucket="bkt", Key=name.decode(), Body=b"new")
    found = compare(source, held)
    assert held.asked == [1000, 1000, 500]
    assert set(found.read) == names
    assert len(found.unchanged) == 2500 - len(names)


def test_a_full_reading_tests_what_it_would_have_named(filled: Fill) -> None:
    """With Reading.EVERYTHING all is read: what the marks call unchanged comes as Claimed, the rest as it is."""
    client, bucket, source = filled(SIZES)
    held = hold(source, reading=Reading.EVERYTHING)
    client.put_object(Bucket=bucket, Key="row", Body=b"1234567890")
    client.put_object(Bucket=bucket, Key="new", Body=bytes(2 * MIB))
    found = compare(source, held)
    assert set(found.read) == {b"row", b"new"}
    assert found.claimed == {key: mark for key, mark in held.kept.items() if key != b"row"}
    assert not found.unchanged


def test_what_changes_after_the_listing_is_read_again_next_time(
    seeded: Callable[..., tuple[S3Server, S3Cold]],
) -> None:
    """An object that is not as it was listed has no mark, and is not claimed to be as it was."""
    server, source = seeded({"a": 24 * MIB, "y": 10, "z": 20 * MIB}, threads=1)
    client = Service(server.endpoint, server.access_key, server.secret_key).client
    held = hold(source, reading=Reading.EVERYTHING)
    with source.connect() as session:
        items = session.read(EVERYTHING, held)
        first = next(items)
        client.put_object(Bucket="bkt", Key="y", Body=b"1234567890")
        client.put_object(Bucket="bkt", Key="z", Body=bytes(2 * MIB))
        assert list(marks_in(first)) == [b"a"]
        rest = {key: (type(item), mark) for item in items for key, mark in marks_in(item).items()}
    assert {key: mark for key, (_, mark) in rest.items()} == {b"y": None, b"z": None}
    assert rest[b"z"][0] is LargeValue
    held.kept |= {b"y": None, b"z": None}
    assert set(compare(source, held).read) == {b"y", b"z"}


def test_what_changed_about_the_time_of_the_cut_is_read_once_more(moto: Service, moto_bucket: str) -> None:
    """A change of metadata in the second of the cut has the old mark, and is seen; a later cut makes an end of it."""
    put(moto.client, moto_bucket, "a", "b")
    source = moto.cold(moto_bucket)
    held = hold(source)
    assert set(compare(source, held).read) == {b"a", b"b"}
    held.cut["time"] = (datetime.fromisoformat(held.cut["time"]) + timedelta(seconds=10)).isoformat()
    assert set(compare(source, held).unchanged) == {b"a", b"b"}


@pytest.mark.parametrize(
    ("where", "what"),
    [("description", "bucket"), ("description", "prefix"), ("description", "endpoint"), ("cut", "time")],
)
def test_a_parent_of_another_place_tells_nothing(filled: Fill, where: str, what: str) -> None:
    """Marks of another bucket, prefix or endpoint, or of an unknown time, are not looked at: all is read."""
    _, _, source = filled({"a": 1, "large": 2 * MIB})
    held = hold(source)
    documents: dict[str, Any] = {"description": held.description, "cut": held.cut}
    documents[where][what] = "another" if where == "description" else None
    found = compare(source, held)
    assert set(found.read) == {b"a", b"large"}
    assert not held.asked


def test_a_parent_of_a_folder_above_tells_nothing(moto: Service, moto_bucket: str) -> None:
    """A name below one prefix is not taken for the same name below another."""
    put(moto.client, moto_bucket, "x", "deep/x")
    make_old(moto_bucket)
    assert set(compare(moto.cold(f"{moto_bucket}/deep"), hold(moto.cold(moto_bucket))).read) == {b"x"}


def test_a_scope_is_compared_like_everything(filled: Fill) -> None:
    """Only objects of the scope are named or read."""
    client, bucket, source = filled({"model:1": 1, "model:2": 2, "order:1": 3, "config": 4, "other": 5})
    scope = Scope(("model:*", "order:?", "config"))
    held = hold(source, scope)
    client.put_object(Bucket=bucket, Key="model:2", Body=b"22")
    client.put_object(Bucket=bucket, Key="other:2", Body=b"22")
    found = compare(source, held, scope)
    assert (set(found.read), set(found.unchanged)) == ({b"model:2"}, {b"model:1", b"order:1", b"config"})


@pytest.mark.parametrize("reading", list(Reading))
def test_an_archived_object_need_not_be_readable_while_it_is_as_it_was(
    moto: Service, moto_bucket: str, reading: Reading
) -> None:
    """What was read before it went to an archive is Unchanged there, even in a full reading."""
    put(moto.client, moto_bucket, "a")
    moto.client.put_object(Bucket=moto_bucket, Key="old", Body=b"x", StorageClass="GLACIER")
    make_old(moto_bucket)
    source = moto.cold(moto_bucket)
    held = hold(source, Scope(("a",)), reading)
    (listed,) = moto.client.list_objects_v2(Bucket=moto_bucket, Prefix="old")["Contents"]
    entry = Entry("old", listed["Size"], listed["ETag"], listed["LastModified"], "STANDARD")
    held.kept[b"old"] = mark_of(entry)
    found = compare(source, held)
    assert found.unchanged == [b"old"] if reading is Reading.EVERYTHING else [b"a", b"old"]
    moto.client.put_object(Bucket=moto_bucket, Key="old", Body=b"y", StorageClass="GLACIER")
    with pytest.raises(SourceError, match="1 archived objects"):
        compare(source, held)


def test_an_object_without_a_version_has_no_mark() -> None:
    """Where a listing shows no ETag, and for nothing else, there is no mark; each part of a version makes another."""
    time = datetime(2026, 1, 2, tzinfo=UTC)
    assert mark_of(Entry("k", 1, "", time, "STANDARD")) is None
    versions = [
        ("e", 1, time, "STANDARD"), ("f", 1, time, "STANDARD"), ("e", 2, time, "STANDARD"),
        ("e", 1, time + timedelta(seconds=1), "STANDARD"), ("e", 1, time, "GLACIER"),
    ]  # fmt: skip
    marks = [mark_of(Entry("k", size, etag, modified, kind)) for etag, size, modified, kind in versions]
    assert len(set(marks)) == 4
    assert marks[0] == marks[4] == mark_of(Entry("other", 1, "e", time, "STANDARD"))


def test_a_baseline_travels_as_json(moto: Service, moto_bucket: str) -> None:
    """What a session says of itself is still the same place after it was written down."""
    put(moto.client, moto_bucket, "a")
    make_old(moto_bucket)
    source = moto.cold(moto_bucket)
    held = hold(source)
    kept = Held(json.loads(json.dumps(held.cut)), json.loads(json.dumps(held.description)), kept=held.kept)
    assert compare(source, kept).unchanged == [b"a"]
