"""Encrypted connections: every client knows its server by the same options, and talks to no other."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from kombu.exceptions import OperationalError
from pydantic import SecretStr

from strata.catalog.ledger_identity import redis_identity
from strata.errors import SettingError, StrataError
from strata.model.scope import Scope
from strata.settings import Settings
from strata.storage.s3 import S3Store
from strata.tls import Tls, read_libpq, read_url, weakness
from strata.transport import s3_options
from strata.wiring import Wiring
from tests.tls import Authority, Pair, in_front_of
from workers.configuration import make_app
from workers.local_stack.servers import PostgresServer, RedisServer, S3Server


@dataclass(frozen=True)
class Ground:
    """Authorities and certificates, and the servers to stand in front of."""

    ours: Authority
    theirs: Authority
    right: Pair
    misnamed: Pair
    client: Pair
    redis: RedisServer
    postgres: PostgresServer
    s3: S3Server


@pytest.fixture(scope="module")
def ground(
    tmp_path_factory: pytest.TempPathFactory,
    redis_server: RedisServer,
    postgres_server: PostgresServer,
    s3_server: S3Server,
) -> Ground:
    """An authority that is trusted, one that is not, and certificates of 127.0.0.1 and of another host."""
    folder = tmp_path_factory.mktemp("tls")
    ours, theirs = Authority(folder, "ours"), Authority(folder, "theirs")
    right, misnamed = ours.pair("right", address="127.0.0.1"), ours.pair("misnamed", host="db.example.org")
    client = ours.pair("client")
    return Ground(ours, theirs, right, misnamed, client, redis_server, postgres_server, s3_server)


@pytest.fixture
def broker_port() -> Iterator[int]:
    """A server that greets nobody: what it is sent is how far a client of AMQP came."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    peer, _ = listener.accept()
                    with peer:
                        peer.settimeout(20)
                        with suppress(OSError):
                            GREETINGS.append(peer.recv(8))

        threading.Thread(target=accept, daemon=True).start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


GREETINGS: list[bytes] = []
EVERYTHING = Scope()

Ask = Callable[[Ground, int, str, Settings], None]
"""Connects to a port with options for the URL, under settings; raises where it is not let in or will not go in."""


def ask_hot(ground: Ground, port: int, options: str, settings: Settings) -> None:
    url = f"rediss://:{ground.redis.password}@127.0.0.1:{port}/0{options}"
    sources = Wiring(settings.model_copy(update={"hot_url": SecretStr(url)})).sources
    with next(iter(sources.values())).connect():
        pass


def ask_ledger(ground: Ground, port: int, options: str, settings: Settings) -> None:
    url = f"rediss://:{ground.redis.password}@127.0.0.1:{port}/1{options}"
    assert Wiring(settings.model_copy(update={"result_url": SecretStr(url)})).ledger_answers


def ask_beside(ground: Ground, port: int, options: str, settings: Settings) -> None:
    url = f"rediss://:{ground.redis.password}@127.0.0.1:{port}/1{options}"
    wiring = Wiring(settings)
    found = redis_identity("the ledger", url, partial(wiring.brief_redis, url))
    if not found.server:
        raise RefusedLook("it said nothing of itself")


class RefusedLook(Exception):
    """A look at a server that told nothing."""


def _app(settings: Settings, broker: str, result: str) -> Any:
    urls = {"broker_url": SecretStr(broker), "result_url": SecretStr(result)}
    return make_app(settings.model_copy(update=urls))


def ask_broker(ground: Ground, port: int, options: str, settings: Settings) -> None:
    url = f"rediss://:{ground.redis.password}@127.0.0.1:{port}/2{options}"
    with _app(settings, url, ground.redis.url).connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=10)
        connection.default_channel.client.ping()


def ask_results(ground: Ground, port: int, options: str, settings: Settings) -> None:
    url = f"rediss://:{ground.redis.password}@127.0.0.1:{port}/3{options}"
    _app(settings, ground.redis.url, url).backend.client.ping()


def ask_warm(ground: Ground, port: int, options: str, settings: Settings) -> None:
    url = f"postgresql://postgres:{ground.postgres.password}@127.0.0.1:{port}/postgres{options or '?sslmode=require'}"
    sources = Wiring(settings.model_copy(update={"warm_url": SecretStr(url)})).sources
    with next(iter(sources.values())).connect():
        pass


