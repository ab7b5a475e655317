"""Reading WARM: every row once, as of one moment, or an error."""

from __future__ import annotations

import threading
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest

from strata.errors import SettingError, SourceError, SourceUnavailable
from strata.model.record import SOURCE_SCHEMA
from strata.model.scope import Scope
from strata.sources import postgres_connect
from strata.sources.postgres_warm import PostgresWarm
from tests.sources.postgres_database import Database, role
from workers.local_stack.servers import start_postgres

STATE_WARM = """
CREATE TABLE state_warm (
    key varchar(255) PRIMARY KEY, data jsonb NOT NULL, created_at timestamptz DEFAULT now(),
    last_accessed timestamptz, size_bytes int, checksum varchar(64), version int DEFAULT 1)
"""


@pytest.fixture
def database(warm_url: str) -> Database:
    """A new, empty database."""
    return Database(warm_url)


def test_records_are_copy_lines_with_their_key_first(database: Database) -> None:
    """A record's value is the row's COPY line, its key the line's beginning, and batches have the source's schema."""
    database.run(f"{STATE_WARM}; INSERT INTO state_warm VALUES (E'position:\\t1', '{{\"a\": 1}}', NULL, NULL, 3)")
    backup = database.backup("state_warm")
    assert backup.rows("public.state_warm") == {
        rb"position:\t1": b'position:\\t1\t{"a": 1}\t\\N\t\\N\t3\t\\N\t1\n',
    }
    assert all(batch.schema == SOURCE_SCHEMA for batch in backup.batches)
    assert set(backup.batches[0].column("encoding").to_pylist()) == {"pg/copy-text"}


def test_values_laid_end_to_end_are_the_copy_data(database: Database) -> None:
    """The value column's buffer is what COPY FROM takes, without a separator added or lost."""
    database.run(
        "CREATE TABLE t (a int, b text, PRIMARY KEY (b)); INSERT INTO t SELECT g, g FROM generate_series(1, 999) g"
    )
    backup = database.backup("t")
    values = pa.Table.from_batches(backup.batches).column("value").to_pylist()
    query = "COPY (SELECT b, a FROM t) TO STDOUT"
    with psycopg.connect(database.url) as connection, connection.cursor().copy(query) as copy:
        assert b"".join(values) == b"".join(bytes(row) for row in copy)


def test_a_composite_key_is_its_fields_joined_by_tabs(database: Database) -> None:
    """Key fields come first in the key's own order, whatever the table's order of columns."""
    database.run("CREATE TABLE t (v text, a int, b text, PRIMARY KEY (b, a)); INSERT INTO t VALUES ('v', 7, 'x')")
    backup = database.backup("t")
    assert backup.rows("public.t") == {b"x\t7": b"x\t7\tv\n"}
    assert backup.description["tables"][0]["key"] == ["b", "a"]


def test_rows_without_a_key_are_numbered_and_duplicates_kept(database: Database) -> None:
    """Every row of a table without a primary key is a record of its own."""
    database.run("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (1), (2)")
    backup = database.backup("t")
    assert backup.rows("public.t") == {b"0:0": b"1\n", b"0:1": b"1\n", b"0:2": b"2\n"}
    assert backup.description["tables"][0]["key"] == []


def test_ranges_in_parallel_lose_and_double_nothing_while_a_writer_updates(database: Database) -> None:
    """Several ranges at one snapshot give each row of that moment once, though rows move between pages meanwhile."""
    rows = 40_000
    database.run(
        "CREATE TABLE t (id int PRIMARY KEY, n int, pad text) WITH (fillfactor = 50);"
        f"ALTER TABLE t ALTER pad SET STORAGE EXTERNAL;"
        f"INSERT INTO t SELECT g, 0, repeat('x', 3000) FROM generate_series(1, {rows}) g"
    )
    stop = threading.Event()

    def update() -> None:
        with psycopg.connect(database.url, autocommit=True) as connection:
            while not stop.is_set():
                connection.execute("UPDATE t SET n = n + 1 WHERE id % 97 = (random() * 96)::int")
                connection.execute("INSERT INTO t SELECT max(id) + 1, 0, 'new' FROM t")

    writer = threading.Thread(target=update)
    with database.source("t", parallel=3).connect() as session:
        session.cut()
        writer.start()
        try:
            batches = list(session.read(Scope()))
        finally:
            stop.set()
            writer.join()
    ids = [int(key) for batch in batches for key in batch.column("key").to_pylist()]
    assert sorted(ids) == list(range(1, rows + 1))
    assert all(b"\t0\t" in value for batch in batches for value in batch.column("value").to_pylist())


