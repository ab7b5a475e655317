"""EMERGENCY backups of 1,000 records while a FULL of the whole data set has the workers and the servers busy."""

from __future__ import annotations

import random
import secrets
import statistics
import time
from typing import Any, Final

import psycopg

from bench import data
from bench.limits import Section
from bench.stack import URGENT, Bench
from strata.model.backup_type import BackupType
from strata.model.run import RunState

_SAMPLES: Final = 10
_FULLS: Final = 20
_HOT, _WARM, _COLD = 600, 350, 50
"""Records of each tier."""


def emergency(bench: Bench) -> Section:
    """Backups one after the other until the FULL ends; FULLs until there are ten that one outlasted."""
    _write(bench)
    alone = [_backup(bench)["seconds"] for _ in range(4)][1:]
    samples: list[dict[str, Any]] = []
    for _ in range(_FULLS):
        samples += _beside_full(bench)
        if len(samples) >= _SAMPLES:
            break
    if not samples:
        raise SystemExit("no EMERGENCY backup was recorded while a FULL was under way")
    found = [sample["seconds"] for sample in samples]
    middle = sorted(samples, key=lambda sample: sample["seconds"])[len(samples) // 2]
    return Section(
        {"EMERGENCY beside a FULL, p50 s": statistics.median(found)},
        {"alone_seconds": alone, "samples": samples},
        [
            f"{len(found)} beside a FULL: p50 {statistics.median(found):.2f} s, {min(found):.2f} to {max(found):.2f}",
            f"alone: {statistics.median(alone):.2f} s; the middle one, while the FULL did {middle['during']}:",
            "  " + "  ".join(f"{name} {value:.2f}" for name, value in middle["stage_seconds"].items()),
        ],
    )


def _beside_full(bench: Bench) -> list[dict[str, Any]]:
    samples: list[dict[str, Any]] = []
    full = bench.begin(BackupType.FULL, fresh=True)
    while not bench.rows(full):
        time.sleep(0.01)
    while bench.state(full) is RunState.RUNNING:
        during = max(bench.rows(full), key=lambda row: row.began).stage.value
        sample = {**_backup(bench), "during": during}
        if bench.state(full) is RunState.RUNNING:
            samples.append(sample)
    bench.wait(full)
    return samples


def _backup(bench: Bench) -> dict[str, Any]:
    backup = bench.backup(BackupType.EMERGENCY)
    manifest, wanted = backup.manifest, _HOT + _WARM + _COLD
    if manifest.records != wanted:
        reasons = "; ".join(part.reason for part in manifest.tiers if part.reason)
        raise SystemExit(f"an EMERGENCY backup has {manifest.records:,} of {wanted:,} records: {reasons}")
    return {"seconds": backup.seconds, "stage_seconds": manifest.seconds}


def _write(bench: Bench) -> None:
    """The records of the scope, small, spread over the tiers."""
    source = random.Random(4)
    with bench.bot.hot.pipeline(transaction=False) as pipe:
        for number in range(_HOT):
            pipe.set(f"{URGENT}position:{number}", data.position(source, number))
        pipe.execute()
    with psycopg.connect(bench.warm_url) as connection:
        for number in range(_WARM):
            connection.execute(
                "INSERT INTO state_warm (key, data) VALUES (%s, %s)",
                [f"{URGENT}portfolio:{number}", data.position(source, number)],
            )
    for number in range(_COLD):
        key = f"{bench.bot.prefix}{URGENT}config:{number}"
        bench.bot.s3.put_object(Bucket=bench.bot.bucket, Key=key, Body=secrets.token_hex(500).encode())
