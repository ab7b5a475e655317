"""GETs over plain connections: they answer as boto3 does, or not at all."""

from __future__ import annotations

import ipaddress
import os
import socketserver
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from strata.s3client import S3Access, credentials_of, make_client
from strata.sources.s3_get import PlainGets, TooLong, route_to
from tests.s3_proxy import Spoil, spoiling_proxy
from tests.sources.s3_objects import MIB, SECRET, Service, put, read_all
from tests.sources.test_s3_cold import ODD_NAMES
from workers.local_stack.servers import S3Server, start_s3

DATA = os.urandom(200_000)
ETAG = md5(DATA, usedforsecurity=False).hexdigest()
HEAD = b"HTTP/1.1 200 OK\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n"


@contextmanager
def plain(service: Service, bucket: str) -> Iterator[PlainGets]:
    access = S3Access(service.endpoint, service.key, service.secret)
    with closing(PlainGets(route_to(make_client(access, 1), bucket, credentials_of(access)))) as gets:
        yield gets


def both(service: Service, bucket: str, key: str, **how: str) -> tuple[Any, Any]:
    """The answer of a plain GET and that of boto3, without what boto3 says of the way."""
    with plain(service, bucket) as gets:
        found = gets.get(key, 100 * MIB, how)
    arguments: Any = how
    answer: dict[str, Any] = {**service.client.get_object(Bucket=bucket, Key=key, **arguments)}
    data = answer.pop("Body").read()
    assert found is not None
    return found, ({name: answer[name] for name in found[0]}, data)


@pytest.mark.parametrize("how", [{}, {"Range": "bytes=5-99"}, {"Range": "bytes=5-", "IfMatch": ETAG}])
def test_a_plain_answer_is_boto3s(moto: Service, moto_bucket: str, how: dict[str, str]) -> None:
    """Body, headers, user metadata, times and lengths are what get_object gives."""
    moto.client.put_object(
        Bucket=moto_bucket, Key="a", Body=DATA, ContentType="x/y", ContentEncoding="gzip",
        CacheControl="no-cache, private", ContentDisposition='attachment; filename="a"', ContentLanguage="de",
        Expires=datetime(2030, 1, 2, tzinfo=UTC), StorageClass="STANDARD_IA",
        Metadata={"Owner": "bot v2", "empty": "", "colon": "a: b", "spaces": "a  b"},
    )  # fmt: skip
    found, expected = both(moto, moto_bucket, "a", **how)
    assert found == expected
    assert {"Metadata", "ETag", "StorageClass", "ExpiresString", "LastModified"} <= found[0].keys()


def test_a_version_is_asked_for_plainly(moto: Service, moto_bucket: str) -> None:
    """A version's id goes into the request, and is signed."""
    moto.client.put_bucket_versioning(Bucket=moto_bucket, VersioningConfiguration={"Status": "Enabled"})
    version = moto.client.put_object(Bucket=moto_bucket, Key="a", Body=b"old")["VersionId"]
    moto.client.put_object(Bucket=moto_bucket, Key="a", Body=b"new")
    found, expected = both(moto, moto_bucket, "a", VersionId=version)
    assert found == expected
    assert (found[0]["VersionId"], found[1]) == (version, b"old")


def test_odd_names_and_signatures_are_understood(rclone: Service, bucket: str) -> None:
    """A service that checks signatures takes those of every name that it can hold."""
    clashing = {"/lead", "dir/", "deep//", "./dot", "a/../b", "a/./b", ".", "..", "x//y"}  # files cannot be called so
    names = [name for name in ODD_NAMES if name not in clashing]
    put(rclone.client, bucket, *names)
    with plain(rclone, bucket) as gets:
        for name in names:
            found = gets.get(name, 100, {})
            assert found
            assert found[1] == name.encode()


def test_a_body_that_is_too_long_is_not_read(moto: Service, moto_bucket: str) -> None:
    """What is longer than was allowed raises instead of filling the memory."""
    put(moto.client, moto_bucket, "abc")
    with plain(moto, moto_bucket) as gets:
        with pytest.raises(TooLong):
            gets.get("abc", 2, {})
        assert gets.get("abc", 3, {})


def test_what_is_not_there_is_no_answer_and_no_refusal(moto: Service, moto_bucket: str) -> None:
    """A missing object, a failed condition and an impossible range give None; the next object is asked for."""
    put(moto.client, moto_bucket, "abc")
    with plain(moto, moto_bucket) as gets:
        assert gets.get("missing", 100, {}) is None
        assert gets.get("abc", 100, {"IfMatch": '"other"'}) is None
        assert gets.get("abc", 100, {"Range": "bytes=9-10"}) is None
        assert gets.get("abc", 100, {})


@pytest.mark.parametrize("spoil", [Spoil(status=503), Spoil(status=429), Spoil(answer_bytes=1), Spoil(answer_bytes=-1)])
def test_a_broken_answer_is_none_and_the_next_is_asked_for(moto: Service, moto_bucket: str, spoil: Spoil) -> None:
    """A service in trouble, and a connection that breaks, give None once."""
    put(moto.client, moto_bucket, "deep/a")
    left = [spoil]
    with spoiling_proxy(moto.endpoint, lambda *_: left.pop() if left else None) as endpoint:
        gets: PlainGets
        with plain(Service(endpoint, "k", SECRET), moto_bucket) as gets:
            assert gets.get("deep/a", 100, {}) is None
            assert gets.get("deep/a", 100, {})


