"""What changed in WARM since a parent: exactly that is read, and where it cannot be told, everything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from strata.model.scope import Scope
from tests.sources.postgres_changes import since
from tests.sources.postgres_database import Backup, Database

ROWS = """
CREATE TABLE t (id int PRIMARY KEY, v text, n int);
INSERT INTO t SELECT g, 'v' || g, g FROM generate_series(1, 9) g
"""
SWAP = """
CREATE TABLE s (LIKE t INCLUDING ALL);
INSERT INTO s VALUES (1, 'other', 1);
BEGIN; ALTER TABLE t RENAME TO r; ALTER TABLE s RENAME TO t; COMMIT
"""
NESTED_ENUM = """
CREATE TYPE e AS ENUM ('a', 'b'); CREATE DOMAIN d AS e; CREATE TYPE p AS (x int, y d[]);
ALTER TABLE t ADD c p DEFAULT '(1,{a})'
"""
RANGED_ENUM = """
CREATE TYPE e AS ENUM ('a', 'b'); CREATE TYPE r AS RANGE (subtype = e);
ALTER TABLE t ADD c r_multirange DEFAULT '{[a,b]}'
"""
ALL = [b"%d" % number for number in range(1, 10)]


@pytest.fixture
def database(warm_url: str) -> Database:
    """A new database with a table of nine rows."""
    database = Database(warm_url)
    database.run(ROWS)
    return database


def test_rows_that_nobody_touched_are_named_and_not_read(database: Database) -> None:
    """Updated rows, new ones and those that came back are read; the others only say that they are there."""
    parent = database.backup("t")
    database.run(
        "UPDATE t SET v = 'new' WHERE id = 1; UPDATE t SET n = n WHERE id = 2; DELETE FROM t WHERE id IN (3, 4);"
        "INSERT INTO t VALUES (4, 'v4', 4), (10, 'x', 0); UPDATE t SET id = 11 WHERE id = 5"
    )
    changes = since(database, parent, "t")
    assert changes.keys() == [b"1", b"10", b"11", b"2", b"4"]
    assert changes.kept() == [b"6", b"7", b"8", b"9"]


def test_nothing_is_read_where_nothing_happened(database: Database) -> None:
    """A chain of backups without changes reads no row, whatever others do in the database."""
    parent = database.backup("t")
    for _ in range(3):
        database.run("CREATE TABLE other (); DROP TABLE other; ANALYZE t; SELECT * FROM t FOR UPDATE")
        changes = since(database, parent, "t")
        assert (changes.keys(), changes.kept()) == ([], ALL)
        parent = changes.backup


def test_rows_updated_in_place_of_their_page_are_read(database: Database) -> None:
    """A HOT update makes a new version like any other."""
    database.run("ALTER TABLE t SET (fillfactor = 20)")
    database.run("VACUUM FULL t")
    parent = database.backup("t")
    database.run("UPDATE t SET v = 'hot' WHERE id = 3; UPDATE t SET v = 'hotter' WHERE id = 3")
    assert since(database, parent, "t").keys() == [b"3"]


def test_what_a_transaction_open_at_the_cut_did_is_read(database: Database) -> None:
    """Its rows, and those of its subtransactions, were not in the parent, though younger ones were."""
    with psycopg.connect(database.url) as connection:
        connection.execute("UPDATE t SET v = 'top' WHERE id = 1; SAVEPOINT a; UPDATE t SET v = 'sub' WHERE id = 2")
        connection.execute("RELEASE a; SAVEPOINT b; UPDATE t SET v = 'gone' WHERE id = 3; ROLLBACK TO b")
        database.run("UPDATE t SET v = 'younger' WHERE id = 4")
        parent = database.backup("t")
        assert since(database, parent, "t").kept() == [b"1", b"2", b"3", b"5", b"6", b"7", b"8", b"9"]
        connection.execute("SAVEPOINT c; UPDATE t SET v = 'later' WHERE id = 5")
        connection.commit()
    changes = since(database, parent, "t")
    assert changes.keys() == [b"1", b"2", b"4", b"5"]
    assert since(database, changes.backup, "t").kept() == ALL


def test_what_was_rolled_back_leaves_rows_unchanged(database: Database) -> None:
    """An update that was taken back, before or after the cut, is none."""
    with psycopg.connect(database.url) as connection:
        connection.execute("UPDATE t SET v = 'no'")
        parent = database.backup("t")
        connection.rollback()
        connection.execute("DELETE FROM t; INSERT INTO t VALUES (1, 'again', 1)")
        connection.rollback()
    assert since(database, parent, "t").kept() == ALL


@pytest.mark.parametrize(
    "command", ["VACUUM FREEZE t", "VACUUM FULL t", "CLUSTER t USING t_pkey", "VACUUM (FULL, FREEZE) t"]
)
def test_rows_that_were_moved_or_frozen_stay_unchanged(database: Database, command: str) -> None:
    """A table may be vacuumed or rewritten as it is; its rows keep the id of their writer, the changed ones too."""
    parent = database.backup("t")
    database.run("UPDATE t SET v = 'x' WHERE id = 1")
    database.run(command)
    changes = since(database, parent, "t")
    assert (changes.keys(), changes.kept()) == ([b"1"], ALL[1:])


def test_rows_that_came_frozen_are_read(database: Database) -> None:
    """COPY FREEZE marks rows as visible to everyone, and they are new all the same."""
    parent = database.backup("t")
    with psycopg.connect(database.url) as connection:
        connection.execute("TRUNCATE t")
        with connection.cursor().copy("COPY t FROM STDIN (FREEZE)") as copy:
            copy.write(b"1\tv1\t1\n2\tother\t2\n")
    assert since(database, parent, "t").keys() == [b"1", b"2"]


@pytest.mark.parametrize(
    "statement",
    [
        "BEGIN; CREATE TEMP TABLE k AS TABLE t; TRUNCATE t; INSERT INTO t SELECT id, v || '!', n FROM k; COMMIT",
        "ALTER TABLE t ALTER n TYPE bigint; ALTER TABLE t ALTER n TYPE int",
        "ALTER TABLE t ADD c int DEFAULT 7",
        "ALTER TABLE t ADD c int DEFAULT 7; ALTER TABLE t DROP c, ALTER n TYPE int USING n + 1",
        "ALTER TABLE t RENAME v TO w",
        "ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ADD PRIMARY KEY (n)",
        "ALTER TABLE t DROP CONSTRAINT t_pkey",
        SWAP,
    ],
)
def test_a_table_that_is_no_longer_the_same_is_read_whole(database: Database, statement: str) -> None:
    """Other columns, another key, another table of that name: none of its rows is called unchanged."""
    parent = database.backup("t")
    database.run(statement)
    assert since(database, parent, "t").kept() == []


def test_tables_that_change_names_are_not_taken_for_each_other(database: Database) -> None:
    """Two tables of one shape that were swapped are read whole, though no row of them is new."""
    database.run("CREATE TABLE s (LIKE t INCLUDING ALL); INSERT INTO s SELECT id, 'other', n FROM t")
    parent = database.backup("s", "t")
    database.run("BEGIN; ALTER TABLE t RENAME TO r; ALTER TABLE s RENAME TO t; ALTER TABLE r RENAME TO s; COMMIT")
    changes = since(database, parent, "s", "t")
    assert (changes.kept("public.s"), changes.kept("public.t")) == ([], [])
    assert since(database, changes.backup, "s", "t").kept("public.s") == ALL


def test_a_column_that_was_dropped_and_added_again_is_seen(database: Database) -> None:
    """A column of the same name and type fills old rows with another value, and no row was written."""
    database.run("ALTER TABLE t ADD c int DEFAULT 1; ALTER TABLE t ALTER c DROP DEFAULT")
    parent = database.backup("t")
    database.run("ALTER TABLE t DROP c; ALTER TABLE t ADD c int DEFAULT 2; ALTER TABLE t ALTER c DROP DEFAULT")
    assert since(database, parent, "t").kept() == []


@pytest.mark.parametrize(
    ("prepare", "change"),
    [
        ("CREATE TYPE e AS ENUM ('a', 'b'); ALTER TABLE t ADD c e DEFAULT 'a'", "ALTER TYPE e RENAME VALUE 'a' TO 'z'"),
        (
            "CREATE TYPE e AS ENUM ('a', 'b'); ALTER TABLE t ADD c e[] DEFAULT '{a}'",
            "ALTER TYPE e RENAME VALUE 'a' TO 'z'",
        ),
        (NESTED_ENUM, "ALTER TYPE e RENAME VALUE 'a' TO 'z'"),
        (RANGED_ENUM, "ALTER TYPE e RENAME VALUE 'a' TO 'z'"),
        ("CREATE TYPE p AS (x int); ALTER TABLE t ADD c p DEFAULT '(1)'", "ALTER TYPE p ADD ATTRIBUTE y int"),
        ("CREATE TABLE s (); ALTER TABLE t ADD c regclass DEFAULT 's'", "ALTER TABLE s RENAME TO z"),
        ("CREATE TABLE s (); ALTER TABLE t ADD c regclass[] DEFAULT '{s}'", "ALTER TABLE s RENAME TO z"),
        (
            "CREATE ROLE before; ALTER TABLE t ADD c aclitem DEFAULT 'before=r/postgres'",
            "ALTER ROLE before RENAME TO after; CREATE ROLE before; DROP ROLE before",
        ),
    ],
)
def test_a_type_that_prints_otherwise_is_seen(database: Database, prepare: str, change: str) -> None:
    """Rows nobody touched have another text when their types' labels, attributes or names changed: they are read."""
    database.run(prepare)
    parent = database.backup("t")
    before = database.text("t")
    try:
        database.run(change)
        assert database.text("t") != before
        assert since(database, parent, "t").kept() == []
    finally:
        database.run("ALTER TABLE t DROP IF EXISTS c; DROP ROLE IF EXISTS before; DROP ROLE IF EXISTS after")


