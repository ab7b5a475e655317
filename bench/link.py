"""A network between this process and the servers: `python -m bench.link SECONDS PORT ...` delays what goes each way.

A stack of one machine has none, so nobody there pays for asking 10,000 times. Prints the port that stands for each.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from pydantic import SecretStr

from strata.settings import Settings

ROUND_TRIP_SECONDS: Final = 0.0005
"""Within a data centre; between two of a region it is 1 to 2 ms."""

_PIECE: Final = 1 << 18


@contextmanager
def linked(settings: Settings) -> Iterator[Settings]:
    """The same settings, with a link between whoever uses them and the three tiers."""
    assert settings.hot_url
    assert settings.warm_url
    assert settings.cold_endpoint
    urls = [settings.hot_url.get_secret_value(), settings.warm_url.get_secret_value(), settings.cold_endpoint]
    command = [sys.executable, "-m", "bench.link", str(ROUND_TRIP_SECONDS / 2)]
    command += [str(urlsplit(url).port) for url in urls]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        assert child.stdin
        hot, warm, cold = (_at(url, int(port)) for url, port in zip(urls, child.stdout.readline().split(), strict=True))
        yield settings.model_copy(
            update={"hot_url": SecretStr(hot), "warm_url": SecretStr(warm), "cold_endpoint": cold}
        )
        child.stdin.close()


def _at(url: str, port: int) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{port}"))


def _listen(port: int, seconds: float) -> int:
    """Serve connections to a local port, delayed; the port to connect to instead."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            client, _ = listener.accept()
            server = socket.create_connection(("127.0.0.1", port))
            for source, target in ((client, server), (server, client)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=_carry, args=(source, target, seconds), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return int(listener.getsockname()[1])


def _carry(source: socket.socket, target: socket.socket, seconds: float) -> None:
    """Pass on what comes, that much later, until either end closes."""
    try:
        while piece := source.recv(_PIECE):
            time.sleep(seconds)
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        target.close()


def main(arguments: Sequence[str]) -> None:
    """Serve until standard input ends."""
    seconds, *ports = arguments
    print(*(_listen(int(port), float(seconds)) for port in ports), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1:])
