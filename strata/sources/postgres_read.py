"""Reading tables at one exported snapshot: several jobs at a time, as one stream of what they give."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Final, Self

import psycopg
from psycopg import sql

from strata.errors import SourceUnavailable
from strata.model.record import SourceItem
from strata.sources.postgres_answer import GRANT_SECONDS, Unanswered, answering, hang_up
from strata.sources.postgres_connect import Connection, Server, begin
from strata.sources.postgres_copy import gathered
from strata.sources.postgres_jobs import Job, Pass
from strata.sources.postgres_table import Table

READ_ONLY: Final = "REPEATABLE READ READ ONLY"

_LOOK_UP_SECONDS: Final = 0.2


class Reader:
    """A connection that sees the snapshot. It reads a table only where it may at once: see RangeReaders."""

    def __init__(self, connection: Connection, *, holds_all: bool = False) -> None:
        self.connection = connection
        self._holds_all = holds_all
        self._answers: dict[str, bool] = {}

    def may_read(self, table: Table) -> bool:
        """Whether the table is locked for reading, now at the latest; asked once for each table."""
        if self._holds_all:
            return True
        if table.name not in self._answers:
            self._answers[table.name] = _locked(self.connection, table)
        return self._answers[table.name]


class _Jobs:
    """What is still to be read, largest first."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._left, self._lock = list(jobs), threading.Lock()

    def take(self, reader: Reader) -> Job | None:
        """The next job that a reader may do; None where there is none for it any more."""
        with self._lock:
            place = next((place for place, job in enumerate(self._left) if reader.may_read(job.table)), None)
            return None if place is None else self._left.pop(place)


class RangeReaders:
    """Threads that read jobs, each on its own connection, and hand over what they read through a bounded queue.

    The first reads on the connection that exported the snapshot, which saves a small backup the opening of a second
    one; that one stays open, unless the reading is given up. It has locked every table. The others lock theirs without
    waiting: behind a statement of somebody else's that waits for the first one's lock (a TRUNCATE, an ALTER TABLE) they
    would wait for that statement, and it for them. What they are not granted at once is left to the first. So is
    everything where a further connection is not to be had: a pooler whose pool is in use takes it and does not answer.

    Memory: the queue holds two batches a thread, and a thread one more as rows and one as a buffer. Leaving the context
    stops the threads, whether or not everything was read.
    """

    def __init__(self, server: Server, exporter: Connection, snapshot: str, jobs: Sequence[Job], parallel: int) -> None:
        self._server = server
        self._snapshot = snapshot
        self._jobs = _Jobs(jobs)
        count = max(1, min(parallel, len(jobs)))
        self._ready: queue.Queue[SourceItem | BaseException | None] = queue.Queue(2 * count)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._connections: set[Connection] = set()
        self._over = threading.Event()
        openings: list[AbstractContextManager[Reader]] = [self._first(exporter)]
        openings += [self._opened() for _ in range(1, count)]
        self._threads = [
            threading.Thread(target=self._work, args=(opening,), name=f"warm-read-{n}")
            for n, opening in enumerate(openings)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        with self._lock:
            for connection in self._connections:
                hang_up(connection)
        for thread in self._threads:
            thread.join()

    def items(self) -> Iterator[SourceItem]:
        """Everything of every job, or the first error of any thread."""
        working = len(self._threads)
        while working:
            item = self._ready.get()
            if isinstance(item, BaseException):
                raise item from None
            if item is None:
                working -= 1
            else:
                yield item

    def _work(self, opening: AbstractContextManager[Reader]) -> None:
        try:
            with suppress(_NotGranted), opening as reader:
                self._read_jobs(reader)
            self._hand_over(None)
        except _Stopped:
            return
        except BaseException as error:  # noqa: BLE001 - whatever it is, the reader of the stream must hear of it
            with suppress(_Stopped):
                self._hand_over(error)

    @contextmanager
    def _first(self, exporter: Connection) -> Iterator[Reader]:
        """The connection that has locked every table; once it has done its work there is none for others either."""
        with self._watched(exporter):
            yield Reader(exporter, holds_all=True)
        self._over.set()

    @contextmanager
    def _opened(self) -> Iterator[Reader]:
        """A connection of its own that sees the snapshot; _NotGranted where none is to be had now."""
        connection = self._granted()
        try:
            with self._watched(connection):
                self._open_snapshot(connection)
                yield Reader(connection)
        finally:
            connection.close()

    def _granted(self) -> Connection:
        try:
            return self._server.open()
        except SourceUnavailable:
            raise _NotGranted from None

    @contextmanager
    def _watched(self, connection: Connection) -> Iterator[Connection]:
        """A connection that is hung up when nobody wants the rest of the stream."""
        with self._lock:
            self._connections.add(connection)
        try:
            if self._stop.is_set():  # stopped before there was anything to hang up
                raise _Stopped
            yield connection
        finally:
            with self._lock:
                self._connections.discard(connection)

    def _read_jobs(self, reader: Reader) -> None:
        while job := self._next(reader):
            with self._server.speaking(f"reading table {job.table.name}"):
                for one in job.passes():
                    self._read(reader.connection, one)

    def _next(self, reader: Reader) -> Job | None:
        with self._server.speaking("locking its tables"):
            return self._jobs.take(reader)

    def _open_snapshot(self, connection: Connection) -> None:
        with self._server.speaking("opening its snapshot"):
            try:
                with answering(connection, GRANT_SECONDS, self._over):
                    begin(connection, READ_ONLY, snapshot=self._snapshot)
            except (psycopg.errors.InvalidParameterValue, psycopg.errors.UndefinedObject):
                lost = f"{self._server.label} lost the connection that held its snapshot"
                raise SourceUnavailable(lost) from None
            except Unanswered:
                raise _NotGranted from None

    def _read(self, connection: Connection, one: Pass) -> None:
        count = 0
        with connection.cursor().copy(one.query) as copy:
            for rows in gathered(copy):
                item = one.item(rows, count)
                count += len(rows)
                try:
                    self._hand_over(item)
                except _Stopped:
                    connection.close()  # or leaving the copy would read the rest of it
                    raise

    def _hand_over(self, item: SourceItem | BaseException | None) -> None:
        while not self._stop.is_set():
            with suppress(queue.Full):
                return self._ready.put(item, timeout=_LOOK_UP_SECONDS)
        raise _Stopped


class _NotGranted(Exception):
    """A further connection is not to be had now; what it would have read is left to the others."""


class _Stopped(Exception):
    """Nobody wants the rest of the stream."""


def _locked(connection: Connection, table: Table) -> bool:
    """Lock a table for reading, if that can be had at once."""
    try:
        with connection.transaction():  # a savepoint: a refusal leaves the snapshot as it is
            connection.execute(sql.SQL("LOCK TABLE ONLY {} IN ACCESS SHARE MODE NOWAIT").format(table.sql))
    except psycopg.errors.LockNotAvailable:
        return False
    return True
