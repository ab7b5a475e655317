"""What a server goes through between two backups: crashes, restarts, a new primary, ids that begin again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.sources.postgres_changes import since
from tests.sources.postgres_database import Backup, Database
from workers.local_stack.servers import PostgresServer, postgres_binary, start_postgres

# The log is written when a transaction waits for it, and not meanwhile: what is lost in a crash is then known.
_QUIET: Final = ["-c", "fsync=off", "-c", "wal_writer_delay=10s", "-c", "autovacuum=off"]
_PREPARING: Final = ["-c", "fsync=off", "-c", "max_prepared_transactions=9"]

ROWS = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'v' FROM generate_series(1, 9) g"
ALL = [b"%d" % number for number in range(1, 10)]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., PostgresServer]]:
    """Starts servers of the test's own; a name that was started before goes on with its data."""
    servers: list[PostgresServer] = []

    def started(name: str = "own", options: list[str] = _QUIET) -> PostgresServer:
        servers.append(start_postgres(tmp_path / name, options=options))
        return servers[-1]

    yield started
    for server in servers:
        server.stop(signal.SIGINT)


def until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds; fail when it does not come to hold."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not come to hold in time"
        time.sleep(0.005)


def answers(database: Database) -> bool:
    """Whether the server takes connections."""
    try:
        return bool(database.one("SELECT true"))
    except psycopg.OperationalError:
        return False


def crash(database: Database) -> None:
    """Kill one backend, at which the server gives up everything it has in memory, and wait until it is back."""
    with psycopg.connect(database.url) as victim:
        os.kill(victim.info.backend_pid, signal.SIGKILL)
        with pytest.raises(psycopg.OperationalError):
            victim.execute("SELECT pg_sleep(60)")
    until(lambda: answers(database))


def spend_ids(database: Database, count: int) -> None:
    """Let so many transactions begin and be over."""
    database.run(f"DO $$ BEGIN FOR i IN 1..{count} LOOP PERFORM txid_current(); ROLLBACK; END LOOP; END $$")


def test_ids_that_a_crash_gave_out_again_are_not_trusted(start: Callable[..., PostgresServer]) -> None:
    """After a crash new rows can bear ids older than the parent's; the server has not restarted, and all is read."""
    database = Database(start().url)
    database.run(ROWS)
    spend_ids(database, 50)
    parent = database.backup("t")
    crash(database)
    database.run("UPDATE t SET v = 'after' WHERE id = 5")
    spend_ids(database, 60)
    xmin = int(parent.cut["xids"].split(":")[0])
    assert database.one("SELECT xmin::text::bigint FROM t WHERE id = 5") < xmin < database.one("SELECT txid_current()")
    assert since(database, parent, "t").keys() == ALL


def test_a_restart_is_read_whole_once(start: Callable[..., PostgresServer]) -> None:
    """What a server was before it started is not looked into, and the next backup goes on from there."""
    server = start()
    database = Database(server.url)
    database.run(ROWS)
    parent = database.backup("t")
    server.stop(signal.SIGINT)
    database = Database(start().url)
    changes = since(database, parent, "t")
    assert changes.keys() == ALL
    assert since(database, changes.backup, "t").kept() == ALL


def standby_of(primary: PostgresServer, start: Callable[..., PostgresServer], folder: Path) -> Database:
    """A new hot standby of a server."""
    (folder / "standby").mkdir()
    (folder / "standby" / "password").write_text(primary.password)
    command = ["-D", str(folder / "standby" / "data"), "-R", "-X", "stream", "-c", "fast", "--no-sync"]
    subprocess.run([postgres_binary("pg_basebackup"), *command, "-d", primary.url], check=True, capture_output=True)
    return Database(start("standby").url)


def caught_up(primary: Database, standby: Database) -> None:
    """Wait until the standby shows what the primary has committed."""
    position = primary.one("SELECT pg_current_wal_flush_lsn()::text")
    until(lambda: standby.one(f"SELECT pg_last_wal_replay_lsn() >= '{position}'"))


