"""A byte stream of which a window is in memory: read by number, by string, or as it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import anycrc

from strata.model.record import LARGE_VALUE
from strata.sources.redis_layout import INTEGER_BYTES, LZF, Walk, damaged, read_length
from strata.sources.redis_lzf import MOST_TIMES, decompress, decompress_parts

crc64: Final[Callable[..., int]] = anycrc.Model("CRC64-REDIS").calc
"""CRC-64 as Redis reckons it (Jones), over bytes, going on from a former one: 6 GB/s, 0.25 us a call."""


class Window:
    """What came of a stream and was not read yet: `data` from `at` on.

    `receive` gives the next piece, a MiB or so; an empty one where the stream has ended. A piece may be overwritten
    when the next one is asked for.
    """

    def __init__(self, receive: Callable[[], bytes | memoryview]) -> None:
        self._receive = receive
        self._crc = 0
        self.data, self.at = b"", 0

    @property
    def crc(self) -> int:
        """The CRC-64 of all that was read."""
        return crc64(memoryview(self.data)[: self.at], self._crc)

    def more(self) -> bool:
        """Let go of what was read, and add the next piece; False where the stream has ended."""
        piece = self._receive()
        self._crc = self.crc
        self.data, self.at = b"".join((memoryview(self.data)[self.at :], piece)), 0
        return bool(piece)

    def fill(self) -> None:
        """As `more`, where more must come."""
        if not self.more():
            raise damaged("it ends early")

    def need(self, size: int) -> None:
        """Have at least so many bytes there."""
        while len(self.data) - self.at < size:
            self.fill()

    def peek(self) -> int:
        """The next byte, which stays."""
        self.need(1)
        return self.data[self.at]

    def take(self, size: int) -> bytes:
        """The next bytes."""
        self.need(size)
        start, self.at = self.at, self.at + size
        return self.data[start : self.at]

    def integer(self, size: int) -> int:
        """The next bytes as a signed number, little end first."""
        return int.from_bytes(self.take(size), "little", signed=True)

    def length(self) -> int:
        """A length."""
        while True:
            try:
                length, self.at = read_length(self.data, self.at)
            except IndexError:
                self.fill()
            else:
                return length

    def text(self) -> bytes:
        """A string, whole."""
        return b"".join(self.text_parts()[1])

    def text_parts(self) -> tuple[int, Iterator[bytes]]:
        """The size of a string and its bytes, in parts if it is large, which must be taken before anything else is."""
        first = self.peek()
        if first != LZF and first not in INTEGER_BYTES:
            size = self.length()
            return size, self.pieces(size)
        self.at += 1
        if first != LZF:
            digits = b"%d" % self.integer(INTEGER_BYTES[first])
            return len(digits), iter([digits])
        packed, size = self.length(), self.length()
        if size > packed * MOST_TIMES:
            raise damaged("a compressed string is broken")
        if size <= LARGE_VALUE:
            return size, iter([decompress(self.take(packed), size)])
        return size, decompress_parts(self.pieces(packed), size)

    def pieces(self, size: int) -> Iterator[bytes]:
        """The next bytes as they come."""
        while size:
            self.need(1)
            piece = self.take(min(size, len(self.data) - self.at))
            size -= len(piece)
            yield piece

    def walk(self, walk: Walk) -> Iterator[bytes]:
        """What a walk passes, as it comes."""
        while True:
            start = self.at
            self.at = walk.advance(self.data, start)
            if self.at > start:
                yield self.data[start : self.at]
            if walk.done:
                return
            self.fill()
