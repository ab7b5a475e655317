"""Compact segments: many small records, whose columns and lines in the index would cost more than they hold.

A compact block has no fingerprints, lengths in place of offsets, and keys only where they are not the beginnings of
their values, as a row of PostgreSQL begins with its key. An index does not list its records: what it would say of them
follows from the records themselves (docs/adr/0027).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from strata.content.blocks import decode_block, encode_block, value_offsets
from strata.content.fingerprint import Fingerprinter
from strata.content.index import INDEX_SCHEMA, LISTED_SCHEMA, LooseRows
from strata.errors import IntegrityError
from strata.model.record import CONTENT_SCHEMA, SOURCE_SCHEMA

COMPACT_SCHEMA: Final = pa.schema(
    [
        SOURCE_SCHEMA.field("namespace"),
        pa.field("key_size", pa.uint32(), nullable=False),
        pa.field("value_size", pa.uint32(), nullable=False),
        SOURCE_SCHEMA.field("encoding").with_nullable(False),
        *(SOURCE_SCHEMA.field(name) for name in ("expires_at", "modified_at", "attrs")),
    ]
)
"""What a compact block has of each record besides the bytes of its key and value."""

FEWEST_ROWS: Final = 8_192
"""A segment of fewer rows is listed: its index is small, and is read without the segment."""

SMALL_ROW: Final = 160
"""Raw bytes a row, on average, up to which a segment is compact: about 90 of key and value, the rest is columns."""

MOST_ROWS: Final = 2_000_000
"""Rows of a layer in compact segments: whoever needs their index holds it in memory, 60 bytes a row."""

_DERIVED_SCHEMA: Final = pa.schema([field for field in LISTED_SCHEMA if field.name != "mark"])

_HEAD: Final = struct.Struct("<II")


def is_small(rows: int, raw_bytes: int) -> bool:
    """Whether a segment of that many raw rows and bytes is better compact."""
    return rows >= FEWEST_ROWS and raw_bytes <= SMALL_ROW * rows


def encode_compact(rows: pa.Table) -> bytes:
    """Records with values, neither in chunks nor tombstones, as one compact block."""
    rows = rows.unify_dictionaries().combine_chunks()
    keys, values = _Joined.of(rows["key"]), _Joined.of(rows["value"])
    columns = {"key_size": pa.array(keys.sizes), "value_size": pa.array(values.sizes)}
    table = _table({**_columns(rows), **columns}, COMPACT_SCHEMA)
    stream, within = encode_block(table), keys.begin(values)
    return b"".join([_HEAD.pack(len(stream), within), stream, b"" if within else keys.data, values.data])


def decode_compact(data: bytes) -> pa.Table:
    """The records of a compact block, as `CONTENT_SCHEMA`; IntegrityError where it is not one."""
    whole = pa.py_buffer(data)
    length, within = _HEAD.unpack_from(data) if whole.size >= _HEAD.size else (0, 2)
    end = _HEAD.size + length
    if within > 1 or end > whole.size:
        raise IntegrityError("a compact block is cut short")
    rows = decode_block(whole.slice(_HEAD.size, length), COMPACT_SCHEMA)
    key_ends, value_ends = _ends(rows["key_size"]), _ends(rows["value_size"])
    start = end if within else end + int(key_ends[-1])
    if start + int(value_ends[-1]) != whole.size:
        raise IntegrityError("a compact block has not the bytes that its records have")
    values = whole.slice(start)
    keys = _beginnings(values, value_ends, key_ends) if within else whole.slice(end, int(key_ends[-1]))
    columns = {
        "key": _column(keys, key_ends),
        "value": _column(values, value_ends),
        "chunks": pa.nulls(rows.num_rows, pa.large_binary()),
    }
    return _table({**_columns(rows), **columns}, CONTENT_SCHEMA)


def listing(records: pa.Table, segment: int, fingerprinter: Fingerprinter) -> LooseRows:
    """What an index would list of a compact segment's records (`CONTENT_SCHEMA`); holds them without their values."""
    hashes = fingerprinter.key_hashes(records)
    columns = {
        "key_hash": pa.array(hashes),
        "fingerprint": fingerprinter.fingerprints(records, hashes),
        "size": pc.cast(pc.binary_length(records["value"]), pa.uint64()),
    }
    listed = _table({**_columns(records), **columns}, _DERIVED_SCHEMA).unify_dictionaries().combine_chunks()

    def take(numbers: npt.NDArray[np.int64]) -> pa.Table:
        others = {
            "mark": pa.nulls(len(numbers), pa.binary(16)),
            "segment": pa.array(np.full(len(numbers), segment, np.uint32)),
            "tombstone": pa.array(np.zeros(len(numbers), bool)),
        }
        return _table({**_columns(listed.take(pa.array(numbers))), **others}, INDEX_SCHEMA)

    return LooseRows(hashes, take)


class _Joined:
    """The bytes of a column one after the other, and how many are each row's."""

    def __init__(self, column: pa.LargeBinaryArray) -> None:
        offsets = value_offsets(column)
        self.data = memoryview(column.buffers()[2] or b"").cast("B")[int(offsets[0]) : int(offsets[-1])]
        self.ends: npt.NDArray[np.int64] = offsets - offsets[0]
        self.sizes = np.diff(offsets).astype(np.uint32)

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> _Joined:
        return cls(column.chunk(0))

    def begin(self, others: _Joined) -> bool:
        """Whether each row is the beginning of the other column's."""
        if (self.sizes > others.sizes).any():
            return False
        return bytes(_beginnings(pa.py_buffer(others.data), others.ends, self.ends)) == bytes(self.data)


def _columns(rows: pa.Table) -> dict[str, pa.ChunkedArray]:
    return dict(zip(rows.column_names, rows.columns, strict=True))


def _table(columns: Mapping[str, pa.Array | pa.ChunkedArray], schema: pa.Schema) -> pa.Table:
    return pa.table([columns[name] for name in schema.names], schema)


def _beginnings(data: pa.Buffer, ends: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> pa.Buffer:
    """Of each row of joined bytes as many as `sizes`, which are ends too, say, joined."""
    counts = np.diff(sizes)
    if (counts > np.diff(ends)).any():
        raise IntegrityError("a compact block has a key that is longer than its value")
    places = np.arange(int(sizes[-1])) + np.repeat(ends[:-1] - sizes[:-1], counts)
    return pa.py_buffer(np.frombuffer(data, np.uint8)[places])


def _ends(sizes: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    return np.concatenate(([0], np.cumsum(sizes.to_numpy(), dtype=np.int64)))


def _column(data: pa.Buffer, ends: npt.NDArray[np.int64]) -> pa.LargeBinaryArray:
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(ends) - 1, [None, pa.py_buffer(ends), data])
