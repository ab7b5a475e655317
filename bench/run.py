"""Times each stage, whole backups, the restore and peak memory, beside the usual tools: `make bench`.

Ratios of one run are what counts: the machine is shared, and seconds differ from day to day.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from bench import data, peers
from strata.engine.manager import stage_seconds
from strata.model.backup_type import BackupType
from strata.model.run import Run, RunState
from strata.model.tier import Tier
from strata.sources.port import RestoreMode
from strata.wiring import Wiring
from tasks.enqueue import enqueue_backup, enqueue_restore
from workers.configuration import make_app
from workers.local_stack.demo import bot_of, create_table
from workers.local_stack.stack import LocalStack

_SMALL_RECORDS: Final = 1_000
_SMALL_RUNS: Final = 15
_WAIT_SECONDS: Final = 1_800
LIMITS: Final = {"hot": 1.5, "warm": 1.0, "cold": 1 / 0.8, "memory_mb": 350.0, "small_p50_ms": 500.0}
"""What must be reached: seconds of collection over the peer's, MB a process, ms of a small backup."""


class Bench:
    """One measured stack."""

    def __init__(self, stack: LocalStack, folder: Path, console: Console) -> None:
        self._stack, self._folder, self._console = stack, folder, console
        self._settings = stack.settings()
        self._bot = bot_of(self._settings)
        self._wiring = Wiring(self._settings)
        self._app = make_app(self._settings)

    def small(self) -> list[float]:
        """Seconds from enqueue to recorded of backups of 1,000 small records, workers warm."""
        create_table(self._settings)
        with self._bot.hot.pipeline(transaction=False) as pipe:
            for number in range(_SMALL_RECORDS):
                pipe.set(f"position:{number}", secrets.token_hex(60))
            pipe.execute()
        runs = [self.backup()[1] for _ in range(_SMALL_RUNS + 3)]
        return runs[3:]

    def fill(self, scale: float) -> None:
        """The data set."""
        assert self._settings.hot_url
        assert self._settings.warm_url
        data.fill_hot(self._settings.hot_url.get_secret_value(), int(data.HOT_KEYS * scale))
        data.fill_warm(self._settings.warm_url.get_secret_value(), int(data.WARM_ROWS * scale))
        bot = self._bot
        objects, size = int(data.COLD_OBJECTS * scale), int(data.COLD_BYTES * scale)
        data.fill_cold(bot.s3, bot.bucket, bot.prefix, objects, size)

    def peers(self) -> dict[str, float]:
        """Seconds of each peer, the best of three."""
        assert self._settings.hot_url
        assert self._settings.warm_url
        hot, warm = self._settings.hot_url.get_secret_value(), self._settings.warm_url.get_secret_value()
        return {
            "hot": min(peers.redis_rdb(hot, self._folder) for _ in range(3)),
            "warm": min(peers.pg_dump(warm, self._folder) for _ in range(3)),
            "cold": min(peers.boto3_download(self._bot.s3, self._bot.bucket) for _ in range(3)),
        }

    def collections(self) -> dict[str, float]:
        """Seconds of collecting each tier alone, sealed and spooled, in a process of its own."""
        return {tier.value: self._collect(tier) for tier in Tier}

    def backup(self) -> tuple[str, float]:
        """One backup through the workers: its id, and seconds from enqueue to recorded."""
        run_id = f"bench-{secrets.token_hex(6)}"
        began = time.perf_counter()
        enqueue_backup(self._app, BackupType.FULL, run_id)
        self._until_done(run_id)
        return run_id, time.perf_counter() - began

    def restore(self, backup_id: str) -> tuple[dict[str, float], float]:
        """One restore through the workers, into wiped tiers: seconds of its stages, and of the whole."""
        self._bot.wipe()
        run_id = f"bench-restore-{secrets.token_hex(6)}"
        began = time.perf_counter()
        enqueue_restore(self._app, backup_id, run_id, RestoreMode.EXACT.value)
        self._until_done(run_id)
        return stage_seconds(self._wiring.ledger.rows(run_id)), time.perf_counter() - began

    def manifest(self, backup_id: str) -> Any:
        """The manifest of a backup."""
        return self._wiring.metadata.load(backup_id)

    def peak_memory(self) -> dict[str, float]:
        """The peak of every worker process so far, MB, by group."""
        peaks: dict[str, float] = {}
        for part in self._stack.status().parts:
            if part.name.startswith("worker-") and part.process is not None:
                pids = [part.process.pid, *_children(part.process.pid)]
                peaks[part.name] = max(_peak(pid) for pid in pids)
        return peaks

    def _collect(self, tier: Tier) -> float:
        done = subprocess.run(
            [sys.executable, "-m", "bench.collect", tier.value],
            env=self._stack.environment(),
            check=True,
            capture_output=True,
            text=True,
        )
        return float(done.stdout)

    def _until_done(self, run_id: str) -> Run:
        deadline = time.monotonic() + _WAIT_SECONDS
        while time.monotonic() < deadline:
            run = self._wiring.ledger.run(run_id)
            if run and run.state.final:
                if run.state is not RunState.DONE:
                    raise SystemExit(f"{run_id}: {run.state} {run.reason}")
                return run
            time.sleep(0.005)
        raise SystemExit(f"{run_id} did not end in {_WAIT_SECONDS} s")


