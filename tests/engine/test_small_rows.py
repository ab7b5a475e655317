"""Small records: compact segments hold them, no index lists them, and every promise of a layer stands as it did."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from bench.small_rows import SHAPES, sizes
from strata.content import compact
from strata.engine import merger
from strata.errors import IntegrityError
from strata.model.backup_type import BackupType
from strata.model.layer import Layer, ObjectKind
from strata.model.tier import Tier
from strata.testing import Key, MemoryRecord, MemorySource
from tests.engine.workbench import RUN, Workbench

ROWS: Final = 2_000
INCREMENTAL: Final = "20250102-031905-incremental-601d01"
SYNTHETIC: Final = "20250103-030405-full-601d02"
MANY: Final = 100_000
MOST: Final = 2.0
"""What a backup of small rows may be of `pg_dump -Fc -Z zstd:1`."""


@pytest.fixture
def few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of a thousand rows are compact, so that tests need not make many."""
    monkeypatch.setattr(compact, "FEWEST_ROWS", ROWS // 2)


@pytest.fixture
def records() -> dict[Key, MemoryRecord]:
    """Small records of two namespaces."""
    return {(f"public.{'ab'[n % 2]}", b"%d" % n): MemoryRecord(b"%d\t%d\n" % (n, n % 7)) for n in range(ROWS)}


@pytest.fixture
def bench(folder: Path, records: dict[Key, MemoryRecord], few_are_enough: None) -> Workbench:
    """A tier with these records."""
    return Workbench(folder, {Tier.WARM: MemorySource(Tier.WARM, records, batch_rows=ROWS)})


def _sizes(layer: Layer) -> tuple[int, int]:
    """The rows of a layer in compact segments, and those that its index lists."""
    compact_rows = sum(one.rows for one in layer.of_kind(ObjectKind.SEGMENT) if not one.listed)
    return compact_rows, sum(one.rows for one in layer.of_kind(ObjectKind.INDEX))


def _restored(bench: Workbench) -> Mapping[Key, MemoryRecord]:
    """What a restore makes of a tier that holds something else."""
    source = bench.sources[Tier.WARM]
    before = dict(source.records)
    source.records.clear()
    source.records["public.a", b"another"] = MemoryRecord(b"x")
    bench.restore(f"restore-{len(bench.stored('manifests/'))}")
    after = dict(source.records)
    source.records.clear()
    source.records.update(before)
    return after


def test_small_records_are_in_no_index_and_come_back(bench: Workbench, records: dict[Key, MemoryRecord]) -> None:
    """A base of small records has segments and nothing else, and a restore is exact."""
    (layer,) = bench.layers(bench.backup())
    assert _sizes(layer) == (ROWS, 0)
    assert _restored(bench) == records


def test_layers_upon_a_compact_one_hold_what_differs(bench: Workbench) -> None:
    """What changed, came, went and came back, in layers of which some are compact and some are listed."""
    source = bench.sources[Tier.WARM]
    bench.backup()
    for n in range(0, ROWS, 100):
        source.records[f"public.{'ab'[n % 2]}", b"%d" % n] = MemoryRecord(b"%d\tchanged\n" % n)
    del source.records["public.b", b"1"], source.records["public.b", b"3"]
    small = bench.backup(INCREMENTAL, BackupType.INCREMENTAL)
    assert (changes := small.content(Tier.WARM).changes)
    assert changes.model_dump(exclude={"drift"}) == {
        "unchanged": ROWS - ROWS // 100 - 2, "changed": ROWS // 100, "new": 0, "gone": 2,
    }  # fmt: skip
    assert _sizes(bench.layers(small)[1]) == (0, ROWS // 100 + 2)
    assert _restored(bench) == source.records

    source.records["public.b", b"1"] = MemoryRecord(b"1\t1\n")
    source.records.update({("public.a", b"%d" % n): MemoryRecord(b"%d\tnew\n" % n) for n in range(ROWS, 2 * ROWS)})
    del source.records["public.a", b"2"]
    large = bench.backup(SYNTHETIC)
    assert len(large.content(Tier.WARM).stack) == 3
    assert _sizes(bench.layers(large)[2]) == (ROWS + 1, 1)
    assert _restored(bench) == source.records
    again = bench.backup("20250104-030405-full-601d03")
    assert again.content(Tier.WARM).stack == large.content(Tier.WARM).stack


def test_a_layer_has_no_more_unlisted_records_than_fit_in_memory(
    bench: Workbench, records: dict[Key, MemoryRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Segments beyond them are listed as large ones are, and read the same."""
    monkeypatch.setattr(merger, "MOST_ROWS", ROWS - 1)
    (layer,) = bench.layers(bench.backup())
    assert _sizes(layer) == (0, ROWS)
    assert _restored(bench) == records


@pytest.mark.usefixtures("few_are_enough")
def test_records_that_only_an_index_knows_all_of_are_listed(folder: Path) -> None:
    """Large values stand in chunks, however many small ones stand beside them."""
    records = {("0", b"%d" % n): MemoryRecord(b"%d" % n) for n in range(ROWS)}
    records["0", b"large"] = MemoryRecord(bytes((1 << 20) + 1))
    bench = Workbench(folder, {Tier.WARM: MemorySource(Tier.WARM, records, batch_rows=2 * ROWS)})
    (layer,) = bench.layers(bench.backup())
    assert _sizes(layer) == (0, ROWS + 1)
    assert _restored(bench) == records


def test_damage_of_a_compact_segment_is_named_and_built_on_no_more(bench: Workbench) -> None:
    """The next backup that reads it fails by its name, and the one after stands by itself."""
    (layer,) = bench.layers(bench.backup())
    (segment,) = layer.of_kind(ObjectKind.SEGMENT)
    data = bytearray(bench.files.get(segment.name))
    data[len(data) // 2] ^= 1
    bench.replace(segment.name, bytes(data))
    with pytest.raises(IntegrityError, match=segment.name):
        bench.restorer.verify(bench.metadata.load(RUN), (Tier.WARM,), lambda _: None)
    with pytest.raises(IntegrityError, match=segment.name):
        bench.backup(INCREMENTAL, BackupType.INCREMENTAL)
    alone = bench.backup("20250102-041905-incremental-601d03", BackupType.INCREMENTAL)
    assert RUN not in {ref.backup_id for ref in alone.layers}
    assert _restored(bench) == bench.sources[Tier.WARM].records


def test_what_was_merged_is_what_is_stored(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compact segment that lost a record between merge and store fails the backup: no index would tell it."""
    monkeypatch.setattr(merger.Unlisted, "left_out", _without_the_first(merger.Unlisted.left_out))
    with pytest.raises(IntegrityError, match="does not hold the records that were merged"):
        bench.backup()


def _without_the_first(left_out: object) -> object:
    def left_out_too(self: object, index: object) -> object:
        return left_out(self, (rows.slice(1) for rows in index))  # type: ignore[operator, attr-defined]

    return left_out_too


@pytest.mark.parametrize("shape", SHAPES)
def test_a_table_of_small_rows_takes_at_most_twice_what_pg_dump_takes(warm_url: str, folder: Path, shape: str) -> None:
    """All that lies in the store counts: segments, index, documents, the manifest."""
    found = sizes(warm_url, folder, shape, MANY)
    assert found.records == MANY
    assert found.ratio <= MOST
