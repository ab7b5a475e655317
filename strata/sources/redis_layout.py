"""How values stand in an RDB: enough to find where one ends, and nothing of what it means.

The RDB is the format of Redis' snapshots and of its replication stream (rdb.h and rdb.c of Redis and Valkey say what
it is). A value is a sequence of three things: lengths, strings, and runs of bytes. Each type's layout is a generator
that says what comes next, and is told the numbers it asks for; a `Walk` follows one over a stream of which only a
window is in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Final

from strata.errors import SourceUnavailable
from strata.model.tier import Tier

LENGTH: Final = 0
"""A number: 1, 2, 5 or 9 bytes."""

STRING: Final = -1
"""A length and that many bytes, or an integer, or bytes compressed by LZF."""

ASCII_DOUBLE: Final = -2
"""One byte of length and the digits; 253 and more stand for what is no number."""

SHORT_LENGTH: Final = 64
"""A first byte below it is the length itself."""

MIDDLE_LENGTH: Final = 128
"""A first byte below it has six bits of the length, and the next byte eight."""

_LONG_LENGTHS: Final = {0x80: 4, 0x81: 8}
_NO_DOUBLE: Final = 253
_NUMBER: Final = ((LENGTH,), -1)

Pattern = tuple[int, ...]
"""What follows each other; a positive number is that many bytes."""

Steps = Generator[tuple[Pattern, int], int, None]
"""Patterns, and how often each comes; after a `_NUMBER` the generator is sent what it is."""

Layout = Callable[[], Steps]

INTEGER_BYTES: Final = {0xC0: 1, 0xC1: 2, 0xC2: 4}
"""Bytes of a string that is an integer, by its first byte."""

LZF: Final = 0xC3
"""The first byte of a compressed string; its compressed and plain length follow."""


def damaged(what: str) -> SourceUnavailable:
    """The error for a stream that is not what a server sends; reading again may help."""
    return SourceUnavailable(
        f"{Tier.HOT.label} sent a damaged stream: {what}",
        hint="Try again; if it goes on, set STRATA_HOT_METHOD to scan and see the server's own log.",
    )


def read_length(data: bytes, at: int) -> tuple[int, int]:
    """The length at `at`, and where it ends; IndexError where the window ends before it does."""
    first = data[at]
    if first < SHORT_LENGTH:
        return first, at + 1
    if first < MIDDLE_LENGTH:
        return (first & 63) << 8 | data[at + 1], at + 2
    if first not in _LONG_LENGTHS:
        raise damaged("a length is none")
    end = at + 1 + _LONG_LENGTHS[first]
    if end > len(data):
        raise IndexError
    return int.from_bytes(data[at + 1 : end], "big"), end


def read_string_head(data: bytes, at: int) -> tuple[int, int]:
    """How many bytes a string has behind its head, and where these begin; IndexError as `read_length`."""
    first = data[at]
    if first in INTEGER_BYTES:
        return INTEGER_BYTES[first], at + 1
    if first != LZF:
        return read_length(data, at)
    size, at = read_length(data, at + 1)
    return size, read_length(data, at)[1]


class Walk:
    """Finds where a value ends, over as many windows as it needs."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._pattern: Pattern = ()
        self._left = 0
        self._skip = 0
        self.done = False
        self._next(None)

    def advance(self, data: bytes, at: int) -> int:
        """Go on at `at`, to the value's end (then it is `done`) or as far as the window tells.

        What is left of the window then is the beginning of a head: it must stand before what comes next.
        """
        while not self.done:
            step = min(self._skip, len(data) - at)
            at += step
            self._skip -= step
            if self._skip:
                break
            at, is_whole = self._number(data, at) if self._left < 0 else self._items(data, at)
            if not is_whole:
                break
        return at

    def _next(self, number: int | None) -> None:
        try:
            self._pattern, count = self._steps.send(number)  # type: ignore[arg-type]  # the first one is None
            self._left = count * len(self._pattern)
        except StopIteration:
            self.done = True

    def _number(self, data: bytes, at: int) -> tuple[int, bool]:
        try:
            number, at = read_length(data, at)
        except IndexError:
            return at, False
        self._next(number)
        return at, True

    def _items(self, data: bytes, at: int) -> tuple[int, bool]:
        """Pass the items of the pattern that begin in the window, 0.1 us each; whether these are all."""
        pattern, left, end = self._pattern, self._left, len(data)
        size = len(pattern)
        try:
            while left and at <= end:
                what = pattern[-left % size]
                if what > 0:
                    at += what
                elif (first := data[at]) < SHORT_LENGTH:
                    at += 1 if what == LENGTH else first + 1
                elif what == STRING:
                    length, body = read_string_head(data, at)
                    at = body + length
                elif what == LENGTH:
                    _, at = read_length(data, at)
                else:
                    at += 1 if first >= _NO_DOUBLE else first + 1
                left -= 1
        except IndexError:
            pass
        self._left, self._skip = left, max(at - end, 0)
        if left or self._skip:
            return min(at, end), False
        self._next(0)
        return at, True


