"""Services for the tests of sources: a Redis whose stream begins at once; S3 by moto (strict) and rclone (plain)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from strata.sources.s3_cold import S3Cold
from tests.sources.hot_state import client
from tests.sources.s3_objects import SECRET, Service
from workers.local_stack.servers import RedisServer, S3Server, start_redis, start_s3


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
    """Starts an rclone server of the test's own over a bucket `bkt` with objects of the sizes given."""
    servers: list[S3Server] = []

    def start(sizes: dict[str, int], threads: int = 4) -> tuple[S3Server, S3Cold]:
        (tmp_path / "s3" / "bkt").mkdir(parents=True)
        for name, size in sizes.items():
            with open(tmp_path / "s3" / "bkt" / name, "wb") as file:
                file.truncate(size)
        server = start_s3(tmp_path / "s3")
        servers.append(server)
        return server, Service(server.endpoint, server.access_key, server.secret_key).cold("bkt", threads)

    yield start
    for server in servers:
        server.stop()
