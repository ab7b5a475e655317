"""A TCP tunnel: the same server under another port, as an SSH forwarding or another name would show it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def tunnel_to(port: int, flowing: threading.Event | None = None) -> Iterator[int]:
    """A port of 127.0.0.1 whose connections go to that port; while `flowing` is not set, it keeps what it takes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_serve, args=(server, port, flowing), daemon=True).start()
        yield server.getsockname()[1]


def _serve(server: socket.socket, port: int, flowing: threading.Event | None) -> None:
    with suppress(OSError):
        while True:
            near, _ = server.accept()
            far = socket.create_connection(("127.0.0.1", port))
            for pair in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=(*pair, flowing), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket, flowing: threading.Event | None) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            if flowing:
                flowing.wait()
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
