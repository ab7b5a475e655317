"""The index: every key once, in order, however many parts it is merged from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strata.content import index
from strata.content.fingerprint import Fingerprinter
from strata.content.index import INDEX_SCHEMA, PART_SCHEMA, PartBlocks, index_part, merged_index
from tests.content.rows import SECRET, Row, table

FINGERPRINTER: Final = Fingerprinter(SECRET)

Listed = tuple[int, str, bytes, bytes]
"""A row made by hand: key hash, namespace, key, fingerprint."""


def part(rows: Sequence[Listed], segment: int) -> pa.Table:
    """An index part as `index_part` makes it, of rows in the order they were read."""
    order = sorted(range(len(rows)), key=lambda row: rows[row][0])
    hashes, namespaces, keys, fingerprints = zip(*(rows[row] for row in order), strict=True) if rows else ([],) * 4
    columns = [
        pa.array(hashes, pa.uint64()),
        pa.array(fingerprints, pa.binary(16)),
        pa.array(namespaces, pa.string()).dictionary_encode(),
        pa.array(keys, pa.large_binary()),
        pa.array([segment] * len(rows), pa.uint32()),
        pa.array(order, pa.uint32()),
    ]
    return pa.table(columns, PART_SCHEMA)


def blocks(rows: pa.Table, block_rows: int) -> PartBlocks:
    """A part as merge reads it: in blocks of a few rows."""
    starts = range(0, rows.num_rows, block_rows)
    firsts = np.array([rows["key_hash"][start].as_py() for start in starts], np.uint64)
    return PartBlocks(rows.num_rows, firsts, lambda number: rows.slice(number * block_rows, block_rows))


def merged(
    parts: Sequence[Sequence[Listed]], block_rows: int
) -> tuple[list[tuple[int, str, bytes, bytes, int]], set[tuple[int, int]]]:
    """The merged rows with their segments, and the dropped rows as (segment, row)."""
    dropped: dict[int, list[int]] = {}
    tables = list(
        merged_index([blocks(part(rows, segment), block_rows) for segment, rows in enumerate(parts)], dropped)
    )
    assert all(found.schema == INDEX_SCHEMA for found in tables)
    rows = [
        (row["key_hash"], row["namespace"], row["key"], row["fingerprint"], row["segment"])
        for found in tables
        for row in found.to_pylist()
    ]
    listed = [(segment, row) for segment, lost in dropped.items() for row in lost]
    assert len(listed) == len(set(listed))
    return rows, set(listed)


def expected(
    parts: Sequence[Sequence[Listed]],
) -> tuple[set[tuple[int, str, bytes, bytes, int]], set[tuple[int, int]]]:
    """What a dictionary says: the last row of each key, and the rows it lost."""
    last: dict[tuple[str, bytes], tuple[int, int]] = {}
    dropped = set()
    for segment, rows in enumerate(parts):
        for number, (_, namespace, key, _) in enumerate(rows):
            if (namespace, key) in last:
                dropped.add(last[namespace, key])
            last[namespace, key] = segment, number
    return {(*parts[segment][row], segment) for segment, row in last.values()}, dropped


@st.composite
def any_parts(draw: st.DrawFn) -> list[list[Listed]]:
    """Parts whose keys repeat, within a part and between parts; some different keys have equal hashes."""
    hashes = st.sampled_from([0, 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1)
    keys = st.tuples(st.sampled_from(["0", "1"]), st.binary(max_size=1))
    known = draw(st.dictionaries(keys, hashes, min_size=1, max_size=12))
    names = st.sampled_from(sorted(known))
    parts = draw(st.lists(st.lists(names, max_size=12), max_size=4))
    return [
        [(known[name], *name, bytes([segment, row]) * 8) for row, name in enumerate(rows)]
        for segment, rows in enumerate(parts)
    ]


@pytest.fixture(params=[1, 3, 500_000], ids="ranges-of-{}".format)
def _range_rows(request: pytest.FixtureRequest) -> Iterator[None]:
    """Ranges of few rows and of many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "RANGE_ROWS", request.param)
        yield


@pytest.mark.usefixtures("_range_rows")
@settings(max_examples=60)
@given(any_parts(), st.integers(1, 5))
def test_the_merged_index_is_what_a_dictionary_says(parts: list[list[Listed]], block_rows: int) -> None:
    """Sorted by hash, each key once, the last read of it; the rows that lost are named, and no others."""
    rows, dropped = merged(parts, block_rows)
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    assert len(rows) == len(set(rows))
    assert (set(rows), dropped) == expected(parts)


