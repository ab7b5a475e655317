"""A restore into WARM without its rows, taken back: what it would fail at is said before any tier is overwritten.

The transaction is the restore's own: the same locks, guards, statements and stages. Rows are not written, so no
trigger of a table acts, and sequences are asked, not set: neither setval nor nextval is taken back by a rollback.
On a database in use each lock is waited for no longer than a second at a time, because a lock that waits holds up
everyone who comes after it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

import psycopg

from strata.errors import SchemaMismatch
from strata.sources.postgres_connect import Connection, Server, said
from strata.sources.postgres_create import Step, completing, unsettable
from strata.sources.postgres_table import Description
from strata.sources.postgres_write import begin_restore, prepare

LOCK_TRIES: Final = 5
_LOCK_SECONDS: Final = 1
_REST_SECONDS: Final = 1.0


def rehearse(server: Server, description: Description) -> None:
    """Raise where the restore's transaction would fail before its first row; leaves nothing behind.

    SchemaMismatch lists everything that cannot be created; SourceUnavailable where the locks were not to be had.
    """
    connection = server.connect()
    try:
        with server.speaking("trying the restore"):
            refusals = _tried(server, connection, description)
    finally:
        connection.close()
    if refusals:
        raise SchemaMismatch(
            f"{server.label} cannot take the backup: {'; '.join(refusals)}. Nothing was written",
            hint="A backup holds tables, not functions, roles or rights: let the application's migrations create what "
            "is missing, then restore again.",
        )


def _tried(server: Server, connection: Connection, description: Description) -> list[str]:
    """What was refused; the locks are asked for again and again, each time for a second."""
    for left in reversed(range(LOCK_TRIES)):
        try:
            return _once(server, connection, description)
        except psycopg.errors.LockNotAvailable:
            if not left:
                raise
        finally:
            connection.rollback()
        time.sleep(_REST_SECONDS)
    raise AssertionError  # the last try returns or raises


def _once(server: Server, connection: Connection, description: Description) -> list[str]:
    begin_restore(connection)
    connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'".encode())
    trial = Trial()
    prepared = prepare(server, connection, description, trial.take)
    prepared.guards.check(connection)
    trial.take(connection, completing(prepared.created))
    prepared.guards.release(connection)
    return [*trial.refusals, *unsettable(connection, prepared.tables)]


class Trial:
    """Executes steps each by itself, so that all that fail are known; of a table the first failure counts."""

    def __init__(self) -> None:
        self._failed: dict[str, str] = {}

    @property
    def refusals(self) -> list[str]:
        """A sentence for each table, type or extension that cannot be created."""
        return [f"{table}: {reason}" if table else reason for table, reason in self._failed.items()]

    def take(self, connection: Connection, steps: Iterable[Step]) -> None:
        for step in steps:
            if "" not in self._failed and step.table not in self._failed:
                self._try(connection, step)

    def _try(self, connection: Connection, step: Step) -> None:
        try:
            with connection.transaction():
                step.take(connection)
        except psycopg.errors.LockNotAvailable:
            raise
        except psycopg.Error as error:
            if error.sqlstate is None:
                raise  # the server is gone
            self._failed[step.table] = said(error)