def test_tables_are_all_of_one_moment(database: Database) -> None:
    """A row that is moved from one table to another is in exactly one of them."""
    database.run("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); INSERT INTO a VALUES (1)")
    with database.source("a", "b").connect() as session:
        session.cut()
        database.run("DELETE FROM a; INSERT INTO b VALUES (1)")
        namespaces = [row for batch in session.read(Scope()) for row in batch.column("namespace").to_pylist()]
    assert namespaces == ["public.a"]


def test_the_cut_says_when_and_where(database: Database) -> None:
    """A cut names its time, its snapshot and its place in the log."""
    database.run("CREATE TABLE t (id int PRIMARY KEY)")
    cut = database.backup("t").cut
    assert cut["method"] == "snapshot"
    assert cut["time"].endswith("+00:00")
    assert "/" in cut["lsn"]


def test_a_scope_takes_the_keys_its_globs_match(database: Database) -> None:
    """Globs mean in PostgreSQL what they mean in Redis, special characters included."""
    keys = ["position:1", "position:22", "order:1", "a.b", "axb", "50%", "a\\b", "x[1]", "p-1"]
    database.run(STATE_WARM)
    with psycopg.connect(database.url) as connection:
        connection.cursor().executemany("INSERT INTO state_warm VALUES (%s, '{}')", [(key,) for key in keys])

    def read(*patterns: str) -> list[str]:
        rows = database.backup("state_warm", scope=Scope(patterns)).rows("public.state_warm")
        return sorted(key.decode().replace("\\\\", "\\") for key in rows)

    assert read("position:*") == ["position:1", "position:22"]
    assert read("position:?", "order:*") == ["order:1", "position:1"]
    assert read("a.b") == ["a.b"]
    assert read("50%") == ["50%"]
    assert read(r"a\\b") == ["a\\b"]
    assert read(r"x\[1\]", "a[w-y]b") == ["axb", "x[1]"]
    assert read("[^a-o]*-[-1]") == ["p-1"]
    assert read("nothing'; DROP TABLE state_warm; --*") == []


def test_a_scope_matches_composite_keys_joined_by_tabs(database: Database) -> None:
    """A key of several columns is matched as their texts joined by tabs; a table without a key has none to match."""
    database.run(
        "CREATE TABLE t (a int, b text, PRIMARY KEY (a, b)); INSERT INTO t VALUES (1, 'x'), (2, 'y');"
        "CREATE TABLE n (a int); INSERT INTO n VALUES (1)"
    )
    backup = database.backup("*", scope=Scope(("1\tx",)))
    assert [batch.column("key").to_pylist() for batch in backup.batches] == [[b"1\tx"]]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (("*",), ["audit.log", "public.bot_a", "public.bot_b", '"Odd Name"."x.y"']),
        (("public.*",), ["public.bot_a", "public.bot_b"]),
        (("bot_*",), ["public.bot_a", "public.bot_b"]),
        (("BOT_A", "audit.l?g"), ["audit.log", "public.bot_a"]),
        (('"Odd Name"."x.y"',), ['"Odd Name"."x.y"']),
    ],
)
def test_names_and_globs_choose_tables(database: Database, patterns: tuple[str, ...], expected: list[str]) -> None:
    """Names, globs and quoted names mean the tables one expects; views, temporary and foreign tables never."""
    database.run(
        'CREATE SCHEMA audit; CREATE SCHEMA "Odd Name"; CREATE TABLE audit.log (id int);'
        'CREATE TABLE bot_a (id int); CREATE UNLOGGED TABLE bot_b (id int); CREATE TABLE "Odd Name"."x.y" (id int);'
        "CREATE VIEW bot_view AS SELECT 1; CREATE MATERIALIZED VIEW bot_kept AS SELECT 1"
    )
    tables = database.backup(*patterns).description["tables"]
    assert sorted(table["name"] for table in tables) == sorted(expected)


def test_a_missing_table_is_an_error_that_names_it(database: Database) -> None:
    """A table that is not there is never an empty backup; the hint names the setting."""
    database.run("CREATE TABLE there (id int)")
    with pytest.raises(SourceError, match="no table state_warm to back up") as caught:
        database.backup("there", "state_warm")
    assert "STRATA_WARM_TABLES" in caught.value.hint


@pytest.mark.parametrize("patterns", [("*",), ("bot_*", "audit.*")])
def test_a_database_without_tables_is_a_state(database: Database, patterns: tuple[str, ...]) -> None:
    """No table at all is backed up as what it is: none."""
    backup = database.backup(*patterns)
    assert backup.description["tables"] == []
    assert backup.batches == []


def test_globs_that_pass_over_every_table_are_an_error(database: Database) -> None:
    """Where there are tables and none is meant, the setting is wrong, and is named."""
    database.run("CREATE TABLE there (id int)")
    with pytest.raises(SourceError, match="no table matches bot_\\*, so there is nothing to back up") as caught:
        database.backup("bot_*")
    assert "STRATA_WARM_TABLES" in caught.value.hint


