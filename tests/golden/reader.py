"""A second reader of the stored format, written from docs/format.md alone: nothing of Strata is imported.

It reads a store in a folder, checks everything that page says can be checked, and names what it refuses. Numbers in
brackets are the page's sections.
"""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import xxhash
import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_HEADER: Final = struct.Struct("<8sHBBB3sI4s32s16s60s64s4s")
_ROW: Final = struct.Struct("<QIIII")
_FOOTER: Final = struct.Struct("<QII8s")
_MOST_BLOCKS: Final = 1 << 20
_KINDS: Final = ("segment", "index", "pack", "chunk-index", "document")
_STORED: Final = _KINDS[:-1]
_CHUNKS: Final = ("pack", "chunk-index")
_ENCODINGS: Final = {"redis/string", "redis/dump", "pg/copy-text", "s3/object", "json"}

_NAMES: Final = pa.dictionary(pa.int32(), pa.string())
_MOMENT: Final = pa.timestamp("ms", "UTC")


def _schema(*columns: tuple[str, Any, bool]) -> Any:
    return pa.schema([pa.field(name, kind, nullable=nullable) for name, kind, nullable in columns])


_SCHEMAS: Final = {
    "segment": _schema(
        ("namespace", _NAMES, False),
        ("key", pa.large_binary(), False),
        ("value", pa.large_binary(), True),
        ("encoding", _NAMES, True),
        ("expires_at", _MOMENT, True),
        ("modified_at", _MOMENT, True),
        ("attrs", pa.string(), True),
        ("chunks", pa.large_binary(), True),
        ("fingerprint", pa.binary(16), False),
    ),
    "index": _schema(
        ("key_hash", pa.uint64(), False),
        ("fingerprint", pa.binary(16), False),
        ("namespace", _NAMES, False),
        ("key", pa.large_binary(), False),
        ("size", pa.uint64(), False),
        ("mark", pa.binary(16), True),
        ("segment", pa.uint32(), False),
        ("tombstone", pa.bool_(), False),
    ),
    "chunk-index": _schema(
        ("id", pa.binary(32), False),
        ("pack", _NAMES, False),
        ("block", pa.uint32(), False),
    ),
    "compact": _schema(
        ("namespace", _NAMES, False),
        ("key_size", pa.uint32(), False),
        ("value_size", pa.uint32(), False),
        ("encoding", _NAMES, False),
        ("expires_at", _MOMENT, True),
        ("modified_at", _MOMENT, True),
        ("attrs", pa.string(), True),
    ),
}

_TEXT_OR_NULL: Final = (str, type(None))
_BODY: Final = {
    "format": int,
    "backup_id": str,
    "backup_type": str,
    "generation": int,
    "created_at": str,
    "recorded_at": str,
    "storage_tier": str,
    "store_url": str,
    "store_id": str,
    "installation": str,
    "key_id": str,
    "wrapped_key": str,
    "fingerprint_key_id": str,
    "parent": _TEXT_OR_NULL,
    "reasons": list,
    "tiers": list,
    "borrowed": list,
    "seconds": dict,
    "written_by": str,
    "details": str,
}
_TIER: Final = {
    "tier": str,
    "source": _TEXT_OR_NULL,
    "stack": list,
    "records": int,
    "logical_bytes": int,
    "patterns": list,
    "parts": list,
    "cut": dict,
    "parent": _TEXT_OR_NULL,
    "changes": (dict, type(None)),
    "reason": str,
}
_SOURCES: Final = ("live", "handed", "state-manager", None)
_CHANGES: Final = {"unchanged": int, "changed": int, "new": int, "gone": int, "drift": (int, type(None))}
_LAYER: Final = {
    "layer_id": str,
    "backup_id": str,
    "created_at": str,
    "tier": str,
    "kind": str,
    "fingerprint_key_id": str,
    "records": int,
    "tombstones": int,
    "chunked": int,
    "logical_bytes": int,
    "stored_bytes": int,
    "objects": int,
    "digest": str,
}
_SUMMED: Final = ("objects", "stored_bytes", "digest")
_LAYER_DOCUMENT: Final = {
    "format": int,
    **{name: kind for name, kind in _LAYER.items() if name not in _SUMMED},
    "objects": list,
    "borrows": list,
}
_OBJECT: Final = {
    "name": str,
    "kind": str,
    "seq": int,
    "rows": int,
    "raw_bytes": int,
    "size": int,
    "digest": str,
    "proof": str,
    "listed": bool,
}
_NOTE: Final = {"format": int, "store": str, "kind": str, "subject": str, "at": str, "body": dict}
_RUN: Final = {
    **dict.fromkeys(("run_id", "kind", "state", "code", "created_at", "ended_at", "key_id", "wrapped_key"), str),
    "format": int,
    "backup_type": (str, type(None)),
    "details": str,
}
_STORE: Final = {"format": int, "store_id": str, "installation": str, "created_at": str, "formerly": list}
_PRIME: Final = 0x9E3779B185EBCA87
_MASK: Final = (1 << 64) - 1

