"""The tools a user would run instead to read each tier, on the same servers."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import which
from typing import Any, Final
from urllib.parse import urlsplit

from workers.local_stack.servers import postgres_binary

_THREADS: Final = 4


def timed(work: Callable[[], Any]) -> float:
    """Seconds the work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


class RedisDump:
    """`redis-cli --rdb`; the server's default of waiting 5 s for more replicas is switched off."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        if which("redis-cli") is None:
            raise SystemExit("The bench needs redis-cli: as root, apt-get install redis-tools.")
        self._command = ["redis-cli", "-p", str(place.port)]
        self._environment = {**os.environ, "REDISCLI_AUTH": str(place.password)}
        self._run("config", "set", "repl-diskless-sync-delay", "0")

    def to(self, target: Path) -> None:
        """Dump into a file."""
        self._run("--rdb", str(target))

    def seconds(self, folder: Path) -> float:
        """Seconds of one dump, which is removed."""
        target = folder / "peer.rdb"
        found = timed(lambda: self.to(target))
        target.unlink()
        return found

    def _run(self, *arguments: str) -> None:
        subprocess.run([*self._command, *arguments], env=self._environment, check=True, capture_output=True)


class PostgresDump:
    """`pg_dump -Fd -j2 -Z0`: uncompressed, as whoever compresses or deduplicates next wants it."""

    def __init__(self, url: str) -> None:
        self._url = url

    def to(self, target: Path) -> None:
        """Dump into a folder that is not there yet."""
        subprocess.run([postgres_binary("pg_dump"), "-Fd", "-j2", "-Z0", "-f", str(target), self._url], check=True)

    def seconds(self, folder: Path) -> float:
        """Seconds of one dump, which is removed."""
        target = folder / "peer-dump"
        found = timed(lambda: self.to(target))
        subprocess.run(["rm", "-rf", str(target)], check=True)
        return found


class Download:
    """boto3's get_object on every object, on four threads, read whole and dropped."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client, self._bucket = client, bucket

    def seconds(self, folder: Path) -> float:  # noqa: ARG002 - as the others
        """Seconds of one download, listing apart."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket)
        names = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        return timed(lambda: self._download(names))

    def _download(self, names: list[str]) -> None:
        with ThreadPoolExecutor(_THREADS) as pool:
            for _ in pool.map(self._read, names):
                pass

    def _read(self, name: str) -> int:
        return len(self._client.get_object(Bucket=self._bucket, Key=name)["Body"].read())
