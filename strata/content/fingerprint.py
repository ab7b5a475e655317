"""Fingerprints and key hashes: which record is it, and did it change.

Both are XXH3 under secret seeds (docs/adr/0002): 0.22 us a record against 1.26 us for keyed BLAKE2b. They are
stored sealed only, and nothing relies on them against somebody who holds the keyring.

A fingerprint hashes the value where it lies; all else of the record is mixed into that hash's seed, column by column.
Joining the columns first, to hash them as one, took 2.3 s of a million rows of 1 KB, this way takes 0.5 s.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from strata.content.blocks import value_offsets
from strata.content.xxh3 import hashes_64, hashes_128

_NO_MOMENT: Final = np.iinfo(np.int64).min
_PRIME: Final = np.uint64(0x9E3779B185EBCA87)  # XXH's PRIME64_1
_INLINE, _CHUNKED, _ABSENT = 0, 1, 2

Hashes = npt.NDArray[np.uint64]


class Fingerprinter:
    """Hashes columns of records under the keyring's fingerprint secret (32 bytes)."""

    def __init__(self, secret: bytes) -> None:
        self._seed, self._key_seed, *self._salt = struct.unpack("<4Q", secret)

    def fingerprints(self, records: pa.Table, key_hashes: Hashes | None = None) -> pa.ChunkedArray:
        """16 bytes a record, over its key hash, encoding, expiry, attrs and value (or chunk references).

        `key_hashes` are those of the same records, where they are known already.
        """
        hashes, start, found = key_hashes if key_hashes is not None else self.key_hashes(records), 0, []
        for batch in records.to_batches():
            found.append(self._fingerprints(batch, hashes[start : start + batch.num_rows]))
            start += batch.num_rows
        return pa.chunked_array(found, pa.binary(16))

    def key_hashes(self, records: pa.Table) -> Hashes:
        """8 bytes a record, over namespace and key."""
        hashes = np.empty(records.num_rows, np.uint64)
        start = 0
        for batch in records.select(["namespace", "key"]).to_batches():
            namespaces = batch["namespace"]
            names, indices = namespaces.dictionary.to_pylist(), namespaces.indices.to_numpy()
            for number in np.unique(indices).tolist():
                rows = np.flatnonzero(indices == number)
                keys = batch["key"] if len(rows) == batch.num_rows else batch["key"].take(pa.array(rows))
                hashes[start + rows] = self.hash_keys(names[number], keys)
            start += batch.num_rows
        return hashes

    def hash_keys(self, namespace: str, keys: pa.LargeBinaryArray) -> Hashes:
        """The key hashes of keys of one namespace."""
        seed = xxhash.xxh3_64_intdigest(namespace.encode(), self._key_seed)
        found = hashes_64(_bytes_of(keys), value_offsets(keys), seed)
        if found is not None:
            return found
        digest = xxhash.xxh3_64_digest
        # 48 ns a key; by slices of a view, as values are hashed, 117: to cut out 20 bytes costs more than to hash them.
        hashes = b"".join([digest(key, seed) for key in keys.to_numpy(zero_copy_only=False)])
        return np.frombuffer(hashes, ">u8").astype(np.uint64)

    def tombstones(self, key_hashes: Hashes) -> pa.FixedSizeBinaryArray:
        """The fingerprints of the tombstones of these keys."""
        absent = (0, _NO_MOMENT, 0, _ABSENT)
        digest, seeds = xxhash.xxh3_128_digest, self._mixed(key_hashes, *map(np.int64, absent)).tolist()
        return _column(b"".join([digest(b"", seed) for seed in seeds]), len(seeds))

    def _fingerprints(self, record: pa.RecordBatch, key_hashes: Hashes) -> pa.FixedSizeBinaryArray:
        value, chunks = record["value"], record["chunks"]
        seeds = self._seeds(record, key_hashes)
        hashes = hashes_128(_bytes_of(value), value_offsets(value), seeds)
        if chunks.null_count < len(chunks):
            hashes = hashes.copy()
            for row in np.flatnonzero(chunks.is_valid().to_numpy(zero_copy_only=False)).tolist():
                digest = xxhash.xxh3_128_digest(chunks[row].as_py(), int(seeds[row]))
                hashes[row] = np.frombuffer(digest, np.uint8)
        return _column(hashes, len(hashes))

    def _seeds(self, record: pa.RecordBatch, key_hashes: Hashes) -> Hashes:
        """What all columns but the value come to: the seed for the value's hash."""
        expiry: pa.Array = pc.cast(record["expires_at"], pa.int64())
        return self._mixed(
            key_hashes,
            _dictionary_hashes(record["encoding"]),
            np.int64(_NO_MOMENT) if expiry.null_count == len(expiry) else _filled(expiry, _NO_MOMENT),
            _attrs_hashes(record["attrs"]),
            _kinds(record["value"], record["chunks"]),
        )

    def _mixed(self, key_hashes: Hashes, *words: npt.NDArray[np.int64] | np.int64) -> Hashes:
        mixed = np.full(len(key_hashes), self._seed, np.uint64)
        for word in (*self._salt, key_hashes, *(word.view(np.uint64) for word in words)):
            mixed ^= np.uint64(word) if isinstance(word, int) else word
            mixed *= _PRIME
            mixed ^= mixed >> np.uint64(32)
        return mixed