def test_types_that_stayed_do_not_hinder(database: Database) -> None:
    """Enums, domains, composites, arrays and ranges are recognised as unchanged like any other column."""
    database.run(
        "CREATE TYPE e AS ENUM ('a', 'b'); CREATE DOMAIN d AS text CHECK (VALUE <> ''); CREATE TYPE p AS (x int, y d);"
        "ALTER TABLE t ADD a e DEFAULT 'a', ADD b d DEFAULT 'x', ADD c p DEFAULT '(1,x)', ADD f e[], ADD g int4range,"
        " ADD h jsonb, ADD i int GENERATED ALWAYS AS (n + 1) STORED, ADD j datemultirange"
    )
    parent = database.backup("t")
    database.run("ALTER TYPE e RENAME TO e2; CREATE INDEX ON t (v); ALTER TABLE t ADD CHECK (n > 0)")
    assert since(database, parent, "t").kept() == ALL


def test_rows_without_a_key_are_always_read(database: Database) -> None:
    """Where rows are only numbered, a number says nothing of the row it had before."""
    database.run("CREATE TABLE n AS TABLE t")
    parent = database.backup("n")
    changes = since(database, parent, "n")
    assert len(changes.keys("public.n")) == 9


def test_a_table_that_joins_is_read_whole(database: Database) -> None:
    """A table the parent did not choose is new, however old its rows are."""
    database.run("CREATE TABLE s (LIKE t INCLUDING ALL); INSERT INTO s TABLE t")
    changes = since(database, database.backup("t"), "t", "s")
    assert (changes.keys("public.s"), changes.kept("public.t")) == (ALL, ALL)