@pytest.mark.parametrize("status", [301, 307, 400, 403])
def test_who_is_refused_once_does_not_ask_again(moto: Service, moto_bucket: str, status: int) -> None:
    """Where plain requests are redirected or refused, all further ones go through boto3, and the reading succeeds."""
    put(moto.client, moto_bucket, "deep/a", "deep/b", "deep/c")
    refused: list[str] = []

    def choose(_: str, path: str) -> Spoil | None:
        if "deep/" in path and "prefix" not in path and not refused:
            refused.append(path)
            return Spoil(status=status)
        return None

    with spoiling_proxy(moto.endpoint, choose) as endpoint:
        assert len(read_all(Service(endpoint, "k", SECRET).cold(moto_bucket, threads=1))) == 3
        refused.clear()
        with plain(Service(endpoint, "k", SECRET), moto_bucket) as gets:
            assert gets.get("deep/a", 100, {}) is None
            assert gets.get("deep/a", 100, {}) is None


def test_wrong_credentials_get_no_answer(rclone: Service, bucket: str) -> None:
    """A signature that the service refuses is boto3's to report; the repr shows no secret."""
    put(rclone.client, bucket, "a")
    with plain(Service(rclone.endpoint, "nobody", "wrong-secret"), bucket) as gets:
        assert "wrong-secret" not in f"{vars(gets)}"
        assert gets.get("a", 100, {}) is None


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        HEAD + b"\r\nx",
        HEAD + b"Content-Length: many\r\n\r\nx",
        HEAD + b"Content-Length: 1\r\nX-Folded: a\r\n b\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nLast-Modified: yesterday\r\n\r\nx",
        HEAD + b"Content-Length: 2\r\n\r\nx",
        HEAD + b"Content-Length: 1",
        b"nonsense\r\n\r\n",
        b"",
    ],
)  # fmt: skip
def test_what_is_not_understood_is_no_answer(answer: bytes) -> None:
    """Only an HTTP/1.1 answer of a stated length that comes whole is taken."""
    with answering(answer) as endpoint, plain(Service(endpoint, "k", SECRET), "bkt") as gets:
        assert gets.get("a", 100, {}) is None


def test_an_unusual_answer_is_taken_as_http_means_it() -> None:
    """Names of headers in any case, repeated headers, plain line ends and extra spaces are understood."""
    head = HEAD.replace(b"Last", b"LAST") + b"content-LENGTH:1\r\nX-Amz-Meta-A: 1\r\nx-amz-meta-a:  2\r\n"
    with answering(head + b"\r\nx") as endpoint, plain(Service(endpoint, "k", SECRET), "bkt") as gets:
        found = gets.get("a", 100, {})
    assert found
    assert found[0]["Metadata"] == {"a": "1, 2"}
    assert found[1] == b"x"


def test_a_connection_is_used_again_and_a_dropped_one_is_not(moto: Service, moto_bucket: str) -> None:
    """Where a service closes every connection after an answer, each object is still got plainly."""
    put(moto.client, moto_bucket, "a")
    head = (
        b"HTTP/1.1 200 OK\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nConnection: close\r\nContent-Length: 1\r\n"
    )
    with answering(head + b"\r\nx") as endpoint, plain(Service(endpoint, "k", SECRET), "bkt") as gets:
        assert all(gets.get("a", 100, {}) for _ in range(5))


def test_objects_are_got_over_tls_from_who_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over TLS a certificate of a trusted authority is taken, any other refused."""
    with tls_server(tmp_path, monkeypatch) as (server, authority):
        service = Service(server.endpoint.replace("http:", "https:"), server.access_key, server.secret_key)
        with plain(service, "bkt") as gets:
            assert gets.get("a", 100, {}) is None
        monkeypatch.setenv("AWS_CA_BUNDLE", str(authority))
        with plain(service, "bkt") as gets:
            found = gets.get("a", 100, {})
            assert found
            assert found[1] == b"data"
        assert read_all(service.cold("bkt"))[b"a"].value == b"data"


def test_a_proxy_is_left_to_boto3(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the environment names a proxy for the endpoint, nothing is asked plainly."""
    access = S3Access("http://s3.example.org", "k", SECRET)
    client = make_client(access, 1)
    assert route_to(client, "bkt", credentials_of(access))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert route_to(client, "bkt", credentials_of(access)) is None
    monkeypatch.setenv("no_proxy", "s3.example.org")
    assert route_to(client, "bkt", credentials_of(access))


def test_the_way_to_amazon_is_botocores() -> None:
    """Without an endpoint the host names the bucket, and requests are signed for its region."""
    access = S3Access(None, "k", SECRET, "eu-west-1")
    route = route_to(make_client(access, 1), "bkt", credentials_of(access))
    assert route
    assert (route.scheme, route.netloc, route.path) == ("https", "bkt.s3.eu-west-1.amazonaws.com", "/")
    request = route.request("a b/ü", {"Range": "bytes=0-1"}).decode()
    assert request.startswith("GET /a%20b/%C3%BC HTTP/1.1\r\n")
    assert "/eu-west-1/s3/aws4_request" in request
    assert SECRET not in f"{request}{route!r}"


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """The endpoint of a server that gives every request the same answer, and closes the connection."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass
            self.wfile.write(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@contextmanager
def tls_server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[S3Server, Path]]:
    """An S3 server with a certificate of its own, and the file that holds it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    monkeypatch.setenv("RCLONE_CERT", str(folder / "cert"))
    monkeypatch.setenv("RCLONE_KEY", str(folder / "key"))
    (folder / "s3" / "bkt").mkdir(parents=True)
    (folder / "s3" / "bkt" / "a").write_bytes(b"data")
    server = start_s3(folder / "s3")
    try:
        yield server, folder / "cert"
    finally:
        server.stop()