Row = dict[str, Any]
Document = dict[str, Any]
_Objects = dict[str, list[tuple[Document, list[list[Row]]]]]
"""The objects of a layer by kind: what its document says of each, and its rows, block by block."""


class Refused(Exception):
    """What the store holds under a name is not what was written; the message begins with the name."""


class _Wrong(Exception):
    """A check failed; `_naming` adds where."""


@dataclass(frozen=True)
class Record:
    """One record; moments in milliseconds since 1970."""

    tier: str
    namespace: str
    key: bytes
    value: bytes
    encoding: str
    expires_at: int | None
    modified_at: int | None
    attrs: str | None


@dataclass(frozen=True)
class _Block:
    offset: int
    length: int
    raw_length: int
    rows: int
    first: bytes


class Keyring:
    """The secrets of a keyring file [2]."""

    def __init__(self, path: Path) -> None:
        document = json.loads(path.read_bytes())
        if document["strata_keyring"] != 0:
            raise Refused(f"{path}: a keyring of an unknown version")
        self._keys = [(key["purpose"], key["id"], _from_base64(key["secret"])) for key in document["keys"]]

    def find(self, purpose: str, key_id: str) -> bytes:
        """The secret of one key."""
        for found in self._keys:
            if found[:2] == (purpose, key_id):
                return found[2]
        raise _Wrong(f"the keyring holds no key {key_id!r} to {purpose} with")

    def data_key(self, key_id: str, wrapped: bytes) -> bytes:
        """A data key, unwrapped [3]."""
        return AESGCM(self.find("wrap", key_id)).decrypt(wrapped[:12], wrapped[12:], key_id.encode("ascii"))


class Hashes:
    """What a backup's fingerprint secret makes [7]."""

    def __init__(self, secret: bytes) -> None:
        self._seed, self._key_seed, *self._salts = struct.unpack("<4Q", secret)
        self._chunk_key = _derived(secret, b"strata/0/chunk", None)
        self._proof_key = _derived(secret, b"strata/0/proof", None)
        self._part_key = _derived(secret, b"strata/0/part", None)

    def fingerprint(self, row: Row) -> bytes:
        """What a row's fingerprint must be."""
        words = (
            *self._salts,
            self.key_hash(row),
            0 if row["encoding"] is None else xxhash.xxh3_64_intdigest(row["encoding"].encode(), 0),
            -(1 << 63) if row["expires_at"] is None else row["expires_at"],
            0 if row["attrs"] is None else xxhash.xxh3_64_intdigest(row["attrs"].encode(), 0),
            0 if row["value"] is not None else 1 if row["chunks"] is not None else 2,
        )
        mixed = self._seed
        for word in words:
            mixed = (mixed ^ word & _MASK) * _PRIME & _MASK
            mixed ^= mixed >> 32
        return xxhash.xxh3_128_digest(row["value"] or row["chunks"] or b"", mixed)

    def key_hash(self, row: Row) -> int:
        """What a row's key hash must be."""
        return xxhash.xxh3_64_intdigest(row["key"], xxhash.xxh3_64_intdigest(row["namespace"].encode(), self._key_seed))

    def mark(self, tier: str, path: list[str]) -> str:
        """The mark of a part of a tier."""
        ways = ["\0".join([tier, *path[: count + 1]]).encode() for count in range(len(path))]
        return "/".join(blake3(way, key=self._part_key).digest(8).hex() for way in ways)

    def chunk_id(self, chunk: bytes) -> bytes:
        """What a chunk's id must be."""
        return bytes(blake3(chunk, key=self._chunk_key).digest())

    def proof(self, name: str, checksum: bytes) -> str:
        """What the proof of an object must be."""
        return bytes(blake3(name.encode() + b"\0" + checksum, key=self._proof_key).digest(16)).hex()


