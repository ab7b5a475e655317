"""Scopes of WARM: however a pattern is translated, it covers the keys its glob means."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from strata.model.scope import Scope
from strata.sources.postgres_scope import key_condition, regex_of
from strata.sources.postgres_table import Column, Table
from tests.sources.postgres_database import Database

_PIECES: Final = list("abAé%_\\*?.[]^- \t\n'$(")
_GLOBS: Final = [*"abAé%_*?[\t\n'$", "\\\\", "\\*", "\\?", "[ab]", "[^a]"]


@pytest.fixture
def database(warm_url: str) -> Database:
    """A new, empty database."""
    return Database(warm_url)


def keyed_table(name: str, columns: dict[str, str]) -> Table:
    """What a session would find of a table whose every column is of its key."""
    found = tuple(Column(column, kind) for column, kind in columns.items())
    return Table(name, "public", name, found, tuple(columns), tuple(columns), 0)


def by_regex(table: Table, pattern: str) -> sql.Composed:
    """The condition that translates nothing."""
    text = sql.SQL(" || E'\\t' || ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in table.key)
    return sql.SQL('(({}) COLLATE "C") ~ {}').format(text, sql.Literal(regex_of(pattern)))


def differing(database: Database, table: Table, patterns: Iterable[str]) -> list[str]:
    """The patterns on which the two conditions disagree, with the key's index used where it can be, and without."""
    with psycopg.connect(database.url) as connection:
        return [
            pattern
            for setting in ("enable_seqscan", "enable_indexscan")
            if connection.execute(f"SET enable_bitmapscan = off; RESET enable_seqscan; SET {setting} = off".encode())
            for pattern in patterns
            if covered(connection, table, key_condition(table, Scope((pattern,))))
            != covered(connection, table, by_regex(table, pattern))
        ]


def covered(connection: psycopg.Connection, table: Table, condition: sql.Composable) -> list[tuple[str]]:
    """The rows under a condition."""
    query = sql.SQL("SELECT t::text FROM {} t WHERE {} ORDER BY 1").format(table.sql, condition)
    return connection.execute(query).fetchall()


def fill(database: Database, columns: str, rows: Sequence[tuple[object, ...]]) -> None:
    """A table of these key columns, and these rows as far as they fit it."""
    names = ", ".join(column.split()[0] for column in columns.split(","))
    database.run(f"CREATE TABLE t ({columns}, PRIMARY KEY ({names}))")
    with psycopg.connect(database.url) as connection:
        places = ", ".join(["%s"] * len(rows[0]))
        connection.cursor().executemany(f"INSERT INTO t VALUES ({places}) ON CONFLICT DO NOTHING".encode(), rows)


def literally(key: str) -> str:
    """The pattern that means this key alone."""
    return "".join("\\" + one if one in "\\*?[" else one for one in key)


@pytest.mark.parametrize("kind", ["text", "character varying(40)", "character(9)", 'text COLLATE "C"'])
def test_every_translation_covers_what_the_regular_expression_covers(database: Database, kind: str) -> None:
    """Equality, LIKE and the key's index find the rows that the glob as a regular expression finds, and no other."""
    source = random.Random(kind)
    keys = sorted({"".join(source.choices(_PIECES, k=source.randrange(5))) for _ in range(400)})
    fill(database, f"k {kind}", [(key,) for key in keys])
    table = keyed_table("t", {"k": kind.removesuffix(' COLLATE "C"')})
    globs = ["".join(source.choices(_GLOBS, k=source.randrange(1, 5))) for _ in range(150)]
    assert differing(database, table, [*map(literally, source.sample(keys, 60)), *globs]) == []


def test_keys_of_several_columns_are_covered_as_their_regular_expression_does(database: Database) -> None:
    """Tabs within values do not lead the index astray, and a column's type does not either."""
    source = random.Random(7)
    columns = {"a": "text", "b": "bigint", "c": "uuid", "d": "timestamp with time zone"}
    texts = ["", "x", "x\t1", "\t", "1"]
    moments = ["2025-01-01 00:00:00+00", "2025-01-01 00:00:00.5+00"]
    rows = [(source.choice(texts), source.randrange(-2, 3), UUID(int=source.randrange(3)), source.choice(moments))
            for _ in range(200)]  # fmt: skip
    fill(database, ", ".join(f"{name} {kind}" for name, kind in columns.items()), rows)
    table = keyed_table("t", columns)
    exact = [literally("\t".join(map(str, row))) for row in rows[:60]]
    odd = [one.replace("\t1\t", "\t01\t").upper() for one in exact]
    globs = ["x\t1*", "*\t2025*", "x\t?\t*", "x", "x\t1\tnone\tnever", "\t\t\t"]
    assert differing(database, table, [*exact, *odd, *globs]) == []


@pytest.mark.parametrize("kind", ["smallint", "integer", "bigint", "numeric"])
def test_numbers_are_covered_by_how_they_print(database: Database, kind: str) -> None:
    """Another spelling of a number, or one that its type cannot hold, is no key and no error."""
    fill(database, f"k {kind}", [(number,) for number in (-32768, -7, 0, 7, 10, 70, 32767)])
    table = keyed_table("t", {"k": kind})
    spelled = ["7", "-7", "0", "-0", "07", "+7", "7.0", " 7", "7*", "-*", "?", "1?", "x", "", "\u0667"]
    extreme = ["-32768", "32767", "32768", "2147483648", "9223372036854775808", "9" * 40]
    assert differing(database, table, [*spelled, *extreme]) == []


def test_a_literal_key_is_looked_up_in_the_keys_index(database: Database) -> None:
    """A scope of single keys does not read the table."""
    database.run(
        "CREATE TABLE t (k varchar(255), n int, v text, PRIMARY KEY (k, n));"
        "INSERT INTO t SELECT 'position:' || g, g, repeat('x', 500) FROM generate_series(1, 5000) g; ANALYZE t"
    )
    table = keyed_table("t", {"k": "character varying(255)", "n": "integer"})
    condition = key_condition(table, Scope(("position:7\t7", "position:8\t8")))
    with psycopg.connect(database.url) as connection:
        plan = connection.execute(sql.SQL("EXPLAIN SELECT * FROM t WHERE {}").format(condition)).fetchall()
    assert "Index Scan" in str(plan)
    assert "Seq Scan" not in str(plan)
