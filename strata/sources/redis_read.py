"""Reading one Redis database: SCAN, then values and expiries by transaction, with memory bounded on both sides.

Strings are kept as plain values, everything else as the server's DUMP payload. The first look at a key asks for the
first `_PROBE_BYTES` of its string only (GETRANGE), so a page of keys answers with 8 MiB at most, whatever the values
are, and three pages are held at most. What is longer, or no string, is read by its size: small ones together, large
ones alone. Only after `_SHORT_RUN` keys without a long value are whole values asked for (MGET).

Measured per 500,000 keys of 300 bytes on Valkey 8.1: sizes first (STRLEN, then MGET) 1.8-2.1 s, this way 1.4-1.8 s;
PEXPIRETIME by a Lua script gains nothing. With 12 strings of 50 MiB the server needed 4 MiB more than before, with
4,000 of 200 KiB 15 MiB.

SCAN may name a key twice, and so may two patterns: rows are given at least once, in no order. A key that changes
its type meanwhile is read as what it has become; one that goes away is left out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import compress
from operator import not_
from typing import Any, Final

from strata.model.record import LARGE_VALUE, Encoding, LargeValue, SourceItem
from strata.sources.redis_columns import Columns, drained, moment
from strata.sources.redis_commands import KeyCommand, KeysCommand, pack, packed
from strata.sources.redis_transaction import GONE, NEVER, UNSURE, ExpiryCommand, Transaction, Transactions
from strata.sources.resp import Connection, Refusal, Ticket, refusal_code, refused

_PROBE_BYTES: Final = 8 << 10
_PROBE_KEYS: Final = 256
"""Keys per transaction; 1,000 take longer (2.2-2.8 against 1.4-1.9 s): they do not stay in the cache."""

_PAGE_KEYS: Final = 1000
_PAGES_AHEAD: Final = 2
"""Pages on their way while one is decoded: with one, the server waits whenever a batch is built."""

_SHORT_RUN: Final = 20_000
"""Keys without a long value after which MGET is trusted: SCAN goes by a keyed hash, so the 3,000 on their way then
hold none or one. MGET takes a third less time, and long values send us back to the careful way."""

_REST_KEYS: Final = 512
_GROUP_BYTES: Final = 4 << 20
_STREAMED_BYTES: Final = 8 << 20
_PART_BYTES: Final = 4 << 20
_TRIES: Final = 3
_MIXED_SHARE: Final = 0.05

_PROBE: Final = KeyCommand(b"GETRANGE", b"0", b"%d" % _PROBE_BYTES)  # both ends count: one byte more than allowed
_MGET: Final = KeysCommand(b"MGET")
_GET: Final = KeyCommand(b"GET")
_DUMP: Final = KeyCommand(b"DUMP")
_TYPE: Final = KeyCommand(b"TYPE")
_STRLEN: Final = KeyCommand(b"STRLEN")
_MEMORY: Final = KeyCommand(b"MEMORY", subcommand=b"USAGE")


class DatabaseReader:
    """Reads the keys of one database; `dump_version` is the highest version among the payloads read."""

    def __init__(self, connection: Connection, database: int, expiry: ExpiryCommand) -> None:
        self.dump_version: int | None = None
        self._connection = connection
        self._database = database
        self._namespace = str(database)
        self._transactions = Transactions(connection, database, expiry)
        self._strings = Columns(self._namespace, Encoding.REDIS_STRING)
        self._dumps = Columns(self._namespace, Encoding.REDIS_DUMP)
        self._long: list[bytes] = []
        self._others: list[bytes] = []
        self._mixed = False
        self._short_run = 0

    def read(self, pattern: str | None) -> Iterator[SourceItem]:
        """The records whose key matches the glob (None: all)."""
        self._connection.select(self._database)
        page: Ticket | None = self._connection.send(scan_command(b"0", pattern), 1)
        waiting: deque[list[Transaction]] = deque()
        while page:
            cursor, keys = scanned(self._connection, page)
            page, probes = self._look(keys, cursor, pattern)
            waiting.append(probes)
            if len(waiting) > _PAGES_AHEAD:
                yield from self._sort_all(waiting.popleft())
        while waiting:
            yield from self._sort_all(waiting.popleft())
        yield from self._finish()

    def read_keys(self, keys: Sequence[bytes]) -> Iterator[SourceItem]:
        """The records of these keys, as far as they are there, without a look at any other."""
        self._connection.select(self._database)
        for start in range(0, len(keys), _PAGE_KEYS):
            page = keys[start : start + _PAGE_KEYS]
            groups = [list(page[at : at + _PROBE_KEYS]) for at in range(0, len(page), _PROBE_KEYS)]
            yield from self._sort_all(self._transactions.begin(_PROBE, groups))
        yield from self._finish()

    def _finish(self) -> Iterator[SourceItem]:
        """Read what was set aside, and give the rows that wait."""
        while self._long or self._others:
            yield from self._read_rest()
        yield from (columns.take() for columns in (self._strings, self._dumps) if not columns.empty)

    def _look(self, keys: list[bytes], cursor: bytes, pattern: str | None) -> tuple[Ticket | None, list[Transaction]]:
        """Ask for the next page and for what these keys hold, so that the server works while we decode."""
        strings = self._strings_among(keys) if self._mixed else keys
        groups = [strings[start : start + _PROBE_KEYS] for start in range(0, len(strings), _PROBE_KEYS)]
        command = _PROBE if self._short_run < _SHORT_RUN else _MGET
        if cursor == b"0":
            return None, self._transactions.begin(command, groups)
        page = self._connection.expect(1)
        return page, self._transactions.begin(command, groups, scan_command(cursor, pattern))

    def _strings_among(self, keys: list[bytes]) -> list[bytes]:
        """The strings; keys of other types are put with the rest.

        Only where the last page had many of these: a GETRANGE of a hash does no harm, but the server counts errors.
        """
        types = self._connection.send(_TYPE.pack(packed(keys)), len(keys)).take()
        is_string = [kind == b"string" for kind in types]
        self._others += compress(keys, map(not_, is_string))
        self._mixed = len(keys) - sum(is_string) > len(keys) * _MIXED_SHARE
        return list(compress(keys, is_string))

    def _sort_all(self, probes: list[Transaction]) -> Iterator[SourceItem]:
        others = len(self._others)
        for probe in probes:
            self._sort(probe)
            if self._strings.full:
                yield self._strings.take()
        found = len(self._others) - others
        self._mixed = self._mixed or found > _PAGE_KEYS * _MIXED_SHARE
        if len(self._long) + len(self._others) >= _REST_KEYS:
            yield from self._read_rest()

    def _sort(self, probe: Transaction) -> None:
        """Put whole strings into their columns, and the others where they are read by size."""
        keys = probe.keys
        values, expiries = probe.take() or ([], [])
        if set(map(type, values)) - {bytes}:
            for index in [index for index, value in enumerate(values) if type(value) is not bytes][::-1]:
                self._set_aside(keys.pop(index), values.pop(index), expiries.pop(index), self._others)
        if not values:
            return
        # Where only values are told, an empty one from GETRANGE may stand for a key that is gone.
        fewest = 1 if probe.expiry is ExpiryCommand.NONE and probe.command is _PROBE else 0
        sizes = list(map(len, values))
        self._short_run = self._short_run + len(sizes) if max(sizes) <= _PROBE_BYTES else 0
        if min(sizes) < fewest or max(sizes) > _PROBE_BYTES or min(expiries) < NEVER:
            whole = [
                fewest <= size <= _PROBE_BYTES and expiry >= NEVER for size, expiry in zip(sizes, expiries, strict=True)
            ]
            for key, value, expiry in compress(zip(keys, values, expiries, strict=True), map(not_, whole)):
                self._set_aside(key, value, expiry, self._long)
            keys, values, expiries = (list(compress(column, whole)) for column in (keys, values, expiries))
        self._strings.add(keys, values, expiries)

    def _set_aside(self, key: bytes, value: Any, expiry: int, strings: list[bytes]) -> None:
        if isinstance(value, Refusal):
            if refusal_code(value) != "WRONGTYPE":
                raise refused(self._connection.address, value)
            self._others.append(key)
        elif expiry != GONE:
            strings.append(key)

    def _read_rest(self) -> Iterator[SourceItem]:
        """Read what was set aside; what changes its type meanwhile is set aside again."""
        long, self._long = self._long, []
        short = []
        for key, size in self._sizes(_STRLEN, long):
            if size <= _STREAMED_BYTES:
                short.append((key, size))
            else:
                yield from self._stream(key)
        yield from self._fetch(_GET, short, self._strings)
        others, self._others = self._others, []
        yield from self._fetch(_DUMP, self._sizes(_MEMORY, others), self._dumps)

    def _sizes(self, command: KeyCommand, keys: list[bytes]) -> list[tuple[bytes, int]]:
        replies = self._connection.send(command.pack(packed(keys)), len(keys)).take()
        sized = []
        for key, size in zip(keys, replies, strict=True):
            if isinstance(size, int):
                sized.append((key, size))
            elif size is not None:  # None: gone
                self._set_aside(key, size, UNSURE, self._others)
        return sized

    def _fetch(self, command: KeyCommand, sized: list[tuple[bytes, int]], columns: Columns) -> Iterator[SourceItem]:
        """Read keys in groups of a few MiB, the next group on its way while this one is decoded."""
        flying: deque[Transaction] = deque()
        for group in _grouped(sized):
            flying.extend(self._transactions.begin(command, [group]))
            if len(flying) > 1:
                yield from self._collect(flying.popleft(), columns)
        if flying:
            yield from self._collect(flying.popleft(), columns)

    def _collect(self, transaction: Transaction, columns: Columns) -> Iterator[SourceItem]:
        again = self._long if columns is self._strings else self._others
        rows = transaction.take() or ((), ())
        for key, value, expiry in zip(transaction.keys, *rows, strict=True):
            if isinstance(value, Refusal) or expiry == UNSURE:
                self._set_aside(key, value, expiry, again)
            elif value is not None:
                yield from self._row(key, value, expiry, columns)

    def _row(self, key: bytes, value: bytes, expiry: int, columns: Columns) -> Iterator[SourceItem]:
        if columns is self._dumps:
            self.dump_version = max(payload_version(value), self.dump_version or 0)
        if len(value) > LARGE_VALUE:
            parts = deque(value[start : start + _PART_BYTES] for start in range(0, len(value), _PART_BYTES))
            yield LargeValue(self._namespace, key, columns.encoding, len(value), drained(parts), moment(expiry))
            return
        columns.add([key], [value], [expiry])
        if columns.full:
            yield columns.take()

    def _stream(self, key: bytes) -> Iterator[SourceItem]:
        """A long string in parts, all of one moment, so that the server never copies it whole for us.

        One that changes at each try is read by one GET.
        """
        for _ in range(_TRIES):
            if found := self._watched_parts(key):
                parts, expiry = found
                size = sum(map(len, parts))
                yield LargeValue(self._namespace, key, Encoding.REDIS_STRING, size, drained(parts), moment(expiry))
                return
        yield from self._fetch(_GET, [(key, _STREAMED_BYTES)], self._strings)

    def _watched_parts(self, key: bytes) -> tuple[deque[bytes], int] | None:
        """The parts and the expiry; None where the key changed while they were read, or is no string any more."""
        self._connection.ask(b"WATCH", key)
        parts: deque[Any] = deque()
        while not parts or len(parts[-1]) == _PART_BYTES:
            start = len(parts) * _PART_BYTES
            command = pack(b"GETRANGE", key, b"%d" % start, b"%d" % (start + _PART_BYTES - 1))
            parts.append(self._connection.send(command, 1).take()[0])
            if isinstance(parts[-1], Refusal):
                break
        rows = self._transactions.begin(_STRLEN, [[key]])[0].take()  # EXEC: also ends the WATCH
        if rows is None or isinstance(parts[-1], Refusal) or not parts[0] or rows[1][0] < NEVER:
            return None
        return parts, rows[1][0]


def scan_command(cursor: bytes, pattern: str | None) -> bytes:
    """A SCAN from `cursor` on, packed."""
    match = [] if pattern is None else [b"MATCH", pattern.encode()]
    return pack(b"SCAN", cursor, *match, b"COUNT", b"%d" % _PAGE_KEYS)


def scanned(connection: Connection, page: Ticket) -> tuple[bytes, list[bytes]]:
    """The next cursor and the keys of a page; the cursor is 0 when it was the last."""
    reply = page.take()[0]
    if isinstance(reply, Refusal):
        raise refused(connection.address, reply)
    cursor, keys = reply
    return cursor, keys


def payload_version(payload: bytes) -> int:
    """The RDB version of a DUMP payload: its last ten bytes are version and checksum, little end first."""
    return int.from_bytes(payload[-10:-8], "little")


def _grouped(sized: Sequence[tuple[bytes, int]]) -> Iterator[list[bytes]]:
    """Keys in groups of at most `_PROBE_KEYS` whose sizes add up to a few MiB; a larger one stands alone."""
    group: list[bytes] = []
    filled = 0
    for key, size in sized:
        if group and (filled + size > _GROUP_BYTES or len(group) == _PROBE_KEYS):
            yield group
            group, filled = [], 0
        group.append(key)
        filled += size
    if group:
        yield group