def ask_store(ground: Ground, port: int, options: str, settings: Settings) -> None:
    assert not options, "S3 has no options in its URL"
    given = {
        "cloud_endpoint": f"https://127.0.0.1:{port}",
        "cloud_access_key_id": ground.s3.access_key,
        "cloud_secret_access_key": SecretStr(ground.s3.secret_key),
    }
    ground.s3.make_bucket("tls")
    store = S3Store(f"s3://tls/{os.urandom(4).hex()}", **s3_options(settings.model_copy(update=given), "cloud"))
    store.put("notes/a", [b"x"])
    assert store.get("notes/a") == b"x"


def ask_cold(ground: Ground, port: int, options: str, settings: Settings) -> None:
    assert not options, "S3 has no options in its URL"
    ground.s3.make_bucket("tls")
    prefix = os.urandom(4).hex()
    given = {
        "cold_url": f"s3://tls/{prefix}",
        "cold_endpoint": f"https://127.0.0.1:{port}",
        "cold_access_key_id": ground.s3.access_key,
        "cold_secret_access_key": SecretStr(ground.s3.secret_key),
    }
    plain = settings.model_copy(update={**given, "cold_endpoint": ground.s3.endpoint})
    S3Store(f"s3://tls/{prefix}", **s3_options(plain, "cold")).put("a", [b"x"])
    source = next(iter(Wiring(settings.model_copy(update=given)).sources.values()))
    with source.connect() as session:
        session.cut()
        session.describe()
        assert sum(batch.num_rows for batch in session.read(EVERYTHING)) == 1


def ask_rabbit(ground: Ground, port: int, options: str, settings: Settings) -> None:
    GREETINGS.clear()
    app = _app(settings, f"amqps://user:word@127.0.0.1:{port}//{options}", ground.redis.url)
    with (
        app.connection_for_write(connect_timeout=10) as connection,
        suppress(ConnectionError, OSError, OperationalError),
    ):
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=5)
    assert GREETINGS, "the client did not speak"
    assert GREETINGS[0].startswith(b"AMQP")


ASKS: dict[str, Ask] = {
    "HOT": ask_hot,
    "ledger": ask_ledger,
    "look at the ledger": ask_beside,
    "broker": ask_broker,
    "results": ask_results,
    "WARM": ask_warm,
    "store": ask_store,
    "COLD": ask_cold,
    "RabbitMQ": ask_rabbit,
}
BY_URL = [name for name in ASKS if name not in {"store", "COLD"}]


def behind(name: str, ground: Ground, broker_port: int) -> int:
    """The port of the server that a client wants."""
    if name == "RabbitMQ":
        return broker_port
    if name == "WARM":
        return ground.postgres.port
    return urlsplit(ground.s3.endpoint).port or 0 if name in {"store", "COLD"} else ground.redis.port


def asked(name: str, ground: Ground, broker_port: int, shown: Pair, settings: Settings, options: str = "") -> None:
    """Connect a client through TLS that shows a certificate."""
    with in_front_of(behind(name, ground, broker_port), shown) as port:
        ASKS[name](ground, port, options, settings)


@pytest.mark.parametrize("name", ASKS)
def test_a_server_of_the_named_authority_is_let_in(name: str, ground: Ground, broker_port: int) -> None:
    """One setting names the authority for every connection."""
    asked(name, ground, broker_port, ground.right, Settings(tls_ca=str(ground.ours.file)))


@pytest.mark.parametrize("name", ASKS)
@pytest.mark.parametrize("wrong", ["name", "authority", "system"])
def test_another_server_is_told_nothing(name: str, wrong: str, ground: Ground, broker_port: int) -> None:
    """Neither one with another name, nor one of another authority, nor one that the system does not know."""
    shown = ground.misnamed if wrong == "name" else ground.right
    trusted = {"name": str(ground.ours.file), "authority": str(ground.theirs.file), "system": None}[wrong]
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the errors of six client libraries
        asked(name, ground, broker_port, shown, Settings(tls_ca=trusted))
    assert ground.redis.password not in str(caught.value)
    if name in {"HOT", "WARM", "ledger", "store", "COLD"}:
        assert isinstance(caught.value, StrataError)
        assert caught.value.hint


@pytest.mark.parametrize("name", BY_URL)
def test_a_url_names_its_own_authority(name: str, ground: Ground, broker_port: int) -> None:
    """Options in a URL count before the settings, by our names and by redis-py's."""
    lax, strict = Settings(tls_ca=str(ground.theirs.file)), "&sslmode=require" if name == "WARM" else ""
    for option in ("tls_ca", "ssl_ca_certs"):
        asked(name, ground, broker_port, ground.right, lax, f"?{option}={ground.ours.file}{strict}")