def test_partitions_may_come_and_go(database: Database) -> None:
    """A partition is known by itself, whether it hangs on a table or not."""
    database.run(
        "CREATE TABLE events (at int PRIMARY KEY, v text) PARTITION BY RANGE (at);"
        "CREATE TABLE a PARTITION OF events FOR VALUES FROM (0) TO (10);"
        "CREATE TABLE b (v text, at int PRIMARY KEY); INSERT INTO b VALUES ('x', 11), ('y', 12);"
        "INSERT INTO events VALUES (1, 'a'), (2, 'b')"
    )
    parent = database.backup("a", "b")
    database.run(
        "ALTER TABLE events DETACH PARTITION a; UPDATE b SET at = 13 WHERE at = 12;"
        "ALTER TABLE events ATTACH PARTITION b FOR VALUES FROM (10) TO (20)"
    )
    changes = since(database, parent, "a", "b")
    assert (changes.kept("public.a"), changes.kept("public.b")) == ([b"1", b"2"], [b"11"])
    database.run("UPDATE events SET at = 14 WHERE at = 11")
    assert since(database, changes.backup, "a", "b").keys("public.b") == [b"14"]


def test_a_scope_holds_for_what_is_unchanged_too(database: Database) -> None:
    """Keys outside the scope are neither read nor named."""
    scope = Scope(("[1-4]", "9"))
    parent = database.backup("t", scope=scope)
    database.run("UPDATE t SET v = 'x' WHERE id IN (1, 5)")
    changes = since(database, parent, "t", scope=scope)
    assert (changes.keys(), changes.kept()) == ([b"1"], [b"2", b"3", b"4", b"9"])


