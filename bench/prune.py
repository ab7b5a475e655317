"""Plans the prune of a large catalogue, in a process of its own: `python -m bench.prune`.

A backup every 15 minutes, every 96th a FULL, each on the stack of those before it, as incremental backups lie; read
from JSON, as a catalogue is, so that nothing is shared that would not be. What the layers of the oldest ones hold goes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

from bench.limits import Section
from bench.memory import peak_mb
from strata.model.backup_type import BackupType
from strata.model.copies import CatalogueEntry
from strata.model.tier import StorageTier
from strata.planning.prune import ListedLayer, PruneState, StoreState, plan_prune
from strata.planning.retention import RetentionService

_NOW: Final = datetime(2026, 11, 25, 12, tzinfo=UTC)
_DAY: Final = 96
_TIERS: Final = ("hot", "warm", "cold")
_OBJECTS: Final = 4
"""Of each layer."""


def prune_plan(manifests: int = 10_000) -> Section:
    """The plan, and what it took."""
    found = measured(manifests)
    said = (
        f"{found['manifests']:,} manifests, {found['objects']:,} objects, {found['named']:,} layers named: "
        f"{found['seconds']:.2f} s, peak {found['peak_mb']:.0f} MB ({found['catalogue_mb']:.0f} before planning); "
        f"{found['going']:,} manifests and {found['swept']:,} layers go"
    )
    judged = {
        "prune plan of 10,000 manifests, s": found["seconds"],
        "prune plan of 10,000 manifests, peak MB": found["peak_mb"],
    }
    return Section(judged, found, [said])


def measured(manifests: int) -> dict[str, Any]:
    """What planning took in a process of its own."""
    command = [sys.executable, "-m", "bench.prune", "--manifests", str(manifests)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _entry(number: int, of: int) -> CatalogueEntry:
    made = _NOW - timedelta(minutes=15) * (of - number)
    of_day = number % _DAY
    copies = [{"storage_tier": "local", "store_url": "file:///x", "verified_at": made.isoformat()}]
    document = {
        "backup_id": _name(number),
        "backup_type": BackupType.INCREMENTAL if of_day else BackupType.FULL,
        "generation": int(made.timestamp() * 1000),
        "created_at": made.isoformat(),
        "recorded_at": made.isoformat(),
        "parent": _name(number - 1) if of_day else None,
        "covers": [[tier, "live", ["*"], 1] for tier in _TIERS],
        "records": 1,
        "logical_bytes": 1,
        "added_bytes": 1,
        "stacked_bytes": 1,
        "layers": [f"{_name(one)}-{tier}" for tier in _TIERS for one in range(number - of_day, number + 1)],
        "copies": copies,
        "removal_marked_at": (_NOW - timedelta(days=2)).isoformat() if number < of // 2 else None,
    }
    return CatalogueEntry.model_validate_json(json.dumps(document))


def _name(number: int) -> str:
    return f"20261123-{number:06d}-incremental-{number:06x}"


@click.command()
@click.option("--manifests", default=10_000, show_default=True)
def main(manifests: int) -> None:
    """Plan a prune, retention included."""
    entries = [_entry(number, manifests) for number in range(manifests)]
    layers = {
        f"{_name(number)}-{tier}": ListedLayer(_OBJECTS, 1_000_000, entry.created_at)
        for number, entry in enumerate(entries)
        for tier in _TIERS
    }
    before = peak_mb("self")
    began = time.perf_counter()
    retention = RetentionService(keep={BackupType.INCREMENTAL: {"hourly": 48, "daily": 14}}).decide(entries, _NOW)
    plan = plan_prune(PruneState(entries, retention, [StoreState(StorageTier.LOCAL, layers)], _NOW))
    seconds = time.perf_counter() - began
    answer = {
        "manifests": len(entries),
        "objects": sum(layer.objects for layer in layers.values()),
        "named": sum(len(entry.layers) for entry in entries),
        "going": len(plan.stores[0].manifests),
        "swept": len(plan.stores[0].layers),
        "marks": len(plan.marks),
        "seconds": seconds,
        "peak_mb": peak_mb("self"),
        "catalogue_mb": before,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