@pytest.mark.parametrize("name", BY_URL)
def test_less_is_verified_only_where_the_url_says_so(name: str, ground: Ground, broker_port: int) -> None:
    """`ca` takes any name, `none` any server; nothing else does."""
    strict = "&sslmode=require" if name == "WARM" else ""
    trusting = Settings(tls_ca=str(ground.ours.file))
    asked(name, ground, broker_port, ground.misnamed, trusting, f"?tls_verify=ca{strict}")
    asked(
        name, ground, broker_port, ground.right, Settings(tls_ca=str(ground.theirs.file)), f"?tls_verify=none{strict}"
    )


@pytest.mark.parametrize("name", ASKS)
def test_a_client_certificate_is_shown(name: str, ground: Ground, broker_port: int) -> None:
    """A server that asks for one lets in whoever has it."""
    trusting = Settings(tls_ca=str(ground.ours.file))
    shown = {"tls_certificate": str(ground.client.certificate), "tls_key": str(ground.client.key)}
    with ExitStack() as stack:
        front = in_front_of(behind(name, ground, broker_port), ground.right, clients=ground.ours.file)
        port = stack.enter_context(front)
        ASKS[name](ground, port, "", trusting.model_copy(update=shown))
        with pytest.raises(Exception):  # noqa: B017, PT011 - the errors of six client libraries
            ASKS[name](ground, port, "", trusting)


def test_warm_verifies_what_its_url_asks_for() -> None:
    """`require` verifies too; what libpq's own words leave in the clear stays as it is; its files count first."""
    assert read_libpq({"sslmode": "require"}, Tls("a"))["sslmode"] == "verify-full"
    assert read_libpq({"sslmode": "verify-ca"}, Tls("a")) == {"sslmode": "verify-ca", "sslrootcert": "a"}
    assert read_libpq({"sslmode": "require", "sslrootcert": "b"}, Tls("a"))["sslrootcert"] == "b"
    assert read_libpq({"sslmode": "disable"}, Tls("a")) == {"sslmode": "disable"}
    assert read_libpq({"host": "h"}, Tls()) == {"host": "h"}
    assert read_libpq({}, Tls("a"))["sslmode"] == "verify-full"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("rediss://h/0?tls_cert=x", "there is no option of TLS called tls_cert"),
        ("rediss://h/0?tls_verify=perhaps", "tls_verify is full, ca or none"),
        ("rediss://h/0?ssl_cert_reqs=optional", "tls_verify is full, ca or none"),
        ("redis://h/0?tls_ca=/x", "tls_ca stands in a URL of redis://, which is without TLS"),
    ],
)
def test_a_wrong_option_is_named(url: str, told: str) -> None:
    """What could quietly weaken a connection is an error."""
    with pytest.raises(SettingError) as caught:
        read_url(url, Tls(), encrypted=url.startswith("rediss"))
    assert caught.value.sentence == told


@pytest.mark.parametrize(
    ("url", "weak"),
    [
        ("redis://:word@127.0.0.1:6379/0", ""),
        ("redis://localhost", ""),
        ("redis://[::1]:6379/0", ""),
        ("unix:///run/redis.sock?db=0", ""),
        ("postgresql:///bot?host=/run", ""),
        ("redis://:word@redis:6379/0", "need not be encrypted"),
        ("amqp://user:word@rabbit//", "need not be encrypted"),
        ("http://s3:9000", "need not be encrypted"),
        ("postgresql://bot:word@db/bot", "need not be encrypted"),
        ("postgresql://bot:word@127.0.0.1,db/bot", "need not be encrypted"),
        ("postgresql://bot:word@db/bot?sslmode=require", ""),
        ("postgresql://bot:word@db/bot?sslmode=require&tls_verify=none", "not verified"),
        ("rediss://:word@redis/0", ""),
        ("rediss://:word@redis/0?ssl_cert_reqs=none", "not verified"),
        ("https://s3.example.org", ""),
    ],
)
def test_a_connection_that_is_not_safe_is_told(url: str, weak: str) -> None:
    """What stays on this machine needs no encryption; what leaves it needs that and a server that is known."""
    found = weakness(url, Tls())
    assert weak in found
    assert bool(weak) == bool(found)
    assert "word" not in found


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    """A path that is wrong, and a file that is no certificate."""
    (tmp_path / "no.pem").write_text("no certificate")
    for path in ("/no/such/file", str(tmp_path / "no.pem")):
        with pytest.raises(SettingError, match=path):
            Tls(path).context()
