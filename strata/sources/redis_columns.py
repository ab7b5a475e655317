"""Rows of HOT on their way into record batches: collected as columns, turned into Arrow in one go."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from strata.model.record import MOMENT, SOURCE_SCHEMA, Encoding, constant_column
from strata.sources.redis_transaction import LAST_MOMENT

BATCH_BYTES: Final = 3 << 19
"""Values of a batch, about: with what is put on top, little enough for the allocator to keep (strata/memory.py)."""

_BATCH_ROWS: Final = 8192
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Columns:
    """Rows of one database and one encoding that wait to become a batch.

    Rows come by `add`, or one by one by `append` or straight into the lists, with `count` called after some of them.
    """

    def __init__(self, namespace: str, encoding: Encoding) -> None:
        self._namespace = namespace
        self.encoding = encoding
        self._counted = self._bytes = 0
        self.clear()

    def add(self, keys: Sequence[bytes], values: Sequence[bytes], expiries: Sequence[int]) -> None:
        """Append rows; expiries are milliseconds since 1970, negative for none."""
        self.keys.extend(keys)
        self.values.extend(values)
        self.expiries.extend(expiries)
        self.count()

    def append(self, key: bytes, value: bytes, expiry: int) -> None:
        """Append a row, with `count` to be called after some."""
        self.keys.append(key)
        self.values.append(value)
        self.expiries.append(expiry)

    def count(self) -> None:
        """Take notice of rows that were appended."""
        self._bytes += sum([len(value) for value in self.values[self._counted :]])
        self._counted = len(self.values)

    @property
    def full(self) -> bool:
        """Whether the rows make a batch of the size wanted."""
        return self._bytes >= BATCH_BYTES or len(self.keys) >= _BATCH_ROWS

    @property
    def empty(self) -> bool:
        """Whether no rows wait."""
        return not self.keys

    def take(self) -> pa.RecordBatch:
        """The rows as one batch of `SOURCE_SCHEMA`; none wait afterwards."""
        rows = len(self.keys)
        batch = pa.RecordBatch.from_arrays(
            [
                constant_column(self._namespace, rows),
                pa.array(self.keys, pa.large_binary()),
                pa.array(self.values, pa.large_binary()),
                constant_column(self.encoding, rows),
                moments(np.array(self.expiries, np.int64)),
                pa.nulls(rows, MOMENT),
                pa.nulls(rows, pa.string()),
            ],
            schema=SOURCE_SCHEMA,
        )
        self.clear()
        return batch

    def clear(self) -> None:
        """Drop the rows."""
        self.keys: list[bytes] = []
        self.values: list[bytes] = []
        self.expiries: list[int] = []
        self._counted = self._bytes = 0


def drained(parts: deque[bytes]) -> Iterator[bytes]:
    """The parts of a large value, each let go of as it is taken."""
    while parts:
        yield parts.popleft()


def moment(expiry: int) -> datetime | None:
    """An expiry in milliseconds since 1970 as a time of day; None where it is negative."""
    return None if expiry < 0 else _EPOCH + timedelta(milliseconds=min(expiry, LAST_MOMENT))


def expiry_of(time: datetime | None) -> int:
    """A time of day as an expiry in milliseconds since 1970; -1 for None."""
    return -1 if time is None else (time - _EPOCH) // timedelta(milliseconds=1)


def moments(expiries: npt.NDArray[np.int64]) -> pa.Array:
    """Expiries in milliseconds since 1970 as a column; null where they are negative."""
    return pa.array(np.minimum(expiries, LAST_MOMENT), pa.int64(), mask=expiries < 0).view(MOMENT)
