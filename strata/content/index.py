"""The index: keys and fingerprints without the values, sorted by key hash.

The collector leaves one index part for each raw segment. `merged_index` brings the parts of a tier together, one
range of key hashes after the other, so that memory depends on the range and not on how many keys there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from strata.content.fingerprint import Fingerprinter

RANGE_ROWS: Final = 500_000
"""Rows brought together at a time: about 60 MB with their keys."""

INDEX_BLOCK_ROWS: Final = 8192
"""Rows of an index part's block: what a range reads too much of at each end."""

INDEX_SCHEMA: Final = pa.schema(
    [
        pa.field("key_hash", pa.uint64(), nullable=False),
        pa.field("fingerprint", pa.binary(16), nullable=False),
        pa.field("namespace", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("key", pa.large_binary(), nullable=False),
        pa.field("segment", pa.uint32(), nullable=False),
    ]
)
"""Rows of a layer's index, sorted by `key_hash`."""

PART_SCHEMA: Final = INDEX_SCHEMA.append(pa.field("row", pa.uint32(), nullable=False))
"""Rows of an index part: also the row's number in its raw segment."""


def index_part(records: Sequence[pa.Table], fingerprinter: Fingerprinter, segment: int) -> pa.Table:
    """The index part of one raw segment (tables with namespace, key and fingerprint), sorted by key hash."""
    rows = pa.concat_tables(
        [table.select(["namespace", "key", "fingerprint"]) for table in records]
    ).unify_dictionaries()
    hashes = fingerprinter.key_hashes(rows)
    order = np.argsort(hashes, kind="stable")
    columns = [
        pa.array(hashes[order]),
        *(rows[name].take(pa.array(order)) for name in ("fingerprint", "namespace", "key")),
        pa.array(np.full(len(order), segment, np.uint32)),
        pa.array(order.astype(np.uint32)),
    ]
    return pa.table(columns, PART_SCHEMA)


@dataclass(frozen=True)
class PartBlocks:
    """One index part: how many rows, the key hash each block begins with, and how to read a block."""

    rows: int
    firsts: npt.NDArray[np.uint64]
    read: Callable[[int], pa.Table]

    def between(self, low: int, high: int) -> Iterator[pa.Table]:
        """The rows with low <= key_hash < high."""
        start = max(int(np.searchsorted(self.firsts, np.uint64(low), "left")) - 1, 0)
        for number in range(start, len(self.firsts)):
            if int(self.firsts[number]) >= high:
                break
            table = self.read(number)
            hashes = table["key_hash"].to_numpy()
            first = int(np.searchsorted(hashes, np.uint64(low), "left"))
            last = len(hashes) if high > int(hashes[-1]) else int(np.searchsorted(hashes, np.uint64(high), "left"))
            if last > first:
                yield table.slice(first, last - first)


def merged_index(parts: Sequence[PartBlocks], dropped: dict[int, list[int]]) -> Iterator[pa.Table]:
    """The index of all parts, in order of key hash, each key once, in tables of about RANGE_ROWS.

    A key that was read twice (SCAN promises "at least once") counts as read last; the rows it loses are added to
    `dropped`, by segment.
    """
    total = sum(part.rows for part in parts)
    ranges = max(1, -(-total // RANGE_ROWS))
    edges = [(number << 64) // ranges for number in range(ranges + 1)]
    for low, high in zip(edges, edges[1:], strict=False):
        found = [table for part in parts for table in part.between(low, high)]
        if found:
            yield _unique(pa.concat_tables(found).unify_dictionaries(), dropped)


def _unique(rows: pa.Table, dropped: dict[int, list[int]]) -> pa.Table:
    hashes, segment, row = (rows[name].to_numpy() for name in ("key_hash", "segment", "row"))
    order = np.lexsort((row, segment, hashes))
    hashes = hashes[order]
    repeated = np.flatnonzero(hashes[:-1] == hashes[1:])
    if len(repeated):
        losers = [at for at in repeated.tolist() if _comes_again(rows, hashes, order, at)]
        for at in losers:
            dropped.setdefault(int(segment[order[at]]), []).append(int(row[order[at]]))
        order = np.delete(order, losers)
    return rows.take(pa.array(order)).select(INDEX_SCHEMA.names)


def _comes_again(rows: pa.Table, hashes: npt.NDArray[np.uint64], order: npt.NDArray[np.int64], at: int) -> bool:
    """Whether the key at this place stands again further on; between the two may be others, for 64 bits collide."""
    following = range(at + 1, int(np.searchsorted(hashes, hashes[at], "right")))
    return any(_same_key(rows, order[at], order[later]) for later in following)


def _same_key(rows: pa.Table, one: int, other: int) -> bool:
    return all(rows[name][int(one)].as_py() == rows[name][int(other)].as_py() for name in ("namespace", "key"))
