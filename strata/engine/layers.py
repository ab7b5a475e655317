"""Reads layers of one store: their documents, whole objects, and sorted rows of their indexes range by range."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
from blake3 import blake3

from strata.catalog.layers import LayerCatalog
from strata.content.blocks import decode_block
from strata.content.chunks import CHUNK_INDEX_SCHEMA
from strata.content.compact import decode_compact, listing
from strata.content.fingerprint import Fingerprinter
from strata.content.index import INDEX_SCHEMA, LooseRows, SortedRows
from strata.errors import IntegrityError
from strata.model.layer import Layer, LayerRef, ObjectKind, StoredObject
from strata.model.record import CONTENT_SCHEMA, RECORD_SCHEMA
from strata.seal.frame import FrameKey, FrameReader, Header, open_whole
from strata.seal.keyring import DataKey, Keyring
from strata.storage.port import ObjectStore

SCHEMAS = {
    ObjectKind.SEGMENT: RECORD_SCHEMA,
    ObjectKind.INDEX: INDEX_SCHEMA,
    ObjectKind.CHUNK_INDEX: CHUNK_INDEX_SCHEMA,
}

_READ_WHOLE = 1 << 20
"""An object up to this size is fetched once; of a larger one each block is fetched when it is needed."""


class LayerReader:
    """Opens the objects of layers in one store, by what the manifest says of them; safe to share between threads."""

    def __init__(self, store: ObjectStore, keyring: Keyring) -> None:
        self._store = store
        self._keyring = keyring
        self._catalog = LayerCatalog(store)
        self._keys: dict[tuple[str, bytes], DataKey] = {}

    def load(self, refs: Sequence[LayerRef]) -> list[Layer]:
        """The layers that a manifest names."""
        return [self._catalog.load(ref) for ref in refs]

    def open(self, layer_id: str, stored: StoredObject) -> FrameReader:
        """A reader over the whole object; IntegrityError or ObjectNotFound name it."""
        data = self._store.get(stored.name, 0, stored.size + 1)
        with naming(stored.name, self._store):
            if len(data) != stored.size:
                raise IntegrityError(f"it is not {stored.size} bytes long, as it was written")
            if blake3(data).hexdigest() != stored.digest:
                raise IntegrityError("its bytes are not those that were written")
            return open_whole(data, lambda header: self._key_for(header, layer_id, stored))

    def open_ranged(self, layer_id: str, stored: StoredObject) -> FrameReader:
        """A reader that fetches each block when it is read; what is read is authenticated, the rest not looked at."""
        if stored.size <= _READ_WHOLE:
            return self.open(layer_id, stored)
        with naming(stored.name, self._store):
            return FrameReader(
                lambda offset, length: self._store.get(stored.name, offset, length),
                stored.size,
                lambda header: self._key_for(header, layer_id, stored),
            )

    def rows(self, stored: StoredObject, reader: FrameReader, number: int) -> pa.Table:
        """The rows of one block."""
        with naming(stored.name, self._store):
            return decode_rows(stored, reader.read(number))

    def index(self, layer: Layer) -> SortedRows:
        """The rows of a layer's index."""
        objects = [self._index_object(layer.layer_id, one) for one in layer.of_kind(ObjectKind.INDEX)]
        compact = [one for one in layer.of_kind(ObjectKind.SEGMENT) if not one.listed]
        return SortedRows.chained(objects).joined_by(*(self._unlisted(layer, one) for one in compact))

    def _unlisted(self, layer: Layer, stored: StoredObject) -> LooseRows:
        """What the index does not list of a layer: the records of a compact segment, which is read for it."""
        frame = self.open(layer.layer_id, stored)
        records = [self.rows(stored, frame, number) for number in range(len(frame.blocks))]
        secret = self._keyring.fingerprint_key(layer.fingerprint_key_id).secret
        return listing(pa.concat_tables([CONTENT_SCHEMA.empty_table(), *records]), stored.seq, Fingerprinter(secret))

    def _index_object(self, layer_id: str, stored: StoredObject) -> SortedRows:
        frame = self.open_ranged(layer_id, stored)
        return SortedRows(stored.rows, firsts_of(frame), lambda number: self.rows(stored, frame, number))

    def _key_for(self, header: Header, layer_id: str, stored: StoredObject) -> FrameKey:
        if (header.kind, header.owner, header.seq) != (stored.kind, layer_id, stored.seq):
            raise IntegrityError(f"it is {header.kind} {header.seq} of {header.owner}, in the wrong place")
        known = header.key_id, header.wrapped
        if known not in self._keys:
            self._keys[known] = self._keyring.unwrap(*known)
        return FrameKey(self._keys[known].secret)


def decode_rows(stored: StoredObject, block: bytes) -> pa.Table:
    """The rows of a block of an object that is no pack; those of a compact segment have no fingerprint."""
    return decode_block(block, SCHEMAS[stored.kind]) if stored.listed else decode_compact(block)


def firsts_of(frame: FrameReader) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """The key hash each block of an index begins with."""
    return np.array([int.from_bytes(block.first, "big") for block in frame.blocks], np.uint64)


@contextmanager
def naming(name: str, store: ObjectStore) -> Iterator[None]:
    """Adds the object's name and its store to an IntegrityError."""
    try:
        yield
    except IntegrityError as error:
        if name in error.sentence:
            raise
        raise IntegrityError(
            f"{name} in {store.url} is damaged: {error.sentence}",
            hint="Nothing was written. Use another copy, or another backup (`strata list`, `strata verify`).",
        ) from None
