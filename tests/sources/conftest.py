"""Services for the tests of sources: a Redis whose stream begins at once; S3 by moto (strict) and rclone (plain)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from strata.sources.s3_cold import S3Cold
from tests.sources.hot_state import client
from tests.sources.s3_objects import SECRET, Service, make_old
from workers.local_stack.servers import RedisServer, S3Server, start_redis, start_s3

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client


@pytest.fixture(scope="session")
def stream_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One Redis for the session whose replication stream begins without waiting for more replicas."""
    options = ["--repl-diskless-sync-delay", "0", "--appendonly", "no"]  # a rewrite of its file would be in the way
    server = start_redis(tmp_path_factory.mktemp("stream"), options=options)
    yield server
    server.stop()


@pytest.fixture
def stream_url(stream_server: RedisServer) -> Iterator[str]:
    """The URL of its database 0; all are empty, and none of its children is at work."""
    there = client(stream_server.url)
    while there.info("persistence")["rdb_bgsave_in_progress"]:
        pass
    yield stream_server.url
    there.flushall()
    there.config_set("rdbcompression", "yes")
    there.config_set("repl-diskless-sync", "yes")


@pytest.fixture
def moto(moto_endpoint: str) -> Service:
    """The moto server."""
    return Service(moto_endpoint, "test", SECRET)


@pytest.fixture
def rclone(s3_server: S3Server) -> Service:
    """The rclone server."""
    return Service(s3_server.endpoint, s3_server.access_key, s3_server.secret_key)


@pytest.fixture
def bucket(rclone: Service) -> str:
    """The name of a new, empty bucket on the rclone server."""
    name = f"cold-{os.urandom(4).hex()}"
    rclone.client.create_bucket(Bucket=name)
    return name


@pytest.fixture
def seeded(tmp_path: Path) -> Iterator[Callable[..., tuple[S3Server, S3Cold]]]:
    """Starts an rclone server of the test's own over a bucket `bkt` with objects of the sizes given, an hour old."""
    servers: list[S3Server] = []

    def start(sizes: dict[str, int], threads: int = 4) -> tuple[S3Server, S3Cold]:
        (tmp_path / "s3" / "bkt").mkdir(parents=True)
        for name, size in sizes.items():
            with open(tmp_path / "s3" / "bkt" / name, "wb") as file:
                file.truncate(size)
                os.utime(file.fileno(), (time.time() - 3600,) * 2)
        server = start_s3(tmp_path / "s3")
        servers.append(server)
        return server, Service(server.endpoint, server.access_key, server.secret_key).cold("bkt", threads)

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(params=["moto", "rclone"])
def filled(request: pytest.FixtureRequest) -> Callable[[dict[str, int]], tuple[S3Client, str, S3Cold]]:
    """Fills a bucket with objects of zeros, an hour old, on either service: a client, the bucket, a source."""

    def on_moto(sizes: dict[str, int]) -> tuple[S3Client, str, S3Cold]:
        moto, bucket = request.getfixturevalue("moto"), request.getfixturevalue("moto_bucket")
        client = moto.client
        with ThreadPoolExecutor(4) as pool:
            done = pool.map(lambda name: client.put_object(Bucket=bucket, Key=name, Body=bytes(sizes[name])), sizes)
            assert len(list(done)) == len(sizes)
        make_old(bucket)
        return client, bucket, moto.cold(bucket)

    def on_rclone(sizes: dict[str, int]) -> tuple[S3Client, str, S3Cold]:
        server, source = request.getfixturevalue("seeded")(sizes)
        return Service(server.endpoint, server.access_key, server.secret_key).client, "bkt", source

    return on_moto if request.param == "moto" else on_rclone
