"""Reads a tier of a backup through its stack: every record that counts, from whichever layer it is in.

The indexes say beforehand which rows of which segments count no more (content/stack.py); layers are then read bottom
first, each segment once, the next ones on their way while one is used.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from strata.content.chunks import Chunker, decode_refs, index_places
from strata.content.fingerprint import Fingerprinter, Hashes
from strata.content.stack import Overtaken
from strata.engine.layers import LayerReader
from strata.errors import IntegrityError
from strata.model.layer import Layer, ObjectKind, StoredObject
from strata.model.record import CONTENT_SCHEMA, Encoding, LargeValue
from strata.seal.encryption import derive
from strata.seal.frame import FrameReader

_AHEAD: Final = 2
"""Segments on their way: of a stack of many small layers each is a request of its own."""


@dataclass(frozen=True)
class StackReader:
    """One tier of a backup: its layers, bottom first, and all layers that may hold chunks of its values."""

    reader: LayerReader
    layers: Sequence[Layer]
    chunk_layers: Sequence[Layer]
    secret: bytes
    """The fingerprint secret of the backup."""

    @cached_property
    def overtaken(self) -> Overtaken:
        """What of the stack counts, by its indexes."""
        return Overtaken.of([self.reader.index(layer) for layer in self.layers])

    @property
    def key_hashes(self) -> Hashes:
        """The key hashes of the records that are there, in order: 8 bytes each."""
        return np.concatenate([np.empty(0, np.uint64), *self.overtaken.present])

    def tables(self) -> Iterator[pa.Table]:
        """Every record that counts, in tables of `CONTENT_SCHEMA`; values in chunks are still references."""
        places = [
            (number, layer, segment)
            for number, layer in enumerate(self.layers)
            for segment in layer.of_kind(ObjectKind.SEGMENT)
        ]
        overtaken = self.overtaken
        with ThreadPoolExecutor(_AHEAD, thread_name_prefix="read") as pool:
            flying: deque[Future[FrameReader]] = deque()
            waiting = iter(places)
            for number, _, segment in places:
                for _, owner, following in waiting:
                    flying.append(pool.submit(self.reader.open, owner.layer_id, following))
                    if len(flying) > _AHEAD:
                        break
                frame = flying.popleft().result()
                for block in range(len(frame.blocks)):
                    rows = self.reader.rows(segment, frame, block).select(CONTENT_SCHEMA.names)
                    counting = self._counting(rows, overtaken, (number, segment.seq))
                    if counting.num_rows:
                        yield counting

    def large(self, row: dict[str, object]) -> LargeValue:
        """The record of a row (as a dictionary) whose value is in chunks, to be streamed."""
        refs = decode_refs(bytes(row["chunks"]))  # type: ignore[call-overload]
        return LargeValue(
            namespace=str(row["namespace"]),
            key=bytes(row["key"]),  # type: ignore[call-overload]
            encoding=Encoding(str(row["encoding"])),
            size=sum(length for _, length in refs),
            parts=self._chunks.parts(refs),
            expires_at=row["expires_at"],  # type: ignore[arg-type]
            modified_at=row["modified_at"],  # type: ignore[arg-type]
            attrs=row["attrs"],  # type: ignore[arg-type]
        )

    @cached_property
    def _fingerprinter(self) -> Fingerprinter:
        return Fingerprinter(self.secret)

    @cached_property
    def _chunks(self) -> ChunkReader:
        return ChunkReader(self.chunk_layers, self.reader, Chunker(derive(self.secret, b"chunk")))

    def _counting(self, rows: pa.Table, overtaken: Overtaken, place: tuple[int, int]) -> pa.Table:
        """The rows without tombstones, and without those that a higher layer has overtaken."""
        counts = pc.or_(rows["value"].is_valid(), rows["chunks"].is_valid()).to_numpy()
        lost, keys = overtaken.hashes.get(place), overtaken.keys.get(place)
        if lost is not None and len(lost):
            hashes = self._fingerprinter.key_hashes(rows)
            at = np.minimum(np.searchsorted(lost, hashes), len(lost) - 1)
            counts = counts & (lost[at] != hashes)
        if keys:
            named = zip(rows["namespace"].to_pylist(), rows["key"].to_pylist(), strict=True)
            counts = counts & np.array([key not in keys for key in named], bool)
        return rows if counts.all() else rows.filter(pa.array(counts))


class ChunkReader:
    """Reads chunks of large values; keeps the packs it used last, as neighbours lie together."""

    def __init__(self, layers: Sequence[Layer], reader: LayerReader, chunker: Chunker) -> None:
        self._layers, self._reader, self._chunker = layers, reader, chunker
        self._packs = {pack.name: (layer, pack) for layer in layers for pack in layer.of_kind(ObjectKind.PACK)}
        self._open: tuple[str, FrameReader] | None = None

    def parts(self, refs: Sequence[tuple[bytes, int]]) -> Iterator[bytes]:
        """The bytes of a value, chunk by chunk."""
        return (self._chunk(name, length) for name, length in refs)

    def _chunk(self, name: bytes, length: int) -> bytes:
        pack, block = self._places.get(name, ("", 0))
        if pack not in self._packs:
            raise IntegrityError("a chunk of a large value is in none of the packs that the backup names")
        frame = self._pack(pack)
        chunk = frame.read(block) if block < len(frame.blocks) else b""
        if len(chunk) != length or self._chunker.name(memoryview(chunk)) != name:
            raise IntegrityError(f"{pack} does not hold the chunk that the chunk index says it does")
        return chunk

    def _pack(self, name: str) -> FrameReader:
        if self._open is None or self._open[0] != name:
            layer, stored = self._packs[name]
            self._open = name, self._reader.open(layer.layer_id, stored)
        return self._open[1]

    @cached_property
    def _places(self) -> dict[bytes, tuple[str, int]]:
        places: dict[bytes, tuple[str, int]] = {}
        for layer in self._layers:
            for stored in layer.of_kind(ObjectKind.CHUNK_INDEX):
                frame = self._reader.open(layer.layer_id, stored)
                for number in range(len(frame.blocks)):
                    rows = index_places(self._reader.rows(stored, frame, number))
                    places.update((name, (pack, block)) for name, pack, block in rows)
        return places


def objects_to_read(layers: Sequence[Layer], lenders: Sequence[Layer]) -> list[tuple[str, StoredObject]]:
    """Every object that reading a stack may touch, as (layer id, object): those of its layers, the lenders' chunks."""
    work = [(layer.layer_id, stored) for layer in layers for stored in layer.objects]
    return work + [pair for layer in lenders for pair in chunk_objects(layer)]


def chunk_objects(layer: Layer) -> list[tuple[str, StoredObject]]:
    """What of a layer belongs to its chunks, as (layer id, object)."""
    chunks = {ObjectKind.PACK, ObjectKind.CHUNK_INDEX}
    return [(layer.layer_id, stored) for stored in layer.objects if stored.kind in chunks]
