"""GETs of objects over plain connections: botocore signs them, and the rest of it stays out of their way.

A get_object of boto3 takes 1.0 ms of CPU under the GIL before a byte of the body is read (parameters, endpoint rules,
hooks, urllib3, parsing), one of these 0.15 ms; docs/adr/0009 has the comparison, with obstore in it.

Only a plain answer is taken: 200 or 206 with a length, and all of its body. Whatever else happens (a refusal, a
broken connection, an answer that is not understood) is nobody's answer here: `get` gives None, and the caller asks
boto3, which tries again, and whose errors are the ones that are told. So this is never the reason for a failure.
"""

from __future__ import annotations

import os
import re
import select
import socket
import ssl
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast
from urllib.parse import quote, urlsplit

from strata.s3client import CONNECT_SECONDS, READ_SECONDS
from strata.tls import Tls

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest
    from botocore.credentials import Credentials
    from mypy_boto3_s3.client import S3Client

_BUFFER: Final = 64 << 10
"""Bytes of a connection's buffer: an answer of a small object comes whole in one call of the kernel."""
_LINE: Final = 64 << 10
_HEADERS: Final = {
    "content-length": "ContentLength",
    "content-type": "ContentType",
    "content-encoding": "ContentEncoding",
    "content-disposition": "ContentDisposition",
    "content-language": "ContentLanguage",
    "content-range": "ContentRange",
    "cache-control": "CacheControl",
    "expires": "ExpiresString",
    "etag": "ETag",
    "last-modified": "LastModified",
    "x-amz-storage-class": "StorageClass",
    "x-amz-version-id": "VersionId",
}
"""Headers of an answer, and what botocore calls them."""
_SCOPE: Final = re.compile(r"^AWS4-HMAC-SHA256 Credential=[^,]*/([^/,]+)/s3/aws4_request,")
"""The region in a signature of S3's own kind."""
_METADATA: Final = "x-amz-meta-"
_CONDITIONS: Final = {"Range": "Range", "IfMatch": "If-Match"}
_FOUND: Final = {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}
_PASSING: Final = {
    HTTPStatus.NOT_FOUND,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.PRECONDITION_FAILED,
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
    HTTPStatus.TOO_MANY_REQUESTS,
}
"""Refusals, besides those of 500 and above, that say nothing about the next request."""


class TooLong(Exception):
    """The body is longer than was allowed for."""


class _NotPlain(Exception):
    """The answer is not one that is taken here."""


class _Refused(_NotPlain):
    """The service does not take requests that come this way: a redirection, a signature, a right."""


@dataclass(frozen=True)
class Route:
    """Where the objects of one bucket are, and how requests for them are signed."""

    scheme: str
    netloc: str
    path: str
    """Of an object, up to its name."""
    region: str
    agent: str
    credentials: Credentials = field(repr=False)

    def request(self, key: str, how: dict[str, str]) -> bytes:
        """A signed GET, as it goes over the wire; `how` as get_object takes it."""
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import BotoCoreError

        target = self.path + quote(key, safe="/")
        if version := how.get("VersionId"):
            target += f"?versionId={quote(version, safe='')}"
        headers = {_CONDITIONS[name]: value for name, value in how.items() if name in _CONDITIONS}
        request = AWSRequest("GET", f"{self.scheme}://{self.netloc}{target}", headers={"Host": self.netloc, **headers})
        try:
            S3SigV4Auth(self.credentials.get_frozen_credentials(), "s3", self.region).add_auth(request)
        except BotoCoreError:  # credentials that expire could not be renewed
            raise _NotPlain from None
        lines = [f"{name}: {value}" for name, value in request.headers.items()]
        return "\r\n".join([f"GET {target} HTTP/1.1", f"User-Agent: {self.agent}", *lines, "\r\n"]).encode("latin-1")


def route_to(client: S3Client, bucket: str, credentials: Credentials | None) -> Route | None:
    """How the client reaches the bucket, as far as plain connections can follow it; None where they cannot."""
    from botocore.exceptions import BotoCoreError
    from botocore.utils import get_environ_proxies

    if credentials is None:
        return None
    try:
        request = _unsent(client, bucket)
    except BotoCoreError:
        return None
    place, headers = urlsplit(request.url), {name: _text(value) for name, value in request.headers.items()}
    signed = _SCOPE.search(headers.get("Authorization", ""))
    if not signed or get_environ_proxies(request.url):
        return None  # directory buckets have keys of their own; proxies have rules of their own
    return Route(place.scheme, place.netloc, place.path[:-1], signed[1], headers["User-Agent"], credentials)