def checksum(fingerprints: pa.Array | pa.ChunkedArray) -> bytes:
    """The sum of 16-byte values as two 64-bit halves: the same for the same rows in any order and any split."""
    total = np.zeros(2, np.uint64)
    for part in fingerprints.chunks if isinstance(fingerprints, pa.ChunkedArray) else [fingerprints]:
        total += halves(part).sum(axis=0, dtype=np.uint64)
    return total.tobytes()


def halves(column: pa.FixedSizeBinaryArray) -> Hashes:
    """16-byte values without nulls as two 64-bit columns, without a copy."""
    found: Hashes = np.frombuffer(column.buffers()[1], np.uint64)[column.offset * 2 : (column.offset + len(column)) * 2]
    return found.reshape(-1, 2)


def add_checksums(first: bytes, second: bytes) -> bytes:
    """The checksum of two sets of rows together."""
    return (np.frombuffer(first, np.uint64) + np.frombuffer(second, np.uint64)).tobytes()


EMPTY_CHECKSUM: Final = bytes(16)


def _bytes_of(column: pa.LargeBinaryArray) -> memoryview:
    """The bytes that a column's offsets count in."""
    return memoryview(column.buffers()[2] or b"")


def _column(hashes: bytes | npt.NDArray[np.uint8], rows: int) -> pa.FixedSizeBinaryArray:
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), rows, [None, pa.py_buffer(hashes)])


def _filled(numbers: pa.Array, null: int) -> npt.NDArray[np.int64]:
    filled: npt.NDArray[np.int64] = pc.fill_null(numbers, null).to_numpy(zero_copy_only=False)
    return filled


def _dictionary_hashes(column: pa.DictionaryArray) -> npt.NDArray[np.int64] | np.int64:
    """The hash of each row's name; 0 where it is null; one for all rows where they are alike."""
    names = column.dictionary.to_pylist()
    hashes = np.array([xxhash.xxh3_64_intdigest(name.encode()) for name in names], np.uint64).view(np.int64)
    if len(names) == 1 and not column.null_count:
        return np.int64(hashes[0])
    indices = _filled(column.indices, -1)
    return np.where(indices < 0, 0, hashes[indices]) if len(hashes) else np.int64(0)


def _attrs_hashes(column: pa.StringArray) -> npt.NDArray[np.int64] | np.int64:
    """The hash of each row's attrs; 0 where they are null."""
    if column.null_count == len(column):
        return np.int64(0)
    hashes = [0 if text is None else xxhash.xxh3_64_intdigest(text.encode()) for text in column.to_pylist()]
    return np.array(hashes, np.uint64).view(np.int64)


def _kinds(value: pa.Array, chunks: pa.Array) -> npt.NDArray[np.int64] | np.int64:
    """Where each row's value is: inline, in chunks, or nowhere."""
    if not value.null_count:
        return np.int64(_INLINE)
    inline, chunked = (column.is_valid().to_numpy(zero_copy_only=False) for column in (value, chunks))
    return np.where(inline, _INLINE, np.where(chunked, _CHUNKED, _ABSENT)).astype(np.int64)