class Reader:
    """Reads the backups of one store."""

    def __init__(self, store: Path, keyring: Path) -> None:
        self._store = store
        self._keyring = Keyring(keyring)

    def backups(self) -> list[str]:
        """The ids of its backups."""
        return sorted(path.stem for path in (self._store / "manifests").glob("[!.]*.json"))

    def manifest(self, backup_id: str) -> Document:
        """A backup's manifest, its signature checked [8]."""
        name = f"manifests/{backup_id}.json"
        with _naming(name):
            manifest = self._signed(self._read(name))
            _need(manifest.get("format") == 0, "its format is not known")
            _check_manifest(manifest)
            _need(manifest["backup_id"] == backup_id, "it is another backup's")
        return manifest

    def details(self, manifest: Document) -> Document:
        """What describes the sources, by tier [10]."""
        with _naming(f"manifests/{manifest['backup_id']}.json"):
            wrapped = _from_base64(manifest["wrapped_key"])
            frame = self._frame(_from_base64(manifest["details"]), "document", manifest["backup_id"], 0)
            _need((frame.key_id, frame.wrapped) == (manifest["key_id"], wrapped), "its details have another key")
            _need([block.rows for block in frame.blocks] == [1], "its details are not one document")
            details: Document = json.loads(frame.raw(0))
            held = {tier["tier"] for tier in manifest["tiers"] if tier["stack"]}
            _need(set(details) == held, "its details are not of its tiers")
            hashes = self._hashes(manifest)
            for tier in manifest["tiers"]:
                told = details.get(tier["tier"], {}).get("parts", []) if tier["source"] != "handed" else []
                marks = sorted({hashes.mark(tier["tier"], path) for path in told})
                _need(tier["parts"] == marks, "its marks are not those of its parts")
            return details

    def identity(self) -> Document:
        """Whose the store is, its signature checked [8]."""
        with _naming("store.json"):
            identity = self._signed(self._read("store.json"), "identity")
            _check_members(identity, _STORE)
            _need(identity["format"] == 0, "its format is not known")
            _need(re.fullmatch(r"[0-9a-f]{32}", identity["store_id"]), "its id is not of 32 hex digits")
        return identity

    def note(self, name: str) -> Document:
        """A note, its signature checked, where its members give its name [8]."""
        with _naming(name):
            note = self._signed(self._read(name), "note")
            _check_members(note, _NOTE)
            _need(note["store"] == self.identity()["store_id"], "it was written into another store")
            _need(note["format"] == 0, "its format is not known")
            time = re.sub("[-:]", "", note["at"])[:15]
            form = re.escape(f"notes/{note['subject']}/{time}-{note['kind']}") + r"(-[0-9a-f]{6})?\.json"
            _need(re.fullmatch(form, name), "it was written under another name")
        return note

    def failed_run(self, run_id: str) -> Document:
        """A failed run, its signature checked, and why it failed as `reason` [8]."""
        name = f"history/{run_id}.json"
        with _naming(name):
            run = self._signed(self._read(name), "run")
            _check_members(run, _RUN)
            _need((run["format"], run["run_id"]) == (0, run_id), "it is another run's")
            frame = self._frame(_from_base64(run["details"]), "document", run_id, 0)
            _need(len(frame.blocks) == 1, "its sealed part is not one block")
            reason = json.loads(frame.raw(0))["reason"]
        return {**run, "reason": reason}

    def layer(self, ref: Document) -> Document:
        """A layer's document, which must say what the manifest says of the layer [8]."""
        name = f"layers/{ref['layer_id']}/layer.json"
        with _naming(name):
            data = self._read(name)
            _need(blake3(data).hexdigest() == ref["digest"], "its digest is not the manifest's")
            layer: Document = json.loads(data)
            _need(_canonical(layer) + b"\n" == data, "it is not canonical JSON")
            _need(layer.get("format") == 0, "its format is not known")
            _check_layer_document(layer, ref)
        return layer

    def records(self, manifest: Document) -> Iterator[Record]:
        """Every record of a backup, its stacks resolved [6] and every check made [9]."""
        self.details(manifest)
        hashes = self._hashes(manifest)
        stacks = [[self._layer(hashes, ref) for ref in tier["stack"]] for tier in manifest["tiers"]]
        borrowed = [self._layer(hashes, ref, _CHUNKS) for ref in manifest["borrowed"]]
        chunks: dict[bytes, bytes] = {}
        for layer in [*(layer for stack in stacks for layer in stack), *borrowed]:
            chunks |= layer.chunks
        for tier, stack in zip(manifest["tiers"], stacks, strict=True):
            yield from self._tier_records(manifest, tier, stack, chunks)

    @staticmethod
    def _tier_records(
        manifest: Document, tier: Document, stack: list[_Layer], chunks: dict[bytes, bytes]
    ) -> Iterator[Record]:
        seen: set[tuple[str, bytes]] = set()
        records = size = 0
        for layer in reversed(stack):
            with _naming(f"layers/{layer.layer_id}"):
                layer.check_values(chunks)
            for row in layer.rows:
                place = row["namespace"], row["key"]
                if place not in seen and row["encoding"] is not None:
                    record = _record(tier["tier"], row, chunks)
                    records, size = records + 1, size + len(record.value)
                    yield record
                seen.add(place)
        with _naming(f"manifests/{manifest['backup_id']}.json"):
            _need((records, size) == (tier["records"], tier["logical_bytes"]), "a tier has not the records it says")

    def object_rows(self, manifest: Document, layer_id: str, stored: Document) -> list[list[Row]]:
        """The rows of one object, block by block, after every check that needs this object alone."""
        return self._object_rows(self._hashes(manifest), layer_id, stored)

    def _hashes(self, manifest: Document) -> Hashes:
        with _naming(f"manifests/{manifest['backup_id']}.json"):
            return Hashes(self._keyring.find("fingerprint", manifest["fingerprint_key_id"]))

    def _object_rows(self, hashes: Hashes, layer_id: str, stored: Document) -> list[list[Row]]:
        with _naming(stored["name"]):
            data = self._read(stored["name"])
            _need(len(data) == stored["size"], "its size is not the one recorded")
            _need(blake3(data).hexdigest() == stored["digest"], "its digest is not the one recorded")
            kind = stored["kind"]
            frame = self._frame(data, kind, layer_id, stored["seq"])
            form = kind if stored["listed"] else "compact"
            blocks = [_block_rows(frame, number, form) for number in range(len(frame.blocks))]
            for block, rows in zip(frame.blocks, blocks, strict=True):
                _need(len(rows) == block.rows, "a block has not the rows that the table says")
                _need(block.first == _FIRST[kind](rows[0]), "a block does not begin where the table says")
            rows = _joined(blocks)
            _need(len(rows) == stored["rows"], "it has not the rows that its layer's document says")
            _need(sum(block.raw_length for block in frame.blocks) == stored["raw_bytes"], "its raw bytes do not add up")
            _need(_in_order([_ORDER[kind](row) for row in rows]), "its rows are not in order")
            for row in rows:
                if form == "compact":
                    row["fingerprint"] = hashes.fingerprint(row)
                _check_row(hashes, kind, row)
            proof = hashes.proof(stored["name"], _checksum(_summands(stored, blocks)))
            _need(proof == stored["proof"], "its rows do not add up to its proof")
        return blocks

    def _layer(self, hashes: Hashes, ref: Document, kinds: Collection[str] = _STORED) -> _Layer:
        """A layer's rows and chunks; what its objects say of each other is checked first."""
        layer = self.layer(ref)
        read: _Objects = {kind: [] for kind in _STORED}
        for stored in layer["objects"]:
            if stored["kind"] in kinds:
                read[stored["kind"]].append((stored, self._object_rows(hashes, layer["layer_id"], stored)))
        with _naming(f"layers/{layer['layer_id']}"):
            return _Layer(layer, read, kinds)

    def _frame(self, data: bytes, kind: str, owner: str, seq: int) -> _Frame:
        return _Frame(data, kind, owner, seq, self._keyring.data_key)

    def _signed(self, data: bytes, member: str = "manifest") -> Document:
        """The body of a signed document, provided that every byte is as written and that its signature is good."""
        document = json.loads(data)
        _need(_canonical(document) + b"\n" == data, "it is not canonical JSON")
        _check_members(document, {member: dict, "signature": dict})
        body: Document = document[member]
        seal = document["signature"]
        _check_members(seal, {"ed25519": str, "key_id": str})
        private = Ed25519PrivateKey.from_private_bytes(self._keyring.find("sign", seal["key_id"]))
        signed = b"strata %s v0\n" % member.encode() + _canonical(body)
        private.public_key().verify(_from_base64(seal["ed25519"]), signed)
        return body

    def _read(self, name: str) -> bytes:
        parts = name.split("/")
        _need(all(re.fullmatch(r"[A-Za-z0-9._-]+", part) and part not in {".", ".."} for part in parts), "a bad name")
        return (self._store / name).read_bytes()


