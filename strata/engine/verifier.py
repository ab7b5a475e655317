"""Reads objects back from a store and proves them: digest, authentication, length, rows, fingerprints.

Then the objects of a layer together: the index lists of each segment exactly the records that it holds.
"""

from __future__ import annotations

import threading
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from strata.content.chunks import Chunker, index_places, places_checksum
from strata.content.fingerprint import EMPTY_CHECKSUM, Fingerprinter, add_checksums, checksum
from strata.content.proof import Prover
from strata.content.segment_sums import SegmentSums
from strata.engine.layers import LayerReader, decode_rows, naming
from strata.errors import IntegrityError
from strata.model.layer import ObjectKind, StoredObject, object_name
from strata.seal.encryption import derive
from strata.seal.frame import FrameReader
from strata.storage.port import ObjectStore


class Verifier:
    """Proves objects of layers against what was collected."""

    def __init__(self, reader: LayerReader, store: ObjectStore, fingerprint_secret: bytes) -> None:
        self._reader = reader
        self._store = store
        self._fingerprinter = Fingerprinter(fingerprint_secret)
        self._chunker = Chunker(derive(fingerprint_secret, b"chunk"))
        self._prover = Prover(derive(fingerprint_secret, b"proof"))

    def prove(self, layer_id: str, stored: StoredObject) -> SegmentSums:
        """Read every byte of the object, recompute what can be recomputed, and compare; IntegrityError names it.

        What its records add up to by segment (nothing for packs and their index).
        """
        frame = self._reader.open(layer_id, stored)
        rows, total, sums = 0, EMPTY_CHECKSUM, SegmentSums()
        for number in range(len(frame.blocks)):
            with naming(stored.name, self._store):
                total = add_checksums(total, self._checksum(stored, frame, number, sums))
            rows += frame.blocks[number].rows
        with naming(stored.name, self._store):
            if rows != stored.rows or self._prover.proof(stored.name, total) != stored.proof:
                raise IntegrityError("it does not hold the records that were collected")
        return sums

    def _checksum(self, stored: StoredObject, frame: FrameReader, number: int, sums: SegmentSums) -> bytes:
        """What a block adds up to: from its content anew where there is content, else from what the rows say."""
        if stored.kind is ObjectKind.PACK:
            return self._pack_checksum(stored.name, frame, number)
        rows = decode_rows(stored, frame.read(number))
        if rows.num_rows != frame.blocks[number].rows:
            raise IntegrityError("a block has not the rows that its table says")
        match stored.kind:
            case ObjectKind.SEGMENT if not stored.listed:
                return checksum(self._fingerprinter.fingerprints(rows))
            case ObjectKind.SEGMENT:
                sums.add_all(stored.seq, rows["fingerprint"])
                return self._segment_checksum(rows)
            case ObjectKind.INDEX:
                sums.add(rows["segment"].to_numpy(), rows["fingerprint"])
                return self._index_checksum(rows)
        return places_checksum(index_places(rows))

    def _segment_checksum(self, rows: pa.Table) -> bytes:
        found = self._fingerprinter.fingerprints(rows)
        if not pc.all(pc.equal(rows["fingerprint"], found)).as_py():
            raise IntegrityError("a record does not match its fingerprint")
        return checksum(found)

    def _index_checksum(self, rows: pa.Table) -> bytes:
        if (self._fingerprinter.key_hashes(rows) != rows["key_hash"].to_numpy()).any():
            raise IntegrityError("a key does not match its hash")
        gone = rows.filter(rows["tombstone"])
        if gone["fingerprint"] != pa.chunked_array([self._fingerprinter.tombstones(gone["key_hash"].to_numpy())]):
            raise IntegrityError("a tombstone is listed that is none")
        return checksum(rows["fingerprint"])

    def _pack_checksum(self, name: str, frame: FrameReader, number: int) -> bytes:
        block = frame.blocks[number]
        if block.rows != 1 or self._chunker.name(memoryview(frame.read(number))) != block.first:
            raise IntegrityError("a chunk does not match its id")
        return places_checksum([(block.first, name, number)])


class Listings:
    """What indexes list and what segments hold, brought together by layer while objects are proved."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._layers: dict[str, dict[ObjectKind, SegmentSums]] = {}
        self._indexes: dict[str, str] = {}

    def add(self, layer_id: str, stored: StoredObject, sums: SegmentSums) -> None:
        """Take what an object adds up to."""
        if stored.kind not in _LISTED_AND_HELD:
            return
        with self._lock:
            layer = self._layers.setdefault(layer_id, {kind: SegmentSums() for kind in _LISTED_AND_HELD})
            layer[stored.kind].merge(sums)
            if stored.kind is ObjectKind.INDEX:
                self._indexes.setdefault(layer_id, stored.name)

    def wrong(self, layer_id: str) -> str:
        """What is wrong with the listing of a layer whose every object was proved; nothing where it agrees."""
        layer = self._layers.get(layer_id)
        different = layer[ObjectKind.INDEX].differ_in(layer[ObjectKind.SEGMENT]) if layer else []
        return f"it does not list the records of segment {different[0]}" if different else ""

    def index_of(self, layer_id: str) -> str:
        """The name of the layer's (first) index object."""
        return self._indexes.get(layer_id, object_name(layer_id, ObjectKind.INDEX, 0))


_LISTED_AND_HELD: Final = (ObjectKind.INDEX, ObjectKind.SEGMENT)
