"""Making a table that holds rows equal to the rows staged for it, touching only the rows that differ.

Rows are compared by their binary images (`*<>`): it sees what `=` does not (1.0 and 1.00, -0 and 0, the case in a
case-insensitive collation) and works for types that have no `=` at all (json, xml, point).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import psycopg
import pyarrow as pa
from psycopg import sql

from strata.errors import SourceError
from strata.model.scope import Scope
from strata.sources.port import KnownKeys
from strata.sources.postgres_catalog import Found
from strata.sources.postgres_connect import Connection
from strata.sources.postgres_copy import gathered, keys_of
from strata.sources.postgres_guards import Guards
from strata.sources.postgres_scope import key_condition

# Rows that one has more than the other, duplicates counted; as text, for json and others have no `=`.
_MORE_STAGED: Final = """
SELECT count(*) FROM (SELECT ROW({from_stage})::text FROM {stage} s
                      EXCEPT ALL SELECT ROW({from_table})::text FROM ONLY {table} t) more
"""
_MORE_HERE: Final = """
SELECT count(*) FROM (SELECT ROW({from_table})::text FROM ONLY {table} t
                      EXCEPT ALL SELECT ROW({from_stage})::text FROM {stage} s) more
"""


@dataclass(frozen=True)
class Merge:
    """One table and the temporary table that holds the rows it is to have."""

    connection: Connection
    found: Found
    name: str
    """The table's name in the backup."""
    copied: tuple[str, ...]
    stage: sql.Identifier
    number: int
    guards: Guards

    def remove_extra(self, known: KnownKeys, scope: Scope) -> int:
        """Delete the scope's rows that were neither staged nor are known to the backup; how many there were."""
        doomed = sql.Identifier(f"strata_doomed_{self.number}")
        self._run("ANALYZE {stage}")
        count = self._run(
            "CREATE TEMPORARY TABLE {doomed} ON COMMIT DROP AS SELECT {key} FROM ONLY {table} t"
            " WHERE {scope} AND NOT EXISTS (SELECT FROM {stage} s WHERE {same_key})",
            doomed=doomed,
            scope=key_condition(self.found.table, scope, "t"),
        )
        if not count:
            return 0
        count -= self._spare_known(doomed, known)
        self._run("ANALYZE {doomed}", doomed=doomed)
        self._run("DELETE FROM ONLY {table} t USING {doomed} s WHERE {same_key}", doomed=doomed)
        return count

    def upsert(self) -> int:
        """Update the rows that differ and insert those that are missing; how many there were of both."""
        identities = {one.name for one in self.found.table.columns if one.identity == "always"}
        if identities - set(self.found.table.key):  # such a column takes no update
            return self.replace()
        settable = [name for name in self.copied if name not in identities]
        try:
            with self.connection.transaction():
                return self._update(settable) + self._insert_missing()
        except (psycopg.errors.UniqueViolation, psycopg.errors.ExclusionViolation):
            return self.replace()  # unique values that change places cannot be updated row by row

    def replace(self) -> int:
        """Delete the rows that differ, then insert; how many there were."""
        if followers := self.guards.followers_of(self.found.oid):
            names = ", ".join(one.name for one in followers)
            raise SourceError(
                f"WARM (PostgreSQL): rows of {self.found.table.name} can only be put back by deleting them first, "
                f"and that would change {names} through its foreign key",
                hint=f"Empty {self.found.table.name} and {names} first, then restore them together.",
            )
        self._run("DELETE FROM ONLY {table} t USING {stage} s WHERE {same_key} AND {differs}")
        return self._insert_missing()

    def replace_whole(self) -> tuple[int, int]:
        """For a table without a key: delete every row and insert the staged ones; (written, removed) as sets count."""
        written, removed = self._count(_MORE_STAGED), self._count(_MORE_HERE)
        if written or removed:
            self._run("DELETE FROM ONLY {table}")
            self._run("INSERT INTO {table} {columns} OVERRIDING SYSTEM VALUE SELECT {from_stage} FROM {stage} s")
        return written, removed

    def _update(self, settable: Sequence[str]) -> int:
        if not settable:
            return 0
        pairs = [sql.SQL("{} = {}").format(sql.Identifier(name), sql.Identifier("s", name)) for name in settable]
        return self._run(
            "UPDATE ONLY {table} t SET {pairs} FROM {stage} s WHERE {same_key} AND {differs}",
            pairs=sql.SQL(", ").join(pairs),
        )

    def _insert_missing(self) -> int:
        return self._run(
            "INSERT INTO {table} {columns} OVERRIDING SYSTEM VALUE SELECT {from_stage} FROM {stage} s"
            " WHERE NOT EXISTS (SELECT FROM ONLY {table} t WHERE {same_key})"
        )

    def _count(self, query: str) -> int:
        row = self.connection.execute(self._statement(query)).fetchone()
        return int(row[0]) if row else 0

    def _spare_known(self, doomed: sql.Identifier, known: KnownKeys) -> int:
        """Take the rows the backup does hold off the list; how many there were.

        Usually none: a restore writes what it knows. Where it did not write a record, the row must still stay.
        """
        spared = sql.Identifier(f"strata_spared_{self.number}")
        self._run("CREATE TEMPORARY TABLE {spared} ON COMMIT DROP AS TABLE {doomed} WITH NO DATA",
                  doomed=doomed, spared=spared)  # fmt: skip
        held = list(self._held(doomed, known))
        if not held:
            return 0
        with self.connection.cursor().copy(self._statement("COPY {spared} FROM STDIN", spared=spared)) as copy:
            for lines in held:
                copy.write(lines)
        return self._run("DELETE FROM {doomed} t USING {spared} s WHERE {same_key}", doomed=doomed, spared=spared)

    def _held(self, doomed: sql.Identifier, known: KnownKeys) -> Iterator[bytes]:
        with self.connection.cursor().copy(self._statement("COPY {doomed} TO STDOUT", doomed=doomed)) as copy:
            for rows in gathered(copy):
                keys = keys_of(rows)
                mask = np.asarray(known(self.name, keys), np.bool_)
                if mask.any():
                    yield b"".join(key + b"\n" for key in keys.filter(pa.array(mask)).to_pylist())

    def _run(self, statement: str, **parts: sql.Composable) -> int:
        return self.connection.execute(self._statement(statement, **parts)).rowcount

    def _statement(self, statement: str, **parts: sql.Composable) -> sql.Composed:
        named: dict[str, Any] = {
            "table": self.found.table.sql,
            "stage": self.stage,
            "key": sql.SQL(", ").join(sql.Identifier("t", name) for name in self.found.table.key),
            "columns": column_list(self.copied),
            "from_stage": self._columns("s"),
            "from_table": self._columns("t"),
            "same_key": self._same_key(),
            "differs": sql.SQL("ROW({})::record OPERATOR(pg_catalog.*<>) ROW({})::record").format(
                self._columns("t"), self._columns("s")
            ),
        }
        return sql.SQL(statement).format(**named, **parts)

    def _columns(self, alias: str) -> sql.Composed:
        return sql.SQL(", ").join(sql.Identifier(alias, name) for name in self.copied)

    def _same_key(self) -> sql.Composed:
        pairs = zip(self.found.table.key, self.found.equality, strict=True)
        terms = [
            sql.SQL("{} {} {}").format(sql.Identifier("t", name), sql.SQL(operator), sql.Identifier("s", name))
            for name, operator in pairs
        ]
        return sql.SQL(" AND ").join(terms)


def column_list(names: Sequence[str]) -> sql.Composable:
    """`(a, b)`, or nothing for a table without columns to write, where an empty list would not be SQL."""
    return sql.SQL("({})").format(sql.SQL(", ").join(map(sql.Identifier, names))) if names else sql.SQL("")
