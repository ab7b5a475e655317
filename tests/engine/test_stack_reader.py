"""Stacks, written and read: every backup of a series is a whole view of its moment, whatever layers it lies on."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strata.content.fingerprint import Fingerprinter
from strata.model.backup_type import BackupType
from strata.model.layer import LayerKind, ObjectKind
from strata.model.manifest import BackupMetadata, Changes
from strata.model.record import LargeValue
from strata.model.tier import Tier
from strata.testing import Key, MemoryRecord, MemorySource
from tests.engine.workbench import Workbench

MIB: Final = 1 << 20

View = Mapping[Key, bytes]


def a_large_value(seed: int) -> bytes:
    """A value of a few chunks."""
    return random.Random(seed).randbytes(2 * MIB + seed)


def view_of(bench: Workbench, manifest: BackupMetadata, tier: Tier = Tier.HOT) -> View:
    """What a backup holds of a tier, each key once."""
    found: dict[Key, bytes] = {}
    for item in bench.restorer.items(manifest, tier):
        for key, value in _read(item):
            assert key not in found
            found[key] = value
    return found


def _read(item: pa.Table | LargeValue) -> Iterator[tuple[Key, bytes]]:
    if isinstance(item, LargeValue):
        yield (item.namespace, item.key), b"".join(item.parts)
    else:
        yield from (((row["namespace"], row["key"]), row["value"]) for row in item.to_pylist())


def values_of(source: MemorySource) -> View:
    """What a tier holds now."""
    return {key: record.value for key, record in source.records.items()}


# --- a series of backups against a dictionary ---------------------------------------------------------------------

_keys = st.tuples(st.sampled_from(["0", "1"]), st.integers(0, 30).map(lambda number: b"%d" % number))
_values = st.integers(0, 1000).map(lambda number: b"%d" % number) | st.integers(0, 2).map(a_large_value)
_types = st.sampled_from([BackupType.FULL, BackupType.INCREMENTAL, BackupType.DIFFERENTIAL])
_steps = st.lists(st.tuples(_types, st.dictionaries(_keys, st.none() | _values, max_size=8)), min_size=1, max_size=5)
"""Types, and what happened since the one before: keys that were written, and keys that went."""


def _series(steps: list[tuple[BackupType, dict[Key, bytes | None]]]) -> None:
    """Make the backups, and compare each with what was there when it was made; all of them again at the end."""
    with tempfile.TemporaryDirectory() as folder:
        source = MemorySource(Tier.HOT)
        bench = Workbench(Path(folder), {Tier.HOT: source})
        made: list[tuple[BackupMetadata, View]] = []
        for number, (backup_type, changes) in enumerate(steps):
            before = made[-1][1] if made else {}
            for key, value in changes.items():
                source.records.pop(key, None)
                if value is not None:
                    source.records[key] = MemoryRecord(value)
            manifest = bench.backup(f"b{number}", backup_type)
            made.append((manifest, values_of(source)))
            if manifest.parent == f"b{number - 1}":
                assert manifest.content(Tier.HOT).changes == _changes(before, made[-1][1], manifest.backup_type)
        for manifest, view in made:
            content = manifest.content(Tier.HOT)
            assert view_of(bench, manifest) == view
            assert (content.records, content.logical_bytes) == (len(view), sum(map(len, view.values())))
            bench.restorer.verify(manifest, (Tier.HOT,), lambda _: None)


def _changes(before: View, now: View, backup_type: BackupType) -> Changes:
    same = [key for key in now if before.get(key) == now[key]]
    return Changes(
        unchanged=len(same),
        changed=len(now.keys() & before.keys()) - len(same),
        new=len(now.keys() - before.keys()),
        gone=len(before.keys() - now.keys()),
        drift=0 if backup_type is BackupType.FULL else None,
    )


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(_steps)
def test_every_backup_of_a_series_is_a_whole_view_of_its_moment(
    steps: list[tuple[BackupType, dict[Key, bytes | None]]],
) -> None:
    """Whatever changed, came and went, and whatever each was compared with: records, bytes and counts are exact."""
    _series(steps)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(_steps)
def test_keys_that_share_their_hashes_are_told_apart(
    steps: list[tuple[BackupType, dict[Key, bytes | None]]],
) -> None:
    """Where all keys fall on four hashes, and each value says whose it is, every backup is still exact."""
    real = Fingerprinter.hash_keys

    def four_hashes(self: Fingerprinter, namespace: str, keys: pa.LargeBinaryArray) -> Any:
        return real(self, namespace, keys) & np.uint64(0xC000_0000_0000_0000)

    named = [
        (kind, {key: value if value is None else value + b"of %s %s" % (key[0].encode(), key[1])
                for key, value in changes.items()})
        for kind, changes in steps
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fingerprinter, "hash_keys", four_hashes)
        _series(named)


# --- what a stack is made of --------------------------------------------------------------------------------------


@pytest.fixture
def source() -> MemorySource:
    """Thirty small records."""
    return MemorySource(Tier.HOT, {("0", b"%d" % number): MemoryRecord(b"v%d" % number) for number in range(30)})


@pytest.fixture
def bench(folder: Path, source: MemorySource) -> Workbench:
    """A tier of them."""
    return Workbench(folder, {Tier.HOT: source})


def test_a_delta_holds_what_changed_and_a_tombstone_for_what_went(bench: Workbench, source: MemorySource) -> None:
    """And nothing else: one record for each key that is new or changed, one tombstone for each that is gone."""
    base = bench.backup("b0")
    source.records["0", b"1"] = MemoryRecord(b"changed")
    source.records["0", b"new"] = MemoryRecord(b"new")
    del source.records["0", b"2"], source.records["0", b"3"]
    manifest = bench.backup("b1", BackupType.INCREMENTAL)
    (below, above) = bench.layers(manifest)
    assert [below.layer_id] == [layer.layer_id for layer in base.layers]
    assert (above.kind, above.records, above.tombstones) == (LayerKind.DELTA, 2, 2)
    assert [stored.rows for stored in above.of_kind(ObjectKind.INDEX)] == [4]
    assert manifest.parent == "b0"
    assert manifest.content(Tier.HOT).changes == Changes(unchanged=27, changed=1, new=1, gone=2)
    assert bench.restore("r").tiers[0].written == 29


@pytest.mark.parametrize("backup_type", [BackupType.FULL, BackupType.INCREMENTAL, BackupType.DIFFERENTIAL])
def test_where_nothing_changed_no_layer_is_written(bench: Workbench, backup_type: BackupType) -> None:
    """The backup names its parent's stack, adds no byte but its manifest, and is as whole as any."""
    first = bench.backup("b0")
    stored = bench.stored()
    second = bench.backup("b1", backup_type)
    assert bench.stored() == sorted([*stored, "manifests/b1.json"])
    assert second.layers == first.layers
    assert view_of(bench, second) == view_of(bench, first)
    assert second.added_bytes == 0