def test_a_standby_tells_what_changed(start: Callable[..., PostgresServer], tmp_path: Path) -> None:
    """On a standby, too, what was open at the cut is read; a parent of the primary is another server's."""
    server = start()
    primary = Database(server.url)
    primary.run(ROWS)
    standby = standby_of(server, start, tmp_path)
    with psycopg.connect(primary.url) as connection:
        connection.execute("UPDATE t SET v = 'top' WHERE id = 1; SAVEPOINT a; UPDATE t SET v = 'sub' WHERE id = 2")
        primary.run("UPDATE t SET v = 'younger' WHERE id = 3")
        caught_up(primary, standby)
        elsewhere, parent = primary.backup("t"), standby.backup("t")
        connection.commit()
    caught_up(primary, standby)
    assert since(standby, elsewhere, "t").keys() == ALL
    changes = since(standby, parent, "t")
    assert changes.keys() == [b"1", b"2", b"3"]
    standby.run("SELECT pg_promote()")
    standby.run("UPDATE t SET v = 'promoted' WHERE id = 9")
    assert since(standby, changes.backup, "t").keys() == [b"9"]


def begin_ids_at(data: Path, number: int) -> None:
    """Let the next transaction of a stopped server have this id."""
    (data / "pg_xact" / f"{number >> 20:04X}").write_bytes(bytes(256 << 10))
    as_server = ["unshare", "--user", "--map-user=65534", "--map-group=65534"] if os.geteuid() == 0 else []
    command = [*as_server, postgres_binary("pg_resetwal"), "-x", str(number), "-u", str(number - 1000), "-D", str(data)]
    subprocess.run(command, check=True, capture_output=True)


def test_ids_may_begin_again(start: Callable[..., PostgresServer], tmp_path: Path) -> None:
    """Across 2^32, changed rows are read, and old rows whose bits now lie ahead of everything are not."""
    server = start()
    Database(server.url).run(ROWS)
    Database(server.url).run("VACUUM FREEZE")
    server.stop(signal.SIGINT)
    begin_ids_at(tmp_path / "own" / "data", (1 << 32) - 300)
    database = Database(start().url)
    database.run("UPDATE t SET v = 'before' WHERE id = 1")
    parent = database.backup("t")
    spend_ids(database, 200)
    database.run("UPDATE t SET v = 'still before' WHERE id = 2")
    changes = since(database, parent, "t")
    assert changes.keys() == [b"2"]
    spend_ids(database, 200)
    database.run("UPDATE t SET v = 'beyond' WHERE id = 3")
    assert database.one("SELECT txid_current()") > 1 << 32
    assert database.one("SELECT age(xmin) FROM t WHERE id = 9") < 0
    assert since(database, parent, "t").keys() == [b"2", b"3"]
    assert since(database, changes.backup, "t").keys() == [b"3"]


