"""An S3 service that misbehaves: a proxy that spoils chosen requests on their way to a real server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Spoil:
    """What happens to one request."""

    status: int = 0
    """Answered with this status; the server never sees the request."""
    code: str = ""
    """The error code that goes with the status."""
    until: threading.Event | None = None
    """Not answered before this is set."""
    body: bytes | None = None
    """Passed on with this body instead of its own."""
    answer_bytes: int | None = None
    """The connection is closed after so many bytes of the answer's body; below 0 before its head."""


Choose = Callable[[str, str], Spoil | None]
"""Says of a request, by method and path, how it is spoiled."""
ChooseByHeaders = Callable[[str, str, Mapping[str, str]], Spoil | None]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    target = ""
    choose: Choose
    choose_by_headers: ChooseByHeaders

    def handle_any(self) -> None:
        self.close_connection = True
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        by_headers = type(self).choose_by_headers(self.command, self.path, dict(self.headers.items()))
        spoil = type(self).choose(self.command, self.path) or by_headers or Spoil()
        if spoil.until:
            spoil.until.wait()
        if spoil.status:
            answer = f"<Error><Code>{spoil.code}</Code></Error>".encode() if spoil.code else b""
            self.send_response(spoil.status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer if self.command != "HEAD" else b"")
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() != "content-length"}
        behind = HTTPConnection(self.target)
        behind.request(self.command, self.path, body if spoil.body is None else spoil.body, headers)
        self.pass_back(behind.getresponse(), spoil.answer_bytes)

    def pass_back(self, answer: HTTPResponse, limit: int | None) -> None:
        data = answer.read()
        if limit is not None and limit < 0:
            return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[:limit])

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815 - the base class names them

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def spoiling_proxy(
    endpoint: str, choose: Choose = lambda *_: None, choose_by_headers: ChooseByHeaders = lambda *_: None
) -> Iterator[str]:
    """The endpoint of a proxy to `endpoint` that spoils what either of the two says."""
    attributes = {
        "target": urlsplit(endpoint).netloc,
        "choose": staticmethod(choose),
        "choose_by_headers": staticmethod(choose_by_headers),
    }
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), attributes)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def first(method: str, spoil: Spoil) -> Choose:
    """Spoils the first request of a method, and no other."""
    left = [spoil]

    def choose(asked: str, _: str) -> Spoil | None:
        return left.pop() if asked == method and left else None

    return choose
