"""Days 2 to 4: an INCREMENTAL beside dumps and restic after the same day's changes, and a second FULL the same day."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from bench.changes import Day, pass_day
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

    changes: list[Day]
    ours: list[Backup]
    theirs: list[ResticDay]
    day_one: ResticDay | None
    """restic's first backup; None where restic is not installed."""
    again: Backup
    """A FULL on the evening of the last day, after its INCREMENTAL."""

    @classmethod
    def passed(cls, bench: Bench, scale: float) -> Days:
        """Let the days pass, with their backups."""
        restic = Restic(bench) if restic_version() else None
        day_one = restic.day() if restic else None
        changes: list[Day] = []
        ours: list[Backup] = []
        theirs: list[ResticDay] = []
        for day in _DAYS:
            changes.append(pass_day(bench, scale, day))
            if restic and day % 2:
                theirs.append(restic.day())
            ours.append(bench.backup(BackupType.INCREMENTAL))
            if restic and not day % 2:
                theirs.append(restic.day())
            _confirm(changes[-1], ours[-1].manifest)
        return cls(changes, ours, theirs, day_one, bench.backup(BackupType.FULL))

    @property
    def best(self) -> Backup:
        """The quickest INCREMENTAL."""
        return min(self.ours, key=lambda one: one.seconds)


def days(bench: Bench, scale: float, first: Backup) -> Section:
    """Three days: the best time of each side, and the bytes of HOT and WARM over all three."""
    found = Days.passed(bench, scale)
    ours = [added_bytes(bench, one.manifest, _DATABASES) for one in found.ours]
    # The measure of the second FULL: what it adds, against the values of the whole state, which did not change since
    # the last INCREMENTAL. A tool that copies would add all of them.
    again, logical = added_bytes(bench, found.again.manifest, tuple(Tier)), found.again.manifest.logical_bytes
    judged = {"day 2: second FULL / whole state, bytes": again / logical}
    said = [
        f"INCREMENTAL: {_listed(one.seconds for one in found.ours)} s",
        f"  {_megabytes(ours)} MB of HOT and WARM; the quickest:",
        in_stages(found.best.manifest.seconds),
        f"FULL again: {found.again.seconds:.2f} s, {again / 1e6:.3f} MB of {logical / 1e6:,.0f}",
        in_stages(found.again.manifest.seconds),
    ]
    details = {
        "changes": [asdict(day) for day in found.changes],
        "incremental": [_told(one, size) for one, size in zip(found.ours, ours, strict=True)],
        "full_again": {**_told(found.again, again), "logical_bytes": logical},
    }
    beside = _beside_restic(found, ours, first)
    return Section(judged | beside.judged, details | beside.details, said + beside.said)


def _beside_restic(found: Days, ours: list[int], first: Backup) -> Section:
    if found.day_one is None:
        return Section({}, {}, ["restic is not installed (Debian: apt-get install restic): its rows are left out"])
    sizes, best = [one.database_bytes for one in found.theirs], min(one.seconds for one in found.theirs)
    judged = {
        "day 2: HOT and WARM / restic, bytes": sum(ours) / sum(sizes),
        "day 2: INCREMENTAL / dump + restic, time": found.best.seconds / best,
    }
    said = [
        f"dump + restic: {_listed(one.seconds for one in found.theirs)} s",
        f"  {_megabytes(sizes)} MB of HOT and WARM; dumps {_listed(one.dump_seconds for one in found.theirs)} s of it",
        f"day 1: dump + restic {found.day_one.seconds:.1f} s, {found.day_one.added_bytes / 1e6:,.1f} MB",
        f"       FULL {first.seconds:.1f} s, {first.manifest.added_bytes / 1e6:,.1f} MB",
    ]
    told = [asdict(one) for one in (found.day_one, *found.theirs)]
    return Section(judged, {"restic": {"version": restic_version(), "days": told}}, said)


def _confirm(day: Day, manifest: BackupMetadata) -> None:
    """An INCREMENTAL that did not find exactly the day's changes would be quick for no good reason."""
    found = [part.changes for part in manifest.tiers if part.tier in _DATABASES and part.changes]
    sums = tuple(sum(getattr(one, name) for one in found) for name in ("changed", "gone", "new"))
    if sums != (day.changed, day.deleted, day.added):
        raise SystemExit(f"{manifest.backup_id} found {sums} changed, gone and new records; there were {day}")


def added_bytes(bench: Bench, manifest: BackupMetadata, tiers: tuple[Tier, ...]) -> int:
    """Bytes that a backup added for these tiers: its own layers, their documents, and the manifest."""
    own = [layer for layer in manifest.layers if layer.backup_id == manifest.backup_id and layer.tier in tiers]
    store = bench.wiring.depots.nearest.store
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
