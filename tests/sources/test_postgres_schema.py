"""What a restore asks of the target: tables that fit, or none, and the right to write them."""

from __future__ import annotations

import psycopg
import pytest

from strata.errors import IntegrityError, SchemaMismatch, SourceError
from strata.sources.port import RestoreMode
from strata.testing import always
from tests.sources.postgres_database import SHOP, Database, keyed, role


@pytest.fixture
def database(warm_url: str) -> Database:
    """A new, empty database."""
    return Database(warm_url)


def test_a_changed_schema_is_refused_naming_its_columns(database: Database) -> None:
    """Other types, missing and new columns are all told at once, and nothing is written."""
    backup = keyed(database)
    database.run("ALTER TABLE t ALTER v TYPE bigint, ADD w int")
    before = database.text("t")
    with pytest.raises(SchemaMismatch) as caught:
        database.restore(backup)
    assert "table public.t: column w is not in the backup, column v is integer in the backup, bigint here" in str(
        caught.value
    )
    with pytest.raises(SchemaMismatch), database.source().apply(backup.description, RestoreMode.EXACT, always):
        pass
    database.run("ALTER TABLE t DROP v, DROP w")
    with pytest.raises(SchemaMismatch, match="column v is missing here"):
        database.restore(backup)
    assert before


def test_another_order_of_columns_is_accepted(database: Database) -> None:
    """Values go to columns by name."""
    backup = keyed(database)
    database.run("DROP TABLE t; CREATE TABLE t (v int, id text PRIMARY KEY)")
    database.restore(backup)
    assert database.text("t", "2") == b"1\ta\n2\tb\n3\tc\n"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("ALTER TABLE t DROP CONSTRAINT t_pkey", r"primary key is \(id\) in the backup, none here"),
        ("DROP TABLE t; CREATE VIEW t AS SELECT 'a' AS id, 1 AS v", "public.t is a view here"),
    ],
)
def test_another_key_or_kind_is_refused(database: Database, change: str, said: str) -> None:
    """A table that lost its key, or is no table any more, takes no restore."""
    backup = keyed(database)
    database.run(change)
    with pytest.raises(SchemaMismatch, match=said):
        database.restore(backup)


def test_an_enum_without_the_backups_labels_is_refused(database: Database) -> None:
    """Labels are compared before rows are sent."""
    database.run("CREATE TYPE e AS ENUM ('a', 'b'); CREATE TABLE t (id e PRIMARY KEY); INSERT INTO t VALUES ('b')")
    backup = database.backup("t")
    database.run("DROP TABLE t; DROP TYPE e; CREATE TYPE e AS ENUM ('a'); CREATE TABLE t (id e PRIMARY KEY)")
    with pytest.raises(SchemaMismatch, match=r"enum public\.e lacks 1 of the backup's labels"):
        database.restore(backup)


def test_another_encoding_is_refused(database: Database) -> None:
    """Bytes of one encoding are not put into a database of another."""
    backup = keyed(database)
    backup.description["encoding"] = "LATIN1"
    with pytest.raises(SchemaMismatch, match="keeps text as UTF8, the backup holds LATIN1"):
        database.restore(backup)


def test_a_missing_database_is_rebuilt_with_keys_indexes_and_sequences(database: Database) -> None:
    """Constraints, indexes, foreign keys and sequences are there again, and counting goes on where it stood."""
    database.run(SHOP)
    before, backup = database.text("orders"), database.backup("*")
    database.run("DROP TABLE orders, customers; DROP SEQUENCE tickets")
    database.restore(backup)
    assert database.text("orders") == before
    assert database.backup("*").shape() == backup.shape()
    assert database.one("SELECT indexdef FROM pg_indexes WHERE indexname = 'by_customer'").endswith("(customer > 0)")
    database.run("INSERT INTO orders (customer) VALUES (3)")
    assert database.one("SELECT id || ' ' || ticket FROM orders ORDER BY id DESC LIMIT 1") == "1003 115"
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        database.run("INSERT INTO orders (customer) VALUES (9)")


def test_sequences_go_back_in_exact_and_only_forward_in_overlay(database: Database) -> None:
    """With newer rows left in place, a sequence must not hand out their numbers again."""
    database.run("CREATE TABLE t (id serial PRIMARY KEY); INSERT INTO t DEFAULT VALUES")
    backup = database.backup("t")
    database.run("INSERT INTO t SELECT FROM generate_series(1, 5)")
    database.restore(backup, RestoreMode.OVERLAY)
    assert database.one("SELECT last_value FROM t_id_seq") == 6
    database.restore(backup)
    assert database.one("SELECT last_value FROM t_id_seq") == 1


def test_a_sequence_that_is_gone_is_told(database: Database) -> None:
    """Rows are restored without it, and a note says that nothing counts on."""
    database.run("CREATE TABLE t (id serial PRIMARY KEY)")
    backup = database.backup("t")
    database.run("ALTER TABLE t ALTER id DROP DEFAULT; DROP SEQUENCE t_id_seq")
    assert database.restore(backup).notes == ["column id of public.t has a sequence in the backup and none here"]


def test_rows_of_a_table_that_is_not_described_are_refused(database: Database) -> None:
    """Records and description belong together."""
    backup = keyed(database)
    backup.description["tables"] = []
    with pytest.raises(IntegrityError, match=r"rows of public\.t, which its description does not name"):
        database.restore(backup)


def test_a_description_that_cannot_be_read_is_an_integrity_error(database: Database) -> None:
    """A damaged description is said to be one."""
    with pytest.raises(IntegrityError, match="description"):
        database.source().check({"tables": [{}]})


def test_missing_rights_are_told_before_anything_is_written(database: Database) -> None:
    """A role that may not write, create, or hold triggers still is refused by the check."""
    backup = keyed(database)
    with role(database, "reader", "GRANT SELECT, INSERT ON t TO reader") as limited:
        with pytest.raises(SourceError, match=r"role reader lacks UPDATE, DELETE on public\.t"):
            limited.restore(backup)
        database.run("DROP TABLE t")
        with pytest.raises(SourceError, match=r"role reader may not create public\.t"):
            limited.restore(backup)


def test_row_security_fails_a_restore(database: Database) -> None:
    """Rows that a policy hides are not taken for missing ones."""
    backup = keyed(database)
    database.run("ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (v = 1)")
    grants = "GRANT SELECT, INSERT, UPDATE, DELETE ON t TO hidden"
    with role(database, "hidden", grants) as limited, pytest.raises(SourceError, match="row-level security"):
        limited.restore(backup)
