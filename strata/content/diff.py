"""What changed: the rows that were read now against the baseline, one range of key hashes after the other.

For every key it decides: as it was (its row is not stored again), changed or new (it is), gone (a tombstone is).
Measured: see docs/adr/0010.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from strata.content.fingerprint import Hashes
from strata.content.index import (
    CLAIMED,
    LISTED_SCHEMA,
    NOWHERE,
    PART_SCHEMA,
    UNREAD,
    SortedRows,
    last_of_each_key,
    ranges,
    same_keys,
    together,
)
from strata.errors import IntegrityError

Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]


@dataclass
class Counts:
    """Keys by what became of them, over all ranges; `size` in bytes of the values of what is there now."""

    unchanged: int = 0
    changed: int = 0
    new: int = 0
    gone: int = 0
    drift: int = 0
    """Of the changed ones those that the source would have called unchanged."""
    size: int = 0

    @property
    def present(self) -> int:
        """Keys that are there now."""
        return self.unchanged + self.changed + self.new


@dataclass
class Difference:
    """What one range comes to: rows of `PART_SCHEMA` to be kept, and rows of `LISTED_SCHEMA` whose keys are gone."""

    kept: pa.Table
    gone: pa.Table


class RowMasks:
    """Rows of raw segments, one byte each: numbers in a list took 2 GB of 50 million rows."""

    def __init__(self) -> None:
        self._masks: dict[int, Mask] = {}

    def mark(self, segments: npt.NDArray[Any], rows: npt.NDArray[Any]) -> None:
        """Mark rows, given as pairs of segment and number."""
        order = np.argsort(segments, kind="stable")
        ordered, numbers = segments[order], rows[order]
        if not len(ordered):
            return
        starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1]))).tolist()
        for start, stop in zip(starts, [*starts[1:], len(ordered)], strict=True):
            self._mask(int(ordered[start]), int(numbers[start:stop].max()) + 1)[numbers[start:stop]] = True

    def of(self, segment: int) -> list[int]:
        """The marked rows of a segment, in order."""
        found: list[int] = np.flatnonzero(self._masks.get(segment, np.zeros(0, bool))).tolist()
        return found

    def _mask(self, segment: int, rows: int) -> Mask:
        mask = self._masks.get(segment, np.zeros(0, bool))
        if len(mask) < rows:
            mask = self._masks[segment] = np.concatenate((mask, np.zeros(max(rows, 2 * len(mask)) - len(mask), bool)))
        return mask


@dataclass
class Comparison:
    """Compares index parts of one tier, as they were read, with a baseline (nothing: all is new).

    `dropped` collects the rows of raw segments that are not to be stored, by segment: of a key that was read twice
    the earlier row (SCAN promises "at least once"), and rows that are as the baseline has them.
    """

    parts: Sequence[SortedRows]
    baseline: Sequence[SortedRows] = ()
    counts: Counts = field(default_factory=Counts)
    dropped: RowMasks = field(default_factory=RowMasks)

    def differences(self) -> Iterator[Difference]:
        """The ranges, in order of key hash; `counts` and `dropped` are whole when they are."""
        rows = sum(part.rows for part in self.parts), sum(part.rows for part in self.baseline)
        for low, high in ranges(*rows):
            yield self._difference(low, high)

    def _difference(self, low: int, high: int) -> Difference:
        now = self._current(low, high)
        before, _ = together(self.baseline, LISTED_SCHEMA, low, high)
        pairs = match(now, before)
        same = self._unchanged(now, before, pairs)
        self._drop(now, same)
        gone = np.ones(before.num_rows, bool)
        gone[pairs.right] = False
        sizes = now["size"].to_numpy()[~same].sum(dtype=np.uint64)
        sizes += before["size"].to_numpy()[pairs.right[same[pairs.left]]].sum(dtype=np.uint64)
        self._count(now.num_rows, len(pairs.left), int(same.sum()), int(gone.sum()), int(sizes))
        return Difference(now.filter(pa.array(~same)), before.filter(pa.array(gone)))

    def _current(self, low: int, high: int) -> pa.Table:
        """What was read in a range, each key once, in order of key hash."""
        rows, _ = together(self.parts, PART_SCHEMA, low, high)
        kept, lost = last_of_each_key(rows, rows["turn"].to_numpy())
        self._drop_rows(rows.take(pa.array(lost)))
        return rows.take(pa.array(kept))

    def _unchanged(self, now: pa.Table, before: pa.Table, pairs: Pairs) -> Mask:
        """Which rows of now are as before."""
        claims = now["claim"].to_numpy()
        unread = claims == UNREAD
        unknown = unread | (now["segment"].to_numpy() == NOWHERE)
        unknown[pairs.left] = False
        if unknown.any():
            raise IntegrityError(
                f"{int(unknown.sum())} records were called unchanged, but the parent does not hold them",
                hint="Make a full backup; if this happens again, its source says what is not so.",
            )
        equal = equal_halves(now, before, pairs)
        self.counts.drift += int((~equal & (claims[pairs.left] == CLAIMED)).sum())
        same = np.zeros(now.num_rows, bool)
        same[pairs.left] = equal | unread[pairs.left]
        return same

    def _drop(self, now: pa.Table, same: Mask) -> None:
        written = now["segment"].to_numpy() != NOWHERE
        if (~written & ~same).any():
            raise IntegrityError("records were left out as unchanged that are not: two fingerprints are half equal")
        self._drop_rows(now.filter(pa.array(same & written)))

    def _drop_rows(self, rows: pa.Table) -> None:
        segments, numbers = rows["segment"].to_numpy(), rows["row"].to_numpy()
        written = segments != NOWHERE
        self.dropped.mark(segments[written], numbers[written])

    def _count(self, now: int, paired: int, same: int, gone: int, size: int) -> None:
        counts = self.counts
        counts.unchanged += same
        counts.changed += paired - same
        counts.new += now - paired
        counts.gone += gone
        counts.size += size


@dataclass(frozen=True)
class Pairs:
    """Rows of two tables that have the same key: `left[i]` and `right[i]` are one key's."""

    left: Rows
    right: Rows


