"""`strata list` of 10,000 backups: warm, from a folder and the cache; cold, from S3 and nothing."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from bench.limits import Section
from strata.catalog.metadata import MANIFEST
from strata.model.backup_type import BackupType
from strata.model.coverage import SourceKind
from strata.model.layer import LayerKind, LayerRef
from strata.model.manifest import FORMAT_VERSION, BackupMetadata, Changes, TierContent, manifest_name
from strata.model.tier import StorageTier, Tier
from strata.seal.keyring import FileKeyring
from workers.local_stack.servers import start_s3

WARM: Final = "list of 10,000 backups, warm cache, s"
COLD: Final = "list of 10,000 backups, cold from S3, s"

_BACKUPS: Final = 10_000
_DEPTH: Final = 24
"""Layers of a stack at the most: a day of backups each hour."""
_TURNS: Final = 3
_SIZE: Final = 3_000
"""Characters of the manifest's sealed part."""


def listing(folder: Path) -> Section:
    """The whole command, in a process of its own; the warm one best of three."""
    work = folder / "listing"
    keyring = FileKeyring.create(work / "keyring.json", datetime.now(UTC))
    server = start_s3(work / "buckets")
    try:
        server.make_bucket("listing")
        size = _fill([work / "local", work / "buckets" / "listing" / "store"], keyring)
        settings = {"STRATA_KEYRING_FILE": str(work / "keyring.json"), "STRATA_CACHE_FOLDER": str(work / "cache")}
        cloud = settings | {
            "STRATA_CLOUD_URL": "s3://listing/store",
            "STRATA_CLOUD_ENDPOINT": server.endpoint,
            "STRATA_CLOUD_ACCESS_KEY_ID": server.access_key,
            "STRATA_CLOUD_SECRET_ACCESS_KEY": server.secret_key,
        }
        local = settings | {"STRATA_LOCAL_URL": (work / "local").as_uri()}
        cold, warm_s3 = _seconds(cloud), _seconds(cloud)
        first = _seconds(local)
        warm = min(_seconds(local) for _ in range(_TURNS))
    finally:
        server.stop()
    said = [
        f"10,000 manifests of {size / _BACKUPS / 1e3:.1f} kB each",
        f"  cold from S3 {cold:.1f} s, then {warm_s3:.2f} s; cold from a folder {first:.1f} s, then {warm:.2f} s",
    ]
    details = {"cold_s3": cold, "warm_s3": warm_s3, "cold_folder": first, "warm_folder": warm, "bytes": size}
    return Section({WARM: warm, COLD: cold}, details, said)


def _seconds(settings: dict[str, str]) -> float:
    """The command's time, from the start of its process to its end; every backup is in what it says."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STRATA_")} | settings
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "strata.cli.main", "list"],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - began
    assert done.stdout.count("-full-") + done.stdout.count("-incremental-") >= _BACKUPS, done.stderr
    return seconds


def _fill(folders: Sequence[Path], keyring: FileKeyring) -> int:
    """Write signed manifests into folders, as the stores would hold them; the bytes of one set in sum."""
    for folder in folders:
        (folder / "manifests").mkdir(parents=True)
    size = 0
    key_id = keyring.new_data_key().key_id
    for manifest in _manifests():
        data = MANIFEST.write(manifest.model_copy(update={"key_id": key_id}), keyring)
        for folder in folders:
            (folder / manifest_name(manifest.backup_id)).write_bytes(data)
        size += len(data)
    return size


def _manifests() -> Iterator[BackupMetadata]:
    """A FULL each day and a half, an INCREMENTAL each hour between, each of three tiers."""
    random.seed(1)
    stacks: dict[Tier, tuple[LayerRef, ...]] = dict.fromkeys(Tier, ())
    parent = None
    for number in range(_BACKUPS):
        made = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC) + timedelta(hours=number)
        kind = BackupType.INCREMENTAL if number % 36 else BackupType.FULL
        backup_id = f"{made:%Y%m%d-%H%M%S}-{kind}-{random.randrange(16**6):06x}"
        for tier in Tier:
            below = stacks[tier] if len(stacks[tier]) < _DEPTH else ()
            stacks[tier] = (*below, _layer(backup_id, made, tier, LayerKind.DELTA if below else LayerKind.BASE))
        yield _manifest(backup_id, kind, made, number, parent, stacks)
        parent = backup_id


def _layer(backup_id: str, made: datetime, tier: Tier, kind: LayerKind) -> LayerRef:
    return LayerRef(
        layer_id=f"{backup_id}-{tier}",
        backup_id=backup_id,
        created_at=made,
        tier=tier,
        kind=kind,
        fingerprint_key_id="f-0123456789ab",
        records=random.randrange(20_000),
        tombstones=random.randrange(500),
        chunked=0,
        logical_bytes=random.randrange(10**8),
        stored_bytes=random.randrange(10**7),
        objects=3,
        digest=f"{random.getrandbits(256):064x}",
    )


def _manifest(
    backup_id: str,
    kind: BackupType,
    made: datetime,
    number: int,
    parent: str | None,
    stacks: dict[Tier, tuple[LayerRef, ...]],
) -> BackupMetadata:
    tiers = (
        TierContent(
            tier=tier,
            source=SourceKind.LIVE,
            stack=stack,
            records=500_000,
            logical_bytes=10**8,
            patterns=("*",),
            cut={"time": made.isoformat(), "method": "sync"},
            parent=parent,
            changes=Changes(unchanged=490_000, changed=9_000, new=1_000),
        )
        for tier, stack in stacks.items()
    )
    return BackupMetadata(
        format=FORMAT_VERSION,
        backup_id=backup_id,
        backup_type=kind,
        generation=number + 1,
        created_at=made,
        recorded_at=made + timedelta(seconds=40),
        storage_tier=StorageTier.CLOUD,
        store_url="s3://listing/store",
        store_id="5a" * 16,
        installation="bench",
        key_id="w-0123456789ab",
        wrapped_key="A" * 80,
        fingerprint_key_id="f-0123456789ab",
        parent=parent,
        reasons=(),
        tiers=tuple(tiers),
        borrowed=(),
        seconds={"collect hot": 1.5, "merge": 0.2},
        written_by="strata bench",
        details="A" * _SIZE,
    )
