"""The export document: records as JSON that a person can read and that comes back byte for byte, and a plain mapping.

docs/how-to/export-and-hand-over.md describes both. A value stands as text where it is UTF-8, as JSON where it is the
compact JSON of something, else in base64; one over a MiB stands in parts, so that neither side holds it whole.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pyarrow as pa

from strata.model.record import Encoding, LargeValue
from strata.model.tier import Tier

MARK: Final = "strata_export"
VERSION: Final = 1
PART_BYTES: Final = 768 << 10
"""Bytes of a part of a large value: 1 MiB of base64."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND: Final = timedelta(milliseconds=1)
_NOT_JSON: Final = object()
_MANY_BRACKETS: Final = 100
_DEEPER: Final = 50


@dataclass(frozen=True)
class Row:
    """One record; moments are milliseconds since 1970. A large one has no value: its `parts` follow it."""

    tier: Tier
    namespace: str
    key: bytes
    value: bytes | None
    encoding: Encoding
    expires_at: int | None = None
    modified_at: int | None = None
    attrs: str | None = None
    parts: int = 0
    size: int = 0


@dataclass(frozen=True)
class TierHead:
    """What a document says of a tier besides its records."""

    source: dict[str, Any]
    """What describes the source, as a session's `describe` does."""
    cut: dict[str, Any] = field(default_factory=dict)
    records: int | None = None


def rows_of(tier: Tier, table: pa.Table | pa.RecordBatch) -> Iterator[Row]:
    """The records of a table whose values all stand in it."""
    columns = [
        table[name].cast(pa.int64()).to_pylist() if pa.types.is_timestamp(table[name].type) else table[name].to_pylist()
        for name in ("namespace", "key", "value", "encoding", "expires_at", "modified_at", "attrs")
    ]
    for namespace, key, value, encoding, expires_at, modified_at, attrs in zip(*columns, strict=True):
        yield Row(tier, namespace, key, value, Encoding(encoding), expires_at, modified_at, attrs)


def large_row(tier: Tier, value: LargeValue) -> Row:
    """The record of a large value, without the value."""
    expires_at, modified_at = milliseconds(value.expires_at), milliseconds(value.modified_at)
    parts = -(-value.size // PART_BYTES)
    return Row(
        tier, value.namespace, value.key, None, value.encoding, expires_at, modified_at, value.attrs, parts, value.size
    )


def row_text(row: Row) -> str:
    """A record as one line of JSON."""
    members: dict[str, Any] = {"tier": row.tier.value, "namespace": row.namespace}
    members |= _text_or_base64("key", row.key)
    if row.value is None:
        members |= {"parts_base64": row.parts, "bytes": row.size}
    else:
        members |= _value_members(row.value, row.encoding)
    members["encoding"] = row.encoding.value
    for name, moment in (("expires_at", row.expires_at), ("modified_at", row.modified_at)):
        if moment is not None:
            members[name] = (EPOCH + moment * MILLISECOND).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if row.attrs is not None:
        attrs = as_json(row.attrs)
        members |= {"attrs_text": row.attrs} if attrs is _NOT_JSON else {"attrs": attrs}
    return compact(members)


def part_text(part: bytes) -> str:
    """A part of a large value as one line of JSON."""
    return f'"{base64.b64encode(part).decode()}"'


def compact(value: Any) -> str:
    """A value as JSON without white space, its keys in their order."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def as_json(text: str) -> Any:
    """What the text is the compact JSON of; `_NOT_JSON` where writing it again would give other bytes."""
    deep = text.count("[") + text.count("{") > _MANY_BRACKETS
    try:
        if deep:  # it will stand in a record in a document, which must not make it too deep to be read
            json.loads("[" * _DEEPER + text + "]" * _DEEPER)
        value = json.loads(text)
        return value if compact(value) == text else _NOT_JSON
    except (ValueError, RecursionError):
        return _NOT_JSON


def _value_members(value: bytes, encoding: Encoding) -> dict[str, Any]:
    if encoding is Encoding.JSON or value[:1] in {b"{", b"["}:
        try:
            found = as_json(value.decode())
        except UnicodeDecodeError:
            found = _NOT_JSON
        if found is not _NOT_JSON:
            return {"value_json": found}
    return _text_or_base64("value", value)


def _text_or_base64(name: str, value: bytes) -> dict[str, str]:
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(value).decode()}


def milliseconds(moment: datetime | None) -> int | None:
    """A moment as milliseconds since 1970."""
    return None if moment is None else (moment - EPOCH) // MILLISECOND
