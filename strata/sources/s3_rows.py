"""Small objects of COLD on their way into a record batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from strata.model.record import MARKED_SCHEMA, Encoding, constant_column
from strata.sources.s3_bucket import Piece

_BATCH_BYTES: Final = 4 << 20
_BATCH_ROWS: Final = 1000


@dataclass
class Rows:
    """The rows of the next batch."""

    keys: list[bytes] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    marks: list[bytes | None] = field(default_factory=list)
    size: int = 0

    def add(self, key: str, piece: Piece, mark: bytes | None) -> None:
        """Take an object that was read whole."""
        self.keys.append(key.encode())
        self.pieces.append(piece)
        self.marks.append(mark)
        self.size += len(piece.data)

    @property
    def are_enough(self) -> bool:
        """Whether they should become a batch."""
        return self.size >= _BATCH_BYTES or len(self.keys) >= _BATCH_ROWS

    def batch(self) -> pa.RecordBatch:
        """The rows so far, which are forgotten."""
        count = len(self.keys)
        columns = [
            constant_column("", count),
            pa.array(self.keys, pa.large_binary()),
            pa.array([piece.data for piece in self.pieces], pa.large_binary()),
            constant_column(Encoding.S3_OBJECT, count),
            pa.nulls(count, MARKED_SCHEMA.field("expires_at").type),
            pa.array([piece.modified for piece in self.pieces], MARKED_SCHEMA.field("modified_at").type),
            pa.array([piece.attrs for piece in self.pieces], pa.string()),
            pa.array(self.marks, MARKED_SCHEMA.field("mark").type),
        ]
        self.keys, self.pieces, self.marks, self.size = [], [], [], 0
        return pa.RecordBatch.from_arrays(columns, schema=MARKED_SCHEMA)