def test_large_tables_are_divided_and_agree(database: Database) -> None:
    """Several ranges at a time, composite keys with tabs in them, and rows of every size."""
    database.run(
        "CREATE TABLE big (n int, k text, v text, PRIMARY KEY (k, n)); ALTER TABLE big ALTER v SET STORAGE EXTERNAL;"
        r"INSERT INTO big SELECT g, E'a\t\\' || g % 7, repeat('x', g % 50 * 200) FROM generate_series(1, 30000) g"
    )
    parent = database.backup("big")
    database.run("UPDATE big SET v = v || 'y' WHERE n % 1000 = 1; DELETE FROM big WHERE n % 1000 = 2")
    changes = since(database, parent, "big")
    assert len(changes.keys("public.big")) == 30
    assert len(changes.kept("public.big")) == 29_940


def test_a_restore_in_between_is_a_change_like_others(database: Database) -> None:
    """Rows that a restore wrote are read; those it left alone are unchanged."""
    older = database.backup("t")
    database.run("UPDATE t SET v = 'x' WHERE id <= 2; DELETE FROM t WHERE id = 3")
    parent = database.backup("t")
    database.restore(older)
    changes = since(database, parent, "t")
    assert (changes.keys(), changes.kept()) == ([b"1", b"2", b"3"], ALL[3:])


def test_a_copy_of_the_database_is_another(database: Database) -> None:
    """A database made from this one has the same tables with the same ids, and is told apart."""
    parent = database.backup("t")
    name = database.one("SELECT current_database()")
    admin = Database(database.url.rsplit("/", 1)[0] + "/postgres")
    admin.run(f"CREATE DATABASE {name}_copy TEMPLATE {name}")
    try:
        copy = Database(database.url + "_copy")
        assert copy.one("SELECT 't'::regclass::oid::bigint") == database.one("SELECT 't'::regclass::oid::bigint")
        assert since(copy, parent, "t").kept() == []
    finally:
        admin.run(f"DROP DATABASE {name}_copy")


def _without_xids(parent: Backup) -> Backup:
    return replace(parent, cut={name: value for name, value in parent.cut.items() if name != "xids"})


def _with_xids(move: int) -> Callable[[Backup], Backup]:
    def moved(parent: Backup) -> Backup:
        xmin, xmax, _ = parent.cut["xids"].split(":")
        return replace(parent, cut={**parent.cut, "xids": f"{int(xmin) + move}:{int(xmax) + move}:"})

    return moved


def _with_continuity(value: Any) -> Callable[[Backup], Backup]:
    return lambda parent: replace(parent, description={**parent.description, "continuity": value})


@pytest.mark.parametrize(
    "change",
    [
        _without_xids,
        _with_xids(1 << 20),
        _with_xids(-(1 << 31)),
        _with_xids(-(1 << 32)),
        _with_continuity(None),
        _with_continuity({"server": None}),
        _with_continuity({"server": {}, "tables": {"public.t": ""}}),
        lambda parent: replace(parent, cut={**parent.cut, "xids": "1:2:"}),
        lambda parent: replace(parent, cut={**parent.cut, "xids": None}),
    ],
)
def test_a_parent_that_does_not_say_enough_is_not_believed(
    database: Database, change: Callable[[Backup], Backup]
) -> None:
    """Without its ids, with ids of another time or with no word of its server, everything is read."""
    parent = change(database.backup("t"))
    assert since(database, parent, "t").keys() == ALL
