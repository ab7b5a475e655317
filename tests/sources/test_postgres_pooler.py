"""WARM behind a pooler: what is granted is read with, and nobody waits for ever."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from strata.errors import SourceUnavailable
from strata.sources import postgres_connect
from strata.sources.port import RestoreMode
from tests.sources.postgres_database import Database
from workers.local_stack.servers import free_port

Pooled = Callable[..., Database]
PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


@pytest.fixture
def database(warm_url: str) -> Database:
    """A table of several ranges, so that several readers have work."""
    database = Database(warm_url)
    database.run(
        "CREATE TABLE many (id int PRIMARY KEY, v text); CREATE TABLE few (id int PRIMARY KEY);"
        "INSERT INTO many SELECT g, repeat('x', 200) FROM generate_series(1, 20000) g; INSERT INTO few VALUES (1)"
    )
    return database


@pytest.fixture
def pooled(database: Database, tmp_path: Path) -> Iterator[Pooled]:
    """Starts PgBouncer in front of the database, with so many connections in its pool."""
    if PGBOUNCER is None:
        pytest.skip("pgbouncer is not installed here (apt-get install pgbouncer)")
    processes: list[subprocess.Popen[bytes]] = []

    def start(size: int, mode: str = "transaction") -> Database:
        port, parts = free_port(), urlsplit(database.url)
        (tmp_path / "users").write_text(f'"{parts.username}" "{parts.password}"\n')
        (tmp_path / "ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={parts.port}\n"
            f"[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port={port}\nunix_socket_dir=\nauth_type=plain\n"
            f"auth_file={tmp_path}/users\npool_mode={mode}\ndefault_pool_size={size}\nmax_client_conn=50\n"
        )
        assert PGBOUNCER
        apart = ["unshare", "--user", "--map-user=65534", "--map-group=65534"] if os.geteuid() == 0 else []
        log = (tmp_path / "log").open("wb")
        command = [*apart, PGBOUNCER, str(tmp_path / "ini")]
        processes.append(subprocess.Popen(command, stdout=log, stderr=log))
        log.close()
        _wait_for(port, processes[-1], tmp_path / "log")
        return Database(database.url.replace(f":{parts.port}/", f":{port}/"))

    yield start
    for process in processes:
        process.terminate()
        process.wait(20)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    while process.poll() is None:
        with socket.socket() as line:
            if line.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise AssertionError(log.read_text())


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_a_pool_of_one_is_read_through_its_one_connection(database: Database, pooled: Pooled, mode: str) -> None:
    """Further readers get no connection; the first reads everything, and waits for none of them."""
    through = pooled(1, mode)
    backup = through.backup("*")
    assert len(backup.rows("public.many")) == 20000
    assert len(backup.rows("public.few")) == 1
    database.run("DELETE FROM many WHERE id % 2 = 0")
    through.restore(backup, RestoreMode.EXACT)
    assert database.one("SELECT count(*) FROM many") == 20000


def test_a_pool_that_is_in_use_is_named_within_seconds(
    database: Database, pooled: Pooled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where not even one connection is to be had, the backup fails with a sentence that says what to do."""
    monkeypatch.setattr(postgres_connect, "ANSWER_SECONDS", 0.5)
    through = pooled(1, "session")
    with psycopg.connect(through.url) as held:
        held.execute("SELECT 1")
        with pytest.raises(SourceUnavailable, match=r"did not answer within 0.5 s .* connection of its pool") as failed:
            through.backup("*")
    assert "default_pool_size" in failed.value.hint
    assert len(through.backup("*").rows("public.few")) == 1


def test_readers_that_the_server_refuses_are_done_without(database: Database) -> None:
    """A role whose connections are limited to one reads with that one."""
    database.run("CREATE ROLE single LOGIN PASSWORD 'single' CONNECTION LIMIT 1; GRANT pg_read_all_data TO single")
    try:
        parts = urlsplit(database.url)
        alone = Database(database.url.replace(f"{parts.username}:{parts.password}@", "single:single@"))
        assert len(alone.backup("*").rows("public.many")) == 20000
    finally:
        database.run("DROP OWNED BY single; DROP ROLE single")
