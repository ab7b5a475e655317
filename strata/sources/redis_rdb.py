"""Splits an RDB stream into records: strings as plain values, everything else as the payload that DUMP would give.

No value is decoded. A DUMP payload is the value as it stands in the RDB, between its type and the RDB's version and
a CRC-64, so it is cut out and closed. Short records of common types are split in one loop over the window of the
stream (`redis_split`); what that loop does not know, and what reaches past the window, is read here, 6 us a record.

A session holds a window and a batch of each kind. Strings over `LARGE_VALUE` come in parts as they arrive. Of another
type's value the size is known only at its end, so one such value at a time is held in memory, as DUMP does.

A stream ends with its `END` and a checksum that is compared; any other end is an error, never fewer records.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Final

from strata.errors import SourceError
from strata.model.record import LARGE_VALUE, Encoding, LargeValue, SourceItem
from strata.model.tier import Tier
from strata.sources.redis_columns import drained, moment
from strata.sources.redis_layout import (
    AUXILIARY,
    DATABASE,
    END,
    EXPIRY_MS,
    EXPIRY_S,
    NEWEST,
    SKIPPED,
    STRING_TYPE,
    Walk,
    damaged,
    value_layouts,
)
from strata.sources.redis_split import CRC_BYTES, RdbRows, close_payload, split_common
from strata.sources.redis_transaction import NEVER
from strata.sources.redis_window import Window

_MAGIC_BYTES: Final = 9


@dataclass(frozen=True)
class RdbHead:
    """What a stream says of itself before the records."""

    product: bytes
    version: int
    saved_at: int | None
    """Seconds since 1970 by the server's clock, when it began to save."""

    @property
    def is_known(self) -> bool:
        """Whether all that this version can hold is known here."""
        return self.version <= NEWEST[self.product]


class RdbSplitter:
    """Reads one stream, whose pieces `receive` gives; `dump_version` is that of the payloads read, None without any."""

    def __init__(self, receive: Callable[[], bytes | memoryview]) -> None:
        self.window = Window(receive)
        self.head = self._read_head()
        self.dump_version: int | None = None
        self._layouts = value_layouts(self.head.product)
        self._close = self.head.version.to_bytes(2, "little")
        self._expiry = NEVER

    def records(self, databases: Collection[int], now: int) -> Iterator[SourceItem]:
        """The records of these databases; those that had expired at `now` (ms since 1970) are left out."""
        window = self.window
        while (kind := window.take(1)[0]) != END:
            if kind == DATABASE:
                database = window.length()
                yield from self._records(RdbRows(database, self._close, now, wanted=database in databases))
            elif kind not in SKIPPED:
                raise damaged("a record stands outside of every database")
            else:
                self._skip(kind)
        self._check_sum()

    def _records(self, rows: RdbRows) -> Iterator[SourceItem]:
        """The records of one database, if they are wanted; the window is left where the next one begins."""
        while True:
            if self._expiry == NEVER:  # else it belongs to what comes next
                split_common(self.window, rows)
                yield from rows.full_batches()
            if self.window.peek() in {DATABASE, END}:
                break
            item = self._read(self.window.take(1)[0], rows)
            if item is not None and rows.wants(item):
                yield item
            if item is not None:
                deque(item.parts, maxlen=0)  # what nobody took must not be taken for the next record
        yield from rows.batches()
        if rows.has_dumps:
            self.dump_version = self.head.version

    def _read_head(self) -> RdbHead:
        magic = self.window.take(_MAGIC_BYTES)
        product = magic.rstrip(b"0123456789")
        if product not in NEWEST or product == magic:
            raise damaged("it does not begin as an RDB")
        noted = {}
        while self.window.peek() == AUXILIARY:
            self.window.at += 1
            name = self.window.text()
            noted[name] = self.window.text()
        saved_at = noted.get(b"ctime", b"")
        return RdbHead(product, int(magic[len(product) :]), int(saved_at) if saved_at.isdigit() else None)

    def _read(self, kind: int, rows: RdbRows) -> LargeValue | None:
        """Read what comes next, whatever it is: a record goes to the rows, or comes back if it is large."""
        if kind == EXPIRY_MS:
            self._expiry = self.window.integer(8)
        elif kind == EXPIRY_S:
            self._expiry = self.window.integer(4) * 1000
        elif kind in SKIPPED:
            self._skip(kind)
        elif kind == STRING_TYPE or kind in self._layouts:
            key, expiry, self._expiry = self.window.text(), self._expiry, NEVER
            return self._string(key, expiry, rows) if kind == STRING_TYPE else self._dump(kind, key, expiry, rows)
        else:
            raise SourceError(
                f"{Tier.HOT.label} sent something of type {kind}, which is not known here",
                hint="Set STRATA_HOT_METHOD to scan: then it is read key by key.",
            )
        return None

    def _skip(self, kind: int) -> None:
        deque(self.window.walk(Walk(SKIPPED[kind]())), maxlen=0)

    def _string(self, key: bytes, expiry: int, rows: RdbRows) -> LargeValue | None:
        size, parts = self.window.text_parts()
        if size > LARGE_VALUE:
            return LargeValue(rows.namespace, key, Encoding.REDIS_STRING, size, parts, moment(expiry))
        rows.plain.add([key], [b"".join(parts)], [expiry])
        return None

    def _dump(self, kind: int, key: bytes, expiry: int, rows: RdbRows) -> LargeValue | None:
        value = self.window.walk(Walk(self._layouts[kind]()))
        parts = deque(close_payload(kind, value, self._close))
        size = sum(map(len, parts))
        if size > LARGE_VALUE:
            return LargeValue(rows.namespace, key, Encoding.REDIS_DUMP, size, drained(parts), moment(expiry))
        rows.dumps.add([key], [b"".join(parts)], [expiry])
        return None

    def _check_sum(self) -> None:
        """Compare the checksum; a server that was told to make none (rdbchecksum no) sends 0."""
        crc = self.window.crc
        if self.window.take(CRC_BYTES) not in {crc.to_bytes(CRC_BYTES, "little"), bytes(CRC_BYTES)}:
            raise damaged("its checksum is not that of what came")
        if self.window.at < len(self.window.data) or self.window.more():
            raise damaged("it goes on behind its end")
