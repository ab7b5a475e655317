"""COLD is what its cut listed, whatever becomes of the objects before they are read; what cannot be so is counted."""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest

from strata.model.record import LARGE_VALUE
from strata.model.scope import Scope
from strata.sources import s3_cut
from strata.sources.port import AfterCut
from strata.sources.s3_cold import S3Cold
from strata.sources.s3_read import ColdSession
from tests.s3_proxy import Spoil, spoiling_proxy
from tests.sources.s3_objects import EVERYTHING, MIB, Seen, Service, make_old, seen_in

LARGE = LARGE_VALUE + 9 * MIB
BEFORE = {"changes": b"before", "grows": b"before", "goes": b"before", "is/large": b"b" * LARGE, "stays": b"before"}
"""Objects at the cut."""


@pytest.fixture(params=["moto", "rclone"])
def plain(request: pytest.FixtureRequest) -> tuple[Service, str]:
    """A service with a bucket that keeps no versions."""
    name = "moto_bucket" if request.param == "moto" else "bucket"
    return request.getfixturevalue(request.param), request.getfixturevalue(name)


@pytest.fixture
def versioned(moto: Service, moto_bucket: str) -> tuple[Service, str]:
    """A bucket that keeps versions."""
    moto.client.put_bucket_versioning(Bucket=moto_bucket, VersioningConfiguration={"Status": "Enabled"})
    return moto, moto_bucket


def fill(where: Service, bucket: str, objects: dict[str, bytes]) -> None:
    """Put objects below the prefix."""
    for name, body in objects.items():
        where.client.put_object(Bucket=bucket, Key=f"cold/{name}", Body=body, Metadata={"of": "before"})


def go_on(where: Service, bucket: str) -> None:
    """What an application does after the cut: change, grow, remove, replace a large object, add."""
    fill(where, bucket, {"changes": b"later!", "grows": b"g" * LARGE, "is/large": b"l" * LARGE, "comes": b"later!"})
    where.client.delete_object(Bucket=bucket, Key="cold/goes")


def read_after(source: S3Cold, change: Callable[[], None]) -> tuple[dict[str, bytes], AfterCut]:
    """What is read of a cut after a change, and what was told of it."""
    with source.connect() as session:
        session.cut()
        change()
        found = read(session)
        return {name: seen.value for name, seen in found.items()}, session.after_cut()


def read(session: ColdSession, scope: Scope = EVERYTHING) -> dict[str, Seen]:
    """All that a session gives."""
    return {key.decode(): seen for item in session.read(scope) for key, seen in seen_in(item).items()}


def test_a_bucket_without_versions_tells_what_changed_after_the_cut(plain: tuple[Service, str]) -> None:
    """What changed comes as it is now, what went is left out, both are counted; what came is not in it."""
    where, bucket = plain
    fill(where, bucket, BEFORE)
    began = time.monotonic()
    found, after = read_after(where.cold(f"{bucket}/cold"), lambda: go_on(where, bucket))
    assert found == {"changes": b"later!", "grows": b"g" * LARGE, "is/large": b"l" * LARGE, "stays": b"before"}
    assert (after.changed, after.gone) == (3, 1)
    assert after.until is not None
    assert began < after.until <= time.monotonic()


def test_a_bucket_with_versions_is_read_as_it_was_at_the_cut(versioned: tuple[Service, str]) -> None:
    """Changed, replaced and removed objects, small and large, come as they were listed; nothing has to be told."""
    where, bucket = versioned
    fill(where, bucket, BEFORE)
    found, after = read_after(where.cold(f"{bucket}/cold"), lambda: go_on(where, bucket))
    assert found == BEFORE
    assert after == AfterCut()


def test_an_object_with_the_same_bytes_and_other_metadata_is_read_as_it_was(versioned: tuple[Service, str]) -> None:
    """The ETag is of the content alone, so the time of the change counts too."""
    where, bucket = versioned
    fill(where, bucket, {"same": b"bytes"})
    make_old(bucket)  # services tell whole seconds
    with where.cold(f"{bucket}/cold").connect() as session:
        session.cut()
        where.client.put_object(Bucket=bucket, Key="cold/same", Body=b"bytes", Metadata={"of": "later"})
        (seen,) = read(session).values()
        assert seen.attrs["metadata"] == {"of": "before"}
        assert session.after_cut() == AfterCut()


@pytest.mark.parametrize("refused", ["listing", "reading"])
def test_versions_that_may_not_be_seen_are_told_as_changes(versioned: tuple[Service, str], refused: str) -> None:
    """Credentials that may read objects and not their versions: what changed is counted, and nothing fails."""
    where, bucket = versioned
    fill(where, bucket, BEFORE)

    def choose(_: str, path: str) -> Spoil | None:
        asked = parse_qs(urlsplit(path).query, keep_blank_values=True)
        denied = "versions" in asked if refused == "listing" else "versionId" in asked
        return Spoil(403, "AccessDenied") if denied else None

    with spoiling_proxy(where.endpoint, choose) as endpoint:
        source = Service(endpoint, where.key, where.secret).cold(f"{bucket}/cold")
        found, after = read_after(source, lambda: go_on(where, bucket))
    assert found["changes"] == b"later!"
    assert "goes" not in found
    assert (after.changed, after.gone) == (3, 1)


def test_only_objects_that_changed_cost_further_requests(versioned: tuple[Service, str]) -> None:
    """One for the listing and one for each object as ever; two more for one that changed."""
    where, bucket = versioned
    fill(where, bucket, {f"{number}": b"before" for number in range(5)})
    asked: list[str] = []

    def choose(method: str, path: str) -> None:
        query = parse_qs(urlsplit(path).query, keep_blank_values=True)
        kinds = ("list-type", "versions", "versionId")
        asked.append(next((kind for kind in kinds if kind in query), method))

    with spoiling_proxy(where.endpoint, choose) as endpoint:
        source = Service(endpoint, where.key, where.secret).cold(f"{bucket}/cold")
        read_after(source, lambda: fill(where, bucket, {"3": b"later!"}))
    assert sorted(asked) == ["GET"] * 5 + ["list-type", "versionId", "versions"]


def test_what_there_was_no_time_to_list_in_the_cut_is_listed_later_and_told(
    plain: tuple[Service, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cut takes its pages and no more; the moment that the content is of reaches to the end of the listing."""
    where, bucket = plain
    monkeypatch.setattr(s3_cut, "_PAGES", 1)
    fill(where, bucket, {"a": b"", "b": b""})
    scope = Scope(("a*", "b*"))  # a listing each
    with where.cold(f"{bucket}/cold").connect() as session:
        session.cut(scope)
        cut = time.monotonic()
        assert set(read(session, scope)) == {"a", "b"}
        until = session.after_cut().until
    assert until is not None
    assert until > cut
