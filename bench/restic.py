"""restic as a user would run it: the databases dumped and the objects copied, side by side, then backed up together."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sysconfig
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.peers import PostgresDump, RedisDump
from bench.stack import Bench
from strata.settings import Settings


def restic_version() -> str:
    """What restic calls itself; nothing where it is not installed."""
    if shutil.which("restic") is None:
        return ""
    return subprocess.run(["restic", "version"], check=True, capture_output=True, text=True).stdout.strip()


@dataclass(frozen=True)
class ResticDay:
    """One day's backup: seconds of the dumps and of restic, bytes added by everything and by the databases alone."""

    dump_seconds: float
    restic_seconds: float
    added_bytes: int
    database_bytes: int

    @property
    def seconds(self) -> float:
        """Of the whole."""
        return self.dump_seconds + self.restic_seconds


class Restic:
    """Two repositories: what is timed goes into one; in the other the databases' bytes are told from the objects'."""

    def __init__(self, bench: Bench) -> None:
        self._folder = bench.folder / "restic"
        self._dumps, self._objects = self._folder / "dumps", self._folder / "objects"
        self._objects.mkdir(parents=True)
        self._redis, self._postgres = RedisDump(bench.hot_url), PostgresDump(bench.warm_url)
        self._copy = Copy(bench.settings, self._objects)
        self._everything, self._databases = (Repository(self._folder / name) for name in ("all", "databases"))

    def day(self) -> ResticDay:
        """Dump, copy and back up the state as it is now."""
        shutil.rmtree(self._dumps, ignore_errors=True)
        self._dumps.mkdir()
        began = time.perf_counter()
        self._dump()
        dumped = time.perf_counter()
        added = self._everything.add(self._dumps, self._objects)
        ended = time.perf_counter()
        return ResticDay(dumped - began, ended - dumped, added, self._databases.add(self._dumps))

    def _dump(self) -> None:
        with ThreadPoolExecutor(3) as pool:
            work = [
                pool.submit(self._redis.to, self._dumps / "hot.rdb"),
                pool.submit(self._postgres.to, self._dumps / "warm"),
                pool.submit(self._copy.update),
            ]
        for one in work:
            one.result()


class Repository:
    """A restic repository in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = {
            **os.environ,
            "RESTIC_REPOSITORY": str(folder),
            "RESTIC_PASSWORD": secrets.token_hex(16),
            "RESTIC_CACHE_DIR": str(folder.with_suffix(".cache")),
        }
        self._run("init")

    def add(self, *folders: Path) -> int:
        """Back folders up; the bytes by which the repository grew."""
        before = self.size
        self._run("backup", *map(str, folders))
        return self.size - before

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(path.stat().st_size for path in self._folder.rglob("*") if path.is_file())

    def _run(self, *arguments: str) -> None:
        subprocess.run(["restic", "--quiet", *arguments], env=self._environment, check=True)


class Copy:
    """A copy of the objects in a folder, kept up to date by `rclone sync`; the day's new ones are fetched."""

    def __init__(self, settings: Settings, target: Path) -> None:
        assert settings.cold_url
        assert settings.cold_secret_access_key
        rclone = Path(sysconfig.get_path("scripts"), "rclone")
        source = ":s3:" + settings.cold_url.removeprefix("s3://")
        options = ["--config", "/dev/null", "--update", "--use-server-modtime", "--quiet"]  # no request per object
        server = ["--s3-provider", "Other", "--s3-endpoint", str(settings.cold_endpoint)]
        self._command = [str(rclone), "sync", source, str(target), *options, *server]
        self._environment = {
            **os.environ,
            "RCLONE_S3_ACCESS_KEY_ID": str(settings.cold_access_key_id),
            "RCLONE_S3_SECRET_ACCESS_KEY": settings.cold_secret_access_key.get_secret_value(),
        }

    def update(self) -> None:
        """Fetch what is new."""
        subprocess.run(self._command, env=self._environment, check=True)
