"""Large values as content-defined chunks.

FastCDC (Xia et al. 2016) cuts where the content says so: an insertion moves the cuts with it, so equal stretches of
two values give equal chunks. A chunk's id is BLAKE3 under a secret key (5 GB/s against 1.2 for SHA-256): equal
chunks can be recognised by those who hold the keyring, and by nobody else.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
from blake3 import blake3
from pyfastcdc import FastCDC

from strata.model.record import CHUNK_REF_BYTES

MIN_CHUNK: Final = 640 << 10
"""The bytes of a chunk below it are not even looked at, which is two thirds of them.

Chunks begin to be cut at once behind it, at one place in 256 KiB, so they have 926 KiB on average. With 512 KiB and
the paper's harder cuts up to 1 MiB they had 1,417, cutting took twice as long (2.5 GB/s against 5.5), and changes
cost as much or more: docs/adr/0009-cold-without-waiting.md has the table.
"""

MAX_CHUNK: Final = 4 << 20

CHUNK_INDEX_SCHEMA: Final = pa.schema(
    [
        pa.field("id", pa.binary(32), nullable=False),
        pa.field("pack", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("block", pa.uint32(), nullable=False),
    ]
)
"""Rows of a chunk index: the pack's object name, and the block in it that is the chunk."""

KNOWN_CHUNK_SCHEMA: Final = pa.schema(
    [pa.field("id", pa.binary(32), nullable=False), pa.field("layer", pa.uint32(), nullable=False)]
)
"""Rows of a list of chunks that a store holds already: the id, and the number of a layer that has it."""


class Chunker:
    """Cuts byte streams into chunks and names them."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._cdc = FastCDC(avg_size=MIN_CHUNK, min_size=MIN_CHUNK, max_size=MAX_CHUNK)

    def cut(self, parts: Iterable[Any]) -> Iterator[memoryview]:
        """The chunks of a stream of bytes-like parts, in order, as views of the parts: these must not change."""
        rest = memoryview(b"")
        for part in parts:
            joined = b"".join((rest, part)) if rest else part
            rest = yield from self._cut(memoryview(joined).cast("B"), MAX_CHUNK)
        yield from self._cut(rest, 0)

    def _cut(self, data: memoryview, keep: int) -> Generator[memoryview, None, memoryview]:
        """Yield chunks while more than `keep` bytes remain behind them; returns what remains."""
        position, cuts = 0, self._cdc.cut_buf(data)
        while len(data) - position > keep:  # asked before each cut: one that is not used is looked for all the same
            length = next(cuts).length
            yield data[position : position + length]
            position += length
        return data[position:]

    def name(self, chunk: memoryview) -> bytes:
        """The chunk's 32-byte id."""
        return bytes(blake3(chunk, key=self._secret).digest())


def encode_refs(refs: Iterable[tuple[bytes, int]]) -> bytes:
    """Chunk references (id, length) as they stand in a record's `chunks` column."""
    return b"".join(name + length.to_bytes(8, "big") for name, length in refs)


def decode_refs(column: bytes) -> list[tuple[bytes, int]]:
    """The chunk references of one record: ids and lengths in bytes."""
    view = [column[at : at + CHUNK_REF_BYTES] for at in range(0, len(column), CHUNK_REF_BYTES)]
    return [(ref[:32], int.from_bytes(ref[32:], "big")) for ref in view]


def places_checksum(places: Iterable[tuple[bytes, str, int]]) -> bytes:
    """What chunks at their places (id, pack, block) add up to, in any order and any split: 16 bytes.

    A pack and the chunk index give the same sum only if the index names the place of every chunk rightly.
    """
    joined = b"".join(
        blake3(name + pack.encode() + block.to_bytes(4, "big")).digest(16) for name, pack, block in places
    )
    total = np.frombuffer(joined, np.uint64).reshape(-1, 2).sum(axis=0, dtype=np.uint64)
    return bytes(total.tobytes())


def index_places(rows: pa.Table) -> Iterator[tuple[bytes, str, int]]:
    """The places that rows of a chunk index name."""
    columns = rows.to_pydict()
    return zip(columns["id"], columns["pack"], columns["block"], strict=True)
