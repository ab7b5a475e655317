"""Restoring tables whose rows depend on each other, or are watched by triggers, rules and constraints."""

from __future__ import annotations

import pytest

from strata.errors import SchemaMismatch, SourceError
from tests.sources.postgres_database import SHOP, Database


@pytest.fixture
def database(warm_url: str) -> Database:
    """A new, empty database."""
    return Database(warm_url)


def test_foreign_keys_in_a_circle_and_in_any_order_are_restored(database: Database) -> None:
    """Rows that refer to each other come back, into full and into emptied tables, whichever batch is first."""
    database.run(SHOP)
    before = (database.text("customers"), database.text("orders"))
    backup = database.backup("*")
    backup.batches.sort(key=lambda batch: batch.column("namespace")[0].as_py() != "public.orders")
    mixed = (
        "UPDATE customers SET parent = 3; UPDATE orders SET customer = 3; DELETE FROM customers WHERE id < 3;"
        "INSERT INTO customers VALUES (8, 'a', 8); INSERT INTO orders (customer) VALUES (8)"
    )
    for damage in (
        mixed,
        "TRUNCATE customers, orders",
        "DROP TABLE orders; UPDATE customers SET parent = id; DELETE FROM customers WHERE id = 2",
    ):
        database.run(damage)
        database.restore(backup)
        assert (database.text("customers"), database.text("orders")) == before
        assert database.one("SELECT count(*) FROM pg_constraint WHERE condeferrable") == 0


def test_a_broken_foreign_key_takes_everything_back(database: Database) -> None:
    """Rows that refer to nothing are refused by the server, and no row of any table stays."""
    database.run(SHOP)
    backup = database.backup("orders")
    database.run("TRUNCATE customers, orders")
    with pytest.raises(SourceError, match=r"foreign key violation.*orders_customer_fkey") as caught:
        database.restore(backup)
    assert "(customer)=(1)" not in str(caught.value)
    assert database.one("SELECT count(*) FROM orders") == 0


def test_unique_values_that_changed_places_change_back(database: Database) -> None:
    """A swap that no row-by-row update could make is restored."""
    database.run(
        "CREATE TABLE t (id int PRIMARY KEY, u text UNIQUE); INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')"
    )
    before, backup = database.text("t"), database.backup("t")
    database.run(
        "UPDATE t SET u = 'tmp' WHERE id = 1; UPDATE t SET u = 'a' WHERE id = 2; UPDATE t SET u = 'b' WHERE id = 1"
    )
    counts = database.restore(backup)
    assert database.text("t") == before
    assert (counts.written, counts.unchanged) == (2, 1)


def test_a_swap_that_would_delete_rows_elsewhere_is_refused(database: Database) -> None:
    """Rows of other tables do not fall to ON DELETE CASCADE on the way."""
    database.run(SHOP)
    backup = database.backup("customers")
    database.run(
        "UPDATE customers SET email = email || 'x';"
        "UPDATE customers SET email = CASE id WHEN 1 THEN 'b' ELSE 'a' END WHERE id < 3"
    )
    with pytest.raises(SourceError, match=r"would change (public\.)?orders through its foreign key"):
        database.restore(backup)
    assert database.one("SELECT count(*) FROM orders") == 3


def test_rows_removed_elsewhere_by_a_cascade_are_told(database: Database) -> None:
    """Removing a row may remove rows of a table outside the backup: the counts' notes say so."""
    database.run(SHOP)
    backup = database.backup("customers")
    database.run("INSERT INTO customers VALUES (7, 'seven'); INSERT INTO orders (customer) VALUES (7)")
    counts = database.restore(backup)
    assert counts.removed == 1
    assert "orders" in counts.notes[0]


def test_triggers_and_rules_do_not_change_restored_rows(database: Database) -> None:
    """What a trigger would do to a row is not done, and every trigger is afterwards as it was."""
    database.run(
        "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1);"
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.v = 99; RETURN NEW; END $$;"
        'CREATE TRIGGER "on ""it"" t" BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f();'
        "CREATE TRIGGER always BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f();"
        "ALTER TABLE t ENABLE ALWAYS TRIGGER always;"
        "CREATE TRIGGER off BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f(); ALTER TABLE t DISABLE TRIGGER off;"
        "CREATE RULE r AS ON DELETE TO t DO INSTEAD NOTHING"
    )
    states = "SELECT string_agg(tgname ||  tgenabled::text, ' ' ORDER BY tgname) FROM pg_trigger"
    backup, before = database.backup("t"), database.one(states)
    database.run("ALTER TABLE t DISABLE RULE r; DELETE FROM t; ALTER TABLE t ENABLE RULE r")
    database.restore(backup)
    assert database.text("t") == b"1\t1\n"
    database.run(
        "ALTER TABLE t DISABLE TRIGGER always; INSERT INTO t VALUES (2, 2); ALTER TABLE t ENABLE ALWAYS TRIGGER always"
    )
    assert database.restore(backup).removed == 1
    assert database.text("t") == b"1\t1\n"
    assert database.one(states) == before


def test_partitions_are_restored_in_place(database: Database) -> None:
    """Leaves take their rows back; a leaf that is gone is refused, for it cannot be created alone."""
    database.run(
        "CREATE TABLE e (at int PRIMARY KEY) PARTITION BY RANGE (at);"
        "CREATE TABLE e1 PARTITION OF e FOR VALUES FROM (0) TO (10); INSERT INTO e VALUES (1), (2)"
    )
    backup = database.backup("e")
    database.run("DELETE FROM e WHERE at = 1; INSERT INTO e VALUES (3)")
    database.restore(backup)
    assert database.text("e1") == b"1\n2\n"
    database.run("DROP TABLE e1")
    with pytest.raises(SchemaMismatch, match=r"public\.e1 is missing here, and being a part of public\.e"):
        database.restore(backup)


def test_an_identity_that_always_counts_is_restored(database: Database) -> None:
    """Values that only the server may choose come back all the same, in the key and beside it."""
    database.run(
        "CREATE TABLE t (id int PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY, v text);"
        "INSERT INTO t (id, v) VALUES (1, 'a'), (2, 'b')"
    )
    before, backup = database.text("t"), database.backup("t")
    database.run("DELETE FROM t WHERE id = 1; INSERT INTO t (id, v) VALUES (1, 'a')")
    counts = database.restore(backup)
    assert database.text("t") == before
    assert (counts.written, counts.unchanged) == (1, 1)
