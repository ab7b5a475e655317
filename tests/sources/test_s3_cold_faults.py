"""COLD when objects change, requests fail and services are away: an error, never a shorter or mixed state."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from strata.errors import SourceError, SourceUnavailable
from strata.model.record import LARGE_VALUE, LargeValue
from strata.sources.port import RestoreMode
from strata.sources.s3_cold import S3Cold
from strata.testing import always
from tests.s3_proxy import Spoil, spoiling_proxy
from tests.sources.s3_objects import (
    EVERYTHING,
    MIB,
    SECRET,
    SOURCE,
    Seen,
    Service,
    copy,
    names_in,
    put,
    read_all,
    seen_in,
)
from workers.local_stack.servers import S3Server, free_port


def test_an_object_that_goes_after_the_listing_is_left_out(seeded: Callable[..., tuple[S3Server, S3Cold]]) -> None:
    """What was deleted before its turn is no record and no error, small or large."""
    server, source = seeded({"a": 24 * MIB, "y": 10, "z": 2 * MIB}, threads=1)
    client = Service(server.endpoint, server.access_key, server.secret_key).client
    with source.connect() as session:
        items = session.read(EVERYTHING)
        first = next(items)
        client.delete_object(Bucket="bkt", Key="y")
        client.delete_object(Bucket="bkt", Key="z")
        assert list(seen_in(first)) == [b"a"]
        assert list(items) == []


@pytest.mark.parametrize("size", [0, 10, 3 * MIB])
def test_a_large_object_that_changes_before_its_turn_is_read_as_it_is_now(
    seeded: Callable[..., tuple[S3Server, S3Cold]], size: int
) -> None:
    """An object listed as large and replaced before it was begun is read anew, as a row where it has shrunk."""
    server, source = seeded({"a": 24 * MIB, "z": 20 * MIB}, threads=1)
    client = Service(server.endpoint, server.access_key, server.secret_key).client
    with source.connect() as session:
        items = session.read(EVERYTHING)
        first = next(items)
        client.put_object(Bucket="bkt", Key="z", Body=b"n" * size)
        assert list(seen_in(first)) == [b"a"]
        (last,) = (seen_in(item) for item in items)
    assert last[b"z"].value == b"n" * size
    assert last[b"z"].large == (size > LARGE_VALUE)


def test_a_small_object_that_grows_before_its_turn_is_read_as_a_large_one(
    seeded: Callable[..., tuple[S3Server, S3Cold]],
) -> None:
    """An object listed as small that has grown beyond a row comes as a stream of parts."""
    server, source = seeded({"a": 24 * MIB, "z": 10}, threads=1)
    client = Service(server.endpoint, server.access_key, server.secret_key).client
    with source.connect() as session:
        items = session.read(EVERYTHING)
        first = next(items)
        client.put_object(Bucket="bkt", Key="z", Body=b"n" * (9 * MIB))
        seen_in(first)
        (last,) = (seen_in(item) for item in items)
    assert last[b"z"] == Seen(b"n" * (9 * MIB), last[b"z"].attrs, large=True)


def test_an_object_that_changes_half_way_is_never_a_mixture(moto: Service, moto_bucket: str) -> None:
    """Without versions a large object that is replaced while it is read fails the reading, and a retry may help."""
    moto.client.put_object(Bucket=moto_bucket, Key="a", Body=b"1" * (24 * MIB))
    with moto.cold(moto_bucket, threads=1).connect() as session:
        items = session.read(EVERYTHING)
        item = next(items)
        moto.client.put_object(Bucket=moto_bucket, Key="a", Body=b"2" * (24 * MIB))
        with pytest.raises(SourceUnavailable, match="changed a large object"):
            seen_in(item)


def test_in_a_versioned_bucket_the_version_that_was_begun_is_read_to_its_end(moto: Service, moto_bucket: str) -> None:
    """With versions a large object that is replaced or deleted while it is read comes as it was."""
    moto.client.put_bucket_versioning(Bucket=moto_bucket, VersioningConfiguration={"Status": "Enabled"})
    moto.client.put_object(Bucket=moto_bucket, Key="a", Body=b"1" * (24 * MIB))
    with moto.cold(moto_bucket, threads=1).connect() as session:
        assert session.describe()["versioned"] is True
        for item in session.read(EVERYTHING):
            moto.client.put_object(Bucket=moto_bucket, Key="a", Body=b"2" * (24 * MIB))
            assert seen_in(item)[b"a"].value == b"1" * (24 * MIB)


def test_a_large_value_that_was_not_read_does_not_disturb_the_next(
    seeded: Callable[..., tuple[S3Server, S3Cold]],
) -> None:
    """Taking the next item drops the rest of a large value, which then raises instead of ending early."""
    _, source = seeded({"a": 24 * MIB, "b": 2 * MIB, "c": 5})
    with source.connect() as session:
        items = session.read(EVERYTHING)
        unread = next(items)
        rest = [key for item in items for key in seen_in(item)]
    assert isinstance(unread, LargeValue)
    assert rest == [b"b", b"c"]
    with pytest.raises(SourceError, match="read on"):
        list(unread.parts)


def test_a_server_that_dies_half_way_is_an_error_and_no_end(seeded: Callable[..., tuple[S3Server, S3Cold]]) -> None:
    """A service killed in the middle of a reading raises SourceUnavailable; the stream never just ends."""
    server, source = seeded({f"k{number:03}": 2 * MIB for number in range(60)})
    seen = 0
    with source.connect() as session, pytest.raises(SourceUnavailable) as caught:  # noqa: PT012
        for item in session.read(EVERYTHING):
            seen += len(seen_in(item))
            server.stop()
    assert 0 < seen < 60
    assert server.secret_key not in str(caught.value)
    assert "k0" not in str(caught.value)


def test_a_body_that_breaks_off_is_asked_for_again(moto: Service, moto_bucket: str) -> None:
    """One broken answer is made good by another request; an object that always breaks off fails the reading."""
    moto.client.put_object(Bucket=moto_bucket, Key="deep/a", Body=b"x" * 100_000)

    def always(_: str, path: str) -> Spoil | None:
        return Spoil(answer_bytes=1000) if "deep/a" in path else None

    broken = Spoil(answer_bytes=50_000)
    left = [broken]
    with spoiling_proxy(moto.endpoint, lambda _, path: left.pop() if "deep/a" in path and left else None) as endpoint:
        assert read_all(Service(endpoint, "k", SECRET).cold(moto_bucket))[b"deep/a"].value == b"x" * 100_000
    with spoiling_proxy(moto.endpoint, always) as endpoint, pytest.raises(SourceUnavailable, match="to the end"):
        read_all(Service(endpoint, "k", SECRET).cold(moto_bucket))


def test_an_object_that_is_listed_and_not_given_is_an_error(moto: Service, moto_bucket: str) -> None:
    """A service that lists an object and then does not find it fails the reading: the object may be there."""
    put(moto.client, moto_bucket, "deep/a", "deep/b")

    def choose(_: str, path: str) -> Spoil | None:
        return Spoil(status=404) if "deep/a" in path and "prefix" not in path else None

    with spoiling_proxy(moto.endpoint, choose) as endpoint, pytest.raises(SourceError, match="does not give") as caught:
        read_all(Service(endpoint, "k", SECRET).cold(moto_bucket))
    assert "deep/a" not in str(caught.value)


def test_a_service_that_removes_one_by_one_only_is_served_so(moto: Service, moto_bucket: str) -> None:
    """Where a request that removes many objects is not known, each is removed by itself."""
    put(moto.client, moto_bucket, "old/a", "new/b", "new/c")

    def choose(method: str, _: str) -> Spoil | None:
        return Spoil(status=501) if method == "POST" else None

    with spoiling_proxy(moto.endpoint, choose) as endpoint:
        away = Service(endpoint, "k", SECRET)
        counts = copy(away.cold(f"{moto_bucket}/old"), away.cold(f"{moto_bucket}/new"), RestoreMode.EXACT)
    assert (counts.written, counts.removed) == (1, 2)
    assert names_in(moto.client, moto_bucket) == ["new/a", "old/a"]


def test_a_service_that_is_away_is_no_empty_tier() -> None:
    """Where nobody listens cut, read, check and restore raise SourceUnavailable."""
    source = S3Cold(
        "s3://bkt", endpoint=f"http://127.0.0.1:{free_port()}", access_key_id="k", secret_access_key=SECRET, attempts=1
    )
    with source.connect() as session:
        for ask in (session.cut, session.describe, lambda: list(session.read(EVERYTHING)), lambda: source.check({})):
            with pytest.raises(SourceUnavailable, match="cannot be reached"):
                ask()
    with source.apply({}, RestoreMode.OVERLAY, always) as application, pytest.raises(SourceUnavailable):  # noqa: PT012
        application.write_large(LargeValue("", b"k", SOURCE, 1, iter([b"x"])))
        application.finish(lambda _, keys: np.ones(len(keys), dtype=bool), EVERYTHING)


@pytest.mark.parametrize("service", ["moto", "rclone"])
def test_a_missing_bucket_is_an_error_for_good(service: str, request: pytest.FixtureRequest) -> None:
    """A bucket that does not exist fails reading and checking with a hint, and is not created."""
    where: Service = request.getfixturevalue(service)
    source = where.cold("no-such-bucket-here")
    with source.connect() as session:
        for ask in (session.cut, lambda: list(session.read(EVERYTHING)), lambda: source.check({})):
            with pytest.raises(SourceError, match="bucket does not exist") as caught:
                ask()
            assert not caught.value.retryable
            assert "Create the bucket" in caught.value.hint


def test_wrong_credentials_are_an_error_for_good_and_stay_secret(rclone: Service, bucket: str) -> None:
    """Refused credentials are not retried, and neither an error nor a repr shows them."""
    source = Service(rclone.endpoint, "wrong-key-id", "wrong-secret").cold(bucket)
    with source.connect() as session, pytest.raises(SourceError) as caught:
        list(session.read(EVERYTHING))
    assert not caught.value.retryable
    shown = f"{caught.value} {caught.value.hint} {source!r} {session!r} {vars(source)}"
    assert "wrong-secret" not in shown
    assert "wrong-key-id" not in shown


def test_archived_objects_are_counted_and_not_named(moto: Service, moto_bucket: str) -> None:
    """Objects in an archive class fail the reading for good; the sentence says how many, not which."""
    put(moto.client, moto_bucket, "a", "z")
    for name in ("secret-name-1", "secret-name-2"):
        moto.client.put_object(Bucket=moto_bucket, Key=name, Body=b"x", StorageClass="GLACIER")
    with moto.cold(moto_bucket).connect() as session, pytest.raises(SourceError, match="2 archived objects") as caught:
        list(session.read(EVERYTHING))
    assert not caught.value.retryable
    assert "secret-name" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    ("attrs", "reason"),
    [({"storage_class": "NO_SUCH"}, "InvalidStorageClass"), ({"metadata": {"name": "ü"}}, "cannot express")],
)
@pytest.mark.parametrize("size", [10, 17 * MIB])
def test_what_the_service_refuses_is_an_error_for_good(
    moto: Service, moto_bucket: str, attrs: dict[str, Any], reason: str, size: int
) -> None:
    """A storage class or metadata that cannot be written fails the restore with the reason."""
    value = LargeValue("", b"key", SOURCE, size, iter([b"x" * size]), attrs=json.dumps(attrs))
    with (  # noqa: PT012 - either call may notice first
        moto.cold(moto_bucket).apply({}, RestoreMode.OVERLAY, always) as application,
        pytest.raises(SourceError, match=reason) as caught,
    ):
        application.write_large(value)
        application.finish(lambda _, keys: np.ones(len(keys), dtype=bool), EVERYTHING)
    assert not caught.value.retryable


@pytest.mark.parametrize("broken", ["short", "raising"])
def test_a_large_upload_that_fails_is_taken_back(moto: Service, moto_bucket: str, broken: str) -> None:
    """A value that ends early or breaks off leaves neither an object nor parts of one."""

    def parts() -> Iterator[bytes]:
        yield b"x" * (20 * MIB)
        if broken == "raising":
            raise ZeroDivisionError

    value = LargeValue("", b"key", SOURCE, 40 * MIB, parts())
    with (
        moto.cold(moto_bucket).apply({}, RestoreMode.OVERLAY, always) as application,
        pytest.raises((SourceError, ZeroDivisionError)),
    ):
        application.write_large(value)
    assert names_in(moto.client, moto_bucket) == []
    assert not moto.client.list_multipart_uploads(Bucket=moto_bucket).get("Uploads")


def test_a_key_that_is_not_utf8_is_refused(moto: Service, moto_bucket: str) -> None:
    """A record of another tier whose key S3 cannot hold is an error that does not show it."""
    value = LargeValue("", b"\xff\xfe", SOURCE, 1, iter([b"x"]))
    with (
        moto.cold(moto_bucket).apply({}, RestoreMode.OVERLAY, always) as application,
        pytest.raises(SourceError, match="not UTF-8"),
    ):
        application.write_large(value)
