"""What a backup would build on may be damaged: it is found out, and the next full backup is a way out."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

import pytest

from strata.errors import LOST
from strata.model.backup_type import BackupType
from strata.model.manifest import BackupMetadata
from strata.model.tier import Tier
from strata.testing import MemoryRecord, MemorySource
from tests.engine.workbench import Workbench

MIB: Final = 1 << 20
KINDS: Final = [".seg", ".idx", ".pack", ".cdx", "/layer.json"]


@pytest.fixture
def bench(folder: Path) -> Workbench:
    """A tier with small and large values, and a full backup of it."""
    small = {("0", b"%d" % number): MemoryRecord(b"v%d" % number) for number in range(20)}
    large = {("0", b"large"): MemoryRecord(random.Random(1).randbytes(2 * MIB))}
    made = Workbench(folder, {Tier.HOT: MemorySource(Tier.HOT, small | large)}, segment_bytes=8 * MIB)
    made.backup("b0")
    return made


def damage(bench: Workbench, kind: str, how: str) -> str:
    """Damage one object of the first backup; its name."""
    name = next(name for name in bench.stored() if name.endswith(kind))
    data = bench.files.get(name)
    if how == "gone":
        bench.files.delete(name)
    elif how == "link":
        path = bench.folder / "store" / name
        path.unlink()
        path.symlink_to("/etc/passwd")
    elif how == "cut":
        bench.replace(name, data[: len(data) // 2])
    else:
        bench.replace(name, data[:250] + bytes([data[250] ^ 1]) + data[251:])
    return name


def second_try(bench: Workbench, name: str, backup_type: BackupType = BackupType.FULL) -> BackupMetadata:
    """A backup, made again where the first try failed; the failure names the damaged object."""
    try:
        return bench.backup("b1", backup_type)
    except LOST as error:
        sentence = error.sentence
    assert name in sentence
    return bench.backup("b2", backup_type)


def assert_whole(bench: Workbench, manifest: BackupMetadata) -> None:
    """Every object of it is proved, and all its records come back."""
    source = bench.sources[Tier.HOT]
    bench.restorer.verify(manifest, (Tier.HOT,), lambda _: None)
    before = dict(source.records)
    source.records.clear()
    bench.restore(f"restore-{manifest.backup_id}")
    assert source.records == before


@pytest.mark.parametrize("changes", [False, True], ids=["as it was", "with changes"])
@pytest.mark.parametrize("how", ["flipped", "cut", "gone", "link"])
@pytest.mark.parametrize("kind", KINDS)
def test_after_damage_of_its_parent_a_full_backup_is_soon_whole(
    bench: Workbench,
    kind: str,
    how: str,
    changes: bool,  # noqa: FBT001
) -> None:
    """At most one fails, names the object, and notes its layer: the next builds on nothing that is damaged."""
    name = damage(bench, kind, how)
    if changes:
        bench.sources[Tier.HOT].records["0", b"1"] = MemoryRecord(b"changed")
    manifest = second_try(bench, name)
    assert {layer.backup_id for layer in manifest.layers} == {manifest.backup_id}
    assert_whole(bench, manifest)


@pytest.mark.parametrize("how", ["cut", "gone", "link"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_incremental_backup_is_not_laid_on_what_is_not_there(bench: Workbench, kind: str, how: str) -> None:
    """What is missing, or has another size, is seen without reading it; then the tier is stored whole."""
    name = damage(bench, kind, how)
    bench.sources[Tier.HOT].records["0", b"1"] = MemoryRecord(b"changed")
    manifest = second_try(bench, name, BackupType.INCREMENTAL)
    assert {layer.backup_id for layer in manifest.layers} == {manifest.backup_id}
    assert_whole(bench, manifest)


@pytest.mark.parametrize("kind", [".pack", ".cdx", "/layer.json"])
@pytest.mark.parametrize("how", ["flipped", "cut", "gone", "link"])
def test_chunks_of_a_damaged_layer_are_not_borrowed_for_long(bench: Workbench, kind: str, how: str) -> None:
    """A type without a parent would borrow its chunks: at most one fails, the next stores its own."""
    records = bench.sources[Tier.HOT].records
    records["0", b"order:1"] = records["0", b"large"]
    name = damage(bench, kind, how)
    manifest = second_try(bench, name, BackupType.SNAPSHOT)
    assert {layer.backup_id for layer in manifest.layers} == {manifest.backup_id}
    bench.restorer.verify(manifest, (Tier.HOT,), lambda _: None)


@pytest.mark.parametrize("how", ["flipped", "cut", "gone", "link"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_damage_of_a_backup_is_listed(bench: Workbench, kind: str, how: str) -> None:
    """The survey of a backup names what is damaged, of whatever kind, and does not stop at it."""
    name = damage(bench, kind, how)
    damages = bench.restorer.damaged(bench.metadata.load("b0"), lambda _: None)
    assert [one.name for one in damages] == [name]
    assert damages[0].reason
