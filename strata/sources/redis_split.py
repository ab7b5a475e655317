"""The loop that splits short records of common types, and the rows it makes: nearly all the time of a reading is here.

Measured per 500,000 records of 300 bytes in the stack of bench/, Python 3.11: 0.2 s for the loop and 0.2 s for taking
out and decompressing by the window; by way of `redis_rdb` alone, calls for each part of a record, 3.0 s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import chain
from struct import Struct
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from strata.model.record import MOMENT, Encoding, LargeValue
from strata.sources.redis_columns import Columns
from strata.sources.redis_layout import (
    BLOBS,
    EXPIRY_MS,
    FREQUENCY,
    IDLE,
    INTEGER_BYTES,
    LZF,
    MIDDLE_LENGTH,
    QUICKLIST,
    SHORT_LENGTH,
    STRING_TYPE,
    read_length,
    read_string_head,
)
from strata.sources.redis_lzf import decompress
from strata.sources.redis_packed import HEAD_BYTES, PackedStrings
from strata.sources.redis_transaction import NEVER
from strata.sources.redis_window import Window, crc64

CRC_BYTES: Final = 8
_SHORT: Final = 16 << 10
"""What a length of two bytes cannot reach; longer keys and values are left to `redis_rdb`."""

_LONGEST_BYTES: Final = 40 << 10
"""More than a short record with its expiry and idle time."""

_PAUSE_BYTES: Final = 256 << 10
"""Plain bytes of values that are taken by themselves, after which the rows are looked at: it bounds a batch."""

_KINDS: Final = [bytes([kind]) for kind in range(256)]
_TWO_BYTES: Final = 0x4000  # the first two bits of a length that is two bytes long
_MORE_BYTES: Final = 0x8000  # those of a longer one
_TO_NEXT: Final = HEAD_BYTES - _TWO_BYTES
_milliseconds: Final = Struct("<q").unpack_from
_two_lengths: Final = Struct(">HH").unpack_from


class RdbRows:
    """Rows of one database that wait to become batches; of a database that is not wanted, they are dropped."""

    def __init__(self, database: int, close: bytes, now: int, *, wanted: bool) -> None:
        self.namespace = str(database)
        self.close = close
        self.wanted = wanted
        self.has_dumps = False
        self._now = pa.scalar(now, pa.int64()).cast(MOMENT)
        self._moment: datetime = self._now.as_py()
        self.plain = Columns(self.namespace, Encoding.REDIS_STRING)
        self.packed = PackedStrings(self.namespace, wanted=wanted)
        self.dumps = Columns(self.namespace, Encoding.REDIS_DUMP)

    def full_batches(self) -> Iterator[pa.RecordBatch]:
        """Batches of the kinds of which there are rows enough."""
        return self._taken(self.packed.finished(), [one for one in (self.plain, self.dumps) if one.full])

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Batches of all that waits."""
        return self._taken(self.packed.all(), [one for one in (self.plain, self.dumps) if not one.empty])

    def wants(self, item: LargeValue) -> bool:
        """Whether a large value is of a database that is wanted, and had not expired."""
        return self.wanted and (item.expires_at is None or item.expires_at >= self._moment)

    def _taken(self, packed: Iterator[pa.RecordBatch], full: list[Columns]) -> Iterator[pa.RecordBatch]:
        if not self.wanted:
            for columns in full:
                columns.clear()
            return
        self.has_dumps = self.has_dumps or self.dumps in full
        for batch in chain(packed, (columns.take() for columns in full)):
            gone = pc.less(batch["expires_at"], self._now).fill_null(fill_value=False)
            yield batch.filter(pc.invert(gone)) if pc.any(gone).as_py() else batch


def split_common(window: Window, rows: RdbRows) -> None:
    """Split records from the window on, until it ends, a batch may be full, or another kind comes."""
    if len(window.data) - window.at < _LONGEST_BYTES:
        window.more()
    _split(window, rows)
    for columns in (rows.plain, rows.dumps):
        columns.count()


class _NotCommonError(Exception):
    """Something that the loop leaves to `redis_rdb`."""


