"""The processes of a local stack: how each is started, and how to tell that it is ready."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from workers.flower_defaults import USER
from workers.local_stack.layout import BEAT, BUCKET, DATABASE, FLOWER, SERVERS, Layout, Secrets, listens
from workers.local_stack.servers import Process, ServerFailed, start_postgres, start_redis, start_s3
from workers.queues import GROUPS

WORKER: Final = "worker-"
_OUR_VARIABLES: Final = ("STRATA_", "FLOWER_", "CELERY_")
_LOG_BYTES: Final = 10 << 20

TABLE: Final = """
CREATE TABLE IF NOT EXISTS state_warm (
    key varchar(255) PRIMARY KEY,
    data jsonb NOT NULL,
    created_at timestamp DEFAULT now(),
    last_accessed timestamp,
    size_bytes int,
    checksum varchar(64),
    version int DEFAULT 1
)
"""


@dataclass(frozen=True)
class Part:
    """One process: `start` begins it (a server's returns when it answers), `ready` says whether it can be used."""

    name: str
    address: str
    log: Path
    start: Callable[[], Process]
    ready: Callable[[], bool]
    stop_signal: signal.Signals = signal.SIGTERM
    is_server: bool = False


def environment(layout: Layout) -> dict[str, str]:
    """The variables under which everything uses the stack: ours, and of the caller's none that could turn it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OUR_VARIABLES)}
    return {**inherited, "STRATA_CONFIG": str(layout.settings_file)}


def settings_entries(layout: Layout, kept: Secrets) -> dict[str, Any]:
    """What strata.toml says of the stack."""
    ports, folder = kept.ports, layout.folder
    queue = f"redis://:{kept.broker_password}@127.0.0.1:{ports['broker']}"
    return {
        "broker_url": f"{queue}/0",
        "result_url": f"{queue}/1",
        "hot_url": f"redis://:{kept.hot_password}@127.0.0.1:{ports['hot']}/0",
        "warm_url": f"postgresql://postgres:{kept.postgres_password}@127.0.0.1:{ports['postgres']}/{DATABASE}",
        "warm_tables": "*",
        "cold_url": f"s3://{BUCKET}/cold/",
        "cold_endpoint": f"http://127.0.0.1:{ports['s3']}",
        "cold_access_key_id": kept.s3_access_key,
        "cold_secret_access_key": kept.s3_secret_key,
        "local_url": (folder / "backups").as_uri(),
        "spool_url": (folder / "spool").as_uri(),
        "keyring_file": str(layout.keyring_file),
    }


def make_parts(layout: Layout, kept: Secrets, names: list[str]) -> list[Part]:
    """The processes of these names, servers first."""
    known = {part.name: part for part in (*_servers(layout, kept), *_celery_parts(layout, kept))}
    return [known[name] for name in names]


def part_names(groups: list[str], *, beat: bool, flower: bool) -> list[str]:
    """The processes of a stack with these worker groups."""
    extras = [name for name, wanted in ((BEAT, beat), (FLOWER, flower)) if wanted]
    return [*SERVERS, *(WORKER + group for group in groups), *extras]


def _servers(layout: Layout, kept: Secrets) -> list[Part]:
    def redis(name: str, password: str) -> Callable[[], Process]:
        # Without the delay a replication stream begins at once, so HOT is read at one moment.
        options = ["--repl-diskless-sync-delay", "0"]
        return lambda: start_redis(layout.server(name), port=kept.ports[name], password=password, options=options)

    starts: dict[str, Callable[[], Process]] = {
        "broker": redis("broker", kept.broker_password),
        "hot": redis("hot", kept.hot_password),
        "postgres": partial(_start_postgres, layout, kept),
        "s3": partial(_start_s3, layout, kept),
    }
    assert tuple(starts) == SERVERS
    logs = {name: layout.server(name) / "server.log" for name in starts} | {"s3": layout.server("s3").parent / "s3.log"}
    # PostgreSQL's SIGTERM waits for its clients to go; SIGINT does not, and is as clean.
    stops = dict.fromkeys(starts, signal.SIGTERM) | {"postgres": signal.SIGINT}
    return [
        Part(
            name=name,
            address=f"127.0.0.1:{kept.ports[name]}",
            log=logs[name],
            start=start,
            ready=lambda: True,
            stop_signal=stops[name],
            is_server=True,
        )
        for name, start in starts.items()
    ]


def _start_postgres(layout: Layout, kept: Secrets) -> Process:
    """PostgreSQL with the bot's database and table in it; without its socket file, whose path may be too long."""
    import psycopg

    options = ["-c", "unix_socket_directories="]
    server = start_postgres(
        layout.server("postgres"), port=kept.ports["postgres"], password=kept.postgres_password, options=options
    )
    try:
        _make_table(server.url)
    except psycopg.Error as error:
        server.stop(signal.SIGINT)
        raise ServerFailed(f"postgres has not taken the table state_warm: {error}") from None
    return server


def _make_table(url: str) -> None:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
            connection.execute(f"CREATE DATABASE {DATABASE}")
    with psycopg.connect(urlsplit(url)._replace(path=f"/{DATABASE}").geturl()) as connection:
        connection.execute(TABLE)


def _start_s3(layout: Layout, kept: Secrets) -> Process:
    folder = layout.server("s3")
    (folder / BUCKET).mkdir(parents=True, exist_ok=True)  # before the server starts, which remembers its buckets
    return start_s3(folder, port=kept.ports["s3"], access_key=kept.s3_access_key, secret_key=kept.s3_secret_key)


def _celery_parts(layout: Layout, kept: Secrets) -> list[Part]:
    def part(
        name: str,
        arguments: list[str],
        ready: Callable[[], bool],
        address: str = "",
        extra: Mapping[str, str] | None = None,
    ) -> Part:
        log = layout.log(name)
        return Part(name, address, log, partial(_start_celery, layout, name, arguments, extra or {}), ready)

    port = kept.ports[FLOWER]
    schedule = layout.folder / "beat" / "schedule"
    flower = ["flower", f"--port={port}", "--persistent=False"]
    entry = f"{USER}:{kept.flower_password}"
    parts = [
        part(WORKER + group, _worker(group, queues, processes), partial(_says, layout.log(WORKER + group), b" ready."))
        for group, (queues, processes) in GROUPS.items()
    ]
    beat = ["beat", "--loglevel", "INFO", "--schedule", str(schedule)]
    return [
        *parts,
        part(BEAT, beat, partial(_says, layout.log(BEAT), b"beat: Starting")),
        part(FLOWER, flower, lambda: listens(port), f"http://127.0.0.1:{port}", {"FLOWER_BASIC_AUTH": entry}),
    ]


def _worker(group: str, queues: tuple[str, ...], processes: int) -> list[str]:
    named = ["-Q", ",".join(queues), "-c", str(processes), "-n", f"{group}@%h"]
    # Gossip and mingle tell workers of each other, which none of ours asks for; mingle takes a second of the start.
    return ["worker", *named, "--loglevel", "INFO", "--without-gossip", "--without-mingle"]


def _start_celery(layout: Layout, name: str, arguments: list[str], extra: Mapping[str, str]) -> Process:
    log = layout.log(name)
    _set_aside(log)
    with open(log, "ab") as output:
        os.chmod(log, 0o600)
        child = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "workers", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**environment(layout), **extra},
            cwd=layout.folder,  # where no module lies that could be imported instead of ours
            start_new_session=True,
        )
    return Process(name, child, log)


def _set_aside(log: Path) -> None:
    """Begin a log that says of this process alone whether it is ready; what is older is kept beside it."""
    if not log.exists():
        return
    older = log.with_suffix(".older.log")
    if older.exists() and older.stat().st_size > _LOG_BYTES:
        older.unlink()
    with open(older, "ab") as kept:
        os.chmod(older, 0o600)
        kept.write(log.read_bytes())
    log.unlink()


def _says(log: Path, words: bytes) -> bool:
    try:
        return words in log.read_bytes()
    except FileNotFoundError:
        return False