class _Layer:
    """What a layer's objects hold, each of them checked alone before."""

    def __init__(self, layer: Document, read: _Objects, kinds: Collection[str]) -> None:
        self.layer_id: str = layer["layer_id"]
        listed = {kind: [pair for pair in read[kind] if pair[0]["listed"]] for kind in read}
        sums = {kind: _checksum(one for pair in listed[kind] for one in _summands(*pair)) for kind in read}
        _need(sums["index"] == sums["segment"], "its index does not add up to its segments")
        _need(sums["chunk-index"] == sums["pack"], "its chunk index does not add up to its packs")
        self.chunks = _located(read["pack"], _flat(read["chunk-index"]))
        self.rows: list[Row] = []
        self._index = {(row["namespace"], row["key"]): row for row in _flat(read["index"])}
        self._logical_bytes: int = layer["logical_bytes"]
        if "segment" in kinds:
            self._count(layer, [(stored["seq"], row) for stored, rows in read["segment"] for row in _joined(rows)])
            _check_index(listed["segment"], _flat(read["index"]))
            places = [(row["namespace"], row["key"]) for row in self.rows]
            _need(len(set(places)) == len(places), "a key occurs twice")

    def check_values(self, chunks: dict[bytes, bytes]) -> None:
        """Every reference has its chunk, and the index and the layer's document tell the values' sizes."""
        total = 0
        for row in self.rows:
            size = len(row["value"] or b"")
            for chunk_id, length in _references(row["chunks"] or b""):
                _need(chunk_id in chunks and len(chunks[chunk_id]) == length, "a chunk is missing")
                size += length
            listed = self._index.get((row["namespace"], row["key"]), {"size": size})
            _need(listed["size"] == size, "its index tells another size")
            total += size
        _need(total == self._logical_bytes, "its values have other sizes")

    def _count(self, layer: Document, rows: list[tuple[int, Row]]) -> None:
        self.rows = [row for _, row in rows]
        tombstones = sum(row["encoding"] is None for row in self.rows)
        found = len(rows) - tombstones, tombstones, sum(row["chunks"] is not None for row in self.rows)
        _need(found == (layer["records"], layer["tombstones"], layer["chunked"]), "records are missing")
        _need(layer["kind"] == "delta" or not tombstones, "a base holds tombstones")


