"""Days 2 to 4: an INCREMENTAL beside dumps and restic after the same day's changes, and a second FULL the same day."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

from bench.changes import pass_day
from bench.day_one import in_stages
from bench.limits import Section
from bench.restic import Restic, ResticDay, restic_version
from bench.stack import Backup, Bench
from strata.model.backup_type import BackupType
from strata.model.layer import layer_document_name
from strata.model.manifest import BackupMetadata, manifest_name
from strata.model.tier import Tier

_DAYS: Final = (2, 3, 4)
_DATABASES: Final = (Tier.HOT, Tier.WARM)


@dataclass
class Days:
    """What each day came to; of a day's two backups the first has the colder caches, so they take turns at it."""

    changes: list[dict[str, int]] = field(default_factory=list)
    ours: list[Backup] = field(default_factory=list)
    theirs: list[ResticDay] = field(default_factory=list)


def days(bench: Bench, scale: float, first: Backup) -> Section:
    """Three days, the best time of each side, and the bytes of HOT and WARM over all three."""
    restic = Restic(bench) if restic_version() else None
    day_one = restic.day() if restic else None
    found = Days()
    for day in _DAYS:
        found.changes.append(asdict(pass_day(bench, scale, day)))
        if restic and day % 2:
            found.theirs.append(restic.day())
        found.ours.append(bench.backup(BackupType.INCREMENTAL))
        if restic and not day % 2:
            found.theirs.append(restic.day())
    again = bench.backup(BackupType.FULL)
    ours = [added_bytes(bench, one.manifest, _DATABASES) for one in found.ours]
    best = min(found.ours, key=lambda one: one.seconds)
    # The measure of the second FULL: what it adds, against the values of the whole state, which did not change since
    # the last INCREMENTAL. A tool that copies would add all of them.
    logical = again.manifest.logical_bytes
    full_bytes = added_bytes(bench, again.manifest, tuple(Tier))
    judged = {"day 2: second FULL / whole state, bytes": full_bytes / logical}
    times = _listed(one.seconds for one in found.ours)
    said = [
        f"INCREMENTAL: {times} s, {_megabytes(ours)} MB of HOT and WARM; the best:",
        in_stages(best.manifest.seconds),
        f"FULL again: {again.seconds:.2f} s, {full_bytes / 1e6:.3f} MB of {logical / 1e6:,.0f}",
        in_stages(again.manifest.seconds),
    ]
    details: dict[str, Any] = {
        "changes": found.changes,
        "incremental": [_told(one, size) for one, size in zip(found.ours, ours, strict=True)],
        "full_again": {**_told(again, full_bytes), "logical_bytes": logical},
        "restic": None,
    }
    if day_one is None:
        said.append("restic is not installed (Debian: apt-get install restic): its rows are left out")
        return Section(judged, details, said)
    theirs = [one.database_bytes for one in found.theirs]
    judged |= {
        "day 2: HOT and WARM / restic, bytes": sum(ours) / sum(theirs),
        "day 2: INCREMENTAL / dump + restic, time": best.seconds / min(one.seconds for one in found.theirs),
    }
    said += [
        f"dump + restic: {_listed(one.seconds for one in found.theirs)} s, {_megabytes(theirs)} MB of HOT and WARM",
        f"  of it dumps {_listed(one.dump_seconds for one in found.theirs)} s",
        f"day 1: dump + restic {day_one.seconds:.1f} s, {day_one.added_bytes / 1e6:,.1f} MB",
        f"       FULL {first.seconds:.1f} s, {first.manifest.added_bytes / 1e6:,.1f} MB",
    ]
    details["restic"] = {
        "version": restic_version(),
        "day_one": asdict(day_one),
        "days": [asdict(one) for one in found.theirs],
    }
    return Section(judged, details, said)


def added_bytes(bench: Bench, manifest: BackupMetadata, tiers: tuple[Tier, ...]) -> int:
    """Bytes that a backup added for these tiers: its own layers, their documents, and the manifest."""
    own = [layer for layer in manifest.layers if layer.backup_id == manifest.backup_id and layer.tier in tiers]
    store = bench.wiring.store
    documents = sum(store.size(layer_document_name(layer.layer_id)) for layer in own)
    return sum(layer.stored_bytes for layer in own) + documents + store.size(manifest_name(manifest.backup_id))


def _told(backup: Backup, added: int) -> dict[str, Any]:
    changes = {part.tier: part.changes.model_dump() for part in backup.manifest.tiers if part.changes}
    return {
        "seconds": backup.seconds,
        "added_bytes": added,
        "stage_seconds": backup.manifest.seconds,
        "changes": changes,
    }


def _listed(values: Any) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


def _megabytes(values: list[int]) -> str:
    return ", ".join(f"{value / 1e6:.2f}" for value in values)
