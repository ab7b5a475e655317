"""Sums by segment: they tell which segment a row is in, whatever the rows come to together."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from strata.content.segment_sums import SegmentSums
from strata.errors import IntegrityError


def prints(*numbers: int) -> pa.ChunkedArray:
    """Fingerprints of which each half is that number, in chunks of two."""
    found = [number.to_bytes(8, "little") * 2 for number in numbers]
    return pa.chunked_array([found[at : at + 2] for at in range(0, len(found), 2)], pa.binary(16))


def summed(*rows: tuple[int, int]) -> SegmentSums:
    """The sums of (segment, fingerprint) rows."""
    sums = SegmentSums()
    sums.add(np.array([segment for segment, _ in rows], np.uint32), prints(*(number for _, number in rows)))
    return sums


def test_the_same_rows_agree_in_any_order_and_split() -> None:
    """An index in order of key hash agrees with its segments, however either is cut into objects."""
    index = summed((0, 2**63), (2, 5), (0, 2**63 + 1), (2, 7))
    index.merge(summed((1, 9)))
    segments = SegmentSums()
    for number, held in ((2, prints(7, 5)), (1, prints(9)), (0, prints(2**63 + 1, 2**63))):
        segments.add_all(number, held)
    assert index.differ_in(segments) == []
    assert segments.differ_in(index) == []


@pytest.mark.parametrize(
    ("others", "different"),
    [
        ([(1, 2), (0, 5)], [0, 1]),
        ([(0, 2), (0, 5)], [0, 1]),
        ([(0, 2), (1, 6)], [1]),
        ([(0, 2), (1, 5), (3, 0)], [3]),
        ([(0, 2)], [1]),
    ],
)
def test_rows_in_another_segment_are_told(others: list[tuple[int, int]], different: list[int]) -> None:
    """Rows exchanged between segments come to the same in sum, and not segment by segment."""
    assert summed((0, 2), (1, 5)).differ_in(summed(*others)) == different


def test_a_number_that_no_segment_has_is_refused() -> None:
    """It takes no memory either."""
    with pytest.raises(IntegrityError, match="a segment that cannot be"):
        summed((0xFFFF_FFFF, 1))
