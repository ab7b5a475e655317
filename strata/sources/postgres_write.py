"""A restore into WARM: one transaction for all tables, so that nobody ever sees half of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
from psycopg import sql

from strata.errors import IntegrityError, SourceError
from strata.model.record import LargeValue
from strata.model.scope import Scope
from strata.sources.port import ApplyCounts, KnownKeys, Permit, RestoreMode
from strata.sources.postgres_catalog import Found
from strata.sources.postgres_compare import confirm, targets
from strata.sources.postgres_connect import RESTORES, Connection, Server, begin, end_other_restores
from strata.sources.postgres_copy import by_namespace, copy_data
from strata.sources.postgres_create import Step, completing, creating, set_sequences
from strata.sources.postgres_guards import Guards, guards_for
from strata.sources.postgres_merge import Merge, column_list
from strata.sources.postgres_table import Description, Table

_READ_WRITE: Final = "READ COMMITTED READ WRITE"
IDLE_SECONDS: Final = 60
"""The server ends the transaction of a restore or a rehearsal that says nothing for so long, and its locks with it."""


@dataclass
class Place:
    """Where one table's rows go: straight into it when it holds none, else into a stage beside it."""

    table: Table
    number: int
    found: Found | None
    """The table as it was before; None where this restore created it."""
    staged: bool
    rows: int = 0

    @property
    def stage(self) -> sql.Identifier:
        """The temporary table for rows that wait."""
        return sql.Identifier("pg_temp", f"strata_stage_{self.number}")

    @property
    def copy_statement(self) -> sql.Composed:
        """COPY into wherever the rows go."""
        into = self.stage if self.staged else self.table.sql
        return sql.SQL("COPY {} {} FROM STDIN").format(into, column_list(self.table.copied))


@dataclass(frozen=True)
class Prepared:
    """What a restore's transaction stands on: where each table's rows go, and what stands still meanwhile."""

    places: tuple[Place, ...]
    guards: Guards

    @property
    def tables(self) -> list[Table]:
        """Every table of the backup."""
        return [place.table for place in self.places]

    @property
    def created(self) -> list[Table]:
        """Those that this transaction created."""
        return [place.table for place in self.places if place.found is None]


Taking = Callable[[Connection, Sequence[Step]], None]
"""Executes the steps of a creation."""


class PostgresApplication:
    """Takes records and puts them into their tables; nothing is visible or lasting before `finish` returns."""

    def __init__(
        self, server: Server, connection: Connection, prepared: Prepared, mode: RestoreMode, permit: Permit
    ) -> None:
        self._server = server
        self._connection = connection
        self._prepared = prepared
        self._places = {place.table.name: place for place in prepared.places}
        self._guards = prepared.guards
        self._mode, self._permit = mode, permit
        self._counts = ApplyCounts()

    def write(self, batch: pa.RecordBatch) -> None:
        for namespace, values in by_namespace(batch):
            data = copy_data(values)
            self._copy(namespace, [data], len(values))
            self._counts.bytes += len(data)

    def write_large(self, value: LargeValue) -> None:
        self._copy(value.namespace, value.parts, 1)
        self._counts.bytes += value.size

    def finish(self, known: KnownKeys, scope: Scope) -> ApplyCounts:
        staged = [place for place in self._places.values() if place.staged]
        if self._mode is RestoreMode.EXACT:
            for place in staged:
                self._remove_extra(place, known, scope)
        for place in staged:
            self._merge(place, scope)
        self._counts.written += sum(place.rows for place in self._places.values() if not place.staged)
        self._conclude(scope)
        return self._counts

    def _copy(self, namespace: str, parts: Iterable[bytes | memoryview], rows: int) -> None:
        place = self._places.get(namespace)
        if place is None:
            raise IntegrityError(f"the backup holds rows of {namespace}, which its description does not name")
        with self._server.speaking(f"writing table {namespace}"):
            cursor = self._connection.cursor()
            with cursor.copy(place.copy_statement) as copy:
                for part in parts:
                    copy.write(part)
        if cursor.rowcount != rows:
            raise IntegrityError(f"{rows} records of {namespace} are {cursor.rowcount} rows: they are not whole rows")
        place.rows += rows

    def _remove_extra(self, place: Place, known: KnownKeys, scope: Scope) -> None:
        merge = self._merge_of(place)
        if not place.table.key:
            return  # replaced as a whole
        with self._server.speaking(f"removing rows of {place.table.name}"):
            removed = merge.remove_extra(known, scope)
        self._counts.removed += removed
        others = [one.name for one in self._guards.followers_of(merge.found.oid) if not one.restored]
        if removed and others:
            self._counts.notes.append(
                f"{removed} rows removed from {place.table.name} may have changed {', '.join(others)} "
                "through its foreign key; it is not in the backup"
            )

    def _merge(self, place: Place, scope: Scope) -> None:
        merge = self._merge_of(place)
        exact = self._mode is RestoreMode.EXACT and scope.is_everything
        with self._server.speaking(f"merging table {place.table.name}"):
            if place.table.key:
                written, removed = merge.upsert(), 0
            elif exact or place.rows:
                written, removed = merge.replace_whole()
            else:
                return
        if removed and not exact:
            self._counts.notes.append(f"{place.table.name} has no primary key: it was replaced as a whole")
        self._counts.written += written
        self._counts.removed += removed
        self._counts.unchanged += place.rows - written

    def _merge_of(self, place: Place) -> Merge:
        if place.found is None:
            raise SourceError(f"WARM (PostgreSQL): {place.table.name} was to be merged before it was found")
        table = place.table
        return Merge(self._connection, place.found, table.name, table.copied, place.stage, place.number, self._guards)

    def _conclude(self, scope: Scope) -> None:
        with self._server.speaking("checking foreign keys"):
            self._guards.check(self._connection)
        with self._server.speaking("completing the tables it created"):
            take_all(self._connection, completing(self._prepared.created))
        self._counts.notes += [
            f"{one.name} was missing and was created; its triggers, policies and privileges are not in the backup"
            for one in self._prepared.created
        ]
        with self._server.speaking("committing"):
            self._guards.release(self._connection)
            self._permit()  # no rollback takes the sequences back
            keeps_newer = self._mode is not RestoreMode.EXACT or not scope.is_everything
            self._counts.notes += set_sequences(self._connection, self._prepared.tables, forward_only=keeps_newer)
            self._permit()
            self._connection.commit()


