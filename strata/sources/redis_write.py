"""Writing records back into Redis: SET and RESTORE with absolute expiries, packed, a window of batches ahead.

Every reply is checked. One record is one command, so a key is never seen half written; nothing can be taken back.
MSET was tried for strings that never expire: 0.64-0.74 s per 200,000 against 0.57-0.71 s by SET.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from strata.errors import SourceError
from strata.model.record import Encoding, LargeValue
from strata.model.scope import Scope
from strata.sources.port import ApplyCounts, KnownKeys, RestoreMode
from strata.sources.redis_columns import expiry_of
from strata.sources.redis_commands import pack, packed
from strata.sources.redis_read import scan_command, scanned
from strata.sources.redis_rehearse import check_evicted, memory_of
from strata.sources.redis_transaction import milliseconds
from strata.sources.resp import Connection, Ticket, first_refusal, refused

_WINDOW: Final = 2
_SLICE_ROWS: Final = 8192

_SET: Final = b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n"
_SET_UNTIL: Final = b"*5\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$4\r\nPXAT\r\n$%d\r\n%b\r\n"
_RESTORE: Final = (  # an expiry of 0 is none
    b"*6\r\n$7\r\nRESTORE\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$7\r\nREPLACE\r\n$6\r\nABSTTL\r\n"
)
_TIME: Final = pack(b"TIME")


class RedisApplication:
    """One restore into the databases that the backup's description names."""

    def __init__(self, connection: Connection, databases: Sequence[int], mode: RestoreMode) -> None:
        self._connection = connection
        self._databases = databases
        self._mode = mode
        self._counts = ApplyCounts()
        self._windows: deque[tuple[Ticket, int]] = deque()
        self._now = milliseconds(connection.ask(b"TIME"))
        self._memory = memory_of(connection)

    def write(self, batch: pa.RecordBatch) -> None:
        texts = [batch.column(name).cast(pa.string()) for name in ("namespace", "encoding")]
        for namespace in pc.unique(texts[0]).to_pylist():
            self._select(namespace)
            for encoding in pc.unique(texts[1]).to_pylist():
                rows = batch.filter(pc.and_(pc.equal(texts[0], namespace), pc.equal(texts[1], encoding)))
                for start in range(0, rows.num_rows, _SLICE_ROWS):
                    self._write_rows(rows.slice(start, _SLICE_ROWS), encoding)

    def write_large(self, value: LargeValue) -> None:
        self._settle(0)
        self._select(value.namespace)
        expiry = expiry_of(value.expires_at)
        if 0 <= expiry <= self._now:
            self._drop_expired([value.key])
            return
        before, after = _around(value, expiry)
        sent = 0
        try:
            self._connection.transmit(before)
            for part in value.parts:
                self._connection.transmit(part)
                sent += len(part)
        finally:
            if sent != value.size:  # the server still waits for the rest, so it has written nothing: leave it at that
                self._connection.close()
        if sent != value.size:
            raise SourceError(f"a large value of HOT (Redis) came with {sent:,} bytes in place of {value.size:,}")
        self._windows.append((self._connection.send(after + _TIME, 2), value.size))  # only now can the server do it
        self._settle(0)

    def finish(self, known: KnownKeys, scope: Scope) -> ApplyCounts:
        self._settle(0)
        if self._mode is RestoreMode.EXACT:
            patterns = [None] if scope.is_everything else list(scope.patterns)
            for database in self._databases:
                self._connection.select(database)
                for pattern in patterns:
                    self._remove_unknown(str(database), pattern, known)
        check_evicted(self._connection, self._memory)
        return self._counts

    def _select(self, namespace: str) -> None:
        if not namespace.isdecimal() or int(namespace) not in self._databases:
            raise SourceError(
                f"HOT (Redis) at {self._connection.address} has no database {namespace!r} to write to",
                hint="Name every database of the backup in the URL of HOT.",
            )
        self._connection.select(int(namespace))

    def _write_rows(self, rows: pa.RecordBatch, encoding: str) -> None:
        """Send the commands of one database and encoding, and look at the replies of the window before."""
        expiries = _milliseconds(rows.column("expires_at"))
        if (expired := (expiries >= 0) & (expiries <= self._now)).any():
            self._drop_expired(rows.filter(pa.array(expired)).column("key").to_pylist())
            rows, expiries = rows.filter(pa.array(~expired)), expiries[~expired]
        keys, values = rows.column("key").to_pylist(), rows.column("value").to_pylist()
        commands = self._pack(encoding, keys, values, expiries)
        # TIME rides along with every window: what has expired by then is not sent in the next one, without
        # a round trip to ask. What expires in between is removed by the server itself.
        ticket = self._connection.send(b"".join([*commands, _TIME]), len(keys) + 1)
        self._windows.append((ticket, sum(map(len, values))))
        self._settle(_WINDOW - 1)

    def _pack(
        self, encoding: str, keys: list[bytes], values: list[bytes], expiries: npt.NDArray[np.int64]
    ) -> list[bytes]:
        match encoding:
            case Encoding.REDIS_STRING if (expiries < 0).all():
                return [_SET % (len(k), k, len(v), v) for k, v in zip(keys, values, strict=True)]
            case Encoding.REDIS_STRING:
                rows = zip(keys, values, map(_digits, expiries.tolist()), strict=True)
                return [
                    _SET_UNTIL % (len(k), k, len(v), v, len(t), t) if t else _SET % (len(k), k, len(v), v)
                    for k, v, t in rows
                ]
            case Encoding.REDIS_DUMP:
                rows = zip(keys, map(_digits_or_zero, expiries.tolist()), values, strict=True)
                return [_RESTORE % (len(k), k, len(t), t, len(v), v) for k, t, v in rows]
            case _:
                raise SourceError(f"HOT (Redis) cannot take records with the encoding {encoding}")

    def _drop_expired(self, keys: list[bytes]) -> None:
        """Count records that have expired since the backup; an exact restore removes their keys."""
        self._counts.expired += len(keys)
        if self._mode is RestoreMode.EXACT:
            self._counts.removed += self._connection.ask(b"UNLINK", *keys)

    def _settle(self, windows: int) -> None:
        """Check replies until at most `windows` are open."""
        while len(self._windows) > windows:
            ticket, size = self._windows.popleft()
            *replies, time = ticket.take()
            if refusal := first_refusal([*replies, time]):
                raise self._refused(refusal, replies)
            self._counts.written += len(replies)
            self._counts.bytes += size
            self._now = milliseconds(time)

    def _refused(self, refusal: Any, replies: list[Any]) -> SourceError:
        count = sum(type(reply) is type(refusal) for reply in replies)
        return refused(self._connection.address, refusal, f"refused {count:,} of {len(replies):,} records")

    def _remove_unknown(self, namespace: str, pattern: str | None, known: KnownKeys) -> None:
        """Unlink the keys of a database that match the glob and are not in the backup."""
        page: Ticket | None = self._connection.send(scan_command(b"0", pattern), 1)
        removals: deque[Ticket] = deque()
        while page:
            cursor, keys = scanned(self._connection, page)
            page = None if cursor == b"0" else self._connection.send(scan_command(cursor, pattern), 1)
            if keys:
                held = known(namespace, pa.array(keys, pa.large_binary()))
                removals.extend(self._unlink([keys[index] for index in np.flatnonzero(~held)]))
            self._count_removed(removals, 1)
        self._count_removed(removals, 0)

    def _unlink(self, keys: list[bytes]) -> Iterator[Ticket]:
        if keys:
            yield self._connection.send(pack(b"UNLINK", *keys), 1)

    def _count_removed(self, removals: deque[Ticket], left: int) -> None:
        while len(removals) > left:
            replies = removals.popleft().take()
            if refusal := first_refusal(replies):
                raise refused(self._connection.address, refusal, "refused to remove keys")
            self._counts.removed += replies[0]


def _around(value: LargeValue, expiry: int) -> tuple[bytes, bytes]:
    """The bytes of the command before and after the value's own."""
    hole = b"\0hole\0"
    if value.encoding is Encoding.REDIS_STRING:
        until = [b"PXAT", b"%d" % expiry] if expiry >= 0 else []
        words = [b"SET", value.key, hole, *until]
    else:
        words = [b"RESTORE", value.key, _digits_or_zero(expiry), hole, b"REPLACE", b"ABSTTL"]
    place = words.index(hole, 2)
    head = b"*%d\r\n" % len(words) + b"".join(packed(words[:place])) + b"$%d\r\n" % value.size
    return head, b"\r\n" + b"".join(packed(words[place + 1 :]))


def _milliseconds(moments: pa.Array) -> npt.NDArray[np.int64]:
    """A column of moments as milliseconds since 1970, -1 for null."""
    numbers: npt.NDArray[np.int64] = moments.view(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    return numbers


def _digits(expiry: int) -> bytes:
    return b"%d" % expiry if expiry >= 0 else b""


def _digits_or_zero(expiry: int) -> bytes:
    return b"%d" % max(expiry, 0)
