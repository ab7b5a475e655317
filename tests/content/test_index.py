"""Sorted rows: read range by range, each row once, and of each key the one that counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strata.content import index
from strata.content.index import (
    LISTED_SCHEMA,
    PART_SCHEMA,
    SortedRows,
    in_hash_order,
    last_of_each_key,
    ranges,
    same_keys,
    together,
)
from tests.content.listed import Listed, Name, block_rows, hashed_names, hashes, in_blocks, listed


def names_of(rows: pa.Table) -> list[Name]:
    """Namespace and key of each row."""
    return list(zip(rows["namespace"].to_pylist(), rows["key"].to_pylist(), strict=True))


def baseline(values: Sequence[int], rows_of_a_block: int) -> SortedRows:
    """Rows with these key hashes; the key is the row's number."""
    rows = [Listed(value, key=number.to_bytes(2, "big")) for number, value in enumerate(sorted(values))]
    return in_blocks(listed(rows, LISTED_SCHEMA), rows_of_a_block)


# --- ranges -------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 10**8), max_size=4))
def test_ranges_are_all_hashes_once(rows: list[int]) -> None:
    """From 0 to 2^64 without a gap, each of about RANGE_ROWS when the hashes are spread."""
    found = list(ranges(*rows))
    assert (found[0][0], found[-1][1]) == (0, 2**64)
    assert all(one[1] == other[0] for one, other in zip(found, found[1:], strict=False))
    assert len(found) == max(1, -(-sum(rows) // index.RANGE_ROWS))


@given(st.lists(hashes, max_size=20), block_rows, hashes, hashes)
def test_a_range_has_the_rows_between_its_ends(values: list[int], rows_of_a_block: int, one: int, other: int) -> None:
    """Those with low <= hash < high, each once, in order, however they lie in blocks."""
    low, high = min(one, other), max(one, other)
    rows = baseline(values, rows_of_a_block)
    found = [value for table in rows.between(low, high) for value in table["key_hash"].to_pylist()]
    assert found == sorted(value for value in values if low <= value < high)


@pytest.mark.parametrize("edge", [0, 2**62, 2**63, 2**63 + 1, 2**64 - 1])
@pytest.mark.parametrize("rows_of_a_block", [1, 2, 100])
def test_rows_at_the_edge_of_a_range_are_read_once(
    monkeypatch: pytest.MonkeyPatch, edge: int, rows_of_a_block: int
) -> None:
    """Rows whose hash is an edge between two ranges, or the first or last there is, are in one of them."""
    monkeypatch.setattr(index, "RANGE_ROWS", 1)
    near = [number for number in range(edge - 2, edge + 3) if 0 <= number < 2**64]
    parts = [baseline(near[::2], rows_of_a_block), baseline(near[1::2], rows_of_a_block)]
    found = [together(parts, LISTED_SCHEMA, low, high) for low, high in ranges(len(near))]
    assert sorted(value for rows, _ in found for value in rows["key_hash"].to_pylist()) == near


def test_a_block_is_read_for_its_range_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading many rows range by range reads few blocks twice, and holds no more than a range."""
    monkeypatch.setattr(index, "RANGE_ROWS", 1000)
    whole = baseline([(number << 64) // 10_000 for number in range(10_000)], 100)
    read: list[int] = []

    def counted(number: int) -> pa.Table:
        read.append(number)
        return whole.read(number)

    rows = SortedRows(whole.rows, whole.firsts, counted)
    tables = [together([rows], LISTED_SCHEMA, low, high)[0] for low, high in ranges(rows.rows)]
    assert sum(found.num_rows for found in tables) == 10_000
    assert max(found.num_rows for found in tables) < 1200
    assert len(read) < 130


# --- several parts ------------------------------------------------------------------------------------------------


@given(st.lists(hashes, max_size=20), st.lists(st.integers(0, 20), max_size=3), block_rows, hashes, hashes)
def test_parts_that_follow_each_other_are_read_as_one(
    values: list[int], cuts: list[int], rows_of_a_block: int, one: int, other: int
) -> None:
    """An index of several objects, some of them empty, gives the rows of one, even where a hash spans two."""
    whole = listed([Listed(value) for value in values], LISTED_SCHEMA)
    ends = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    parts = [whole.slice(start, stop - start) for start, stop in zip(ends, ends[1:], strict=False)]
    chained = SortedRows.chained([in_blocks(part, rows_of_a_block) for part in parts])
    low, high = min(one, other), max(one, other)
    found = [value for table in chained.between(low, high) for value in table["key_hash"].to_pylist()]
    assert found == sorted(value for value in values if low <= value < high)
    assert chained.rows == len(values)


def test_no_parts_are_no_rows() -> None:
    """An index without objects, and no index at all, have a range without rows."""
    for parts in ([], [SortedRows.chained([])], [baseline([], 3)]):
        rows, origin = together(parts, LISTED_SCHEMA, 0, 2**64)
        assert (rows.num_rows, len(origin), rows.schema) == (0, 0, LISTED_SCHEMA)
    assert SortedRows.chained([]).rows == 0


@given(st.lists(st.lists(hashes, max_size=6), max_size=4), block_rows)
def test_rows_together_tell_the_part_they_are_from(parts: list[list[int]], rows_of_a_block: int) -> None:
    """Every row of every part once, with the part's number, whatever the parts' dictionaries."""
    made = [
        in_blocks(listed([Listed(value, namespace=f"{number}") for value in values], LISTED_SCHEMA), rows_of_a_block)
        for number, values in enumerate(parts)
    ]
    rows, origin = together(made, LISTED_SCHEMA, 0, 2**64)
    found = sorted(zip(rows["key_hash"].to_pylist(), origin.tolist(), rows["namespace"].to_pylist(), strict=True))
    expected = [(value, number, f"{number}") for number, values in enumerate(parts) for value in values]
    assert found == sorted(pair for pair in expected if pair[0] < 2**64)


# --- each key once ------------------------------------------------------------------------------------------------


@st.composite
def repeated_rows(draw: st.DrawFn) -> list[Listed]:
    """Rows in any order whose keys repeat; some different keys have equal hashes."""
    known = draw(hashed_names)
    names = draw(st.lists(st.sampled_from(sorted(known)), max_size=20))
    return [Listed(known[name], *name, turn=turn) for turn, name in enumerate(names)]


@given(repeated_rows(), st.randoms(use_true_random=False))
def test_the_last_of_each_key_is_what_a_dictionary_says(rows: list[Listed], random: st.DataObject) -> None:
    """Each key once, its row of highest rank, in order of hash; the others are named as lost, and none is in both."""
    shuffled = rows[:]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    made = listed(shuffled, PART_SCHEMA)
    kept, lost = last_of_each_key(made, made["turn"].to_numpy())
    found = made.take(pa.array(kept))
    last = {row.name: row.turn for row in rows}
    assert dict(zip(names_of(found), found["turn"].to_pylist(), strict=True)) == last
    assert found["key_hash"].to_pylist() == sorted(found["key_hash"].to_pylist())
    assert sorted([*kept.tolist(), *lost.tolist()]) == list(range(len(rows)))
    assert len(kept) == len(last)


def test_different_keys_of_one_hash_are_both_kept() -> None:
    """64 bits may collide: neither key costs the other its row."""
    rows = listed([Listed(7, "0", b"a"), Listed(7, "0", b"b"), Listed(7, "1", b"a")], LISTED_SCHEMA)
    kept, lost = last_of_each_key(rows, np.arange(3))
    assert names_of(rows.take(pa.array(kept))) == [("0", b"a"), ("0", b"b"), ("1", b"a")]
    assert lost.tolist() == []


def test_a_collision_between_two_rows_of_a_key_does_not_hide_the_second() -> None:
    """A key that comes twice counts once, though a different key of the same hash stands between."""
    rows = listed([Listed(7, "0", b"a"), Listed(7, "0", b"b"), Listed(7, "0", b"a")], LISTED_SCHEMA)
    kept, lost = last_of_each_key(rows, np.arange(3))
    assert (kept.tolist(), lost.tolist()) == ([1, 2], [0])


def test_keys_are_compared_with_their_namespaces() -> None:
    """The same key of another namespace is another; dictionaries need not be alike."""
    one = listed([Listed(1, "0", b"a"), Listed(2, "1", b"a"), Listed(3, "1", b"b")], LISTED_SCHEMA)
    other = listed([Listed(1, "0", b"a"), Listed(2, "0", b"a"), Listed(3, "1", b"c")], LISTED_SCHEMA)
    assert same_keys(one, other).tolist() == [True, False, False]


@settings(max_examples=50)
@given(st.lists(st.lists(hashes, max_size=8), min_size=1, max_size=4))
def test_a_part_is_in_order_of_hash_and_of_reading(tables: list[list[int]]) -> None:
    """Rows of several tables come sorted by hash, and those of one hash as they were read."""

    def rows() -> Iterator[pa.Table]:
        turn = 0
        for number, values in enumerate(tables):
            made = [Listed(value, namespace=f"{number}", turn=turn + at) for at, value in enumerate(sorted(values))]
            turn += len(values)
            yield listed(made, PART_SCHEMA)

    found = in_hash_order(list(rows()))
    order = list(zip(found["key_hash"].to_pylist(), found["turn"].to_pylist(), strict=True))
    assert order == sorted(order)
    assert len(order) == sum(map(len, tables))
    assert found.schema == PART_SCHEMA
