"""Creating what a backup describes and this database lacks, and setting sequences to where they were."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from psycopg import sql

from strata.sources import postgres_ddl as ddl
from strata.sources.postgres_connect import Connection, execute_text
from strata.sources.postgres_table import Description, Table
from strata.sources.postgres_table import Sequence as Counter


def create_missing(connection: Connection, description: Description, missing: Sequence[Table]) -> None:
    """Create these tables, still without keys and indexes, and whatever of the description they may need."""
    if not missing:
        return
    for schema in dict.fromkeys(table.schema for table in missing):
        if _lacks(connection, "to_regnamespace(quote_ident(%s))", schema):
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    for name, schema in description.extensions:
        statement = sql.SQL("CREATE EXTENSION IF NOT EXISTS {} WITH SCHEMA {}")
        connection.execute(statement.format(sql.Identifier(name), sql.Identifier(schema)))
    for one in description.types:
        if _lacks(connection, "to_regtype(%s)", one.name):
            execute_text(connection, one.ddl)
    for counter in (counter for table in missing for counter in table.sequences):
        if counter.relation != "identity" and _lacks(connection, "to_regclass(%s)", counter.name):
            execute_text(connection, ddl.create_sequence(counter))
    for text in (text for table in missing for text in table.ddl):
        execute_text(connection, text)


def complete(connection: Connection, created: Sequence[Table]) -> None:
    """Give created tables, their rows written, their keys and indexes, and last the foreign keys among them."""
    statements = [statement for table in created for statement in table.ddl_after]
    statements += [statement for table in created for statement in table.ddl_links]
    for statement in statements:
        execute_text(connection, statement)


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