class _Frame:
    """An opened frame [4]: header, table and footer are checked at once, blocks as they are read."""

    def __init__(self, data: bytes, kind: str, owner: str, seq: int, data_key: Callable[[str, bytes], bytes]) -> None:
        _need(len(data) >= _HEADER.size + 16 + _FOOTER.size, "it is cut short")
        self._data, self._header = data, data[: _HEADER.size]
        magic, version, number, cipher, compression, zeros, found, *rest = _HEADER.unpack(self._header)
        more_zeros, salt, key_id, self.wrapped, name, last_zeros = rest
        _need(magic == b"STRATA\x1a\n", "its magic is another")
        _need(version == 0, "its version is not known")
        _need(1 <= number <= len(_KINDS) and cipher == 1 and compression in {0, 1}, "its algorithms are not known")
        _need(not any(zeros + more_zeros + last_zeros), "its zeros are not")
        place = _KINDS[number - 1], name.rstrip(b"\0").decode("ascii"), found
        _need(place == (kind, owner, seq), "it lies in the wrong place")
        self.key_id, self._compression = key_id.rstrip(b"\0").decode("ascii"), compression
        self._cipher = AESGCM(_derived(data_key(self.key_id, self.wrapped), b"strata/0/object", salt))
        self.blocks = self._table()

    def raw(self, number: int) -> bytes:
        """A block before compression."""
        block = self.blocks[number]
        mark = b"\1" if number == len(self.blocks) - 1 else b"\0"
        payload = self._open(0, number, mark, block.offset, block.length)
        if self._compression:
            _need(zstandard.frame_content_size(payload) == block.raw_length, "a block has another length")
            decompressor = zstandard.ZstdDecompressor()
            payload = decompressor.decompress(payload, max_output_size=block.raw_length, allow_extra_data=False)
        _need(len(payload) == block.raw_length, "a block has another length")
        return payload

    def _open(self, domain: int, number: int, mark: bytes, offset: int, length: int) -> bytes:
        counter = number.to_bytes(8, "big")
        nonce = bytes([domain, 0, 0, 0]) + counter
        return self._cipher.decrypt(nonce, self._data[offset : offset + length], self._header + counter + mark)

    def _table(self) -> list[_Block]:
        size = len(self._data)
        offset, length, count, magic = _FOOTER.unpack(self._data[-_FOOTER.size :])
        _need(magic == b"\n\x1aATARTS" and offset + length + _FOOTER.size == size, "its end is missing")
        _need(count <= _MOST_BLOCKS, "it has too many blocks")
        table = self._open(1, count, b"\2", offset, length)
        at, position, blocks = count * _ROW.size, _HEADER.size, []
        for number in range(count):
            start, sealed, raw, rows, first = _ROW.unpack_from(table, number * _ROW.size)
            _need(start == position, "its blocks do not follow each other")
            blocks.append(_Block(start, sealed, raw, rows, table[at : at + first]))
            at, position = at + first, position + sealed
        _need((at, position) == (len(table), offset), "its table does not describe it")
        return blocks


