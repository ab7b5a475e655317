"""Blocks: every row once, in its order, and back as it was."""

from __future__ import annotations

import os
from contextlib import suppress

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strata.content.blocks import (
    BLOCK_BYTES,
    BlockEncoder,
    decode_block,
    encode_block,
    first_key,
    in_key_order,
    split_rows,
    value_offsets,
)
from strata.errors import IntegrityError
from tests.content.rows import SCHEMA, Row, any_rows, table


@given(any_rows)
def test_rows_come_back_from_their_block(rows: list[Row]) -> None:
    """Any rows, none included, decode as they were encoded."""
    assert decode_block(bytes(encode_block(table(rows))), SCHEMA).to_pylist() == table(rows).to_pylist()


@given(st.lists(any_rows, max_size=4))
def test_blocks_encoded_into_the_same_memory_are_the_same(tables: list[list[Row]]) -> None:
    """Whatever an encoder wrote before, a block is what it would be in memory of its own."""
    encoder = BlockEncoder()
    for rows in tables:
        assert bytes(encoder.encode(table(rows))) == bytes(encode_block(table(rows)))


@given(any_rows, st.data())
def test_a_window_is_encoded_without_what_surrounds_it(rows: list[Row], data: st.DataObject) -> None:
    """A slice of a table gives a block of the slice's rows."""
    start = data.draw(st.integers(0, len(rows)))
    stop = data.draw(st.integers(start, len(rows)))
    window = table(rows).slice(start, stop - start)
    assert decode_block(bytes(encode_block(window)), SCHEMA).to_pylist() == table(rows).to_pylist()[start:stop]


def test_a_block_is_as_large_as_its_own_rows() -> None:
    """The values beside a slice are not written with it (but for what fills its last 64 bytes)."""
    rows = table([Row(value=b"inside"), Row(value=b"outside" * 100_000)])
    block = bytes(encode_block(rows.slice(0, 1)))
    assert b"inside" in block
    assert len(block) < 3000


@pytest.mark.parametrize("flipped", [1, 128])
def test_a_stream_with_any_bit_flipped_is_refused_or_read(flipped: int) -> None:
    """Whatever pyarrow makes of wrong bytes (no such type, a name that is no text), the error is ours."""
    whole = bytes(encode_block(table([Row(key=b"k", value=b"v")])))
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= flipped
        with suppress(IntegrityError):
            decode_block(bytes(data), SCHEMA)


@pytest.mark.parametrize("data", [b"", b"not arrow", b"\xff" * 1000, os.urandom(500)])
def test_bytes_that_are_no_stream_are_refused(data: bytes) -> None:
    """Anything but an Arrow stream is an integrity error."""
    with pytest.raises(IntegrityError, match="not an Arrow stream"):
        decode_block(data, SCHEMA)


def test_a_cut_block_is_refused() -> None:
    """A stream that ends within its rows is an integrity error."""
    block = bytes(encode_block(table([Row(value=b"x" * 1000)] * 3)))
    with pytest.raises(IntegrityError):
        decode_block(block[: len(block) // 2], SCHEMA)


def test_a_block_of_other_columns_is_refused() -> None:
    """A valid stream whose columns are not those asked for is damaged too."""
    block = bytes(encode_block(table([Row()]).drop_columns(["attrs"])))
    with pytest.raises(IntegrityError, match="other columns"):
        decode_block(block, SCHEMA)


@pytest.mark.parametrize("name", ["namespace", "key"])
def test_a_block_without_a_value_that_must_be_there_is_refused(name: str) -> None:
    """A null where every row has a value is damage, though the stream itself is whole."""
    rows = table([Row()])
    at = rows.schema.get_field_index(name)
    broken = rows.set_column(at, rows.schema.field(at), pa.nulls(1, rows.schema.field(at).type))
    with pytest.raises(IntegrityError, match="lacks values"):
        decode_block(bytes(encode_block(broken)), SCHEMA)


def test_the_first_key_says_where_rows_begin() -> None:
    """Namespace, a zero byte, key: in the order in which the rows lie."""
    rows = in_key_order(table([Row("b", b"a"), Row("a", b"z"), Row("a", b"")]))
    assert [first_key(rows.slice(number)) for number in range(3)] == [b"a\0", b"a\0z", b"b\0a"]


@given(any_rows, st.integers(1, 500))
def test_runs_hold_every_row_once_in_order(rows: list[Row], limit: int) -> None:
    """The runs of a split, one after the other, are the rows; none is empty."""
    runs = list(split_rows(table(rows), limit))
    assert [row for run in runs for row in run.to_pylist()] == table(rows).to_pylist()
    assert all(run.num_rows for run in runs)


@given(st.lists(st.integers(0, 300), max_size=30), st.integers(100, 600))
def test_runs_are_bounded(lengths: list[int], limit: int) -> None:
    """A run of more than one row holds no more value bytes than the limit."""
    runs = list(split_rows(table([Row(value=bytes(length)) for length in lengths]), limit))
    for run in runs:
        assert run.num_rows == 1 or sum(map(len, run["value"].to_pylist())) <= limit


def test_a_row_larger_than_the_limit_is_a_run_of_its_own() -> None:
    """A value larger than a run stands alone, and its neighbours are not pulled in."""
    rows = table([Row(value=b"s"), Row(value=b"x" * 1000), Row(value=b"s")])
    assert [run.num_rows for run in split_rows(rows, 200)] == [1, 1, 1]


def test_small_rows_fill_a_run() -> None:
    """By default a run is about BLOCK_BYTES large: 100,000 rows of 100 bytes are a few runs, not many."""
    runs = list(split_rows(table([Row(value=b"x" * 100)] * 100_000)))
    assert 3 <= len(runs) <= 6
    assert all(len(encode_block(run)) < 1.1 * BLOCK_BYTES for run in runs)


@given(any_rows, st.integers(0, 20))
def test_records_in_key_order_are_the_same_records(rows: list[Row], cut: int) -> None:
    """Sorting by namespace and key loses and adds nothing, and leaves one batch, whatever the dictionaries were."""
    parts = pa.concat_tables([table(rows[:cut]), table(rows[cut:])])
    ordered = in_key_order(parts)
    names = [(row["namespace"], row["key"]) for row in ordered.to_pylist()]
    assert names == sorted((row.namespace, row.key) for row in rows)
    assert sorted(map(repr, ordered.to_pylist())) == sorted(map(repr, table(rows).to_pylist()))
    assert len(ordered.to_batches()) == (1 if rows else 0)


@given(st.lists(st.binary(max_size=10), max_size=10), st.data())
def test_offsets_are_those_of_the_window(values: list[bytes], data: st.DataObject) -> None:
    """Row i is the bytes from offset i to offset i + 1, in a sliced column too."""
    start = data.draw(st.integers(0, len(values)))
    column = pa.array(values, pa.large_binary())[start:]
    offsets = value_offsets(column)
    whole = b"".join(values)
    assert [whole[a:b] for a, b in zip(offsets, offsets[1:], strict=False)] == values[start:]