def _unsent(client: S3Client, bucket: str) -> AWSPreparedRequest:
    """A GET as boto3 would send it, which holds its decisions on addressing, endpoint, region and signature.

    It is caught on its way by a documented event; a presigned URL goes to another host, the one without a region.
    """
    from botocore.awsrequest import AWSResponse
    from botocore.compat import HTTPHeaders

    caught: list[AWSPreparedRequest] = []

    def catch(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        caught.append(request)
        return AWSResponse(request.url, HTTPStatus.OK, HTTPHeaders(), BytesIO())

    events: Any = client.meta.events  # its types do not know that a handler may answer
    events.register_first("before-send.s3.GetObject", catch)
    try:
        client.get_object(Bucket=bucket, Key="x")
    finally:
        events.unregister("before-send.s3.GetObject", catch)
    return caught[0]


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


class PlainGets:
    """GETs over connections that are kept; for several threads at a time, one connection each."""

    def __init__(self, route: Route | None, tls: Tls | None = None) -> None:
        self._route = route
        self._idle: deque[_Connection] = deque()
        self._context = _trust(tls or Tls()) if route and route.scheme == "https" else None

    def get(self, key: str, most: int, how: dict[str, str]) -> tuple[dict[str, Any], bytes] | None:
        """The answer as get_object names it, and the body; None where boto3 must be asked.

        Raises TooLong where the body has more than `most` bytes, without reading them.
        """
        if not (route := self._route):
            return None
        connection: _Connection | None = None
        try:
            connection = self._connection(route)
            answer, data = connection.ask(route.request(key, how), most)
        except (ssl.SSLCertVerificationError, _Refused):
            self._route = None  # the next would fail as well, and cost a request each
        except (OSError, ValueError, _NotPlain):
            pass
        else:
            if not connection.is_ending:
                self._idle.append(connection)
                connection = None
            return answer, data
        finally:
            if connection:
                connection.close()
        return None

    def close(self) -> None:
        """End the connections that are not in use, which are all when no thread reads."""
        while self._idle:
            self._idle.pop().close()

    def _connection(self, route: Route) -> _Connection:
        with suppress(IndexError):
            while True:
                connection = self._idle.pop()
                if connection.is_quiet:
                    return connection
                connection.close()
        return _Connection(route, self._context)


class _Connection:
    """One HTTP/1.1 connection."""

    def __init__(self, route: Route, context: ssl.SSLContext | None) -> None:
        place = urlsplit(f"//{route.netloc}")
        host, port = place.hostname or "", place.port or (443 if context else 80)
        self._socket = socket.create_connection((host, port), CONNECT_SECONDS)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.settimeout(READ_SECONDS)
            if context:
                self._socket = context.wrap_socket(self._socket, server_hostname=host)
            self._file = cast("BinaryIO", self._socket.makefile("rb", _BUFFER))
        except BaseException:
            self._socket.close()
            raise
        self.is_ending = False
        """Whether the service ends the connection after this answer."""

    @property
    def is_quiet(self) -> bool:
        """Whether the other side has left the unused connection open, and said nothing on it."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0)

    def ask(self, request: bytes, most: int) -> tuple[dict[str, Any], bytes]:
        """Send a request, and read its answer."""
        self._socket.sendall(request)
        _check_status(self._file.readline(_LINE))
        headers = _headers(self._file)
        self.is_ending = headers.get("connection", "").lower() == "close"
        answer = _named(headers)
        if (length := answer["ContentLength"]) > most:
            raise TooLong
        data = self._file.read(length)  # one copy, out of the kernel, outside the GIL
        if len(data) < length:
            raise _NotPlain
        return answer, data

    def close(self) -> None:
        """End it."""
        self._file.close()
        self._socket.close()


def _check_status(line: bytes) -> None:
    version, _, rest = line.partition(b" ")
    if version != b"HTTP/1.1":
        raise _NotPlain
    status = int(rest[:3])
    if status not in _FOUND:
        passing = status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR
        raise _NotPlain if passing else _Refused


def _headers(file: BinaryIO) -> dict[str, str]:
    """The headers up to the empty line, names in lower case, values as http.client gives them."""
    headers: dict[str, str] = {}
    while (line := file.readline(_LINE)) not in {b"\r\n", b"\n"}:
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or name != name.strip():
            raise _NotPlain  # the end of the connection, a line that goes on, or no HTTP
        name, value = name.lower(), value.lstrip(" \t").rstrip("\r\n")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _named(headers: dict[str, str]) -> dict[str, Any]:
    """The headers as the answer of get_object has them."""
    if "transfer-encoding" in headers or not {"content-length", "last-modified"} <= headers.keys():
        raise _NotPlain
    answer: dict[str, Any] = {ours: headers[name] for name, ours in _HEADERS.items() if name in headers}
    answer["ContentLength"] = int(answer["ContentLength"])
    modified = parsedate_to_datetime(answer["LastModified"])
    answer["LastModified"] = modified if modified.tzinfo else modified.replace(tzinfo=UTC)
    answer["Metadata"] = {
        name.removeprefix(_METADATA): value for name, value in headers.items() if name.startswith(_METADATA)
    }
    return answer


def _trust(tls: Tls) -> ssl.SSLContext:
    """Whom boto3's client trusts, as far as settings and environment say it, and what it shows."""
    from botocore.httpsession import get_cert_path

    named = tls.ca or os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE")
    return replace(tls, ca=named or get_cert_path(verify=True)).context()
