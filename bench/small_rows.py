"""Tables of small rows: what their backups take, beside what `pg_dump -Fc -Z zstd:1` takes of the same."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg
import zstandard
from pydantic import SecretStr

from bench.limits import Section
from bench.stack import Bench
from strata.clock import SystemClock
from strata.engine.local import backup_here
from strata.model.backup_type import BackupType
from strata.seal.keyring import FileKeyring
from strata.settings import Settings
from strata.wiring import Wiring
from workers.local_stack.servers import postgres_binary

SHAPES: Final = {
    "numbers": ("a int, b smallint", "(random() * 100000)::int, (random() * 100)::int"),
    "text": ("name text", "'name-' || substr(md5(i::text), 1, 8)"),
    "moments": ("at timestamp(0), state text", "timestamp '2026-01-01' + i * interval '7 s', 'state ' || i % 3"),
}
"""Columns beside a bigint key, and what fills them."""

_ROWS: Final = 1_000_000
_JUDGED: Final = "1,000,000 small rows / pg_dump -Fc -Z zstd:1, bytes"


@dataclass(frozen=True)
class Sizes:
    """Bytes that lie in a store after one FULL, all of them, and those of a dump."""

    stored: int
    dumped: int
    records: int

    @property
    def ratio(self) -> float:
        """Of the dump."""
        return self.stored / self.dumped


def sizes(url: str, folder: Path, shape: str, rows: int) -> Sizes:
    """Fill a table of that shape in an empty database, back it up into a store of its own, and dump it."""
    columns, values = SHAPES[shape]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS small")
        connection.execute(f"CREATE TABLE small (id bigint PRIMARY KEY, {columns})")
        connection.execute(f"INSERT INTO small SELECT i, {values} FROM generate_series(1, {rows}) i")
    folder.mkdir(exist_ok=True)
    FileKeyring.create(folder / "keyring.json", SystemClock().now())
    settings = Settings(
        warm_url=SecretStr(url),
        warm_tables=("small",),
        local_url=(folder / "store").as_uri(),
        spool_url=(folder / "spool").as_uri(),
        keyring_file=folder / "keyring.json",
    )
    manifest = backup_here(Wiring(settings).local_manager, BackupType.FULL, "20250102-030405-full-601d00")
    stored = sum(path.stat().st_size for path in (folder / "store").rglob("*") if path.is_file())
    return Sizes(stored, _dumped(url, folder / "dump"), manifest.records)


def small_rows(bench: Bench) -> Section:
    """Every shape; the worst of them is judged."""
    bench.empty()
    found = {shape: sizes(bench.warm_url, bench.folder / f"small-{shape}", shape, _ROWS) for shape in SHAPES}
    said = [f"{shape}: {one.stored / 1e6:.2f} MB, dumped {one.dumped / 1e6:.2f} MB" for shape, one in found.items()]
    with psycopg.connect(bench.warm_url, autocommit=True) as connection:
        connection.execute("DROP TABLE small")
    return Section(
        {_JUDGED: max(one.ratio for one in found.values())}, {s: vars(one) for s, one in found.items()}, said
    )


def _dumped(url: str, target: Path) -> int:
    """Where pg_dump is built without zstd, what it dumps is compressed after it."""
    command = [postgres_binary("pg_dump"), "-Fc", "-Z0", "-t", "small", "-f", str(target), url]
    subprocess.run(command, check=True)
    return len(zstandard.ZstdCompressor(level=1).compress(target.read_bytes()))
