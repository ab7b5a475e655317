"""What a handed-over document says of tables is data: checked, rebuilt, and never executed as it stands."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from strata.errors import SchemaMismatch, SettingError
from strata.sources.postgres_handed import rebuilt, trusted
from tests.sources.postgres_database import SHOP, Backup, Database

PLANT = "CREATE TABLE public.planted (id int)"
PLANTED = "SELECT count(*) FROM pg_class WHERE relname = 'planted'"

STATE = (
    SHOP + "CREATE TYPE mood AS ENUM ('so', 'it''s');"
    "CREATE TABLE kinds (id int PRIMARY KEY, m mood DEFAULT 'so', v varchar(10) DEFAULT 'a''b' COLLATE \"C\","
    " n numeric(30, 2) DEFAULT 0, at timestamptz(3) DEFAULT now(), flags bool[] NOT NULL DEFAULT '{}',"
    ' wait interval second(3), bits bit varying(5), "Odd ""Name" double precision);'
    'INSERT INTO kinds (id, "Odd ""Name") VALUES (1, 1.5), (2, NULL)'
)
TABLES = ("customers", "orders", "kinds")


@pytest.fixture
def database(warm_url: str) -> Database:
    """A new, empty database."""
    return Database(warm_url)


def document_of(backup: Backup) -> dict[str, Any]:
    """The description as an export has it."""
    described: dict[str, Any] = json.loads(json.dumps(backup.description))
    return described


def drop_all(database: Database) -> None:
    """Leave an empty database."""
    database.run("DROP SCHEMA public CASCADE; CREATE SCHEMA public")


def test_tables_come_back_from_columns_types_and_keys(database: Database) -> None:
    """Rows, keys, constants, enums, identities and sequences are rebuilt in an empty database."""
    database.run(STATE)
    backup = database.backup("*")
    before = {table: database.text(table) for table in TABLES}
    drop_all(database)
    handed = replace(backup, description=json.loads(json.dumps(rebuilt(document_of(backup)))))
    database.restore(handed)
    assert {table: database.text(table) for table in TABLES} == before
    after = database.backup("*").description
    assert [table["key"] for table in after["tables"]] == [table["key"] for table in backup.description["tables"]]
    assert [table["columns"] for table in after["tables"]] == [
        table["columns"] for table in backup.description["tables"]
    ]
    assert [table["sequences"] for table in after["tables"]] == [
        table["sequences"] for table in backup.description["tables"]
    ]


def test_what_is_not_taken_is_said(database: Database) -> None:
    """Computing defaults, computed columns, checks, domains and extensions of a document are named as not held."""
    database.run(
        "CREATE DOMAIN d AS int; CREATE TABLE a (id int PRIMARY KEY, v text DEFAULT lower('A'), w d, CHECK (id > 0));"
        "CREATE TABLE b (id int PRIMARY KEY, g int GENERATED ALWAYS AS (id * 2) STORED)"
    )
    described = document_of(database.backup("*"))
    described["extensions"] = [["hstore", "public"]]
    kept = rebuilt(described)
    assert kept["not_held"] == [
        'the default of column "v" of public.a computes, and is not taken from a document',
        "checks, indexes and foreign keys of public.a are not taken from a document",
        'public.b cannot be created from a document: its column "g" is computed',
        "type public.d is not an enum, and is not taken from a document",
        'extension "hstore" is not taken from a document',
    ]
    drop_all(database)
    with pytest.raises(SchemaMismatch, match=r"public\.b is missing here, and the backup does not know enough of it"):
        database.source().check(kept)


def _set(*path: Any) -> Callable[[dict[str, Any]], None]:
    """What puts the last of the path at the place that the others name."""

    def change(described: dict[str, Any]) -> None:
        *way, last, value = path
        place: Any = described
        for step in way:
            place = place[step]
        place[last] = value

    return change


STATEMENTS = {
    "creating": _set("tables", 0, "ddl", [PLANT]),
    "completing": _set("tables", 0, "ddl_after", [PLANT]),
    "linking": _set("tables", 0, "ddl_links", [PLANT]),
    "type": _set("types", 0, "ddl", PLANT),
    "default": _set("tables", 1, "columns", 4, "default", "public.plant()"),
    "constant and more": _set("tables", 1, "columns", 4, "default", f"0); {PLANT}; --"),
    "extension": _set("extensions", [["plpgsql", f'pg_catalog"; {PLANT}; --']]),
}
"""Texts that are dropped: without them the document is still of a use."""

LIES = {
    "type of a column": _set("tables", 0, "columns", 0, "type", f"int); {PLANT}; --"),
    "type with a default": _set("tables", 0, "columns", 0, "type", "int DEFAULT public.plant()"),
    "type with a check": _set("tables", 0, "columns", 0, "type", "int CHECK (public.plant() > 0)"),
    "type that is no text": _set("tables", 0, "columns", 0, "type", 7),
    "collation": _set("tables", 0, "columns", 1, "collation", f'"C"); {PLANT}; --'),
    "name of a table": _set("tables", 0, "name", f"public.customers (); {PLANT}; --"),
    "table by another name": _set("tables", 0, "table", "orders"),
    "name of a sequence": _set("tables", 0, "sequences", 0, "name", f"public.s; {PLANT}; --"),
    "options of a sequence": _set("tables", 0, "sequences", 0, "options", f"CACHE 1; {PLANT}; --"),
    "type of a sequence": _set("tables", 0, "sequences", 0, "type", f"int; {PLANT}; --"),
    "position of a sequence": _set("tables", 0, "sequences", 0, "last_value", "1); --"),
    "column of a sequence": _set("tables", 0, "sequences", 0, "column", "none"),
    "identity": _set("tables", 0, "columns", 0, "identity", f"always; {PLANT}; --"),
    "generated": _set("tables", 0, "columns", 0, "generated", f"stored; {PLANT}; --"),
    "name of an enum": _set("types", 0, "name", f"public.mood; {PLANT}; --"),
    "label of an enum": _set("types", 0, "labels", ["so", 7]),
    "key that is no column": _set("tables", 0, "key", ["none"]),
    "copied columns": _set("tables", 0, "copied", ["id"]),
    "a list that is none": _set("tables", 0, "ddl", PLANT),
    "tables that are none": _set("tables", 7),
    "a member too many": _set("tables", 0, "trigger", PLANT),
    "a column twice": _set("tables", 0, "columns", 1, "name", "id"),
}
"""Fields that hold what they cannot: the document is refused."""


@pytest.mark.parametrize("change", STATEMENTS.values(), ids=STATEMENTS)
def test_no_statement_of_a_document_is_executed(database: Database, change: Callable[[dict[str, Any]], None]) -> None:
    """A document that plants a table, wherever a statement could stand, restores its rows and plants nothing."""
    database.run(STATE)
    backup = database.backup("*")
    described = document_of(backup)
    before = {table: database.text(table) for table in TABLES}
    drop_all(database)
    database.run(f"CREATE FUNCTION plant() RETURNS int LANGUAGE plpgsql AS $$ BEGIN {PLANT}; RETURN 1; END $$")
    change(described)
    database.restore(replace(backup, description=rebuilt(described)))
    assert database.one(PLANTED) == 0
    assert {table: database.text(table) for table in TABLES} == before
    database.run("INSERT INTO kinds (id) VALUES (3)")
    assert database.one(PLANTED) == 0


@pytest.mark.parametrize("change", LIES.values(), ids=LIES)
def test_a_field_that_holds_something_else_refuses_the_document(
    database: Database, change: Callable[[dict[str, Any]], None]
) -> None:
    """One sentence says what is wrong, and repeats nothing of what was smuggled in."""
    database.run(STATE)
    described = document_of(database.backup("*"))
    assert rebuilt(copy.deepcopy(described))
    change(described)
    with pytest.raises(SettingError, match="does not describe tables") as refused:
        rebuilt(described)
    assert PLANT not in refused.value.sentence


def test_a_trusted_document_brings_everything(database: Database) -> None:
    """With its statements taken, indexes, checks and foreign keys are there again; the description says why."""
    database.run(STATE)
    backup = database.backup("*")
    kept = trusted(document_of(backup))
    assert "--trust-structure" in kept["structure"]
    drop_all(database)
    database.restore(replace(backup, description=kept))
    assert database.backup("*").shape() == backup.shape()