def test_a_key_that_comes_back_is_new_again(bench: Workbench, source: MemorySource) -> None:
    """Over its tombstone lies its record; and over that, another tombstone."""
    bench.backup("b0")
    record = source.records.pop(("0", b"1"))
    bench.backup("b1", BackupType.INCREMENTAL)
    source.records["0", b"1"] = record
    third = bench.backup("b2", BackupType.INCREMENTAL)
    assert third.content(Tier.HOT).changes == Changes(unchanged=29, new=1)
    assert view_of(bench, third) == values_of(source)
    del source.records["0", b"1"]
    fourth = bench.backup("b3", BackupType.INCREMENTAL)
    assert view_of(bench, fourth) == values_of(source)
    assert len(fourth.layers) == 4


def test_a_tier_that_became_empty_is_all_tombstones(bench: Workbench, source: MemorySource) -> None:
    """And its restore removes everything."""
    bench.backup("b0")
    source.records.clear()
    manifest = bench.backup("b1", BackupType.INCREMENTAL)
    assert (manifest.records, bench.layers(manifest)[1].tombstones) == (0, 30)
    source.records["0", b"later"] = MemoryRecord(b"x")
    assert bench.restore("r").tiers[0].removed == 1
    assert source.records == {}


def test_a_delta_of_chunks_names_the_layers_that_hold_them(folder: Path) -> None:
    """A value that moved to another key is not stored again: the new layer borrows its chunks, and says of whom."""
    source = MemorySource(Tier.COLD, {("", b"old"): MemoryRecord(a_large_value(1))})
    bench = Workbench(folder, {Tier.COLD: source})
    first = bench.backup("b0")
    source.records["", b"new"] = source.records.pop(("", b"old"))
    second = bench.backup("b1", BackupType.INCREMENTAL)
    above = bench.layers(second)[1]
    assert (above.of_kind(ObjectKind.PACK), above.borrows) == ((), first.layers)
    assert second.borrowed == ()
    assert view_of(bench, second, Tier.COLD) == values_of(source)


def test_a_backup_that_stands_apart_names_the_layers_it_borrows_from(folder: Path) -> None:
    """A SNAPSHOT that lies on nothing refers to chunks of a layer outside its stacks, in `borrowed`."""
    source = MemorySource(Tier.COLD, {("", b"order:1"): MemoryRecord(a_large_value(1))})
    bench = Workbench(folder, {Tier.COLD: source})
    first = bench.backup("b0")
    snapshot = bench.backup("s0", BackupType.SNAPSHOT)
    assert [layer.backup_id for layer in snapshot.content(Tier.COLD).stack] == ["s0"]
    assert snapshot.borrowed == first.layers
    assert view_of(bench, snapshot, Tier.COLD) == values_of(source)
    later = bench.backup("b1", BackupType.FULL, fresh=True)
    assert later.borrowed == ()


def test_a_chunk_that_two_tiers_hold_is_stored_once(folder: Path) -> None:
    """In the first tier's pack; the other's layer borrows it, and each tier is restored alone."""
    value = MemoryRecord(a_large_value(1))
    bench = Workbench(folder, {tier: MemorySource(tier, {("0", b"k"): value}) for tier in (Tier.HOT, Tier.COLD)})
    manifest = bench.backup("b0")
    hot, cold = bench.layers(manifest)
    assert cold.of_kind(ObjectKind.PACK) == cold.of_kind(ObjectKind.CHUNK_INDEX) == ()
    assert cold.borrows == (manifest.layers[0],)
    assert sum(stored.rows for stored in hot.of_kind(ObjectKind.PACK)) > 1
    bench.sources[Tier.COLD].records.clear()
    bench.restore("r", tiers=(Tier.COLD,))
    assert bench.sources[Tier.COLD].records == {("0", b"k"): value}
