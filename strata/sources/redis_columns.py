"""Rows of HOT on their way into record batches: collected as columns, turned into Arrow in one go."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import pyarrow as pa

from strata.model.record import MOMENT, SOURCE_SCHEMA, Encoding, constant_column
from strata.sources.redis_transaction import LAST_MOMENT

_BATCH_BYTES: Final = 2 << 20
_BATCH_ROWS: Final = 8192
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Columns:
    """Rows of one database and one encoding that wait to become a batch."""

    def __init__(self, namespace: str, encoding: Encoding) -> None:
        self._namespace = namespace
        self.encoding = encoding
        self._clear()

    def add(self, keys: Sequence[bytes], values: Sequence[bytes], expiries: Sequence[int]) -> None:
        """Append rows; expiries are milliseconds since 1970, negative for none."""
        self._keys.extend(keys)
        self._values.extend(values)
        self._expiries.extend(expiries)
        self._bytes += sum(map(len, values))

    @property
    def full(self) -> bool:
        """Whether the rows make a batch of the size wanted."""
        return self._bytes >= _BATCH_BYTES or len(self._keys) >= _BATCH_ROWS

    @property
    def empty(self) -> bool:
        """Whether no rows wait."""
        return not self._keys

    def take(self) -> pa.RecordBatch:
        """The rows as one batch of `SOURCE_SCHEMA`; none wait afterwards."""
        rows = len(self._keys)
        batch = pa.RecordBatch.from_arrays(
            [
                constant_column(self._namespace, rows),
                pa.array(self._keys, pa.large_binary()),
                pa.array(self._values, pa.large_binary()),
                constant_column(self.encoding, rows),
                _moments(self._expiries),
                pa.nulls(rows, MOMENT),
                pa.nulls(rows, pa.string()),
            ],
            schema=SOURCE_SCHEMA,
        )
        self._clear()
        return batch

    def _clear(self) -> None:
        self._keys: list[bytes] = []
        self._values: list[bytes] = []
        self._expiries: list[int] = []
        self._bytes = 0


def moment(expiry: int) -> datetime | None:
    """An expiry in milliseconds since 1970 as a time of day; None where it is negative."""
    return None if expiry < 0 else _EPOCH + timedelta(milliseconds=min(expiry, LAST_MOMENT))


def expiry_of(time: datetime | None) -> int:
    """A time of day as an expiry in milliseconds since 1970; -1 for None."""
    return -1 if time is None else (time - _EPOCH) // timedelta(milliseconds=1)


def _moments(expiries: list[int]) -> pa.Array:
    numbers = np.array(expiries, np.int64)
    return pa.array(np.minimum(numbers, LAST_MOMENT), pa.int64(), mask=numbers < 0).view(MOMENT)
