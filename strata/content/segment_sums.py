"""What the rows of a layer add up to, segment by segment: its index must list exactly what each segment holds."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from strata.content.fingerprint import halves
from strata.errors import IntegrityError

_MOST_SEGMENTS: Final = 1_000_000
"""Names of segments have six digits."""


class SegmentSums:
    """Rows, and the sum of their fingerprints (two 64-bit halves), of each segment by its number."""

    def __init__(self) -> None:
        self._rows = np.zeros(0, np.int64)
        self._sums = np.zeros(0, np.uint64), np.zeros(0, np.uint64)

    def add(self, segments: npt.NDArray[np.uint32], fingerprints: pa.ChunkedArray) -> None:
        """Count rows, each in its segment; IntegrityError for a number that no segment has."""
        if not len(segments):
            return
        count = int(segments.max()) + 1
        if count > _MOST_SEGMENTS:
            raise IntegrityError("a record is said to be in a segment that cannot be")
        self._make_room(count)
        self._rows[:count] += np.bincount(segments)
        start = 0
        for part in fingerprints.chunks:  # 18 ns a row
            for total, half in zip(self._sums, halves(part).T, strict=True):
                np.add.at(total, segments[start : start + len(part)], half)
            start += len(part)

    def add_all(self, segment: int, fingerprints: pa.ChunkedArray) -> None:
        """Count rows that are all in one segment."""
        self.add(np.full(len(fingerprints), segment, np.uint32), fingerprints)

    def merge(self, other: SegmentSums) -> None:
        """Count what was counted elsewhere too."""
        count = len(other._rows)
        self._make_room(count)
        self._rows[:count] += other._rows
        for total, more in zip(self._sums, other._sums, strict=True):
            total[:count] += more

    def of(self, segment: int) -> tuple[int, bytes]:
        """How many rows a segment has, and their checksum."""
        self._make_room(segment + 1)
        return int(self._rows[segment]), np.array([total[segment] for total in self._sums], np.uint64).tobytes()

    def differ_in(self, other: SegmentSums) -> list[int]:
        """The segments of which the two were not told the same."""
        count = max(len(self._rows), len(other._rows))
        self._make_room(count)
        other._make_room(count)
        different = self._rows != other._rows
        for mine, theirs in zip(self._sums, other._sums, strict=True):
            different |= mine != theirs
        return [int(number) for number in np.flatnonzero(different)]

    def _make_room(self, count: int) -> None:
        if (more := count - len(self._rows)) > 0:
            self._rows = np.append(self._rows, np.zeros(more, np.int64))
            self._sums = tuple(np.append(total, np.zeros(more, np.uint64)) for total in self._sums)  # type: ignore[assignment]