@pytest.mark.parametrize("text", ["", "a.b.c", 'a"b', "a b", "x.", '"open'])
def test_a_setting_that_is_no_name_is_refused(text: str) -> None:
    """A mistake in the list of tables is told when it is read."""
    with pytest.raises(SettingError, match="not the name of a table"):
        PostgresWarm("postgresql://localhost/db", (text,))


def test_an_address_that_is_none_is_refused_without_showing_it() -> None:
    """A malformed address may hold the password: none of it is in the sentence."""
    with pytest.raises(SettingError) as caught:
        PostgresWarm("postgresql+driver://u:hidden@h/db")
    assert "hidden" not in f"{caught.value} {caught.value.hint}"


def test_an_empty_table_is_described_and_has_no_records(database: Database) -> None:
    """An empty table is known by its description."""
    database.run("CREATE TABLE t (id int PRIMARY KEY)")
    backup = database.backup("t")
    assert [table["name"] for table in backup.description["tables"]] == ["public.t"]
    assert backup.batches == []


def test_partitions_are_read_under_their_parents_name(database: Database) -> None:
    """Naming a partitioned table backs up its leaves, each once and as a table of its own."""
    database.run(
        "CREATE TABLE events (at int, v text, PRIMARY KEY (at)) PARTITION BY RANGE (at);"
        "CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (at);"
        "CREATE TABLE events_1a PARTITION OF events_1 FOR VALUES FROM (0) TO (5);"
        "CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM (10) TO (20);"
        "INSERT INTO events VALUES (1, 'a'), (11, 'b')"
    )
    backup = database.backup("events")
    assert backup.rows("public.events_1a") == {b"1": b"1\ta\n"}
    assert backup.rows("public.events_2") == {b"11": b"11\tb\n"}
    assert database.backup("*").description["tables"] == backup.description["tables"]


def test_a_partitioned_table_is_one_part_unless_some_of_it_is_not_read(database: Database) -> None:
    """Partitions come and go every day; that only one of them was asked for is another matter."""
    database.run(
        'CREATE TABLE events (at int PRIMARY KEY) PARTITION BY RANGE (at); CREATE TABLE "Odd" (id int PRIMARY KEY);'
        "CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (at);"
        "CREATE TABLE events_1a PARTITION OF events_1 FOR VALUES FROM (0) TO (5);"
        "CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM (10) TO (20)"
    )
    parts = [['public."Odd"'], ["public.events"]]
    assert database.backup("*").description["parts"] == parts
    assert database.backup("events_2").description["parts"] == [["public.events", "public.events_2"]]
    database.run("DROP TABLE events_1")
    assert database.backup("*").description["parts"] == parts


def test_an_inheriting_tables_rows_are_read_once(database: Database) -> None:
    """A parent gives only its own rows."""
    database.run(
        "CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (PRIMARY KEY (id)) INHERITS (p);"
        "INSERT INTO p VALUES (1); INSERT INTO c VALUES (2)"
    )
    backup = database.backup("*")
    assert (backup.rows("public.p"), backup.rows("public.c")) == ({b"1": b"1\n"}, {b"2": b"2\n"})


def test_row_security_is_an_error_not_a_filter(database: Database) -> None:
    """Rows that a policy hides are not silently left out."""
    database.run(
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2);"
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (id = 1)"
    )
    grants = "GRANT SELECT ON t TO policed"
    with role(database, "policed", grants) as limited, pytest.raises(SourceError, match="row-level security"):
        limited.backup("t")


def test_a_table_that_may_not_be_read_is_an_error(database: Database) -> None:
    """Missing rights are named, and a retry is not promised to help."""
    database.run("CREATE TABLE t (id int PRIMARY KEY)")
    said = pytest.raises(SourceError, match="permission denied for table t")
    with role(database, "barred", "GRANT USAGE ON SCHEMA public TO barred") as limited, said as caught:
        limited.backup("t")
    assert not caught.value.retryable


def test_a_wrong_password_is_refused_without_showing_it(database: Database) -> None:
    """Refusal is told from absence, and no secret is in the sentence."""
    wrong = database.url.replace("postgres:", "postgres:not-the-", 1).replace("not-the-//", "//")
    with pytest.raises(SourceError, match="password authentication failed") as caught:
        Database(wrong).backup("t")
    assert not caught.value.retryable
    assert "not-the" not in str(caught.value)
    assert "not-the" not in repr(PostgresWarm(wrong))


def test_a_server_that_is_not_there_is_unavailable() -> None:
    """A retry may help, and the sentence says where nobody answered."""
    with pytest.raises(SourceUnavailable, match=r"WARM \(PostgreSQL\) at 127.0.0.1:1/db does not answer") as caught:
        Database("postgresql://u:hidden@127.0.0.1:1/db").backup("t")
    assert "hidden" not in str(caught.value)