def _split(window: Window, rows: RdbRows) -> None:
    """One function on purpose: a call costs half of what is done here for a string."""
    data, at = window.data, window.at
    last, room = len(data) - _LONGEST_BYTES, _PAUSE_BYTES
    places, expiring = rows.packed.noting(data)
    note, two_lengths = places.append, _two_lengths
    try:
        while at < last and room > 0:
            start, kind, expiry = at, data[at], NEVER
            if kind >= IDLE:
                kind, expiry, at = _before(data, at)
            if kind == STRING_TYPE and (size := data[at + 1]) < SHORT_LENGTH and data[end := at + 2 + size] == LZF:
                packed, plain = two_lengths(data, end + 1)
                if _TWO_BYTES <= packed < _MORE_BYTES > plain:
                    if expiry != NEVER:
                        expiring.append((len(places), expiry))
                    note(at)
                    at = end + packed + _TO_NEXT
                    continue
            at, size = _by_itself(data, at, kind, expiry, rows)
            room -= size
    except _NotCommonError:
        at = start
    window.at = at


def _by_itself(data: bytes, at: int, kind: int, expiry: int, rows: RdbRows) -> tuple[int, int]:
    """Add a record that is short, but not as most are; where it ends, and the bytes of its value."""
    key, at = _short_text(data, at + 1)
    if kind == STRING_TYPE:
        value, at = _short_text(data, at)
        rows.plain.append(key, value, expiry)
    else:
        value, at = _payload(data, kind, at, rows.close)
        rows.dumps.append(key, value, expiry)
    return at, len(value)


def _before(data: bytes, at: int) -> tuple[int, int, int]:
    """What stands before a record: its type, its expiry, and where the type stands."""
    expiry = NEVER
    if data[at] == EXPIRY_MS:
        (expiry,) = _milliseconds(data, at + 1)
        at += 9
    if data[at] == FREQUENCY:
        at += 2
    elif data[at] == IDLE:
        _, at = read_length(data, at + 1)
    if data[at] >= IDLE:
        raise _NotCommonError
    return data[at], expiry, at


def _short_text(data: bytes, at: int) -> tuple[bytes, int]:
    """A short string, and where it ends."""
    first = data[at]
    if first < SHORT_LENGTH:
        start, end = at + 1, at + 1 + first
    elif first < MIDDLE_LENGTH:
        start = at + 2
        end = start + ((first & 63) << 8 | data[at + 1])
    elif first in INTEGER_BYTES:
        end = at + 1 + INTEGER_BYTES[first]
        return b"%d" % int.from_bytes(data[at + 1 : end], "little", signed=True), end
    elif first == LZF:
        size, plain, start = _compressed_head(data, at)
        end = start + size
        return decompress(data[start:end], plain), end
    else:
        raise _NotCommonError
    return data[start:end], end


def _compressed_head(data: bytes, at: int) -> tuple[int, int, int]:
    """Compressed and plain bytes of a short string, and where the compressed ones begin."""
    size, after = read_length(data, at + 1)
    plain, body = read_length(data, after)
    if size >= _SHORT or plain >= _SHORT:
        raise _NotCommonError
    return size, plain, body


def _payload(data: bytes, kind: int, at: int, close: bytes) -> tuple[bytes, int]:
    """The DUMP payload of a value that is one short string or a few, and where it ends."""
    if kind in BLOBS:
        end = _short_end(data, at)
    elif kind == QUICKLIST and (nodes := data[at]) < SHORT_LENGTH:
        end = at + 1
        for _ in range(nodes):
            if end > len(data) - _LONGEST_BYTES:
                raise _NotCommonError
            end = _short_end(data, read_length(data, end)[1])
    else:
        raise _NotCommonError
    payload = _KINDS[kind] + data[at:end] + close
    return payload + crc64(payload).to_bytes(CRC_BYTES, "little"), end


def _short_end(data: bytes, at: int) -> int:
    size, body = read_string_head(data, at)
    if size >= _SHORT:
        raise _NotCommonError
    return body + size


def close_payload(kind: int, value: Iterable[bytes], close: bytes) -> Iterator[bytes]:
    """The DUMP payload of a value in parts: its type before it, the RDB's version and a checksum behind it."""
    crc = 0
    for part in chain([_KINDS[kind]], value, [close]):
        crc = crc64(part, crc)
        yield part
    yield crc.to_bytes(CRC_BYTES, "little")
