"""The frame: how every sealed object looks, in a store and in the spool (docs/format.md is its specification).

    header (200 bytes) | sealed block 0 | ... | sealed block n-1 | sealed block table | footer (24 bytes)

Each object has a key of its own, derived from the data key and a random salt in the header, so block numbers serve
as nonces and a stage done twice never seals two texts under one key and nonce. The whole header, the block's number
and the "last" mark are authenticated with every block: blocks cannot be moved, swapped, dropped or appended unseen
(the STREAM construction, Hoang, Reyhanitabar, Rogaway, Vizar 2015).
"""

from __future__ import annotations

import secrets
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from strata.errors import IntegrityError
from strata.model.layer import ObjectKind
from strata.model.manifest import FORMAT_VERSION
from strata.seal.compression import CompressionService
from strata.seal.encryption import TAG_BYTES, EncryptionService, derive

MAGIC: Final = b"STRATA\x1a\n"
END_MAGIC: Final = b"\n\x1aATARTS"
AES_256_GCM: Final = 1
HEADER: Final = struct.Struct("<8sHBBB3xI4x32s16s60s64s4x")
FOOTER: Final = struct.Struct("<QII8s")
TABLE_ROW: Final = np.dtype(
    [("offset", "<u8"), ("length", "<u4"), ("raw_length", "<u4"), ("rows", "<u4"), ("first_length", "<u4")]
)
_BLOCK, _TABLE = 0, 1
_MORE, _LAST, _END = b"\0", b"\1", b"\2"
_MAX_BLOCKS: Final = 1 << 20

_KINDS: Final = dict(enumerate(ObjectKind, start=1))
_KIND_NUMBERS: Final = {kind: number for number, kind in _KINDS.items()}


class Compression(IntEnum):
    """How the blocks of an object are compressed."""

    NONE = 0
    ZSTD = 1


@dataclass(frozen=True)
class FrameKey:
    """The secret an object is sealed with, and what the header says of it (empty for the spool)."""

    secret: bytes = field(repr=False)
    key_id: str = ""
    wrapped: bytes = b""


@dataclass(frozen=True)
class Header:
    """The first 200 bytes of an object."""

    kind: ObjectKind
    compression: Compression
    owner: str
    """The layer the object belongs to; for the spool, the run."""
    seq: int
    key_id: str
    wrapped: bytes
    salt: bytes

    def encode(self) -> bytes:
        """The header's bytes; ValueError where a name does not fit in, for none is ever cut short."""
        for name, room in ((self.key_id.encode("ascii"), 16), (self.wrapped, 60), (self.owner.encode("ascii"), 64)):
            if len(name) > room:
                raise ValueError(f"a name of {len(name)} bytes is too long for a header ({room})")
        return HEADER.pack(
            MAGIC,
            FORMAT_VERSION,
            _KIND_NUMBERS[self.kind],
            AES_256_GCM,
            self.compression,
            self.seq,
            self.salt,
            self.key_id.encode(),
            self.wrapped,
            self.owner.encode(),
        )

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Header:
        """Read a header; IntegrityError where it is none, or of a version that is not known."""
        if len(data) < HEADER.size or bytes(data[:8]) != MAGIC:
            raise IntegrityError("this is not a Strata object, or its beginning is damaged")
        _, version, kind, cipher, compression, seq, salt, key_id, wrapped, owner = HEADER.unpack(data[: HEADER.size])
        if version != FORMAT_VERSION:
            raise IntegrityError(f"format version {version} is not known to this Strata (it reads {FORMAT_VERSION})")
        if kind not in _KINDS or cipher != AES_256_GCM or compression not in list(Compression):
            raise IntegrityError("the header names an unknown kind, cipher or compression")
        try:
            names = key_id.rstrip(b"\0").decode("ascii"), owner.rstrip(b"\0").decode("ascii")
        except UnicodeDecodeError:
            raise IntegrityError("the header is damaged") from None
        if not "".join(names).isprintable():  # they are shown before anything of the object is proved
            raise IntegrityError("the header is damaged")
        kept = wrapped if any(wrapped) else b""
        header = cls(_KINDS[kind], Compression(compression), names[1], seq, names[0], kept, salt)
        if header.encode() != bytes(data[: HEADER.size]):
            raise IntegrityError("the header has bytes where none may be")
        return header


@dataclass(frozen=True)
class Block:
    """One row of the block table: `length` sealed bytes at `offset`, `raw_length` bytes before compression."""

    offset: int
    length: int
    raw_length: int
    rows: int
    first: bytes
    """Where the block begins in the object's order (see docs/format.md); empty where there is no order."""


Emit = Callable[[bytes | memoryview], object]
"""Takes the next bytes of an object."""


class _Room(threading.local):
    """Memory that a thread seals into, block after block and object after object."""

    def __init__(self) -> None:
        self.bytes = bytearray()


_ROOM: Final = _Room()


