"""Reading tables at one exported snapshot: ctid ranges, several at a time, as one stream of record batches.

Two ranges at a time read 2,000,000 rows of jsonb in two thirds of one stream's time on two cores; more than four
ranges of a table are slower again, as more than one process then waits for the same core.
"""

from __future__ import annotations

import os
import queue
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self

import psycopg
import pyarrow as pa
from psycopg import sql

from strata.errors import SourceUnavailable
from strata.model.scope import Scope
from strata.sources.postgres_catalog import Found
from strata.sources.postgres_connect import Connection, Server, begin
from strata.sources.postgres_copy import Rows, gathered, keyed_batch, numbered_batch
from strata.sources.postgres_scope import key_condition
from strata.sources.postgres_table import Table

READ_ONLY: Final = "REPEATABLE READ READ ONLY"

_PAGE: Final = 8192  # ranges need not be even: another page size of the server only shifts their bounds
_RANGE_BYTES: Final = 64 << 20
_MOST_RANGES: Final = 4
_TID_RANGE_SCANS: Final = 140000  # an older server would read the whole table for each range
_LOOK_UP_SECONDS: Final = 0.2


@dataclass(frozen=True)
class Job:
    """Pages of one table to read: from `start` up to `stop`, or to the end where that is None."""

    table: Table
    part: int
    start: int
    stop: int | None
    bytes: int

    def query(self, scope: Scope) -> sql.Composed:
        """The COPY statement; without bounds for a table that is read in one."""
        conditions = [key_condition(self.table, scope)]
        if self.start:
            conditions.append(sql.SQL("ctid >= {}::tid").format(sql.Literal(f"({self.start},0)")))
        if self.stop is not None:
            conditions.append(sql.SQL("ctid < {}::tid").format(sql.Literal(f"({self.stop},0)")))
        return sql.SQL("COPY (SELECT {} FROM ONLY {} WHERE {}) TO STDOUT").format(
            sql.SQL(", ").join(map(sql.Identifier, self.table.copied)),
            self.table.sql,
            sql.SQL(" AND ").join(conditions),
        )


def jobs_for(tables: Sequence[Found], scope: Scope, server_version: int) -> list[Job]:
    """The work list, largest pieces first, so that no thread is left alone with one at the end."""
    wanted = [one for one in tables if scope.is_everything or one.table.key]
    jobs = [job for one in wanted for job in _divided(one, server_version)]
    return sorted(jobs, key=lambda job: job.bytes, reverse=True)


class RangeReaders:
    """Threads that read jobs on connections of their own and hand over batches through a bounded queue.

    Memory: the queue holds two batches a thread, and a thread one more as rows and one as a buffer. Leaving the
    context stops the threads and closes their connections, whether or not everything was read.
    """

    def __init__(self, server: Server, snapshot: str, jobs: Sequence[Job], scope: Scope, parallel: int) -> None:
        self._server = server
        self._snapshot = snapshot
        self._scope = scope
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        for job in jobs:
            self._jobs.put(job)
        count = max(1, min(parallel, len(jobs)))
        self._ready: queue.Queue[pa.RecordBatch | BaseException | None] = queue.Queue(2 * count)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._connections: set[Connection] = set()
        self._threads = [threading.Thread(target=self._work, name=f"warm-read-{n}") for n in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        with self._lock:
            for connection in self._connections:
                _hang_up(connection)
        for thread in self._threads:
            thread.join()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Every batch of every job, or the first error of any thread."""
        working = len(self._threads)
        while working:
            item = self._ready.get()
            if isinstance(item, BaseException):
                raise item from None
            if item is None:
                working -= 1
            else:
                yield item

    def _work(self) -> None:
        try:
            self._read_jobs()
            self._hand_over(None)
        except _Stopped:
            return
        except BaseException as error:  # noqa: BLE001 - whatever it is, the reader of the stream must hear of it
            with suppress(_Stopped):
                self._hand_over(error)

    def _read_jobs(self) -> None:
        connection = self._server.connect()
        with self._lock:
            self._connections.add(connection)
        try:
            if self._stop.is_set():  # stopped while connecting, when there was nothing to hang up yet
                raise _Stopped
            self._open_snapshot(connection)
            while True:
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    return
                with self._server.speaking(f"reading table {job.table.name}"):
                    self._read(connection, job)
        finally:
            with self._lock:
                self._connections.discard(connection)
            connection.close()

    def _open_snapshot(self, connection: Connection) -> None:
        with self._server.speaking("opening its snapshot"):
            try:
                begin(connection, READ_ONLY, snapshot=self._snapshot)
            except (psycopg.errors.InvalidParameterValue, psycopg.errors.UndefinedObject):
                lost = f"{self._server.label} lost the connection that held its snapshot"
                raise SourceUnavailable(lost) from None

    def _read(self, connection: Connection, job: Job) -> None:
        count = 0
        with connection.cursor().copy(job.query(self._scope)) as copy:
            for rows in gathered(copy):
                batch = _records(job, rows, count)
                count += batch.num_rows
                try:
                    self._hand_over(batch)
                except _Stopped:
                    connection.close()  # or leaving the copy would read the rest of it
                    raise

    def _hand_over(self, item: pa.RecordBatch | BaseException | None) -> None:
        while not self._stop.is_set():
            with suppress(queue.Full):
                return self._ready.put(item, timeout=_LOOK_UP_SECONDS)
        raise _Stopped


class _Stopped(Exception):
    """Nobody wants the rest of the stream."""


def _records(job: Job, rows: Rows, first: int) -> pa.RecordBatch:
    table = job.table
    if table.key:
        return keyed_batch(table.name, rows, len(table.copied), len(table.key))
    return numbered_batch(table.name, rows, job.part, first)


def _divided(found: Found, server_version: int) -> Iterator[Job]:
    pages = found.main_bytes // _PAGE
    whole = not found.heap or server_version < _TID_RANGE_SCANS
    count = 1 if whole else max(1, min(_MOST_RANGES, found.all_bytes // _RANGE_BYTES, pages))
    bounds = [pages * n // count for n in range(count)]
    for part, (start, stop) in enumerate(zip(bounds, [*bounds[1:], None], strict=True)):
        yield Job(found.table, part, start, stop, found.all_bytes // count)


def _hang_up(connection: Connection) -> None:
    """End a connection under the thread that waits on it: its next read fails at once.

    Closing it here would free what that thread is using; asking the server to cancel needs a server that answers.
    Without a linger time of zero the server, its window closed, would wait for minutes with the table locked.
    """
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        line.shutdown(socket.SHUT_RDWR)
