"""Rows of records, made by hand and by hypothesis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import pyarrow as pa
from hypothesis import strategies as st

from strata.model.record import RECORD_SCHEMA, Encoding

SCHEMA: Final = pa.schema(list(RECORD_SCHEMA)[:-1])
"""Rows as the collector fingerprints them: everything but the fingerprint."""

SECRET: Final = bytes(range(32))


@dataclass(frozen=True)
class Row:
    """One record, column by column."""

    namespace: str = "0"
    key: bytes = b"key"
    value: bytes | None = b"value"
    encoding: str | None = Encoding.JSON.value
    expires_at: datetime | None = None
    modified_at: datetime | None = None
    attrs: str | None = None
    chunks: bytes | None = None


def table(rows: Sequence[Row]) -> pa.Table:
    """The rows as one table of SCHEMA."""
    columns = zip(*map(astuple, rows), strict=True) if rows else [[] for _ in SCHEMA]
    arrays = [
        pa.array(column, pa.string()).dictionary_encode()
        if pa.types.is_dictionary(field.type)
        else pa.array(column, field.type)
        for column, field in zip(columns, SCHEMA, strict=True)
    ]
    return pa.table(arrays, SCHEMA)


_MOMENTS: Final = st.none() | st.integers(0, 10**12).map(
    lambda milliseconds: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
)

any_row: Final = st.builds(
    Row,
    namespace=st.sampled_from(["0", "1", "public.orders", ""]),
    key=st.binary(max_size=20),
    value=st.none() | st.binary(max_size=100),
    encoding=st.none() | st.sampled_from([encoding.value for encoding in Encoding]),
    expires_at=_MOMENTS,
    attrs=st.none() | st.text(max_size=20),
)
"""Any record, inline or absent."""

any_rows: Final = st.lists(any_row, max_size=20)
