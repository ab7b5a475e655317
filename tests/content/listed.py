"""Rows of indexes, index parts and baselines, made by hand and by hypothesis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from strata.content.index import NOWHERE, READ, SortedRows

Name = tuple[str, bytes]
"""Namespace and key."""


@dataclass(frozen=True)
class Listed:
    """One row; which columns it is written with is a schema's choice."""

    key_hash: int
    namespace: str = "0"
    key: bytes = b""
    fingerprint: bytes = bytes(16)
    size: int = 0
    mark: bytes | None = None
    segment: int = NOWHERE
    tombstone: bool = False
    row: int = 0
    turn: int = 0
    claim: int = READ

    @property
    def name(self) -> Name:
        """What the row is of."""
        return self.namespace, self.key


def listed(rows: Iterable[Listed], schema: pa.Schema) -> pa.Table:
    """The rows as a table, sorted by key hash."""
    ordered = sorted(rows, key=lambda row: row.key_hash)
    return pa.table([_column([getattr(row, field.name) for row in ordered], field.type) for field in schema], schema)


def _column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    return pa.array(values, pa.string()).dictionary_encode() if pa.types.is_dictionary(kind) else pa.array(values, kind)


def in_blocks(rows: pa.Table, block_rows: int) -> SortedRows:
    """Sorted rows as they are read: in blocks of a few rows."""
    starts = range(0, rows.num_rows, block_rows)
    firsts = np.array([rows["key_hash"][start].as_py() for start in starts], np.uint64)
    return SortedRows(rows.num_rows, firsts, lambda number: rows.slice(number * block_rows, block_rows))


hashes: Final = st.sampled_from([0, 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1)
"""Key hashes: those at the edges of ranges, and others."""

hashed_names: Final = st.dictionaries(
    st.tuples(st.sampled_from(["0", "1"]), st.binary(max_size=1)), hashes, min_size=1, max_size=12
)
"""A few keys and their hashes, some of which are equal."""

block_rows: Final = st.integers(1, 5)
"""Rows of a block."""
