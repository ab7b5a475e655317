"""The tools a user would run instead, on the same servers."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from workers.local_stack.servers import postgres_binary, redis_binary

_THREADS: Final = 4


def timed(work: Callable[[], Any]) -> float:
    """Seconds the work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def redis_rdb(url: str, folder: Path) -> float:
    """Seconds of `redis-cli --rdb`; the server's default of waiting 5 s for more replicas is switched off."""
    place = urlsplit(url)
    command = [redis_binary("valkey-cli"), "-p", str(place.port), "-a", str(place.password), "--no-auth-warning"]
    subprocess.run([*command, "config", "set", "repl-diskless-sync-delay", "0"], check=True, capture_output=True)
    target = folder / "peer.rdb"
    seconds = timed(lambda: subprocess.run([*command, "--rdb", str(target)], check=True, capture_output=True))
    target.unlink()
    return seconds


def pg_dump(url: str, folder: Path) -> float:
    """Seconds of `pg_dump -Fd -j2 -Z0`."""
    target = folder / "peer-dump"
    command = [postgres_binary("pg_dump"), "-Fd", "-j2", "-Z0", "-f", str(target), url]
    seconds = timed(lambda: subprocess.run(command, check=True))
    subprocess.run(["rm", "-rf", str(target)], check=True)
    return seconds


def boto3_download(client: Any, bucket: str) -> float:
    """Seconds of get_object on every object, on four threads, read whole and dropped."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    names = [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def download() -> None:
        with ThreadPoolExecutor(_THREADS) as pool:
            for _ in pool.map(lambda name: len(client.get_object(Bucket=bucket, Key=name)["Body"].read()), names):
                pass

    return timed(download)