def match(left: pa.Table, right: pa.Table) -> Pairs:
    """Pair the rows of two tables by key; each has a key once. `left` must be in order of key hash."""
    hashes, others = left["key_hash"].to_numpy(), right["key_hash"].to_numpy()
    order = np.argsort(others, kind="stable")
    ordered = others[order]
    at = np.searchsorted(ordered, hashes, "left")
    padded = np.append(ordered, np.uint64(0))
    rows = np.flatnonzero((at < len(ordered)) & (padded[at] == hashes))
    partners = order[at[rows]]
    same = same_keys(left.take(pa.array(rows)), right.take(pa.array(partners)))
    odd = np.union1d(_repeated(hashes), np.union1d(_repeated(ordered), hashes[rows[~same]]))
    if not len(odd):
        return Pairs(rows, partners)
    plain = ~np.isin(hashes[rows], odd)
    extra = _one_by_one(left, right, odd)
    return Pairs(np.concatenate((rows[plain], extra[:, 0])), np.concatenate((partners[plain], extra[:, 1])))


def equal_halves(now: pa.Table, before: pa.Table, pairs: Pairs) -> Mask:
    """Whether the fingerprints of paired rows are equal."""
    one = now["fingerprint"].take(pa.array(pairs.left)).combine_chunks()
    other = before["fingerprint"].take(pa.array(pairs.right)).combine_chunks()
    found: Mask = pc.equal(one, other).to_numpy(zero_copy_only=False)
    return found


def _repeated(ordered: Hashes) -> Hashes:
    found: Hashes = ordered[1:][ordered[1:] == ordered[:-1]]
    return found


def _one_by_one(left: pa.Table, right: pa.Table, odd: Hashes) -> npt.NDArray[np.int64]:
    """Pairs among the rows whose key hash is odd: shared by two keys."""
    places = {}
    for row in np.flatnonzero(np.isin(right["key_hash"].to_numpy(), odd)).tolist():
        places[right["namespace"][row].as_py(), right["key"][row].as_py()] = row
    pairs = []
    for row in np.flatnonzero(np.isin(left["key_hash"].to_numpy(), odd)).tolist():
        partner = places.get((left["namespace"][row].as_py(), left["key"][row].as_py()))
        if partner is not None:
            pairs.append((row, partner))
    return np.array(pairs, np.int64).reshape(-1, 2)
