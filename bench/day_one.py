"""Day 1: small backups, the collection of each tier beside its peer, the first FULL, and its restore."""

from __future__ import annotations

import secrets
import statistics
from typing import Any, Final

from bench.collect import collector
from bench.limits import Section
from bench.peers import Download, PostgresDump, RedisDump
from bench.stack import Backup, Bench
from strata.model.backup_type import BackupType
from strata.model.tier import Tier

_RECORDS: Final = 1_000
_RUNS: Final = 15
_TURNS: Final = 3

_NAMES: Final = {
    Tier.HOT: "collect HOT / redis-cli --rdb, time",
    Tier.WARM: "collect WARM / pg_dump -Fd -j2, time",
    Tier.COLD: "collect COLD / boto3 get_object, time",
}


def small(bench: Bench) -> Section:
    """Backups of 1,000 small records that build on nothing, workers warm."""
    bench.empty()
    with bench.bot.hot.pipeline(transaction=False) as pipe:
        for number in range(_RECORDS):
            pipe.set(f"position:{number}", secrets.token_hex(60))
        pipe.execute()
    found = [bench.backup(BackupType.FULL, fresh=True).seconds * 1000 for _ in range(_RUNS + 3)][3:]
    return Section(
        judged={"FULL of 1,000 records, p50 ms": statistics.median(found)},
        details={"milliseconds": found},
    )


def collections(bench: Bench) -> Section:
    """Each tier collected alone, sealed and spooled, in a process of its own; by turns with its peer, best of three."""
    peers: dict[Tier, Any] = {
        Tier.HOT: RedisDump(bench.hot_url),
        Tier.WARM: PostgresDump(bench.warm_url),
        Tier.COLD: Download(bench.bot.s3, bench.bot.bucket),
    }
    theirs: dict[str, float] = {}
    ours: dict[str, float] = {}
    for tier, peer in peers.items():
        with collector(tier, bench.environment) as one:
            turns = [(peer.seconds(bench.folder), one.seconds()) for _ in range(_TURNS)]
        theirs[tier], ours[tier] = (min(seconds) for seconds in zip(*turns, strict=True))
    return Section(
        judged={_NAMES[tier]: ours[tier] / theirs[tier] for tier in Tier},
        details={"peer_seconds": theirs, "collect_seconds": ours},
        said=[f"{tier.label}: {ours[tier]:.2f} s, its peer {theirs[tier]:.2f} s" for tier in Tier],
    )


def first_full(bench: Bench) -> tuple[Backup, Section]:
    """The first FULL of the data set."""
    backup = bench.backup(BackupType.FULL, fresh=True)
    manifest, megabytes = backup.manifest, backup.manifest.logical_bytes / 1e6
    said = [
        f"FULL of {manifest.records:,} records, {megabytes:,.0f} MB: {backup.seconds:.1f} s",
        f"  {megabytes / backup.seconds:,.0f} MB/s, {manifest.added_bytes / 1e6:,.1f} MB stored",
        in_stages(manifest.seconds),
    ]
    details = {
        "records": manifest.records,
        "logical_bytes": manifest.logical_bytes,
        "stored_bytes": manifest.added_bytes,
        "seconds": backup.seconds,
        "stage_seconds": manifest.seconds,
    }
    return backup, Section({}, details, said)


def restoring(bench: Bench, backup: Backup) -> Section:
    """The first FULL brought back into wiped tiers."""
    stages, seconds = bench.restore(backup.manifest.backup_id)
    speed = backup.manifest.logical_bytes / 1e6 / seconds
    said = [f"restore of the first FULL: {seconds:.1f} s, {speed:,.0f} MB/s", in_stages(stages)]
    return Section({}, {"seconds": seconds, "stage_seconds": stages}, said)


def memory(bench: Bench) -> Section:
    """The peak of every worker process over all that was done so far."""
    peaks = bench.peak_memory()
    return Section(
        {"worker process, peak MB": max(peaks.values())},
        {"peak_mb": peaks},
        ["peak MB: " + "  ".join(f"{name.removeprefix('worker-')} {peak:.0f}" for name, peak in peaks.items())],
    )


def in_stages(seconds: dict[str, float]) -> str:
    """Seconds by stage, to be read."""
    return "  " + "  ".join(f"{name} {value:.2f}" for name, value in seconds.items())