def _repeated(*pattern: int, before: int = 0) -> Layout:
    """A number, and the pattern that often; `before` bytes stand before it."""

    def steps() -> Steps:
        if before:
            yield (before,), 1
        yield pattern, (yield _NUMBER)

    return steps


def _once(*pattern: int) -> Layout:
    def steps() -> Steps:
        yield pattern, 1

    return steps


_ACTIVE_TIMES: Final = 3


def _stream(version: int) -> Layout:
    """Listpacks, counters, groups with what they have pending, and their consumers."""
    counters = (LENGTH,) * (3 if version == 1 else 8)
    group = (STRING, LENGTH, LENGTH) if version == 1 else (STRING, LENGTH, LENGTH, LENGTH)
    consumer = (STRING, 8) if version < _ACTIVE_TIMES else (STRING, 8, 8)

    def steps() -> Steps:
        yield (STRING, STRING), (yield _NUMBER)
        yield counters, 1
        for _ in range((yield _NUMBER)):
            yield group, 1
            yield (16, 8, LENGTH), (yield _NUMBER)
            for _ in range((yield _NUMBER)):
                yield consumer, 1
                yield (16,), (yield _NUMBER)

    return steps


_MODULE_PARTS: Final = {1: LENGTH, 2: LENGTH, 3: 4, 4: 8, 5: STRING}


def _module() -> Steps:
    """The module's id, then parts that say of what kind they are, and 0."""
    yield (LENGTH,), 1
    while kind := (yield _NUMBER):
        if kind not in _MODULE_PARTS:
            raise damaged(f"a module's value has a part of kind {kind}")
        yield (_MODULE_PARTS[kind],), 1


STRING_TYPE: Final = 0

BLOBS: Final = frozenset({9, 10, 11, 12, 13, 16, 17, 20})
"""Types whose value is one string: zipmap, ziplists, intset, listpacks."""

QUICKLIST: Final = 18

_COMMON: Final[dict[int, Layout]] = {
    **dict.fromkeys(BLOBS, _once(STRING)),
    1: _repeated(STRING),  # list
    2: _repeated(STRING),  # set
    3: _repeated(STRING, ASCII_DOUBLE),  # sorted set
    4: _repeated(STRING, STRING),  # hash
    5: _repeated(STRING, 8),  # sorted set
    7: _module,
    14: _repeated(STRING),  # quicklist of ziplists
    15: _stream(1),
    QUICKLIST: _repeated(LENGTH, STRING),
    19: _stream(2),
    21: _stream(3),
}
_REDIS: Final[dict[int, Layout]] = {  # hashes whose fields expire, from Redis 7.4 on
    22: _repeated(LENGTH, STRING, STRING),
    23: _once(STRING),
    24: _repeated(LENGTH, STRING, STRING, before=8),
    25: _once(8, STRING),
}
_VALKEY: Final[dict[int, Layout]] = {22: _repeated(STRING, STRING, 8)}  # the same, from Valkey 9 on

NEWEST: Final = {b"REDIS": 12, b"VALKEY": 80}
"""The newest RDB version whose layouts are known here, for each product that counts its own."""


def value_layouts(product: bytes) -> dict[int, Layout]:
    """The layouts of all types but plain strings, in the RDB of a product (as the RDB itself names it)."""
    return _COMMON | (_VALKEY if product == b"VALKEY" else _REDIS)


SLOT_INFO: Final = 244
IDLE: Final = 248
FREQUENCY: Final = 249
AUXILIARY: Final = 250
EXPIRY_MS: Final = 252
EXPIRY_S: Final = 253
DATABASE: Final = 254
END: Final = 255

SKIPPED: Final[dict[int, Layout]] = {
    SLOT_INFO: _once(LENGTH, LENGTH, LENGTH),
    245: _once(STRING),  # a library of functions
    247: _module,  # what a module keeps outside of keys
    IDLE: _once(LENGTH),
    FREQUENCY: _once(1),
    AUXILIARY: _once(STRING, STRING),
    251: _once(LENGTH, LENGTH),  # how many keys follow
}
"""What stands between the records and is no part of the state that is kept."""
