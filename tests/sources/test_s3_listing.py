"""What is listed for a scope: all of it, once, and as little else as its patterns' beginnings allow."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strata.model.scope import Scope
from strata.sources.glob import matcher
from strata.sources.port import RestoreMode
from strata.sources.s3_cold import S3Cold
from strata.sources.s3_listing import Listing, listings
from tests.s3_proxy import Spoil, spoiling_proxy
from tests.sources.s3_objects import SECRET, Service, copy, put, read_all

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

Fill = Callable[[dict[str, int]], tuple["S3Client", str, S3Cold]]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (("*",), [Listing()]),
        (("order:*", "*"), [Listing()]),
        (("*.bin", "order:*", "name"), [Listing()]),
        (("order:*", "position:?"), [Listing("order:"), Listing("position:")]),
        (("order:*", "order:1*", "order:[12]", "order:7"), [Listing("order:")]),
        (("portfolio", "portfolio:*"), [Listing("portfolio:"), Listing("portfolio", is_name=True)]),
        ((r"a\*b", "a[*"), [Listing("a")]),
        (("b", "a", "b"), [Listing("a", is_name=True), Listing("b", is_name=True)]),
        ((), []),
    ],
)
def test_a_pattern_is_listed_from_where_it_begins(patterns: tuple[str, ...], expected: list[Listing]) -> None:
    """The prefix is what stands before the first glob; a name is asked for alone; what lies within another is not."""
    assert listings(Scope(patterns)) == expected


TEXT = st.text("ab:*?[]\\^-", max_size=5)


@given(st.lists(TEXT, max_size=4), st.sets(st.text("ab:*?[]\\^-", min_size=1, max_size=5)))
def test_every_object_of_a_scope_is_listed_once(patterns: list[str], keys: set[str]) -> None:
    """Of any keys and any patterns the listings show each covered key exactly once."""
    scope = Scope(tuple(patterns))
    covers = matcher(scope)
    shown = [
        key
        for listing in listings(scope)
        for key in keys
        if (key == listing.start if listing.is_name else key.startswith(listing.start)) and covers(key.encode())
    ]
    assert sorted(shown) == sorted(key for key in keys if covers(key.encode()))


SIZES = {
    "config": 1, "config:risk": 2, "model:1": 3, "model:2": 4, "models": 5, "order:1": 6, "order:2": 7, "zero": 8,
}  # fmt: skip


@pytest.mark.parametrize("service", ["moto", "rclone"])
def test_a_scope_takes_as_many_requests_as_it_has_beginnings(service: str, request: pytest.FixtureRequest) -> None:
    """Requests go to what can match: one for each name, one for each beginning, and none for other objects."""
    where: Service = request.getfixturevalue(service)
    bucket = request.getfixturevalue("moto_bucket" if service == "moto" else "bucket")
    put(where.client, bucket, *(f"cold/{name}" for name in SIZES))
    listed, read = [], []

    def choose(_: str, path: str) -> Spoil | None:
        query = parse_qs(urlsplit(path).query, keep_blank_values=True)
        if "list-type" in query:
            listed.append((query["prefix"][0], query["max-keys"][0]))
        else:
            read.append(urlsplit(path).path)
        return None

    with spoiling_proxy(where.endpoint, choose) as endpoint:
        source = Service(endpoint, where.key, where.secret).cold(f"{bucket}/cold")
        found = read_all(source, Scope(("model:*", "model:1", "config", "missing", "order:[1]")))
    assert set(found) == {b"config", b"model:1", b"model:2", b"order:1"}
    assert listed == [
        ("cold/model:", "1000"), ("cold/order:", "1000"), ("cold/config", "1"), ("cold/missing", "1"),
    ]  # fmt: skip
    assert len(read) == 4


def test_a_name_that_begins_another_is_found_and_the_other_is_not(filled: Fill) -> None:
    """An exact name is that object, not the first one that begins so; both in one scope are each read once."""
    _, _, source = filled(SIZES)
    assert set(read_all(source, Scope(("config",)))) == {b"config"}
    assert set(read_all(source, Scope(("model",)))) == set()
    both = Scope(("config", "config:*", "conf*"))
    assert set(read_all(source, both)) == {b"config", b"config:risk"}


def test_beginnings_may_have_many_pages(seeded: Callable[..., tuple[object, S3Cold]]) -> None:
    """Each of several beginnings is listed to its end."""
    sizes = {f"{kind}{number:04}": 0 for kind in ("a", "b", "c") for number in range(1001)}
    _, source = seeded(sizes)
    with source.connect() as session:
        keys = [key for item in session.read(Scope(("c*", "a*"))) for key in item["key"].to_pylist()]
    assert len(keys) == 2002
    assert set(keys) == {name.encode() for name in sizes if name[0] != "b"}


def test_an_exact_restore_lists_its_scope_alone(moto: Service, moto_bucket: str) -> None:
    """What a restore looks for to remove it is found by the same listings."""
    put(moto.client, moto_bucket, "old/model:1", "new/model:2", "new/order:1")
    paths: list[str] = []
    with spoiling_proxy(moto.endpoint, lambda _, path: paths.append(path)) as endpoint:
        away = Service(endpoint, "k", SECRET)
        counts = copy(
            away.cold(f"{moto_bucket}/old"), away.cold(f"{moto_bucket}/new"), RestoreMode.EXACT, Scope(("model:*",))
        )
    assert (counts.written, counts.removed) == (1, 1)
    prefixes = [parse_qs(urlsplit(path).query)["prefix"][0] for path in paths if "list-type" in path]
    assert prefixes == ["old/model:", "new/model:"]