def test_different_keys_of_one_hash_are_both_kept() -> None:
    """64 bits may collide: neither key costs the other its row."""
    rows, dropped = merged([[(7, "0", b"a", b"A" * 16), (7, "0", b"b", b"B" * 16), (7, "1", b"a", b"C" * 16)]], 8)
    assert [(namespace, key) for _, namespace, key, _, _ in rows] == [("0", b"a"), ("0", b"b"), ("1", b"a")]
    assert dropped == set()


def test_a_collision_between_two_reads_of_a_key_does_not_hide_the_second() -> None:
    """A key read twice counts once, though a different key of the same hash was read between."""
    rows, dropped = merged([[(7, "0", b"a", b"1" * 16), (7, "0", b"b", b"2" * 16), (7, "0", b"a", b"3" * 16)]], 8)
    assert [(key, fingerprint[:1]) for _, _, key, fingerprint, _ in rows] == [(b"b", b"2"), (b"a", b"3")]
    assert dropped == {(0, 0)}


@pytest.mark.parametrize("edge", [0, 2**62, 2**63, 2**63 + 1, 2**64 - 1])
@pytest.mark.parametrize("block_rows", [1, 2, 100])
def test_rows_at_the_edge_of_a_range_are_read_once(monkeypatch: pytest.MonkeyPatch, edge: int, block_rows: int) -> None:
    """Rows whose hash is an edge between two ranges, or the first or last there is, are in one of them."""
    monkeypatch.setattr(index, "RANGE_ROWS", 1)
    near = [number for number in range(edge - 2, edge + 3) if 0 <= number < 2**64]
    rows = [(number, "0", bytes([at]), bytes([at]) * 16) for at, number in enumerate(near)]
    found, dropped = merged([rows[::2], rows[1::2]], block_rows)
    assert [row[0] for row in found] == near
    assert dropped == set()


def test_no_parts_give_no_index() -> None:
    """An empty tier has an index without rows."""
    assert merged([], 4) == ([], set())
    assert merged([[]], 4) == ([], set())


def test_memory_holds_one_range(monkeypatch: pytest.MonkeyPatch) -> None:
    """A merge of many rows comes in tables of about RANGE_ROWS, and reads few blocks twice."""
    monkeypatch.setattr(index, "RANGE_ROWS", 1000)
    records = table([Row(key=number.to_bytes(4, "big")) for number in range(10_000)])
    records = records.append_column("fingerprint", FINGERPRINTER.fingerprints(records))
    whole = blocks(index_part([records], FINGERPRINTER, 0), 100)
    read: list[int] = []

    def counted(number: int) -> pa.Table:
        read.append(number)
        return whole.read(number)

    tables = list(merged_index([PartBlocks(whole.rows, whole.firsts, counted)], {}))
    assert sum(found.num_rows for found in tables) == 10_000
    assert max(found.num_rows for found in tables) < 1200
    assert len(read) < 130


@given(st.lists(st.lists(st.binary(max_size=2), max_size=8), min_size=1, max_size=4))
def test_a_part_lists_every_record_of_its_segment_by_row(batches: list[list[bytes]]) -> None:
    """The rows of a part, sorted by hash, name each record of the segment's tables with its row number."""
    tables = []
    for keys in batches:
        records = table([Row(namespace=f"{len(key)}", key=key) for key in keys])
        tables.append(records.append_column("fingerprint", FINGERPRINTER.fingerprints(records)))
    rows = index_part(tables, FINGERPRINTER, 5)
    every = [key for keys in batches for key in keys]
    assert rows.schema == PART_SCHEMA
    assert rows["key_hash"].to_pylist() == sorted(rows["key_hash"].to_pylist())
    assert sorted(rows["row"].to_pylist()) == list(range(len(every)))
    assert [every[row] for row in rows["row"].to_pylist()] == rows["key"].to_pylist()
    assert set(rows["segment"].to_pylist()) <= {5}
    hashes = {key: int(FINGERPRINTER.hash_keys(f"{len(key)}", pa.array([key], pa.large_binary()))[0]) for key in every}
    assert [hashes[key] for key in rows["key"].to_pylist()] == rows["key_hash"].to_pylist()
