"""What a backup of WARM could not bring back into an empty database is known when it is made."""

from __future__ import annotations

import pytest

from tests.sources.postgres_database import SHOP, Database
from tests.sources.test_postgres_rehearse import FUNCTION, NEEDY
from tests.sources.test_postgres_restore import ODD_TYPES

NEEDS = {
    "default": ["default value for public.t.v needs function public.fold(text)"],
    "check": ["table constraint t_v_check on public.t needs function public.fold(text)"],
    "generated column": ["default value for public.t.g needs function public.fold(text)"],
    "index": ["index public.t_fold_idx needs function public.fold(text)"],
    "domain": ["domain constraint d_check on public.d needs function public.fold(text)"],
    "operator class": ["index public.t_fold_idx needs function public.fold(text)"],
}
OTHERS = {
    "composite": (
        "CREATE TYPE pair AS (a int, b int); CREATE TABLE t (p pair)",
        ["table column public.t.p needs type public.pair"],
    ),
    "array of range": (
        "CREATE TYPE span AS RANGE (subtype = numeric); CREATE TABLE t (p span[])",
        ["table column public.t.p needs type public.span[]"],
    ),
    "collation": (
        "CREATE COLLATION odd (provider = libc, locale = 'C'); CREATE TABLE t (v text COLLATE odd)",
        ["table column public.t.v needs collation public.odd"],
    ),
    "other table": (
        "CREATE TABLE other (id int PRIMARY KEY); CREATE TABLE t (id int REFERENCES other)",
        ["table constraint t_id_fkey on public.t needs table public.other"],
    ),
    "part": (
        "CREATE TABLE whole (id int) PARTITION BY LIST (id); CREATE TABLE t PARTITION OF whole FOR VALUES IN (1)",
        ["table public.t needs table public.whole"],
    ),
}


@pytest.fixture
def database(warm_url: str) -> Database:
    """A new, empty database."""
    return Database(warm_url)


@pytest.mark.parametrize("case", NEEDY)
def test_a_function_that_a_table_needs_is_named(database: Database, case: str) -> None:
    """Whatever calls it, the description says what calls which function."""
    database.run(FUNCTION + NEEDY[case])
    assert database.backup("t").description["not_held"] == NEEDS[case]


@pytest.mark.parametrize("case", OTHERS)
def test_types_collations_and_other_tables_are_named(database: Database, case: str) -> None:
    """Whatever the tables stand on and the backup does not hold is in the description."""
    statements, expected = OTHERS[case]
    database.run(statements)
    assert set(expected) <= set(database.backup("t").description["not_held"])


def test_what_comes_back_whole_needs_nothing(database: Database) -> None:
    """Enums, domains, sequences, indexes and foreign keys that the backup holds are not called lacking."""
    database.run(ODD_TYPES + SHOP)
    assert database.backup("*").description["not_held"] == []
