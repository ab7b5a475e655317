"""Trying HOT and COLD before a restore: what they refuse is said, and they are as they were."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from strata.errors import SourceError
from strata.model.record import VALUE_BYTES
from strata.sources.port import RestoreMode
from strata.sources.redis_hot import RedisHot
from strata.sources.s3_rehearse import SCRATCH
from tests.s3_proxy import Spoil, spoiling_proxy
from tests.sources.hot_state import EVERYTHING, batch, client
from tests.sources.s3_objects import Service
from workers.local_stack.servers import start_redis

SMALL = ["--maxmemory", "8mb", "--maxmemory-policy"]
PLAIN = {"server": "redis", "version": "7.0", "databases": [0], "dump_version": None}


def test_a_trial_of_redis_leaves_no_key(hot_url: str) -> None:
    """The scratch key is gone, and so it is from every database of the backup."""
    RedisHot(f"{hot_url},3").check({**PLAIN, "databases": [0, 3]})
    assert [client(hot_url, database).dbsize() for database in (0, 3)] == [0, 0]


def test_a_user_who_may_not_set_or_remove_is_told(hot_url: str) -> None:
    """A permission that the restore needs is missing: it is named before a key is overwritten."""
    there = client(hot_url)
    for command in ("set", "unlink"):
        there.acl_setuser("half", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all", f"-{command}"],
                          reset=True)  # fmt: skip
        limited = RedisHot(hot_url.replace(hot_url.split("//")[1].partition("@")[0], "half:secret"))
        with pytest.raises(SourceError, match=command):
            limited.check(PLAIN)
    there.acl_deluser("half")


def test_a_backup_that_is_larger_than_the_memory_is_refused(folder: Path) -> None:
    """The values alone are more than maxmemory: nothing is begun."""
    server = start_redis(folder, options=[*SMALL, "noeviction"])
    try:
        RedisHot(server.url).check({**PLAIN, VALUE_BYTES: 8 << 20})
        with pytest.raises(SourceError, match="may hold 8,388,608 bytes"):
            RedisHot(server.url).check({**PLAIN, VALUE_BYTES: (8 << 20) + 1})
    finally:
        server.stop()


def test_keys_that_the_server_evicts_meanwhile_fail_the_restore(folder: Path) -> None:
    """A cache's policy removes keys as others are written: that is never a restore."""
    server = start_redis(folder, options=[*SMALL, "allkeys-lru"])
    try:
        with RedisHot(server.url).apply(PLAIN, RestoreMode.OVERLAY, lambda: None) as application:
            for start in range(0, 20_000, 1000):
                application.write(batch({b"k%d" % number: os.urandom(600) for number in range(start, start + 1000)}))
            with pytest.raises(SourceError, match=r"evicted [\d,]+ keys .* maxmemory-policy allkeys-lru") as failed:
                application.finish(lambda _, keys: np.ones(len(keys), np.bool_), EVERYTHING)
        assert "noeviction" in failed.value.hint
    finally:
        server.stop()


@pytest.mark.parametrize("versioned", [False, True])
def test_a_trial_of_s3_leaves_no_object_version_or_mark(moto: Service, versioned: bool) -> None:  # noqa: FBT001
    """The scratch object is gone for good, in a bucket that keeps versions too."""
    name = f"trial-{os.urandom(4).hex()}"
    moto.client.create_bucket(Bucket=name)
    if versioned:
        moto.client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    moto.cold(f"{name}/below/").check({})
    left = moto.client.list_object_versions(Bucket=name)
    assert not left.get("Versions")
    assert not left.get("DeleteMarkers")


def test_a_trial_works_on_a_plain_service(rclone: Service, bucket: str) -> None:
    """A service without versions takes the object and gives it back."""
    rclone.cold(f"{bucket}/below/").check({})
    assert "Contents" not in rclone.client.list_objects_v2(Bucket=bucket)


def test_what_a_killed_trial_of_s3_left_is_no_state(moto: Service) -> None:
    """A process that died between putting and removing its object leaves nothing that a backup would hold."""
    name = f"trial-{os.urandom(4).hex()}"
    moto.client.create_bucket(Bucket=name)
    moto.client.put_object(Bucket=name, Key=f"below/{SCRATCH}", Body=b"x")
    cold = moto.cold(f"{name}/below/")
    with cold.connect() as session:
        session.cut()
        assert not list(session.read(EVERYTHING))
    cold.check({})
    assert "Contents" not in moto.client.list_objects_v2(Bucket=name)


def test_a_bucket_that_takes_no_objects_is_told(moto: Service) -> None:
    """A role that may list and remove, and not put, is found before any object is removed or written."""
    name = f"trial-{os.urandom(4).hex()}"
    moto.client.create_bucket(Bucket=name)
    moto.client.put_object(Bucket=name, Key="own", Body=b"x")
    denied = Spoil(status=403, code="AccessDenied")
    with (
        spoiling_proxy(moto.endpoint, lambda method, _: denied if method == "PUT" else None) as endpoint,
        pytest.raises(SourceError, match="be written"),
    ):
        Service(endpoint, moto.key, moto.secret).cold(name).check({})
    assert [one["Key"] for one in moto.client.list_objects_v2(Bucket=name)["Contents"]] == ["own"]


def test_nothing_is_put_where_nothing_can_be_removed(moto: Service) -> None:
    """A role that may only add is not refused, for an overlay needs no more, and leaves nothing behind."""
    name = f"trial-{os.urandom(4).hex()}"
    moto.client.create_bucket(Bucket=name)
    denied = Spoil(status=403, code="AccessDenied")
    with spoiling_proxy(moto.endpoint, lambda method, _: denied if method == "DELETE" else None) as endpoint:
        Service(endpoint, moto.key, moto.secret).cold(name).check({})
    assert "Contents" not in moto.client.list_objects_v2(Bucket=name)