@contextmanager
def restoring(
    server: Server, description: Description, mode: RestoreMode, permit: Permit
) -> Iterator[PostgresApplication]:
    """Begin the transaction, see that everything fits, and take the rows; leaving it unfinished takes all back."""
    connection = server.connect()
    try:
        with server.speaking("preparing its tables"):
            begin_restore(connection)
            prepared = prepare(server, connection, description, take_all)
        yield PostgresApplication(server, connection, prepared, mode, permit)
    finally:
        connection.close()


def begin_restore(connection: Connection) -> None:
    """Begin the transaction of a restore or a rehearsal, after it has ended those of others."""
    end_other_restores(connection)
    begin(connection, _READ_WRITE, idle_seconds=IDLE_SECONDS, name=RESTORES)


def prepare(server: Server, connection: Connection, description: Description, take: Taking) -> Prepared:
    """Lock the tables, see that everything fits, make them stand still, and create what is missing by `take`."""
    _lock(connection, targets(connection, description).values())
    found = targets(connection, description)
    confirm(server, connection, description, found)
    guards = guards_for(connection, found.values())
    guards.hold(connection)
    missing = [one for one in description.tables if one.name not in found]
    take(connection, creating(connection, description, missing))
    return Prepared(tuple(_places(connection, description.tables, found)), guards)


def take_all(connection: Connection, steps: Iterable[Step]) -> None:
    """Execute the steps; the first that fails ends it."""
    for step in steps:
        step.take(connection)


def _lock(connection: Connection, tables: Iterable[Found]) -> None:
    """Keep writers out until the end; readers go on reading what was there before."""
    for one in tables:
        if one.kind == "r":
            connection.execute(sql.SQL("LOCK TABLE ONLY {} IN SHARE ROW EXCLUSIVE MODE").format(one.table.sql))


def _places(connection: Connection, tables: Sequence[Table], found: dict[str, Found]) -> list[Place]:
    places = []
    for number, table in enumerate(tables):
        here = found.get(table.name)
        place = Place(table, number, here, here is not None and _holds_rows(connection, table))
        if place.staged:
            connection.execute(
                sql.SQL("CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT {} FROM ONLY {} WITH NO DATA").format(
                    place.stage, sql.SQL(", ").join(map(sql.Identifier, table.copied)), table.sql
                )
            )
        places.append(place)
    return places


def _holds_rows(connection: Connection, table: Table) -> bool:
    row = connection.execute(sql.SQL("SELECT EXISTS (SELECT FROM ONLY {})").format(table.sql)).fetchone()
    return row is not None and bool(row[0])
