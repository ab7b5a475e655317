"""Each source knows its server by what it says of itself: a tunnel is no difference, another server is."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from strata.model.identity import Identity
from strata.planning.identity import same
from strata.sources.postgres_warm import PostgresWarm
from strata.sources.redis_hot import RedisHot
from strata.sources.s3_cold import S3Cold
from tests.sources.s3_objects import Service
from tests.tunnel import tunnel_to
from workers.local_stack.servers import PostgresServer, RedisServer, start_postgres, start_redis


def through(url: str, port: int) -> str:
    """The URL with another port."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{port}").geturl()


def test_redis_through_a_tunnel_is_the_same_and_another_database_is_not(redis_server: RedisServer) -> None:
    """The run id and the databases' numbers count, in any order; host and port do not."""
    with tunnel_to(redis_server.port) as port:
        there = RedisHot(through(redis_server.url, port)).identity()
    here = RedisHot(redis_server.url).identity()
    assert same(here, there)
    assert here.address != there.address
    assert not same(here, RedisHot(redis_server.url[:-1] + "1").identity())
    several = (RedisHot(redis_server.url[:-1] + numbers).identity() for numbers in ("0,3", "3,0"))
    assert same(*several)


def test_another_redis_of_the_same_name_is_another(folder: Path) -> None:
    """A server that took the place of another at the same host and port is told apart; so is one that was restarted."""
    first = start_redis(folder / "a")
    before = RedisHot(first.url).identity()
    first.stop()
    second = start_redis(folder / "a", port=first.port, password=first.password)
    try:
        assert not same(before, RedisHot(second.url).identity())
    finally:
        second.stop()


def test_postgres_through_a_tunnel_is_the_same_and_another_database_is_not(
    postgres_server: PostgresServer, warm_url: str
) -> None:
    """The system identifier and the database count; host and port do not."""
    with tunnel_to(postgres_server.port) as port:
        there = PostgresWarm(through(warm_url, port)).identity()
    assert same(PostgresWarm(warm_url).identity(), there)
    assert not same(PostgresWarm(postgres_server.url).identity(), there)


def test_an_ordinary_role_can_say_which_server_it_is(postgres_server: PostgresServer, warm_url: str) -> None:
    """Without any right the system identifier is told; where that was revoked, when the server started still is."""
    role = f"plain_{urlsplit(warm_url).path[1:]}"
    ordinary = urlsplit(warm_url)._replace(netloc=f"{role}:plain@127.0.0.1:{postgres_server.port}").geturl()
    with psycopg.connect(warm_url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'plain'")
        try:
            told = PostgresWarm(ordinary).identity()
            assert "system identifier" in told.server
            admin.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM public")
            kept = PostgresWarm(ordinary).identity()
            assert "system identifier" not in kept.server
            assert same(kept, PostgresWarm(warm_url).identity())
            assert not same(kept, PostgresWarm(postgres_server.url).identity())
        finally:
            admin.execute(f"DROP ROLE {role}")


def test_a_copy_of_the_data_folder_is_another_server(folder: Path) -> None:
    """A staging server made from a base backup of production has its system identifier, and is told apart."""
    production = start_postgres(folder / "a")
    production.stop()
    shutil.copytree(folder / "a", folder / "b")
    for path in (folder / "b").rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    first, second = start_postgres(folder / "a"), start_postgres(folder / "b")
    try:
        one, other = PostgresWarm(first.url).identity(), PostgresWarm(second.url).identity()
        assert one.server["system identifier"] == other.server["system identifier"]
        assert not same(one, other)
    finally:
        first.stop()
        second.stop()


def test_a_postgres_that_was_started_again_is_the_same(folder: Path) -> None:
    """A restore that waited for a thaw goes on; a copy that ran beside it is told apart as before."""
    first = start_postgres(folder / "a")
    before = PostgresWarm(first.url).identity()
    first.stop()
    again = start_postgres(folder / "a", port=first.port)
    try:
        now = PostgresWarm(again.url).identity()
        assert now.server["started"] != before.server["started"]
        assert same(before, now)
        with tunnel_to(first.port) as port:
            assert not same(before, PostgresWarm(through(again.url, port)).identity())
    finally:
        again.stop()


def test_a_bucket_through_a_tunnel_is_the_same_and_another_prefix_is_not(moto: Service, moto_bucket: str) -> None:
    """Owner and birth of the bucket count, and the prefix; the endpoint's name does not."""
    here = moto.cold(f"{moto_bucket}/models").identity()
    with tunnel_to(urlsplit(moto.endpoint).port or 0) as port:
        tunnel = Service(through(moto.endpoint, port), moto.key, moto.secret)
        assert same(here, tunnel.cold(f"{moto_bucket}/models").identity())
        assert not same(here, tunnel.cold(f"{moto_bucket}/other").identity())


def test_a_gateway_over_folders_is_known_by_its_endpoint(rclone: Service, bucket: str) -> None:
    """Its buckets are folders whose date changes with each object, so that date says nothing."""
    before = rclone.cold(bucket).identity()
    rclone.client.put_object(Bucket=bucket, Key="new", Body=b"x")
    assert same(before, rclone.cold(bucket).identity())
    assert before.server == {}


def test_a_bucket_of_aws_is_known_by_its_name() -> None:
    """Its name is unique there, whichever of its endpoints is asked; nobody need be asked."""
    first = S3Cold("s3://state/bot").identity()
    second = S3Cold("s3://state/bot", endpoint="https://s3.eu-central-1.amazonaws.com").identity()
    assert same(first, second)


def test_an_identity_holds_no_secret(redis_server: RedisServer, postgres_server: PostgresServer) -> None:
    """What travels has neither a password nor a URL in it."""
    for identity in (RedisHot(redis_server.url).identity(), PostgresWarm(postgres_server.url).identity()):
        text = identity.model_dump_json() + str(identity)
        assert redis_server.password not in text
        assert postgres_server.password not in text
        assert "://" not in text
        assert Identity.model_validate_json(identity.model_dump_json()) == identity
