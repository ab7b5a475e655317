"""Compact blocks: records come back as they were, and what an index would list of them follows from them."""

from __future__ import annotations

import struct
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strata.content.compact import FEWEST_ROWS, SMALL_ROW, decode_compact, encode_compact, is_small, listing
from strata.content.fingerprint import Fingerprinter
from strata.content.index import INDEX_SCHEMA, SortedRows
from strata.errors import IntegrityError
from tests.content.rows import SECRET, Row, any_row, table

_NAMED = any_row.filter(lambda row: row.value is not None and row.encoding is not None)
_records = st.lists(_NAMED, max_size=20)
_lines = st.lists(
    st.builds(lambda key, rest: Row(key=key, value=key + rest), st.binary(max_size=9), st.binary(max_size=9)),
    max_size=20,
)
"""Records that begin with their keys."""


@given(_records | _lines)
def test_records_come_back_from_a_compact_block(rows: list[Row]) -> None:
    """Any records with values, whether these begin with their keys or not, none included."""
    assert decode_compact(encode_compact(table(rows))).to_pylist() == table(rows).to_pylist()


@given(_records | _lines, st.data())
def test_a_window_is_encoded_without_what_surrounds_it(rows: list[Row], data: st.DataObject) -> None:
    """A slice of a table gives a block of the slice's records."""
    start = data.draw(st.integers(0, len(rows)))
    stop = data.draw(st.integers(start, len(rows)))
    window = table(rows).slice(start, stop - start)
    assert decode_compact(encode_compact(window)).to_pylist() == table(rows).to_pylist()[start:stop]


def test_keys_that_values_begin_with_are_not_written_twice() -> None:
    """As a row of PostgreSQL begins with its key; one record that does not, and all keys are written."""
    within = [Row(key=b"key %d" % number, value=b"key %d\tvalue\n" % number) for number in range(100)]
    beside = [*within[:-1], Row(key=b"another", value=b"value")]
    assert encode_compact(table(within)).count(b"key 42") == 1
    assert encode_compact(table(beside)).count(b"key 42") == 2


@pytest.mark.parametrize("rows", [[Row()], [Row(key=b"a", value=b"a\n")]], ids=["beside", "within"])
def test_a_block_of_any_other_length_is_refused(rows: list[Row]) -> None:
    """Cut short anywhere, or longer."""
    block = encode_compact(table(rows))
    for data in [*(block[:length] for length in range(len(block))), block + b"\0"]:
        with pytest.raises(IntegrityError):
            decode_compact(data)


def test_sizes_that_overflow_together_are_refused() -> None:
    """Sizes are believed only where they add up to the bytes that are there."""
    block = encode_compact(table([Row(key=b"", value=b"")] * 3))
    (length, form), rows = struct.unpack_from("<II", block), pa.ipc.open_stream(block[8:]).read_all()
    huge = rows.set_column(2, rows.field("value_size"), pa.array([0xFFFF_FFFF] * 3, pa.uint32()))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(huge)
    stream = bytes(sink.getvalue())
    with pytest.raises(IntegrityError, match="has not the bytes"):
        decode_compact(struct.pack("<II", len(stream), form) + stream)
    assert length


@given(st.lists(_NAMED, max_size=20, unique_by=lambda row: (row.namespace, row.key)), st.integers(0, (1 << 64) - 1))
def test_what_an_index_would_list_follows_from_the_records(rows: list[Row], middle: int) -> None:
    """Every record once, with its fingerprint and size, in whatever ranges it is asked for."""
    records, fingerprinter = table(rows), Fingerprinter(SECRET)
    listed = listing(records, 7, fingerprinter)
    found = pa.concat_tables([INDEX_SCHEMA.empty_table(), *listed.between(0, middle), *listed.between(middle, 1 << 64)])
    hashes = fingerprinter.key_hashes(records)
    prints = fingerprinter.fingerprints(records).to_pylist()
    expected = [
        {"key_hash": int(hashes[row]), "fingerprint": prints[row], "namespace": rows[row].namespace,
         "key": rows[row].key, "size": len(rows[row].value or b""), "mark": None, "segment": 7, "tombstone": False}
        for row in range(len(rows))
    ]  # fmt: skip
    assert sorted(found.to_pylist(), key=_place) == sorted(expected, key=_place)
    assert listed.rows == len(rows)


def _place(row: dict[str, Any]) -> tuple[str, bytes]:
    return row["namespace"], row["key"]


def test_rows_beside_others_are_found_in_each_range() -> None:
    """What an index lists and what follows from segments is one index, each row in the range of its hash."""
    fingerprinter = Fingerprinter(SECRET)
    parts = [listing(table([Row(key=b"%d %d" % (seq, n)) for n in range(50)]), seq, fingerprinter) for seq in range(3)]
    whole = SortedRows.chained([]).joined_by(*parts)
    found = [row["key"] for half in (0, 1) for rows in whole.between(half << 63, (half + 1) << 63)
             for row in rows.to_pylist()]  # fmt: skip
    assert whole.rows == 150
    assert sorted(found) == sorted(b"%d %d" % (seq, n) for seq in range(3) for n in range(50))


@pytest.mark.parametrize(
    ("rows", "raw_bytes", "small"),
    [
        (FEWEST_ROWS, SMALL_ROW * FEWEST_ROWS, True),
        (FEWEST_ROWS - 1, 0, False),
        (FEWEST_ROWS, SMALL_ROW * FEWEST_ROWS + 1, False),
    ],
)
def test_a_segment_of_many_small_rows_is_small(rows: int, raw_bytes: int, small: bool) -> None:  # noqa: FBT001
    """Few rows have a small index, and large ones one that is small beside them."""
    assert is_small(rows, raw_bytes) is small
