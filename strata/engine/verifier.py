"""Reads objects back from a store and proves them: digest, authentication, length, rows, fingerprints."""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from blake3 import blake3

from strata.content.blocks import decode_block
from strata.content.chunks import CHUNK_INDEX_SCHEMA, Chunker, index_places, places_checksum
from strata.content.fingerprint import EMPTY_CHECKSUM, Fingerprinter, add_checksums, checksum
from strata.content.index import INDEX_SCHEMA
from strata.content.proof import Prover
from strata.errors import IntegrityError
from strata.model.layer import ObjectKind, StoredObject
from strata.model.record import RECORD_SCHEMA
from strata.seal.encryption import derive
from strata.seal.frame import FrameKey, FrameReader, Header, open_whole
from strata.seal.keyring import DataKey, Keyring
from strata.storage.port import ObjectStore

SCHEMAS: Final = {
    ObjectKind.SEGMENT: RECORD_SCHEMA,
    ObjectKind.INDEX: INDEX_SCHEMA,
    ObjectKind.CHUNK_INDEX: CHUNK_INDEX_SCHEMA,
}


class LayerReader:
    """Opens the objects of layers in one store, by what the manifest says of them; safe to share between threads."""

    def __init__(self, store: ObjectStore, keyring: Keyring) -> None:
        self._store = store
        self._keyring = keyring
        self._keys: dict[tuple[str, bytes], DataKey] = {}

    def open(self, layer_id: str, stored: StoredObject) -> FrameReader:
        """A reader over the whole object; IntegrityError or ObjectNotFound name it."""
        data = self._store.get(stored.name)
        with naming(stored.name, self._store):
            if len(data) != stored.size:
                raise IntegrityError(f"it is {len(data)} bytes long, not the {stored.size} that were written")
            if blake3(data).hexdigest() != stored.digest:
                raise IntegrityError("its bytes are not those that were written")
            return open_whole(data, lambda header: self._key_for(header, layer_id, stored))

    def rows(self, stored: StoredObject, reader: FrameReader, number: int) -> pa.Table:
        """The rows of one block."""
        with naming(stored.name, self._store):
            return decode_block(reader.read(number), SCHEMAS[stored.kind])

    def _key_for(self, header: Header, layer_id: str, stored: StoredObject) -> FrameKey:
        if (header.kind, header.owner, header.seq) != (stored.kind, layer_id, stored.seq):
            raise IntegrityError(f"it is {header.kind} {header.seq} of {header.owner}, in the wrong place")
        known = header.key_id, header.wrapped
        if known not in self._keys:
            self._keys[known] = self._keyring.unwrap(*known)
        return FrameKey(self._keys[known].secret)


class naming:  # noqa: N801 - reads as a statement: `with naming(object, store):`
    """Adds the object's name and its store to an IntegrityError."""

    def __init__(self, name: str, store: ObjectStore) -> None:
        self._name, self._store = name, store

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, IntegrityError) and self._name not in error.sentence:
            raise IntegrityError(
                f"{self._name} in {self._store.url} is damaged: {error.sentence}",
                hint="Nothing was written. Use another copy, or another backup (`strata list`, `strata verify`).",
            ) from None


class Verifier:
    """Proves objects of layers against what was collected."""

    def __init__(self, reader: LayerReader, store: ObjectStore, fingerprint_secret: bytes) -> None:
        self._reader = reader
        self._store = store
        self._fingerprinter = Fingerprinter(fingerprint_secret)
        self._chunker = Chunker(derive(fingerprint_secret, b"chunk"))
        self._prover = Prover(derive(fingerprint_secret, b"proof"))

    def prove(self, layer_id: str, stored: StoredObject) -> None:
        """Read every byte of the object, recompute what can be recomputed, and compare; IntegrityError names it."""
        frame = self._reader.open(layer_id, stored)
        rows, total = 0, EMPTY_CHECKSUM
        for number in range(len(frame.blocks)):
            with naming(stored.name, self._store):
                total = add_checksums(total, self._checksum(stored, frame, number))
            rows += frame.blocks[number].rows
        with naming(stored.name, self._store):
            if rows != stored.rows or self._prover.proof(stored.name, total) != stored.proof:
                raise IntegrityError("it does not hold the records that were collected")

    def _checksum(self, stored: StoredObject, frame: FrameReader, number: int) -> bytes:
        """What a block adds up to: from its content anew where there is content, else from what the rows say."""
        if stored.kind is ObjectKind.PACK:
            return self._pack_checksum(stored.name, frame, number)
        rows = decode_block(frame.read(number), SCHEMAS[stored.kind])
        if rows.num_rows != frame.blocks[number].rows:
            raise IntegrityError("a block has not the rows that its table says")
        match stored.kind:
            case ObjectKind.SEGMENT:
                return self._segment_checksum(rows)
            case ObjectKind.INDEX:
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
        return checksum(rows["fingerprint"])

    def _pack_checksum(self, name: str, frame: FrameReader, number: int) -> bytes:
        block = frame.blocks[number]
        if block.rows != 1 or self._chunker.name(memoryview(frame.read(number))) != block.first:
            raise IntegrityError("a chunk does not match its id")
        return places_checksum([(block.first, name, number)])
