"""Creating what a backup describes and this database lacks, and setting sequences to where they were."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from psycopg import sql

from strata.sources import postgres_ddl as ddl
from strata.sources.postgres_connect import Connection, execute_text
from strata.sources.postgres_table import Description, Table
from strata.sources.postgres_table import Sequence as Counter

_SETTABLE: Final = """
SELECT has_sequence_privilege(q.seqrelid, 'UPDATE'), has_sequence_privilege(q.seqrelid, 'SELECT, USAGE'),
       %(value)s BETWEEN q.seqmin AND q.seqmax
FROM pg_sequence q WHERE q.seqrelid = %(sequence)s::regclass
"""


@dataclass(frozen=True)
class Step:
    """One statement of a creation; `table` is the one it is for, empty where several may need it."""

    table: str
    text: str

    def take(self, connection: Connection) -> None:
        """Execute it."""
        execute_text(connection, self.text)


def creating(connection: Connection, description: Description, missing: Sequence[Table]) -> list[Step]:
    """What creates these tables, still without keys and indexes, and whatever of the description they may need."""
    if not missing:
        return []
    tables = (step for table in missing for step in _table(connection, table))
    return [*_schemas(connection, missing), *_kinds(connection, description), *tables]


def completing(created: Sequence[Table]) -> list[Step]:
    """What gives created tables, their rows written, their keys and indexes, and last the foreign keys among them."""
    steps = [Step(table.name, text) for table in created for text in table.ddl_after]
    return steps + [Step(table.name, text) for table in created for text in table.ddl_links]


def _schemas(connection: Connection, missing: Sequence[Table]) -> Iterator[Step]:
    for schema in dict.fromkeys(table.schema for table in missing):
        if _lacks(connection, "to_regnamespace(quote_ident(%s))", schema):
            yield Step("", _text(connection, "CREATE SCHEMA {}", schema))


def _kinds(connection: Connection, description: Description) -> Iterator[Step]:
    """The extensions and types that columns of the tables are of."""
    for name, schema in description.extensions:
        yield Step("", _text(connection, "CREATE EXTENSION IF NOT EXISTS {} WITH SCHEMA {}", name, schema))
    for one in description.types:
        if _lacks(connection, "to_regtype(%s)", one.name):
            yield Step("", one.ddl)


def _table(connection: Connection, table: Table) -> Iterator[Step]:
    for counter in table.sequences:
        if counter.relation != "identity" and _lacks(connection, "to_regclass(%s)", counter.name):
            yield Step(table.name, ddl.create_sequence(counter))
    for text in table.ddl:
        yield Step(table.name, text)


def _text(connection: Connection, statement: str, *names: str) -> str:
    return sql.SQL(statement).format(*map(sql.Identifier, names)).as_string(connection)


def set_sequences(connection: Connection, tables: Iterable[Table], *, forward_only: bool) -> list[str]:
    """Put each sequence where it was at the cut; forward only where rows newer than the backup stay.

    A rollback does not take setval back, so this is the last thing before the commit.
    Returns a sentence for each sequence that is not here.
    """
    notes = []
    for table in tables:
        for counter in table.sequences:
            here = _sequence_here(connection, table, counter)
            if here is None:
                notes.append(f"column {counter.column} of {table.name} has a sequence in the backup and none here")
            elif not (forward_only and _is_past(connection, here, counter)):
                position = (here, counter.last_value, counter.is_called)
                connection.execute("SELECT setval(%s::regclass, %s, %s)", position)
    return notes


def unsettable(connection: Connection, tables: Iterable[Table]) -> list[str]:
    """A sentence for each sequence here that could not be put where it was; asks, and moves none of them."""
    here = [(_sequence_here(connection, table, counter), counter) for table in tables for counter in table.sequences]
    return [said for name, counter in here if name for said in _bars(connection, name, counter)]


def _bars(connection: Connection, sequence: str, counter: Counter) -> Iterator[str]:
    rows = connection.execute(_SETTABLE, {"sequence": sequence, "value": counter.last_value}).fetchall()
    for settable, readable, within in rows:
        rights = [right for right, held in (("UPDATE", settable), ("SELECT", readable)) if not held]
        if rights:
            yield f"the role lacks {' and '.join(rights)} on sequence {sequence}"
        if not within:
            yield f"sequence {sequence} ends before the position that it has in the backup"


def _sequence_here(connection: Connection, table: Table, counter: Counter) -> str | None:
    """The sequence that fills the column now, which may have another name than it had."""
    query = "SELECT coalesce(pg_get_serial_sequence(%s, %s)::regclass, to_regclass(%s))::text"
    owner = (None, None) if counter.relation == "used" else (table.name, counter.column)
    row = connection.execute(query, (*owner, counter.name)).fetchone()
    return row[0] if row else None


def _is_past(connection: Connection, sequence: str, counter: Counter) -> bool:
    row = connection.execute("SELECT pg_sequence_last_value(%s::regclass)", (sequence,)).fetchone()
    last: int | None = row[0] if row else None
    if last is None:
        return False
    return last >= counter.last_value if counter.ascending else last <= counter.last_value


def _lacks(connection: Connection, lookup: str, name: str) -> bool:
    row = connection.execute(f"SELECT {lookup} IS NULL".encode(), (name,)).fetchone()
    return row is not None and bool(row[0])
