"""The Redis wire client: URLs, logins, failures, and buffers that never wait for each other."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from strata.errors import SettingError, SourceError, SourceUnavailable
from strata.sources.redis_commands import KeyCommand, pack, packed
from strata.sources.redis_url import parse_address
from strata.sources.resp import Connection, Refusal
from workers.local_stack.servers import RedisServer, free_port

Serve = Callable[[socket.socket], None]


@contextmanager
def listening(serve: Serve, path: Path | None = None) -> Iterator[str]:
    """A server of one connection, on a port or a unix socket; yields its URL."""
    listener = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
    listener.bind(str(path) if path else ("127.0.0.1", 0))
    listener.listen()

    def accept() -> None:
        try:
            peer, _ = listener.accept()
            with peer:
                serve(peer)
        except OSError:
            pass  # the test is over

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield f"unix://{path}" if path else f"redis://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()


def greet(peer: socket.socket) -> None:
    """Answer the two courtesies of a new connection."""
    received = b""
    while not received.endswith(b"on\r\n"):
        received += peer.recv(4096)
    peer.sendall(b"+OK\r\n+OK\r\n")


def test_a_url_names_a_server_and_several_databases() -> None:
    """Host, port, databases and time limits are taken from the URL; a database named twice counts once."""
    address = parse_address("redis://:secret@example.org:7000/0,3,3,5?socket_timeout=7")
    assert str(address) == "example.org:7000"
    assert address.databases == (0, 3, 5)
    assert address.reply_seconds == 7
    assert parse_address("redis://example.org").databases == (0,)
    assert parse_address("unix:///run/redis.sock?db=2,4").databases == (2, 4)
    assert str(parse_address("redis://[::1]/0")) == "[::1]:6379"


def test_an_address_shows_no_secret() -> None:
    """Neither the text nor the repr of an address holds user or password."""
    address = parse_address("rediss://operator:s3cr3t-%2F@example.org/0")
    assert address.password == "s3cr3t-/"  # noqa: S105 - made up here
    for text in (str(address), repr(address), f"{address}"):
        assert "s3cr3t" not in text
        assert "operator" not in text


@pytest.mark.parametrize(
    "url",
    [
        "http://:s3cr3t@host/0",
        "redis://:s3cr3t@host:port/0",
        "redis://:s3cr3t@host/zero",
        "redis://:s3cr3t@host/0,-1",
        "redis://:s3cr3t@host/0?socket_timeout=long",
        "rediss://:s3cr3t@host/0?ssl_ca_cert=/misspelt",
        "rediss://:s3cr3t@host/0?ssl_cert_reqs=maybe",
        "rediss://:s3cr3t@host/0?ssl_ca_certs=/no/such/file",
    ],
)
def test_a_wrong_url_is_a_setting_error_that_does_not_quote_it(url: str) -> None:
    """What cannot be read, or would quietly weaken TLS, is refused without repeating the secret."""
    with pytest.raises(SettingError) as caught:
        parse_address(url)
    assert "s3cr3t" not in str(caught.value) + caught.value.hint
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_tls_verifies_unless_told_otherwise() -> None:
    """rediss:// checks certificate and host name; ssl_cert_reqs=none turns both off."""
    strict = parse_address("rediss://host/0").tls
    lax = parse_address("rediss://host/0?ssl_cert_reqs=none").tls
    assert strict is not None
    assert lax is not None
    assert strict.verify_mode is ssl.CERT_REQUIRED
    assert strict.check_hostname
    assert lax.verify_mode is ssl.CERT_NONE


def test_commands_are_packed_alike_one_by_one_and_by_the_thousand() -> None:
    """Packing many keys at once gives the same bytes as packing each command, per cent signs and all."""
    keys = [b"", b"a", b"100%d\r\n", bytes(range(256))]
    expected = b"".join(pack(b"MEMORY", b"USAGE", key, b"SAMPLES", b"5%") for key in keys)
    command = KeyCommand(b"MEMORY", b"SAMPLES", b"5%", subcommand=b"USAGE")
    assert command.pack(packed(keys)) == expected
    assert command.pack([]) == b""


def test_replies_come_to_the_ticket_that_claimed_them(hot_url: str) -> None:
    """Tickets may be taken in any order; error replies stand at their place."""
    with Connection(parse_address(hot_url)) as connection:
        first = connection.send(pack(b"SET", b"k", b"0") + pack(b"INCR", b"k"), 2)
        second = connection.send(pack(b"LPUSH", b"k", b"x") + pack(b"DECR", b"k"), 2)
        refusal, zero = second.take()
        assert isinstance(refusal, Refusal)
        assert zero == 0
        assert first.take() == [b"OK", 1]


def test_an_error_reply_is_raised_without_the_arguments(hot_url: str) -> None:
    """The server quotes what it was sent; the error raised does not."""
    with Connection(parse_address(hot_url)) as connection, pytest.raises(SourceError) as caught:
        connection.ask(b"NOSUCH", b"private-key")
    assert "unknown command" in str(caught.value)
    assert "private-key" not in str(caught.value)


def test_a_wrong_password_is_permanent_and_not_shown(redis_server: RedisServer) -> None:
    """A login refused is a SourceError, which no retry will mend."""
    with pytest.raises(SourceError, match="does not accept the user or password") as caught:
        Connection(parse_address(f"redis://:wr0ng-one@127.0.0.1:{redis_server.port}/0"))
    assert not caught.value.retryable
    assert "wr0ng-one" not in str(caught.value)
    assert "password" in caught.value.hint