_FIRST: Final[dict[str, Callable[[Row], bytes]]] = {
    "segment": lambda row: row["namespace"].encode() + b"\0" + row["key"],
    "index": lambda row: row["key_hash"].to_bytes(8, "big"),
    "pack": lambda row: row["id"],
    "chunk-index": lambda row: row["id"],
}
_ORDER: Final[dict[str, Callable[[Row], Any]]] = {
    "segment": lambda row: (row["namespace"].encode(), row["key"]),
    "index": lambda row: row["key_hash"],
    "pack": lambda _: 0,
    "chunk-index": lambda row: row["id"],
}


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Turn whatever goes wrong with bytes that are not as they must be into a refusal that names them."""
    try:
        yield
    except InvalidTag:
        raise Refused(f"{name}: it fails its authentication") from None
    except InvalidSignature:
        raise Refused(f"{name}: its signature does not match") from None
    except (_Wrong, OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, struct.error) as error:
        raise Refused(f"{name}: {error}") from None
    except (zstandard.ZstdError, pa.ArrowException) as error:
        raise Refused(f"{name}: a block cannot be read: {error}") from None


def _need(true: object, otherwise: str) -> None:
    if not true:
        raise _Wrong(otherwise)


def _derived(secret: bytes, info: bytes, salt: bytes | None) -> bytes:
    return HKDF(SHA256(), 32, salt, info).derive(secret)


def _from_base64(text: str) -> bytes:
    data = base64.b64decode(text, validate=True)
    _need(base64.b64encode(data).decode() == text, "its base64 is not canonical")
    return data


def _canonical(document: Document) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def _block_rows(frame: _Frame, number: int, kind: str) -> list[Row]:
    """What a block holds [5]; that of a pack is one chunk, with the id that the table gives it."""
    raw = frame.raw(number)
    if kind == "compact":
        return _compact_rows(raw)
    return [{"id": frame.blocks[number].first, "data": raw}] if kind == "pack" else _rows(raw, kind)


def _compact_rows(raw: bytes) -> list[Row]:
    """What a compact block holds [5]: its rows without their bytes, then all keys, then all values."""
    length, form = struct.unpack_from("<II", raw)
    _need(form in {0, 1} and 8 + length <= len(raw), "a compact block is cut short")
    rows, at = _rows(raw[8 : 8 + length], "compact"), 8 + length
    for row in rows if form == 0 else ():
        row["key"] = raw[at : at + row["key_size"]]
        at += row["key_size"]
    for row in rows:
        row["value"] = raw[at : at + row["value_size"]]
        at += row["value_size"]
    _need(at == len(raw), "a compact block has other bytes than its rows")
    for row in rows:
        _need(form == 0 or row["key_size"] <= row["value_size"], "a key is longer than its value")
        row.setdefault("key", row["value"][: row["key_size"]])
        row["chunks"] = None
    return rows


def _rows(raw: bytes, kind: str) -> list[Row]:
    with pa.ipc.open_stream(raw) as stream:
        table = stream.read_all()
    table.validate(full=True)
    _need(table.schema.equals(_SCHEMAS[kind]), "its columns are not those of its kind")
    for number, column in enumerate(table.schema):
        if column.type == _MOMENT:
            table = table.set_column(number, column.name, table.column(number).cast(pa.int64()))
    rows: list[Row] = table.to_pylist()
    required = [column.name for column in table.schema if not column.nullable]
    _need(all(row[name] is not None for row in rows for name in required), "a column has nulls")
    return rows


def _check_row(hashes: Hashes, kind: str, row: Row) -> None:
    """What can be recomputed of a row [7]."""
    match kind:
        case "segment":
            _need(row["fingerprint"] == hashes.fingerprint(row), "a record does not match its fingerprint")
            _need("\0" not in row["namespace"], "a namespace has a zero byte")
            _check_form(row)
        case "index":
            _need(row["key_hash"] == hashes.key_hash(row), "a key does not match its hash")
        case "pack":
            _need(row["id"] == hashes.chunk_id(row["data"]), "a chunk does not match its id")


def _check_form(row: Row) -> None:
    """What a segment's row may hold [5]."""
    value, chunks, encoding = row["value"], row["chunks"], row["encoding"]
    if value is None and chunks is None:
        others = ("encoding", "expires_at", "modified_at", "attrs")
        _need(all(row[name] is None for name in others), "a tombstone holds something")
        return
    _need(value is None or chunks is None, "a record has two values")
    _need(encoding in _ENCODINGS, "an encoding is not known")
    _need(len(chunks or b"") % 40 == 0, "chunk references are not whole")
    _need(row["attrs"] is None or isinstance(json.loads(row["attrs"]), dict), "attrs are no object")