def measure(scale: float, folder: Path, console: Console) -> dict[str, Any]:
    """Everything, in one run."""
    with stack_in(folder) as stack:
        bench = Bench(stack, folder, console)
        console.print(f"{_SMALL_RUNS} backups of {_SMALL_RECORDS} records ...")
        small = bench.small()
        console.print(f"data of scale {scale:g} ...")
        bench.fill(scale)
        console.print("peers ...")
        by_peers = bench.peers()
        console.print("collections ...")
        collected = bench.collections()
        console.print("backup ...")
        backup_id, seconds = bench.backup()
        manifest = bench.manifest(backup_id)
        memory = bench.peak_memory()
        console.print("restore ...")
        restored, restore_seconds = bench.restore(backup_id)
        return {
            "scale": scale, "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "records": manifest.records, "logical_bytes": manifest.logical_bytes, "stored_bytes": manifest.added_bytes,
            "peer_seconds": by_peers, "collect_seconds": collected, "stage_seconds": manifest.seconds,
            "backup_seconds": seconds, "restore_stage_seconds": restored, "restore_seconds": restore_seconds,
            "peak_memory_mb": memory, "peak_memory_after_restore_mb": bench.peak_memory(),
            "small_p50_ms": statistics.median(small) * 1000, "small_max_ms": max(small) * 1000,
        }  # fmt: skip


def judge(result: dict[str, Any]) -> list[tuple[str, float, float]]:
    """What was reached: name, measured, limit."""
    rows = [
        (f"collect {tier.value} / peer", result["collect_seconds"][tier] / result["peer_seconds"][tier], LIMITS[tier])
        for tier in Tier
    ]
    peak = max(result["peak_memory_after_restore_mb"].values())
    return [
        *rows,
        ("peak memory of a process, MB", peak, LIMITS["memory_mb"]),
        ("1,000 records, enqueue to recorded, p50 ms", result["small_p50_ms"], LIMITS["small_p50_ms"]),
    ]


def show(console: Console, result: dict[str, Any]) -> bool:
    """Print what was measured; whether every limit was kept."""
    table = Table(
        title=f"scale {result['scale']:g}: {result['records']:,} records, {result['logical_bytes'] / 1e6:,.0f} MB",
        title_justify="left",
    )
    for column in ("", "measured", "limit", ""):
        table.add_column(column, justify="left" if not column else "right")
    for name, value, limit in judge(result):
        table.add_row(name, f"{value:,.2f}", f"<= {limit:,.2f}", "[green]kept" if value <= limit else "[red]MISSED")
    console.print(table)
    for key in (
        "peer_seconds",
        "collect_seconds",
        "stage_seconds",
        "restore_stage_seconds",
        "peak_memory_mb",
        "peak_memory_after_restore_mb",
    ):
        console.print(
            f"{key:29}", "  ".join(f"{name} {value:.2f}" for name, value in result[key].items()), highlight=False
        )
    for what in ("backup", "restore"):
        seconds = result[f"{what}_seconds"]
        console.print(f"{what:7} {seconds:.1f} s, {result['logical_bytes'] / 1e6 / seconds:,.0f} MB/s", highlight=False)
    console.print(f"stored  {result['stored_bytes'] / 1e6:,.1f} MB", highlight=False)
    return all(value <= limit for _, value, limit in judge(result))


@contextmanager
def stack_in(folder: Path) -> Iterator[LocalStack]:
    """A stack of its own, without beat and Flower, that ends with the block."""
    stack = LocalStack(folder / "stack")
    stack.up(beat=False, flower=False)
    try:
        yield stack
    finally:
        stack.down()


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _peak(pid: int) -> float:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1000 if found else 0.0


@click.command()
@click.option(
    "--scale", default=1.0, show_default=True, help="1: 200k keys, 400k rows, 400 objects of 600 MB together."
)
@click.option("--folder", type=click.Path(path_type=Path), help="Where the data goes (default: a temporary folder).")
@click.option(
    "--json", "target", type=click.Path(path_type=Path), default=Path("bench/out/result.json"), show_default=True
)
def main(scale: float, folder: Path | None, target: Path) -> None:
    """Measure Strata beside redis-cli, pg_dump and boto3; the exit code says whether every limit was kept."""
    console = Console(soft_wrap=True)
    work = folder or Path(tempfile.mkdtemp(prefix="strata-bench-"))
    try:
        result = measure(scale, work, console)
    finally:
        if folder is None:
            shutil.rmtree(work, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(result, indent=2) + "\n")
    kept = show(console, result)
    console.print(f"written to {target}", highlight=False)
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