class FrameWriter:
    """Seals blocks one after the other and hands each part of the object to `emit`, which must use it at once."""

    def __init__(
        self, key: FrameKey, kind: ObjectKind, owner: str, seq: int, compression: Compression, emit: Emit
    ) -> None:
        salt = secrets.token_bytes(32)
        self._header = Header(kind, compression, owner, seq, key.key_id, key.wrapped, salt).encode()
        self._cipher = EncryptionService(derive(key.secret, b"object", salt))
        self._emit = emit
        self._blocks: list[Block] = []
        self._waiting: tuple[bytes | memoryview, int, int, bytes] | None = None
        self._offset = len(self._header)
        emit(self._header)

    @property
    def block_count(self) -> int:
        """Blocks added so far: the number the next one will have."""
        return len(self._blocks) + (self._waiting is not None)

    def add(self, payload: bytes | memoryview, raw_length: int, rows: int, first: bytes = b"") -> None:
        """Append a block; `payload` is compressed already, as the header says."""
        self._flush(_MORE)
        self._waiting = (payload, raw_length, rows, first)

    def go_on(self) -> None:
        """Seal the block that was added last, for it is not the last: its payload is not needed any more."""
        self._flush(_MORE)

    def finish(self) -> None:
        """Seal the last block and the table: the object is complete."""
        self._flush(_LAST)
        table = encode_table(self._blocks)
        count = len(self._blocks)
        sealed = self._cipher.seal(_nonce(_TABLE, count), table, self._header + count.to_bytes(8, "big") + _END)
        self._emit(sealed)
        self._emit(FOOTER.pack(self._offset, len(sealed), count, END_MAGIC))

    def _flush(self, mark: bytes) -> None:
        if self._waiting is None:
            return
        payload, raw_length, rows, first = self._waiting
        number = len(self._blocks)
        context = self._header + number.to_bytes(8, "big") + mark
        sealed = self._cipher.seal_into(_nonce(_BLOCK, number), payload, context, _ROOM.bytes)
        self._emit(sealed)
        self._blocks.append(Block(self._offset, len(sealed), raw_length, rows, first))
        self._offset += len(sealed)
        sealed.release()  # so that the room may grow
        self._waiting = None


Fetch = Callable[[int, int], bytes | memoryview]
"""`fetch(offset, length)`: bytes of the object."""


class FrameReader:
    """Opens an object: checks header, footer and table at once, and each block as it is read.

    `key_for` answers the key for a header. Errors are IntegrityError; the caller adds the object's name.
    """

    def __init__(self, fetch: Fetch, size: int, key_for: Callable[[Header], FrameKey]) -> None:
        if size < HEADER.size + TAG_BYTES + FOOTER.size:
            raise IntegrityError(f"the object is cut short ({size} bytes)")
        self._fetch = fetch
        self._raw_header = bytes(fetch(0, HEADER.size))
        self.header = Header.decode(self._raw_header)
        key = key_for(self.header)
        self._cipher = EncryptionService(derive(key.secret, b"object", self.header.salt))
        self._compression = CompressionService()
        self.blocks = self._read_table(size)

    def _read_table(self, size: int) -> list[Block]:
        footer = self._fetch(size - FOOTER.size, FOOTER.size)
        if len(footer) != FOOTER.size:
            raise IntegrityError("the object is cut short")
        offset, length, count, magic = FOOTER.unpack(footer)
        if magic != END_MAGIC or offset + length + FOOTER.size != size or count > _MAX_BLOCKS:
            raise IntegrityError("the end of the object is missing or damaged")
        context = self._raw_header + count.to_bytes(8, "big") + _END
        blocks = decode_table(self._cipher.open(_nonce(_TABLE, count), self._fetch(offset, length), context), count)
        position = HEADER.size
        for block in blocks:
            if block.offset != position:
                raise IntegrityError("the block table does not describe the object")
            position += block.length
        if position != offset:
            raise IntegrityError("the block table does not describe the object")
        return blocks

    def payload(self, number: int) -> bytes:
        """The block as it was added: authenticated, still compressed."""
        block = self.blocks[number]
        mark = _LAST if number == len(self.blocks) - 1 else _MORE
        context = self._raw_header + number.to_bytes(8, "big") + mark
        return self._cipher.open(_nonce(_BLOCK, number), self._fetch(block.offset, block.length), context)

    def read(self, number: int) -> bytes:
        """The block's raw bytes."""
        payload, length = self.payload(number), self.blocks[number].raw_length
        if self.header.compression is Compression.ZSTD:
            return self._compression.decompress(payload, length)
        if len(payload) != length:
            raise IntegrityError("a block does not have the length its table says")
        return payload

    def __iter__(self) -> Iterator[bytes]:
        return (self.read(number) for number in range(len(self.blocks)))


def open_whole(data: bytes, key_for: Callable[[Header], FrameKey]) -> FrameReader:
    """A reader of an object that is in memory."""
    view = memoryview(data)
    return FrameReader(lambda offset, length: view[offset : offset + length], len(data), key_for)


def encode_table(blocks: list[Block]) -> bytes:
    """The block table: fixed rows, then all `first` values one after the other."""
    rows = np.array([(b.offset, b.length, b.raw_length, b.rows, len(b.first)) for b in blocks], TABLE_ROW)
    return rows.tobytes() + b"".join(block.first for block in blocks)


def decode_table(table: bytes, count: int) -> list[Block]:
    """Read a block table of `count` rows."""
    fixed = count * TABLE_ROW.itemsize
    if len(table) < fixed:
        raise IntegrityError("the block table is too short")
    rows: npt.NDArray[np.void] = np.frombuffer(table, TABLE_ROW, count)
    ends = fixed + np.cumsum(rows["first_length"], dtype=np.int64)
    if (int(ends[-1]) if count else 0) != len(table):
        raise IntegrityError("the block table has the wrong length")
    return [
        Block(
            int(row["offset"]),
            int(row["length"]),
            int(row["raw_length"]),
            int(row["rows"]),
            table[int(end) - int(row["first_length"]) : int(end)],
        )
        for row, end in zip(rows, ends, strict=True)
    ]


def _nonce(domain: int, number: int) -> bytes:
    return struct.pack(">B3xQ", domain, number)
