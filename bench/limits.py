"""What must be reached, in one table, and what a measurement says of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

LIMITS: Final[dict[str, float]] = {
    "FULL of 1,000 records, p50 ms": 500,
    "collect HOT / redis-cli --rdb, time": 1.5,
    "collect WARM / pg_dump -Fd -j2, time": 1.0,
    "collect COLD / boto3 get_object, time": 1 / 0.8,
    "day 2: HOT and WARM / restic, bytes": 1 / 20,
    "day 2: INCREMENTAL / dump + restic, time": 0.5,
    "day 2: second FULL / whole state, bytes": 1 / 10,
    "1,000,000 small rows / pg_dump -Fc -Z zstd:1, bytes": 2.0,
    "10,000 keys over a link, direct / key by key": 0.01,
    "10,000 keys on one machine, direct / key by key": 0.025,
    "EMERGENCY beside a FULL, p50 s": 1.0,
    "CLOUD store of 1 GB / boto3 put_object, time": 1 / 0.8,
    "comparison of two indexes, peak MB": 500,
    "worker process, peak MB": 350,
    "list of 10,000 backups, warm cache, s": 1.0,
    "list of 10,000 backups, cold from S3, s": 30.0,
    "prune plan of 10,000 manifests, s": 10,
    "prune plan of 10,000 manifests, peak MB": 500,
}
"""The most that each may come to."""


@dataclass(frozen=True)
class Section:
    """What one part of the bench found: `judged` by the names of LIMITS, `details` for the JSON, `said` to be read."""

    judged: dict[str, float]
    details: dict[str, Any]
    said: list[str] = field(default_factory=list)


def kept(judged: dict[str, float]) -> bool:
    """Whether every limit that was measured was kept."""
    return all(value <= LIMITS[name] for name, value in judged.items())