def test_a_missing_password_is_said(redis_server: RedisServer) -> None:
    """Without a login the first question fails, with a hint where the password belongs."""
    with Connection(parse_address(f"redis://127.0.0.1:{redis_server.port}/0")) as connection:
        with pytest.raises(SourceError, match="NOAUTH") as caught:
            connection.ask(b"DBSIZE")
        assert "URL" in caught.value.hint


def test_a_refused_connection_is_said() -> None:
    """Nobody listening is SourceUnavailable, with host, port and reason."""
    port = free_port()
    with pytest.raises(SourceUnavailable) as caught:
        Connection(parse_address(f"redis://127.0.0.1:{port}/0"))
    assert str(caught.value) == f"HOT (Redis) at 127.0.0.1:{port} does not answer: connection refused"
    assert caught.value.hint


def test_an_unknown_host_is_said() -> None:
    """A name that does not resolve is SourceUnavailable."""
    with pytest.raises(SourceUnavailable, match="name of its host is not known"):
        Connection(parse_address("redis://no-such-host.invalid/0"))


def test_a_missing_socket_is_said(folder: Path) -> None:
    """A unix socket that is not there is SourceUnavailable."""
    with pytest.raises(SourceUnavailable, match="no such file"):
        Connection(parse_address(f"unix://{folder}/nothing.sock"))


def test_silence_ends_in_time() -> None:
    """A server that accepts and says nothing is given up after socket_timeout."""
    over = threading.Event()

    def say_nothing(peer: socket.socket) -> None:
        over.wait(10)

    with listening(say_nothing) as url, pytest.raises(SourceUnavailable, match="no reply in time"):
        Connection(parse_address(f"{url}/0?socket_timeout=0.1"))
    over.set()


def test_a_closed_connection_is_said() -> None:
    """A server that goes away half way is SourceUnavailable, never fewer replies."""

    def half(peer: socket.socket) -> None:
        greet(peer)
        peer.recv(4096)
        peer.sendall(b"$100\r\nonly a part")

    with (
        listening(half) as url,
        Connection(parse_address(url)) as connection,
        pytest.raises(SourceUnavailable, match="closed the connection"),
    ):
        connection.ask(b"GET", b"k")


def test_another_protocol_is_told_from_redis() -> None:
    """A port where something else answers is named as such."""

    def speak_http(peer: socket.socket) -> None:
        peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with listening(speak_http) as url, pytest.raises(SourceError, match="does not speak the Redis protocol"):
        Connection(parse_address(url))


def test_sending_reads_replies_while_the_server_waits_for_that(folder: Path) -> None:
    """A server that reads no more until its replies are read does not make the client hang."""
    commands = pack(b"ECHO", b"x" * 65536) * 50

    def stubborn(peer: socket.socket) -> None:
        greet(peer)
        left = len(commands)
        while left:
            left -= len(data := peer.recv(65536))
            peer.sendall(b"+OK\r\n" * (len(data) // 16))
        peer.sendall(b"+END\r\n")

    with listening(stubborn, folder / "s") as url, Connection(parse_address(url + "?socket_timeout=10")) as connection:
        connection.transmit(commands)
        while connection.expect(1).take() != [b"END"]:
            pass


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "c.pem").write_bytes(built.public_bytes(serialization.Encoding.PEM))
    (folder / "k.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "c.pem", folder / "k.pem"


def in_tls(server: RedisServer, chain: tuple[Path, Path]) -> Serve:
    """TLS in front of a Redis."""

    def copy(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass  # either side has gone

    def serve(peer: socket.socket) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*chain)
        with (
            context.wrap_socket(peer, server_side=True) as outside,
            socket.create_connection(("127.0.0.1", server.port)) as inside,
        ):
            threading.Thread(target=copy, args=(inside, outside), daemon=True).start()
            copy(outside, inside)

    return serve


def test_tls_carries_commands_and_large_replies(redis_server: RedisServer, folder: Path) -> None:
    """With the authority named in the URL, values of several MiB go both ways."""
    chain = certificate(folder)
    value = bytes(range(256)) * 20_000
    with listening(in_tls(redis_server, chain)) as url:
        secure = url.replace("redis://", f"rediss://:{redis_server.password}@")
        with Connection(parse_address(f"{secure}/0?ssl_ca_certs={chain[0]}")) as connection:
            assert connection.ask(b"SET", b"tls", value) == b"OK"
            assert connection.ask(b"GETDEL", b"tls") == value


def test_an_untrusted_certificate_is_refused(redis_server: RedisServer, folder: Path) -> None:
    """A certificate nobody vouches for ends the connection before the password is sent."""
    with listening(in_tls(redis_server, certificate(folder))) as url:
        with pytest.raises(SourceError, match="not trusted") as caught:
            Connection(parse_address(url.replace("redis://", "rediss://:s3cr3t@")))
        assert "tls_ca" in caught.value.hint


def test_tls_to_a_plain_port_is_said(redis_server: RedisServer) -> None:
    """rediss:// where the server speaks plain Redis is a SourceError with a hint."""
    with pytest.raises((SourceError, SourceUnavailable)) as caught:
        Connection(parse_address(f"rediss://127.0.0.1:{redis_server.port}/0?socket_connect_timeout=0.3"))
    assert str(redis_server.port) in str(caught.value)
