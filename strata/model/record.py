"""The record: one key of one tier, as a row of an Arrow table.

Sources produce rows of `SOURCE_SCHEMA`; the collector adds the fingerprint, which gives `RECORD_SCHEMA`, the layout
of every segment. Columns:

| column      | meaning                                                                                               |
|-------------|-------------------------------------------------------------------------------------------------------|
| namespace   | where in the tier: Redis database number, `schema.table`, or empty for COLD                           |
| key         | HOT: the key. WARM: primary key as COPY text (tab-separated), or a row number where there is none.     |
|             | COLD: the object's name below the prefix, UTF-8                                                       |
| value       | HOT: string value or DUMP payload. WARM: one COPY text line with its newline. COLD: the body.          |
|             | Null in a tombstone, and where `chunks` stands for it                                                 |
| encoding    | an `Encoding`                                                                                         |
| expires_at  | moment of expiry, or null                                                                             |
| modified_at | moment of the last change as the source tells it, or null                                             |
| attrs       | small JSON object of what else belongs to the record (content type, user metadata...), or null         |
| chunks      | for a value over `LARGE_VALUE` bytes: its chunk references, 40 bytes each (32 id, 8 length, big end)   |
| fingerprint | 16-byte keyed hash of namespace, key, value, encoding, expiry and attrs                               |
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

import pyarrow as pa

LARGE_VALUE: Final = 1 << 20
"""Values above this many bytes are stored as content-defined chunks."""

CHUNK_REF_BYTES: Final = 40
"""Bytes of one chunk reference: a 32-byte id and an 8-byte big-endian length."""

NOT_HELD: Final = "not_held"
"""The member of a description that says, a sentence each, what its records need and the backup does not hold."""

PARTS: Final = "parts"
"""The member of a description that names the parts of the tier that were read: tables, databases, a prefix.

Each is a path, outermost step first; the empty path is the whole tier.
"""

VALUE_BYTES: Final = "value_bytes"
"""The member of a description, given by a restore, that says how many bytes the values of its records have."""

STATE_MANAGER: Final = "state manager"
"""The `source` in a description of records that came through the application's state manager: their values are JSON."""


class Encoding(StrEnum):
    """What a value's bytes are."""

    REDIS_STRING = "redis/string"
    REDIS_DUMP = "redis/dump"
    PG_COPY_TEXT = "pg/copy-text"
    S3_OBJECT = "s3/object"
    JSON = "json"


MOMENT: Final = pa.timestamp("ms", "UTC")

SOURCE_SCHEMA: Final = pa.schema(
    [
        pa.field("namespace", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("key", pa.large_binary(), nullable=False),
        pa.field("value", pa.large_binary()),
        pa.field("encoding", pa.dictionary(pa.int32(), pa.string())),
        pa.field("expires_at", MOMENT),
        pa.field("modified_at", MOMENT),
        pa.field("attrs", pa.string()),
    ]
)

MARKED_SCHEMA: Final = SOURCE_SCHEMA.append(pa.field("mark", pa.binary(16)))
"""What a source yields whose listing tells versions apart: `mark` names the record's version as the source sees it, and
is kept in the index, so that the next backup knows without reading which records are as they were."""

CONTENT_SCHEMA: Final = SOURCE_SCHEMA.append(pa.field("chunks", pa.large_binary()))
"""A record as it is read back: without its fingerprint, which a compact segment does not store."""

RECORD_SCHEMA: Final = CONTENT_SCHEMA.append(pa.field("fingerprint", pa.binary(16), nullable=False))


@dataclass(frozen=True)
class LargeValue:
    """One record whose value comes as a stream, because it may not fit in memory.

    `parts` yields the value's bytes in order and may be read once; `size` is their sum in bytes.
    """

    namespace: str
    key: bytes
    encoding: Encoding
    size: int
    parts: Iterator[bytes]
    expires_at: datetime | None = None
    modified_at: datetime | None = None
    attrs: str | None = None
    mark: bytes | None = None
    """As in `MARKED_SCHEMA`."""


@dataclass(frozen=True)
class Unchanged:
    """Keys (large_binary) of one namespace that are there, and whose records are as the baseline holds them.

    The source can tell without reading the values, and did not read them.
    """

    namespace: str
    keys: pa.LargeBinaryArray


@dataclass(frozen=True)
class Claimed:
    """Records that were read although the source would have called them unchanged: a full reading tests the claim."""

    item: pa.RecordBatch | LargeValue


SourceItem = pa.RecordBatch | LargeValue | Unchanged | Claimed
"""What a source yields: batches of `SOURCE_SCHEMA` or `MARKED_SCHEMA`, large values, and what a baseline tells it."""


def constant_column(value: str, rows: int) -> pa.DictionaryArray:
    """A dictionary column that holds `value` in every one of `rows` rows."""
    indices = pa.array([0], pa.int32()).take(pa.nulls(rows, pa.int32()).fill_null(0))
    return pa.DictionaryArray.from_arrays(indices, pa.array([value], pa.string()))