def _check_index(segments: list[tuple[Document, list[list[Row]]]], index: list[Row]) -> None:
    _need(_in_order([row["key_hash"] for row in index]), "its index is not in order")
    listed = [(row["namespace"], row["key"], row["fingerprint"], row["segment"], row["tombstone"]) for row in index]
    held = [
        (row["namespace"], row["key"], row["fingerprint"], stored["seq"], row["encoding"] is None)
        for stored, blocks in segments
        for row in _joined(blocks)
    ]
    _need(sorted(listed) == sorted(held), "its index does not list its records")


def _joined(blocks: list[list[Row]]) -> list[Row]:
    return [row for block in blocks for row in block]


def _flat(read: list[tuple[Document, list[list[Row]]]]) -> list[Row]:
    return [row for _, blocks in read for row in _joined(blocks)]


def _located(packs: list[tuple[Document, list[list[Row]]]], index: list[Row]) -> dict[bytes, bytes]:
    """The chunks by id, provided that the chunk index says where each of them is."""
    ids = [row["id"] for row in index]
    _need(_in_order(ids) and len(set(ids)) == len(ids), "its chunk index is not in order")
    held = {(stored["name"], number): row for stored, blocks in packs for number, (row,) in enumerate(blocks)}
    listed = {(row["pack"], row["block"]): row["id"] for row in index}
    _need(listed == {place: row["id"] for place, row in held.items()}, "its chunk index does not list its chunks")
    return {row["id"]: row["data"] for row in held.values()}


