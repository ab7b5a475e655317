"""The index: keys and fingerprints without the values, sorted by key hash; read and brought together range by range.

The collector leaves one index part for each raw segment. Parts are worked on one range of key hashes after the other,
so that memory depends on the range and not on how many keys there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from strata.content.fingerprint import Hashes

RANGE_ROWS: Final = 250_000
"""Rows brought together at a time: about 40 MB with their keys."""

INDEX_BLOCK_ROWS: Final = 2048
"""Rows of an index part's block: what a range reads too much of at each end, from each of many parts."""

_HIGHEST: Final = 0xFFFF_FFFF_FFFF_FFFF

NOWHERE: Final = 0xFFFF_FFFF
"""The segment of a row that was not written anywhere: it is as the baseline has it."""

LISTED_SCHEMA: Final = pa.schema(
    [
        pa.field("key_hash", pa.uint64(), nullable=False),
        pa.field("fingerprint", pa.binary(16), nullable=False),
        pa.field("namespace", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("key", pa.large_binary(), nullable=False),
        pa.field("size", pa.uint64(), nullable=False),
        pa.field("mark", pa.binary(16)),
    ]
)
"""What is known of a record without its value: also the rows of a baseline, sorted by `key_hash`."""

INDEX_SCHEMA: Final = LISTED_SCHEMA.append(pa.field("segment", pa.uint32(), nullable=False)).append(
    pa.field("tombstone", pa.bool_(), nullable=False)
)
"""Rows of a layer's index, sorted by `key_hash`; of tombstones too."""

PART_SCHEMA: Final = pa.schema(
    [
        *LISTED_SCHEMA,
        pa.field("segment", pa.uint32(), nullable=False),
        pa.field("row", pa.uint32(), nullable=False),
        pa.field("turn", pa.uint64(), nullable=False),
        pa.field("claim", pa.uint8(), nullable=False),
    ]
)
"""Rows of an index part: also the row's number in its raw segment, its turn among all rows read of the tier, and what
the source claims of it."""

READ, CLAIMED, UNREAD = 0, 1, 2
"""Claims: read; read, though the source would have called it unchanged; not read, for the source calls it unchanged
(its fingerprint and size are then zeros)."""


def in_hash_order(listed: Sequence[pa.Table]) -> pa.Table:
    """Rows of `PART_SCHEMA` as one table, sorted by key hash."""
    rows = pa.concat_tables(listed).unify_dictionaries()
    hashes = rows["key_hash"].to_numpy()
    order = np.argsort(hashes)  # 1.3 ms for 100,000; one that keeps rows of one hash in order takes 7 ms
    if (np.diff(hashes[order]) == 0).any():
        order = np.argsort(hashes, kind="stable")
    return rows.take(pa.array(order))


@dataclass(frozen=True)
class LooseRows:
    """Rows in no order: the key hash of each, and how to get those of some numbers."""

    hashes: Hashes
    take: Callable[[npt.NDArray[np.int64]], pa.Table]

    @property
    def rows(self) -> int:
        """How many."""
        return len(self.hashes)

    def between(self, low: int, high: int) -> Iterator[pa.Table]:
        """The rows with low <= key_hash < high."""
        here = self.hashes >= np.uint64(low)
        if high <= _HIGHEST:
            here &= self.hashes < np.uint64(high)
        if len(numbers := np.flatnonzero(here)):
            yield self.take(numbers)


@dataclass(frozen=True)
class SortedRows:
    """Rows sorted by key hash in blocks: how many, the key hash each block begins with, and how to read a block."""

    rows: int
    firsts: Hashes
    read: Callable[[int], pa.Table]
    beside: tuple[LooseRows, ...] = ()
    """More rows, which lie anywhere among them; `rows` counts them too."""

    def between(self, low: int, high: int) -> Iterator[pa.Table]:
        """The rows with low <= key_hash < high; in order where nothing lies beside."""
        start = max(int(np.searchsorted(self.firsts, np.uint64(low), "left")) - 1, 0)
        for number in range(start, len(self.firsts)):
            if int(self.firsts[number]) >= high:
                break
            table = self.read(number)
            hashes = table["key_hash"].to_numpy()
            first = int(np.searchsorted(hashes, np.uint64(low), "left"))
            last = len(hashes) if high > int(hashes[-1]) else int(np.searchsorted(hashes, np.uint64(high), "left"))
            if last > first:
                rows = table.slice(first, last - first)
                # A slice would keep its whole block: with 250 parts that was most of what a range held.
                yield rows if 2 * len(rows) > len(table) else rows.take(pa.array(np.arange(len(rows))))
        for others in self.beside:
            yield from others.between(low, high)

    def joined_by(self, *others: LooseRows) -> SortedRows:
        """These rows and those of others, which lie anywhere among them."""
        return replace(self, rows=self.rows + sum(one.rows for one in others), beside=(*self.beside, *others))

    @classmethod
    def chained(cls, parts: Sequence[SortedRows]) -> SortedRows:
        """Several that follow each other in order, as one."""
        ends = np.cumsum([len(part.firsts) for part in parts])

        def read(number: int) -> pa.Table:
            at = int(np.searchsorted(ends, number, "right"))
            return parts[at].read(number - int(ends[at - 1] if at else 0))

        firsts = np.concatenate([np.empty(0, np.uint64), *(part.firsts for part in parts)])
        return cls(sum(part.rows for part in parts), firsts, read)


def ranges(*rows: int) -> Iterator[tuple[int, int]]:
    """Ranges of key hashes (low, high) that hold about RANGE_ROWS each, when so many rows are spread over all."""
    count = max(1, -(-sum(rows) // RANGE_ROWS))
    edges = [(number << 64) // count for number in range(count + 1)]
    yield from zip(edges, edges[1:], strict=False)


def together(
    parts: Sequence[SortedRows], schema: pa.Schema, low: int, high: int
) -> tuple[pa.Table, npt.NDArray[np.int64]]:
    """The rows of all parts in a range, in no order, and the number of the part each is from."""
    found, origin = [schema.empty_table()], [np.empty(0, np.int64)]
    for number, part in enumerate(parts):
        for table in part.between(low, high):
            found.append(table)
            origin.append(np.full(table.num_rows, number, np.int64))
    return pa.concat_tables(found).unify_dictionaries(), np.concatenate(origin)


def last_of_each_key(rows: pa.Table, rank: npt.NDArray[Any]) -> tuple[Hashes, Hashes]:
    """Of rows with the same key the one of highest rank: (kept, lost) row numbers.

    The kept ones are in order of key hash.
    """
    hashes = rows["key_hash"].to_numpy()
    order = _by_hash_and_rank(hashes, rank).astype(np.uint64)
    ordered = hashes[order]
    repeated = np.flatnonzero(ordered[:-1] == ordered[1:])
    if not len(repeated):
        return order, np.empty(0, np.uint64)
    same = _same_keys(rows, order[repeated], order[repeated + 1])
    lost = repeated[same]
    if not same.all():  # two keys share a hash, which happens once in billions: these are looked at one by one
        odd = np.unique(ordered[repeated[~same]])
        lost = lost[~np.isin(ordered[lost], odd)]
        for value in odd:
            first, last = (int(np.searchsorted(ordered, value, side)) for side in ("left", "right"))
            lost = np.concatenate((lost, _overtaken(rows, order, range(first, last))))
    return np.delete(order, lost), order[lost]


def _by_hash_and_rank(hashes: Hashes, rank: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Row numbers in that order; where rows stand by rank already, as layers of a stack do, one sort is enough."""
    by_rank = bool((rank[:-1] <= rank[1:]).all())
    found: npt.NDArray[np.int64] = np.argsort(hashes, kind="stable") if by_rank else np.lexsort((rank, hashes))
    return found


def _overtaken(rows: pa.Table, order: Hashes, places: range) -> npt.NDArray[np.int64]:
    """Of rows that share a hash, the places of those whose key comes again later."""
    last = {_key(rows, int(order[place])): place for place in places}
    return np.array([place for place in places if last[_key(rows, int(order[place]))] != place], np.int64)


def _key(rows: pa.Table, row: int) -> tuple[str, bytes]:
    return rows["namespace"][row].as_py(), rows["key"][row].as_py()


def _same_keys(rows: pa.Table, one: Hashes, other: Hashes) -> npt.NDArray[np.bool_]:
    return same_keys(rows.take(pa.array(one)), rows.take(pa.array(other)))


def same_keys(one: pa.Table, other: pa.Table) -> npt.NDArray[np.bool_]:
    """Whether rows of two tables, taken in pairs, have the same namespace and key."""
    equal = pc.and_(
        pc.equal(one["key"], other["key"]),
        pc.equal(one["namespace"].cast(pa.string()), other["namespace"].cast(pa.string())),
    )
    found: npt.NDArray[np.bool_] = equal.to_numpy()
    return found