@pytest.fixture(scope="module")
def preparing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A server that takes prepared transactions."""
    server = start_postgres(tmp_path_factory.mktemp("preparing"), options=_PREPARING)
    yield server
    server.stop(signal.SIGINT)


@pytest.fixture
def database(preparing: PostgresServer, request: pytest.FixtureRequest) -> Iterator[Database]:
    """A new database on it."""
    name = f"test_{abs(hash(request.node.name))}"
    Database(preparing.url).run(f"CREATE DATABASE {name}")
    yield Database(urlsplit(preparing.url)._replace(path=f"/{name}").geturl())
    Database(preparing.url).run(f"DROP DATABASE {name} WITH (FORCE)")


def test_what_was_prepared_at_the_cut_is_read(database: Database) -> None:
    """A transaction that waits for its second phase is open like others."""
    database.run(ROWS)
    database.run("BEGIN; UPDATE t SET v = 'x' WHERE id = 1; SAVEPOINT a; DELETE FROM t WHERE id = 2; "
                 "INSERT INTO t VALUES (10, 'y'); PREPARE TRANSACTION 'p'")  # fmt: skip
    database.run("UPDATE t SET v = 'younger' WHERE id = 3")
    parent = database.backup("t")
    database.run("COMMIT PREPARED 'p'")
    changes = since(database, parent, "t")
    assert changes.keys() == [b"1", b"10", b"3"]
    assert changes.kept() == ALL[3:]


class Writers:
    """Sessions that do random things to rows of their own, each in a transaction or not."""

    _KEYS: Final = 60

    def __init__(self, database: Database, seed: int, count: int = 3) -> None:
        self._source = random.Random(seed)
        self._database = database
        self._connections = [psycopg.connect(database.url, autocommit=True) for _ in range(count)]
        for connection in self._connections:
            connection.execute("SET lock_timeout = '20ms'; SET default_transaction_isolation = 'read committed'")
        self._prepared = 0
        self._waiting: list[str] = []

    def act(self) -> None:
        """One random step; one that the server refuses ends its transaction."""
        number = self._source.randrange(len(self._connections))
        connection = self._connections[number]
        statement = self._statement(number, connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE)
        try:
            connection.execute(statement.encode())
        except psycopg.Error:
            connection.execute("ROLLBACK")

    def settle(self) -> None:
        """End everything that is open."""
        for connection in self._connections:
            connection.execute("COMMIT")
            connection.close()
        for name in self._waiting:
            self._database.run(f"COMMIT PREPARED '{name}'")

    def _statement(self, number: int, inside: bool) -> str:  # noqa: FBT001 - what the server says
        choice = self._source.random()
        if choice < 0.7:
            return self._write(number)
        if not inside:
            return self._maintain() if choice < 0.8 else "BEGIN"
        if choice < 0.9:
            return self._source.choice(["SAVEPOINT a", "SAVEPOINT a", "RELEASE a", "ROLLBACK TO a"])
        if choice < 0.93:
            self._prepared += 1
            self._waiting.append(f"{self._database.url[-12:]}-{self._prepared}")
            return f"PREPARE TRANSACTION '{self._waiting[-1]}'"
        return self._source.choice(["COMMIT", "COMMIT", "ROLLBACK"])

    def _maintain(self) -> str:
        if self._waiting and self._source.random() < 0.5:
            name = self._waiting.pop(self._source.randrange(len(self._waiting)))
            return f"{self._source.choice(['COMMIT', 'ROLLBACK'])} PREPARED '{name}'"
        return self._source.choice(["VACUUM t", "VACUUM FREEZE t", "VACUUM FULL t", "CLUSTER t USING t_pkey"])

    def _write(self, number: int) -> str:
        one = self._source.randrange(self._KEYS // 3) * 3 + number
        value = self._source.randrange(100)
        return self._source.choice(
            [
                f"INSERT INTO t VALUES ({one}, '{value}') ON CONFLICT DO NOTHING",
                f"INSERT INTO t VALUES ({one}, '{value}') ON CONFLICT (id) DO UPDATE SET v = excluded.v",
                f"UPDATE t SET v = '{value}' WHERE id = {one}",
                f"UPDATE t SET v = v WHERE id % 9 = {number}",
                f"DELETE FROM t WHERE id = {one}",
                f"WITH gone AS (DELETE FROM t WHERE id = {one} RETURNING v) SELECT * FROM gone",
                f"SELECT * FROM t WHERE id = {one} FOR UPDATE",
            ]
        )


@pytest.mark.parametrize("seed", range(3))
def test_whatever_sessions_do_the_parent_and_the_changes_make_the_whole(database: Database, seed: int) -> None:
    """Open transactions, savepoints, second phases and vacuums between cuts: nothing is missed, and little is read."""
    database.run("CREATE TABLE t (id int PRIMARY KEY, v text) WITH (fillfactor = 60)")
    writers = Writers(database, seed)
    backups: list[Backup] = [database.backup("t")]
    for step in range(1, 301):
        writers.act()
        if step % 25 == 0:
            for older in backups[-3:]:
                changes = since(database, older, "t")
            backups.append(changes.backup)
    writers.settle()
    for older in backups:
        changes = since(database, older, "t")
    assert since(database, changes.backup, "t").keys() == []