def filled(database: Database, rows: int = 30_000, table: str = "t") -> None:
    """A table of several batches."""
    database.run(
        f"CREATE TABLE {table} (id int PRIMARY KEY, v text);"
        f"INSERT INTO {table} SELECT g, repeat('x', 1000) FROM generate_series(1, {rows}) g"
    )


@pytest.mark.parametrize("order", ["ASC", "DESC"], ids=["holder of the snapshot", "other reader"])
def test_a_connection_that_dies_half_way_is_an_error(database: Database, order: str) -> None:
    """Neither a dead reader nor a dead holder of the snapshot ends the stream as if it were complete."""
    filled(database)
    filled(database, table="u")
    with database.source("t", "u").connect() as session:
        session.cut()
        session.describe()
        stream = session.read(Scope())
        next(stream)
        database.run(
            "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'strata'"
            f" ORDER BY backend_start {order} LIMIT 1) victim"
        )
        with pytest.raises(SourceUnavailable):
            list(stream)


def test_a_snapshot_that_was_lost_before_reading_is_an_error(database: Database) -> None:
    """Readers do not go on at another moment when the one that was fixed is gone."""
    filled(database, 10)
    filled(database, 10, table="u")
    with database.source("t", "u").connect() as session:
        session.cut()
        database.run(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'strata'"
        )
        # whichever of the two is the first to notice
        with pytest.raises(SourceUnavailable, match=r"lost the connection that held its snapshot|while reading table"):
            list(session.read(Scope()))


def test_leaving_the_stream_early_closes_its_connections(database: Database) -> None:
    """A reader that loses interest leaves no thread and no connection behind."""
    filled(database)
    before = threading.active_count()
    with database.source("t").connect() as session:
        session.cut()
        stream = session.read(Scope())
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        assert threading.active_count() == before
    database.run("SET lock_timeout = '10s'; DROP TABLE t")  # a reader that went on would still hold it


def test_a_lock_that_is_not_given_is_told_as_such(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table somebody is changing makes the backup wait a while, then say why it stopped."""
    monkeypatch.setitem(postgres_connect._SETTINGS, "lock_timeout", "'50ms'")
    database.run("CREATE TABLE t (id int PRIMARY KEY)")
    with psycopg.connect(database.url) as blocker:
        blocker.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(SourceUnavailable, match="lock timeout") as caught:
            database.backup("t")
    assert "try again" in caught.value.hint


def test_a_statement_that_waits_for_the_backup_does_not_stop_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a TRUNCATE that waits no reader waits in turn: the one that holds the lock reads the table by itself."""
    monkeypatch.setitem(postgres_connect._SETTINGS, "lock_timeout", "'5s'")
    for table in ("t", "u", "v"):
        filled(database, 3_000, table=table)

    def truncate(table: str) -> None:
        with psycopg.connect(database.url, autocommit=True) as connection:
            connection.execute(f"TRUNCATE {table}")

    waiting = [threading.Thread(target=truncate, args=(table,)) for table in "tuv"]
    with database.source("t", "u", "v", parallel=3).connect() as session:
        session.cut()
        for thread in waiting:
            thread.start()
        with psycopg.connect(database.url, autocommit=True) as onlooker:
            while len(onlooker.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchall()) < len(waiting):
                assert all(thread.is_alive() for thread in waiting)
        batches = list(session.read(Scope()))
    for thread in waiting:
        thread.join()
    assert sum(batch.num_rows for batch in batches) == 9_000
    assert not database.backup("t").rows("public.t")


def test_a_row_larger_than_a_batch_is_read_whole(database: Database) -> None:
    """A huge row is a batch by itself; its neighbours are not held back with it."""
    database.run(
        "CREATE TABLE t (id int PRIMARY KEY, v text);INSERT INTO t VALUES (1, 'a'), (2, repeat('x', 9000000)), (3, 'b')"
    )
    backup = database.backup("t")
    assert [batch.num_rows for batch in backup.batches] == [1, 1, 1]
    assert len(backup.rows("public.t")[b"2"]) == 9_000_003


def test_too_many_tables_for_the_servers_locks_say_which_setting_to_raise(tmp_path: Path) -> None:
    """The server's own advice reaches the person, as pg_dump would show it."""
    few = ["-c", "max_locks_per_transaction=10", "-c", "max_connections=10"]
    server = start_postgres(tmp_path / "postgres", options=few)
    try:
        with psycopg.connect(server.url, autocommit=True) as connection:
            for number in range(1200):
                connection.execute(f"CREATE TABLE t{number} (id int)")
        with pytest.raises(SourceError) as caught:
            Database(server.url).backup("*")
        assert "out of shared memory" in caught.value.sentence
        assert "max_locks_per_transaction" in caught.value.hint
    finally:
        server.stop()
