"""Blocks: a few MiB of rows as one Arrow IPC stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from strata.errors import IntegrityError

BLOCK_BYTES: Final = 4 << 20
"""Raw bytes of a block. 2-8 MiB cost the least CPU: a block stays in the processor's cache on its way."""

_NO_STREAM: Final = (ValueError, KeyError, IndexError, TypeError, NotImplementedError, OSError)
"""What pyarrow raises of bytes that are none: its own errors are of these too, and a name may be no UTF-8. Not what it
raises where memory is short, which says nothing of the bytes."""


class BlockEncoder:
    """Encodes one block after the other into the same memory; each is good until the next one is asked for.

    Memory of its own for each would be new pages each time, which the kernel clears and maps one by one.
    """

    def __init__(self) -> None:
        self._room = pa.allocate_buffer(0)

    def encode(self, rows: pa.Table) -> memoryview:
        """The rows as one Arrow IPC stream, a batch for each chunk they have: nothing is copied but into the stream."""
        rows = rows.unify_dictionaries()
        counted = pa.MockOutputStream()
        _write(rows, counted)
        size = counted.size()
        if size > self._room.size:  # a stream that grows as it is written copies what it has each time
            self._room = pa.allocate_buffer(size)
        _write(rows, pa.FixedSizeBufferWriter(self._room))
        return memoryview(self._room).cast("B")[:size]


def encode_block(rows: pa.Table) -> memoryview:
    """The rows as one block, in memory of its own."""
    return BlockEncoder().encode(rows)


def _write(rows: pa.Table, sink: pa.NativeFile) -> None:
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)


def decode_block(data: bytes, schema: pa.Schema) -> pa.Table:
    """The rows of a block, without a copy; IntegrityError where they are not of that schema."""
    try:
        rows = pa.ipc.open_stream(data).read_all()
        rows.validate(full=True)
    except _NO_STREAM:
        raise IntegrityError("a block is not an Arrow stream") from None
    if rows.schema != schema:
        raise IntegrityError("a block has other columns than it must")
    if any(rows[field.name].null_count for field in schema if not field.nullable):
        raise IntegrityError("a block lacks values that every row must have")
    return rows


def in_key_order(rows: pa.Table) -> pa.Table:
    """The records sorted by namespace, then key: equal kinds of record stand together, which compresses better."""
    rows = rows.unify_dictionaries().combine_chunks()
    if not rows.num_rows:
        return rows
    namespaces = rows["namespace"].chunk(0)
    names = namespaces.dictionary.to_pylist()
    rank = np.argsort(np.argsort(names))[namespaces.indices.to_numpy()]
    order = pc.sort_indices(
        pa.table({"namespace": rank, "key": rows["key"]}), [("namespace", "ascending"), ("key", "ascending")]
    )
    return rows.take(order).combine_chunks()


def first_key(rows: pa.Table) -> bytes:
    """Where records in key order begin: the first one's namespace, a zero byte, its key."""
    return bytes(rows["namespace"][0].as_py().encode() + b"\0" + rows["key"][0].as_py())


def value_offsets(column: pa.LargeBinaryArray) -> npt.NDArray[np.int64]:
    """The column's offsets: row i is the bytes from offsets[i] to offsets[i + 1]."""
    return np.frombuffer(column.buffers()[1], np.int64)[column.offset : column.offset + len(column) + 1]


def split_rows(rows: pa.Table, limit: int = BLOCK_BYTES) -> Iterator[pa.Table]:
    """The rows in runs of about `limit` bytes; a run has at least one row."""
    sizes = np.zeros(rows.num_rows, np.int64)
    for name in rows.column_names:
        kind = rows.schema.field(name).type
        if pa.types.is_large_binary(kind) or pa.types.is_string(kind):
            lengths = pc.fill_null(pc.binary_length(rows[name]), 0)
            sizes += lengths.to_numpy() + 8
        else:
            sizes += 16 if pa.types.is_fixed_size_binary(kind) else 8
    ends = np.cumsum(sizes)
    start = 0
    while start < rows.num_rows:
        base = int(ends[start - 1]) if start else 0
        stop = max(int(np.searchsorted(ends, base + limit, "right")), start + 1)
        yield rows.slice(start, stop - start)
        start = stop