def _references(chunks: bytes) -> list[tuple[bytes, int]]:
    return [
        (chunks[at : at + 32], int.from_bytes(chunks[at + 32 : at + 40], "big")) for at in range(0, len(chunks), 40)
    ]


def _record(tier: str, row: Row, chunks: dict[bytes, bytes]) -> Record:
    value = row["value"]
    if value is None:
        value = b"".join(chunks[chunk_id] for chunk_id, _ in _references(row["chunks"]))
    moments = row["expires_at"], row["modified_at"]
    return Record(tier, row["namespace"], row["key"], value, row["encoding"], *moments, row["attrs"])


def _in_order(values: list[Any]) -> bool:
    return all(one <= other for one, other in pairwise(values))


def _summands(stored: Document, blocks: list[list[Row]]) -> Iterator[bytes]:
    """What each row of an object adds to its checksum [7]."""
    for number, block in enumerate(blocks):
        for row in block:
            match stored["kind"]:
                case "pack":
                    yield _place(row["id"], stored["name"], number)
                case "chunk-index":
                    yield _place(row["id"], row["pack"], row["block"])
                case _:
                    yield row["fingerprint"]


def _place(chunk_id: bytes, pack: str, block: int) -> bytes:
    return bytes(blake3(chunk_id + pack.encode() + struct.pack(">I", block)).digest(16))


def _checksum(values: Iterable[bytes]) -> bytes:
    """The sum of 16-byte strings, half by half [7]."""
    sums = [0, 0]
    for value in values:
        sums = [(total + half) % (1 << 64) for total, half in zip(sums, struct.unpack("<2Q", value), strict=True)]
    return struct.pack("<2Q", *sums)


def _check_manifest(manifest: Document) -> None:
    """The members and their types, all the way down, and the form of the stacks [6, 8]."""
    _check_members(manifest, _BODY)
    _need([tier["tier"] for tier in manifest["tiers"]] == ["hot", "warm", "cold"], "its tiers are others")
    for tier in manifest["tiers"]:
        _check_members(tier, _TIER)
        if tier["changes"] is not None:
            _check_members(tier["changes"], _CHANGES)
        _need(tier["source"] in _SOURCES, "a tier came from a source that is not known")
        _need(tier["source"] is not None or not tier["stack"], "a tier that is held came from nowhere")
        kinds = [layer["kind"] for layer in tier["stack"]]
        _need(kinds == ["base", *["delta"] * (len(kinds) - 1)][: len(kinds)], "a stack does not begin with its base")
        _need(all(layer["tier"] == tier["tier"] for layer in tier["stack"]), "a layer is of another tier")
    for layer in [*(layer for tier in manifest["tiers"] for layer in tier["stack"]), *manifest["borrowed"]]:
        _check_members(layer, _LAYER)
        _need(layer["fingerprint_key_id"] == manifest["fingerprint_key_id"], "a layer has another fingerprint key")


def _check_layer_document(layer: Document, ref: Document) -> None:
    """The members, and that they say what the manifest says [8]."""
    _check_members(layer, _LAYER_DOCUMENT)
    said = {name: layer[name] for name in _LAYER if name not in _SUMMED}
    _need(said == {name: ref[name] for name in said}, "it does not say what the manifest says")
    for stored in layer["objects"]:
        _check_members(stored, _OBJECT)
        _need(stored["kind"] in _STORED, "an object's kind is not known")
        _need(stored["listed"] or stored["kind"] == "segment", "an object that is no segment is compact")
    _need(len(layer["objects"]) == ref["objects"], "it has not the objects that the manifest counts")
    _need(sum(stored["size"] for stored in layer["objects"]) == ref["stored_bytes"], "its objects have other sizes")
    places = [(_STORED.index(stored["kind"]), stored["seq"]) for stored in layer["objects"]]
    _need(_in_order(places) and len(set(places)) == len(places), "its objects are not in order")
    for lender in layer["borrows"]:
        _check_members(lender, _LAYER)


def _check_members(document: Document, members: dict[str, Any]) -> None:
    _need(set(document) == set(members), "its members are others")
    for name, kind in members.items():
        _need(
            isinstance(document[name], kind) and (kind is bool or not isinstance(document[name], bool)),
            f"its {name} is of another type",
        )
