"""The replication stream of a Redis server: asks as a replica would (PSYNC), and takes the snapshot that begins it.

The server forks, and its child sends the whole of all databases as they were at the fork, as an RDB. That moment is
the cut. Behind the snapshot a replica would get every command from then on: `rdb-only` says that we do not want them
(the server then keeps nothing for us, however slow we read), and the connection is closed at the snapshot's end.

FLUSHALL makes the server end its child, and with it the stream; so does a reader that takes nothing for a minute
(repl-timeout). Either is an error, and the next attempt begins anew.

The server tells the RDB's size, where it wrote a file first, or a mark of 40 bytes that will stand at its end. While
it prepares, it sends empty lines, so that nobody takes it for dead.
"""

from __future__ import annotations

import re
from typing import Final

from strata.errors import SourceError
from strata.sources.redis_commands import pack
from strata.sources.redis_layout import damaged
from strata.sources.redis_rdb import RdbSplitter
from strata.sources.redis_url import RedisAddress
from strata.sources.resp import Connection, Refusal, refused

_PIECE_BYTES: Final = 1 << 20
_MARK_BYTES: Final = 40
_LINE_BYTES: Final = 4096
_HEADING: Final = re.compile(rb"\$(EOF:(?P<mark>.{40})|(?P<size>\d{1,18}))", re.DOTALL)


class SyncStream:
    """A snapshot on its way; `splitter` reads it. The server has forked when this is made, and its data is coming."""

    def __init__(self, address: RedisAddress, server_version: str) -> None:
        self._connection = Connection(address)
        try:
            self._ask(server_version)
            self.replication_id, self.replication_offset = self._read_position()
            self.splitter = RdbSplitter(_Payload(self._connection, self._read_line()))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the connection; a server that still sends gives up."""
        self._connection.close()

    def _ask(self, server_version: str) -> None:
        """Say what we want. A server that does not know one of the options goes on without it."""
        options = ((b"capa", b"eof"), (b"rdb-only", b"1"), (b"version", server_version.encode()))
        commands = b"".join(pack(b"REPLCONF", *option) for option in options)
        for answer in self._connection.send(commands, len(options)).take():
            if isinstance(answer, Refusal) and not str(answer).startswith("ERR"):
                raise refused(self._connection.address, answer, "does not give its replication stream")
        self._connection.transmit(pack(b"PSYNC", b"?", b"-1"))

    def _read_position(self) -> tuple[str, int]:
        """Replication id and offset of the moment of the fork."""
        words = self._read_line().decode("ascii", "replace")
        if words.startswith("-"):
            raise refused(self._connection.address, Refusal(words[1:]), "does not give its replication stream")
        name, _, rest = words.partition(" ")
        replication_id, _, offset = rest.partition(" ")
        if name != "+FULLRESYNC" or not offset.isdecimal():
            raise SourceError(f"HOT (Redis) at {self._connection.address} answers PSYNC in a way that is not known")
        return replication_id, int(offset)

    def _read_line(self) -> bytes:
        """The next line that is not empty, byte by byte: behind it something else may begin."""
        line, byte = bytearray(), bytearray(1)
        while not line or byte != b"\n":
            self._connection.receive_raw(memoryview(byte))
            if byte != b"\n":
                line += byte
            if len(line) > _LINE_BYTES:
                raise damaged("it does not begin as a snapshot")
        return bytes(line.rstrip())


class _Payload:
    """The RDB between its heading and its end, by the piece; an empty one at the end.

    Pieces are views of one buffer, each good until the next one is asked for.
    """

    def __init__(self, connection: Connection, heading: bytes) -> None:
        self._connection = connection
        told = _HEADING.fullmatch(heading)
        if told is None:
            raise damaged("it does not say where it ends")
        self._mark, self._left = told["mark"], int(told["size"] or 0)
        self._ended = False
        self._view = memoryview(bytearray(_PIECE_BYTES))
        self._given = self._filled = 0

    def __call__(self) -> memoryview:
        return self._until_mark() if self._mark else self._counted()

    def _counted(self) -> memoryview:
        view = self._view[: self._left]
        filled = 0
        while filled < len(view):
            filled += self._connection.receive_raw(view[filled:])
        self._left -= filled
        return view

    def _until_mark(self) -> memoryview:
        """The last bytes are held back, for they may be the beginning of the mark."""
        view, filled = self._view, self._filled - self._given
        if self._ended:
            return view[:0]
        view[:filled] = view[self._given : self._filled]
        while filled < len(view) and not self._ended:
            filled += self._connection.receive_raw(view[filled:])
            self._ended = view[:filled][-_MARK_BYTES:] == self._mark
        self._given, self._filled = max(filled - _MARK_BYTES, 0), filled
        return view[: self._given]
