"""Every source asks its permit immediately before each lasting effect, and again before a further try."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pyarrow as pa
import pytest

from strata.errors import LeaseLost, SourceUnavailable
from strata.model.record import Encoding, LargeValue
from strata.model.tier import Tier
from strata.s3client import PermittedBody
from strata.sources.port import Application, RestoreMode
from strata.sources.redis_columns import Columns
from strata.sources.redis_hot import RedisHot
from strata.sources.state_manager import StateManagerSource
from strata.testing import always
from tests.s3_proxy import Spoil, first, spoiling_proxy
from tests.sources.hot_state import client
from tests.sources.postgres_database import Database
from tests.sources.s3_objects import EVERYTHING, MIB, SECRET, SOURCE, Service, names_in
from tests.tunnel import tunnel_to

DESCRIPTION = {"server": "redis", "version": "7.0.0", "databases": [0], "dump_version": None}


@dataclass
class Revocable:
    """A permit that can be taken away; it counts how often it was asked."""

    goes_after: int = 1 << 30
    asked: int = 0
    gone: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> None:
        self.asked += 1
        if self.gone.is_set() or self.asked > self.goes_after:
            raise LeaseLost("another worker has it")


def rows(count: int, size: int) -> pa.RecordBatch:
    """Strings of that size, as a restore would write them."""
    columns = Columns("0", Encoding.REDIS_STRING)
    columns.add([b"k%d" % number for number in range(count)], [b"x" * size] * count, [-1] * count)
    return columns.take()


def through(hot_url: str, port: int) -> str:
    """The URL of the same server by a tunnel."""
    return (
        urlsplit(hot_url)
        ._replace(netloc=f"{urlsplit(hot_url).netloc.rpartition(chr(64))[0]}@127.0.0.1:{port}")
        .geturl()
    )


def write(application: Application) -> None:
    """Write a few records."""
    application.write(rows(3, 10))


def write_large(application: Application) -> None:
    """Write one whose value is streamed."""
    application.write_large(LargeValue("0", b"k", Encoding.REDIS_STRING, 1, iter([b"x"])))


def remove_all(application: Application) -> None:
    """Finish the restore of a backup that holds nothing."""
    application.finish(lambda _, keys: keys.is_null().to_numpy(zero_copy_only=False), EVERYTHING)


def keep_all(application: Application) -> None:
    """Finish the restore of a backup that holds all that is there."""
    application.finish(lambda _, keys: keys.is_valid().to_numpy(zero_copy_only=False), EVERYTHING)


@pytest.mark.parametrize("act", [write, write_large, remove_all])
def test_hot_is_sent_nothing_once_the_permit_is_gone(hot_url: str, act: Callable[[Application], None]) -> None:
    """Neither a window, nor a large value, nor a removal is sent without a permit."""
    there, permit = client(hot_url), Revocable()
    there.set("strange", "1")
    with RedisHot(hot_url).apply(DESCRIPTION, RestoreMode.EXACT, permit) as application:
        permit.gone.set()
        with pytest.raises(LeaseLost):
            act(application)
    assert there.keys() == [b"strange"]


def test_a_large_value_whose_permit_goes_while_it_is_sent_is_not_written(hot_url: str) -> None:
    """The command that would set a large value is not completed once the permit is gone."""
    there, permit = client(hot_url), Revocable()
    there.set("k", "live")

    def parts() -> Iterator[bytes]:
        yield b"x" * MIB
        yield b"x" * MIB
        permit.gone.set()

    with RedisHot(hot_url).apply(DESCRIPTION, RestoreMode.EXACT, permit) as application, pytest.raises(LeaseLost):
        application.write_large(LargeValue("0", b"k", Encoding.REDIS_STRING, 2 * MIB, parts()))
    assert there.get("k") == b"live"


def test_a_window_that_hot_is_slow_to_take_is_not_sent_to_its_end(hot_url: str) -> None:
    """What the server did not take at once of a window needs a permit of its own when it goes on."""
    there, permit = client(hot_url), Revocable(goes_after=20)
    with RedisHot(hot_url).apply(DESCRIPTION, RestoreMode.EXACT, permit) as application, pytest.raises(LeaseLost):
        application.write(rows(2000, 32 << 10))
    assert there.dbsize() < 2000


def test_what_an_older_restore_left_in_a_proxy_is_not_done_any_more(hot_url: str) -> None:
    """A restore that begins closes the connections of others into its databases: theirs cannot write after it."""
    there, flowing = client(hot_url), threading.Event()
    flowing.set()
    with tunnel_to(urlsplit(hot_url).port or 0, flowing) as port:
        older = RedisHot(through(hot_url, port))
        with older.apply(DESCRIPTION, RestoreMode.OVERLAY, always) as application:
            flowing.clear()
            application.write(rows(5, 10))
            with RedisHot(hot_url).apply(DESCRIPTION, RestoreMode.EXACT, always):
                pass
            there.set("k1", "live")
            flowing.set()
            with pytest.raises(SourceUnavailable):
                keep_all(application)
    assert {key: there.get(key) for key in there.keys()} == {b"k1": b"live"}  # noqa: SIM118


@pytest.mark.parametrize("asked", [0, 1])
def test_warm_is_not_committed_once_the_permit_is_gone(warm_url: str, asked: int) -> None:
    """Neither the sequences, which no rollback takes back, nor the commit goes without a permit."""
    database = Database(warm_url)
    database.run("CREATE TABLE t (id serial PRIMARY KEY, v text); INSERT INTO t (v) VALUES ('backed up')")
    backup = database.backup("t")
    database.run("INSERT INTO t (v) VALUES ('live'), ('live')")
    live, permit = database.text("t"), Revocable(goes_after=asked)
    with database.source().apply(backup.description, RestoreMode.EXACT, permit) as application:
        for batch in backup.batches:
            application.write(batch)
        with pytest.raises(LeaseLost):
            application.finish(backup.knows, EVERYTHING)
    assert database.text("t") == live
    assert permit.asked == asked + 1
    if not asked:
        assert database.one("SELECT last_value FROM t_id_seq") == 3


def test_each_piece_of_a_body_is_permitted_before_it_is_sent() -> None:
    """The service may keep a begun request waiting for its body for as long as it likes."""
    permit = Revocable()
    body = PermittedBody(bytes(3 * MIB), permit)
    assert len(body.read(16 << 10)) < 2 * MIB
    permit.gone.set()
    with pytest.raises(LeaseLost):
        body.read(16 << 10)


@pytest.mark.parametrize("size", [1000, 20 * MIB])
def test_cold_tries_no_put_again_once_the_permit_is_gone(moto: Service, moto_bucket: str, size: int) -> None:
    """A request that the service did not take is tried again only with a permit; a large object is not completed."""
    permit, sent = Revocable(), list[str]()
    fails = first("PUT", Spoil(status=503, code="SlowDown"))

    def choose(method: str, path: str) -> Spoil | None:
        if method == "PUT":
            sent.append(path)
            permit.gone.set()
        return fails(method, path)

    with spoiling_proxy(moto.endpoint, choose) as endpoint:
        source = Service(endpoint, "k", SECRET).cold(moto_bucket, threads=1)
        with source.apply({}, RestoreMode.EXACT, permit) as application, pytest.raises(LeaseLost):  # noqa: PT012
            application.write_large(LargeValue("", b"k", SOURCE, size, iter([b"x" * size])))
            keep_all(application)
    assert len(sent) == 1
    assert names_in(moto.client, moto_bucket) == []


def test_cold_removes_nothing_once_the_permit_is_gone(moto: Service, moto_bucket: str) -> None:
    """Objects that the backup does not hold stay where the permit went before they were removed."""
    moto.client.put_object(Bucket=moto_bucket, Key="live", Body=b"1")
    permit = Revocable()
    with moto.cold(moto_bucket).apply({}, RestoreMode.EXACT, permit) as application:
        permit.gone.set()
        with pytest.raises(LeaseLost):
            remove_all(application)
    assert names_in(moto.client, moto_bucket) == ["live"]


def test_a_state_manager_is_handed_nothing_once_the_permit_is_gone() -> None:
    """Neither setting nor deleting through an application's object is begun without a permit."""
    permit = Revocable()
    source = StateManagerSource("tests.sources.state_objects:ThreeDicts", Tier.HOT)
    with source.apply({"source": "state manager"}, RestoreMode.EXACT, permit) as application:
        permit.gone.set()
        with pytest.raises(LeaseLost):
            application.write_large(LargeValue("", b"k", Encoding.JSON, 1, iter([b"1"])))
