"""Waiting for an answer of PostgreSQL no longer than is sensible.

A server that takes a connection answers its first statement at once. A pooler in front of it (PgBouncer, pgcat) takes
the connection itself and lets the statement wait until one of its own connections to the server is free: with a pool
of one, that the first connection of ours holds, for ever.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import psycopg

ANSWER_SECONDS: Final = 10.0
"""How long the first statement of a connection, and the beginning of a transaction, may take."""
GRANT_SECONDS: Final = 5.0
"""The same where the connection is not needed."""

_LOOK_SECONDS: Final = 0.05


class Unanswered(psycopg.OperationalError):
    """A connection was hung up because a statement that takes no time was not answered."""


@contextmanager
def answering(
    connection: psycopg.Connection[Any], seconds: float, over: threading.Event | None = None
) -> Iterator[None]:
    """Unanswered unless what is done within comes to an end in so many seconds, or before it is `over`."""
    done, hung = threading.Event(), threading.Event()

    def watch() -> None:
        for _ in range(max(1, round(seconds / _LOOK_SECONDS))):
            if done.wait(_LOOK_SECONDS):
                return
            if over is not None and over.is_set():
                break
        hung.set()
        hang_up(connection)

    watching = threading.Thread(target=watch, name="wait for an answer", daemon=True)
    watching.start()
    try:
        yield
    except psycopg.OperationalError:
        if hung.is_set():
            raise Unanswered from None
        raise
    finally:
        done.set()
        watching.join()
    if hung.is_set():  # the answer and the end of its time met
        raise Unanswered


def hang_up(connection: psycopg.Connection[Any]) -> None:
    """End a connection under the thread that waits on it: its next read fails at once.

    Closing it here would free what that thread is using; asking the server to cancel needs a server that answers.
    Without a linger time of zero the server, its window closed, would wait for minutes with the table locked.
    """
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        line.shutdown(socket.SHUT_RDWR)
