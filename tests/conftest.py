"""Real servers for the tests, one of each per test session, on free ports of 127.0.0.1."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import psycopg
import pytest
import redis
from botocore.config import Config
from hypothesis import settings
from moto.server import ThreadedMotoServer

from workers.local_stack.servers import PostgresServer, RedisServer, S3Server, start_postgres, start_redis, start_s3

_numbers = itertools.count(1)

settings.register_profile("strata", deadline=None)  # how quick a machine is says nothing of what is right
settings.load_profile("strata")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--rounds`: how often the chaos tests break something, and how long the histories of the soak tests are."""
    parser.addoption("--rounds", type=int, default=2, help="rounds of each chaos test, and of each soak test")


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    """How often a chaos test breaks something; how long a soak test goes on."""
    return int(request.config.getoption("--rounds"))


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One Redis for the session; tests take an empty database of it by `hot_url`."""
    server = start_redis(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """One PostgreSQL for the session; tests take a new database of it by `warm_url`."""
    server = start_postgres(tmp_path_factory.mktemp("postgres"), options=["-c", "fsync=off"])
    yield server
    server.stop()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One rclone S3 server for the session (bytes on disk; weak semantics)."""
    server = start_s3(tmp_path_factory.mktemp("s3") / "buckets")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    """One moto server for the session (metadata, versioning, conditional put; memory only)."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def hot_url(redis_server: RedisServer) -> Iterator[str]:
    """The URL of an empty Redis database."""
    yield redis_server.url
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()


@pytest.fixture
def warm_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a new, empty PostgreSQL database."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield urlsplit(postgres_server.url)._replace(path=f"/{name}").geturl()
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def moto_bucket(moto_endpoint: str) -> str:
    """The name of a new, empty bucket on the moto server (any credentials do)."""
    name = f"bucket-{next(_numbers)}"
    client = boto3.client(
        "s3",
        endpoint_url=moto_endpoint,
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 - moto asks for none
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )
    client.create_bucket(Bucket=name)
    return name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder of the test's own."""
    return tmp_path
