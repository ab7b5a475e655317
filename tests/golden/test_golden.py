"""The stored format holds: two readers that share no code agree on real bytes, and refuse the same damage."""

from __future__ import annotations

import ast
import base64
import json
import shutil
import struct
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest
import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

from strata.content.chunks import Chunker, index_places, places_checksum
from strata.content.proof import Prover
from strata.engine.restorer import ChunkReader, read_records
from strata.engine.verifier import LayerReader
from strata.errors import IntegrityError, KeyringError, StrataError
from strata.model.layer import ObjectKind, StoredObject
from strata.model.manifest import BackupMetadata, manifest_name
from strata.model.tier import Tier
from strata.seal.encryption import derive
from strata.seal.keyring import FileKeyring
from strata.settings import Settings
from strata.wiring import Wiring
from tests.golden import reader as second_reader
from tests.golden.make_golden import (
    BACKUP_ID,
    EXPECTED,
    KEYRING,
    STORE,
    Listed,
    back_up,
    fill_hot,
    held_by_hot,
    in_order,
    listed,
)
from tests.golden.reader import Reader, Refused

V0: Final = Path(__file__).parent / "v0"
MANIFEST: Final = manifest_name(BACKUP_ID)
OBJECTS: Final = sorted(
    path.relative_to(V0 / STORE).as_posix()
    for part in ("layers", "chunks")
    for path in (V0 / STORE / part).rglob("*.*")
)
PACK: Final = next(name for name in OBJECTS if name.endswith(".pack"))
CHUNK_INDEX: Final = next(name for name in OBJECTS if name.endswith(".cdx"))
INDEX: Final = next(name for name in OBJECTS if name.endswith("-cold/000000.idx"))
SEGMENT: Final = f"layers/{BACKUP_ID}-hot/000000.seg"
NOT_ITS_SUM: Final = ("does not hold the records that were collected", "do not add up to its proof")
_EDGE: Final = 64
_SPREAD: Final = 40

Packing = Callable[[bytes], bytes]

Block = tuple[bytes, int, bytes]
"""A block's raw bytes, its rows and its "first" value."""

Change = Callable[[list[Block]], list[Block]]


def _packed(raw: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(raw)


def _by_rows(change: Callable[[pa.Table], pa.Table]) -> Change:
    """Each block's rows changed, and written with a batch for each row: readers take any number."""

    def changed(blocks: list[Block]) -> list[Block]:
        return [(_stream(change(pa.ipc.open_stream(raw).read_all())), rows, first) for raw, rows, first in blocks]

    return changed


def _reversed(*columns: str) -> Change:
    """The values of some columns in reverse, the others as they were."""

    def change(rows: pa.Table) -> pa.Table:
        order = pa.array(range(rows.num_rows - 1, -1, -1))
        for name in columns:
            rows = rows.set_column(rows.column_names.index(name), rows.field(name), rows[name].take(order))
        return rows

    return _by_rows(change)


def _with(column: str, value: Any) -> Change:
    """One value in every row of a column."""

    def change(rows: pa.Table) -> pa.Table:
        field = rows.field(column)
        values = pa.array([value] * rows.num_rows, field.type)
        return rows.set_column(rows.column_names.index(column), field, values)

    return _by_rows(change)


def _beyond_its_names(rows: pa.Table) -> pa.Table:
    """A namespace that the dictionary does not have, in every row."""
    indices = pa.array([99] * rows.num_rows, pa.int32())
    values = pa.DictionaryArray.from_arrays(indices, pa.array(["0"]), safe=False)
    return rows.set_column(rows.column_names.index("namespace"), rows.field("namespace"), values)


def _not_utf8(rows: pa.Table) -> pa.Table:
    """Attributes that are no text, in every row."""
    offsets = pa.array(range(rows.num_rows + 1), pa.int32()).buffers()[1]
    values = pa.StringArray.from_buffers(rows.num_rows, offsets, pa.py_buffer(b"\xff" * rows.num_rows))
    return rows.set_column(rows.column_names.index("attrs"), rows.field("attrs"), values)


def _as_it_is(blocks: list[Block]) -> list[Block]:
    return blocks


def _names_exchanged(blocks: list[Block]) -> list[Block]:
    return [(raw, rows, first) for (raw, rows, _), (*_, first) in zip(blocks, reversed(blocks), strict=True)]


def _counted_as(rows: int) -> Change:
    return lambda blocks: [(raw, rows, first) for raw, _, first in blocks]


def _stream(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows.combine_chunks(), max_chunksize=1)
    return bytes(sink.getvalue())


def _sealed(
    data_key: bytes, header: bytes, blocks: list[tuple[bytes, int, int, bytes]], left_over: bytes = b""
) -> bytes:
    """A frame by hand: blocks are (payload, raw length, rows, first)."""
    cipher = AESGCM(HKDF(SHA256(), 32, header[24:56], b"strata/0/object").derive(data_key))

    def seal(domain: int, number: int, mark: bytes, plain: bytes) -> bytes:
        counter = number.to_bytes(8, "big")
        return cipher.encrypt(bytes([domain, 0, 0, 0]) + counter, plain, header + counter + mark)

    body, table = b"", b""
    for number, (payload, raw_length, rows, first) in enumerate(blocks):
        sealed = seal(0, number, b"\1" if number == len(blocks) - 1 else b"\0", payload)
        table += struct.pack("<QIIII", len(header) + len(body), len(sealed), raw_length, rows, len(first))
        body += sealed
    table = seal(1, len(blocks), b"\2", table + b"".join(first for *_, first in blocks) + left_over)
    footer = struct.pack("<QII8s", len(header) + len(body), len(table), len(blocks), b"\n\x1aATARTS")
    return header + body + table + footer


class Both:
    """One store, seen by Strata and by the second reader."""

    def __init__(self, store: Path, keyring: Path, spool: Path) -> None:
        self.store, self.keyring = store, keyring
        self.wiring = Wiring(Settings(local_url=store.as_uri(), spool_url=spool.as_uri(), keyring_file=keyring))
        self.reader = Reader(store, keyring)
        self._verifier = self.wiring.restorer.verifier(self.manifest())
        self._said = self.reader.manifest(BACKUP_ID)

    def manifest(self) -> BackupMetadata:
        """The golden backup's manifest."""
        return self.wiring.metadata.load(BACKUP_ID)

    def stored(self, name: str) -> tuple[str, StoredObject]:
        """What the manifest says of an object, and its layer."""
        pairs = ((layer.layer_id, one) for layer in self.manifest().layers for one in layer.objects)
        return next(pair for pair in pairs if pair[1].name == name)

    @property
    def secret(self) -> bytes:
        """The golden backup's fingerprint secret."""
        return self.wiring.keyring.fingerprint_key(self.manifest().fingerprint_key_id).secret

    def refuse(self, layer_id: str, stored: StoredObject) -> None:
        """Assert that both refuse what lies under an object's name, and say the name."""
        with pytest.raises(StrataError) as said:
            self._verifier.prove(layer_id, stored)
        assert stored.name in said.value.sentence
        with pytest.raises(Refused, match=stored.name):
            self.object_rows(layer_id, stored)

    def refuse_as_recorded(
        self, layer_id: str, stored: StoredObject, why: str | None = None, other_why: str = ""
    ) -> None:
        """The same where size and digest are those of the bytes there, so that the frame has to tell; and why."""
        data = (self.store / stored.name).read_bytes()
        forged = stored.model_copy(update={"size": len(data), "digest": blake3(data).hexdigest()})
        with pytest.raises(StrataError, match=why):
            self._verifier.prove(layer_id, forged)
        with pytest.raises(Refused, match=f"{stored.name}.*{other_why}"):
            self.object_rows(layer_id, forged)

    def believe(self, layer_id: str, stored: StoredObject) -> None:
        """Assert that neither refuses it."""
        self._verifier.prove(layer_id, stored)
        self.object_rows(layer_id, stored)

    def object_rows(self, layer_id: str, stored: StoredObject) -> list[list[second_reader.Row]]:
        """An object's rows as the second reader sees them."""
        return self.reader.object_rows(self._said, layer_id, stored.model_dump(mode="json"))

    def resealed(
        self,
        name: str,
        change: Change = _as_it_is,
        pack: Packing = _packed,
        left_over: bytes = b"",
        marked: int | None = None,
    ) -> StoredObject:
        """Put changed blocks in an object's place, sealed with the right keys; what a manifest would say of them.

        `left_over` stands behind the block table, `marked` is a byte of the header to be 1.
        """
        layer_id, stored = self.stored(name)
        reader = LayerReader(self.wiring.store, self.wiring.keyring)
        opened = reader.open(layer_id, stored)
        header = bytearray((self.store / name).read_bytes()[:200])
        if marked is not None:
            header[marked] = 1
        held = [(opened.read(number), block.rows, block.first) for number, block in enumerate(opened.blocks)]
        blocks = [(pack(raw), len(raw), rows, first) for raw, rows, first in change(held)]
        secret = self.wiring.keyring.unwrap(opened.header.key_id, opened.header.wrapped).secret
        data = _sealed(secret, bytes(header), blocks, left_over)
        (self.store / name).write_bytes(data)
        size = sum(length for _, length, _, _ in blocks)
        return stored.model_copy(update={"size": len(data), "digest": blake3(data).hexdigest(), "raw_bytes": size})

    def refuse_manifest(self) -> None:
        """Assert that both refuse the manifest, and say its name."""
        good, bad = self.wiring.metadata.history()
        assert (good, [one.name for one in bad]) == ([], [MANIFEST])
        with pytest.raises(Refused, match=MANIFEST):
            self.reader.manifest(BACKUP_ID)


@pytest.fixture
def both(folder: Path) -> Both:
    """The golden store in a folder of the test's own, with its keyring as private as it must be."""
    shutil.copytree(V0 / STORE, folder / "store")
    return Both(folder / "store", _private_keyring(folder), folder / "spool")


@pytest.fixture
def expected() -> list[Listed]:
    """What the servers held when the golden backup was made."""
    records: list[Listed] = json.loads((V0 / EXPECTED).read_text())
    return records


def test_the_second_reader_imports_nothing_of_strata() -> None:
    """Its agreement would prove little if it shared code with what it checks."""
    tree = ast.parse(Path(second_reader.__file__).read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "." for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name.partition(".")[0] for name in imported} & {"strata", "tasks", "workers", "tests", "."}


def test_the_golden_store_holds_every_kind_of_object(both: Both) -> None:
    """Several segments, several blocks, packs and chunk indexes: what is not there would not be proved."""
    objects = [one for layer in both.manifest().layers for one in layer.objects]
    assert {one.kind for one in objects} == set(ObjectKind) - {ObjectKind.DOCUMENT}
    assert sum(one.name.endswith(".seg") and "-hot/" in one.name for one in objects) == 2
    assert sorted(one.name for one in objects) == OBJECTS
    layer_id, first = both.stored(SEGMENT)
    assert len(both.object_rows(layer_id, first)) > 1
    assert both.stored(PACK)[1].rows > 1
    assert sum(one.kind is ObjectKind.PACK for one in objects) > 1


def test_the_second_reader_finds_what_was_backed_up(both: Both, expected: list[Listed]) -> None:
    """A program written from docs/format.md alone reads every record, value by value."""
    assert both.reader.backups() == [BACKUP_ID]
    assert _found(both.reader, BACKUP_ID) == expected


def test_strata_verifies_the_golden_store(both: Both, expected: list[Listed]) -> None:
    """Every object of a released version is still proved."""
    verified = both.wiring.restorer.verify(both.manifest(), tuple(Tier), lambda _: None)
    assert (verified.objects, verified.records) == (len(OBJECTS), len(expected))


def test_strata_finds_what_was_backed_up(both: Both, expected: list[Listed]) -> None:
    """Every record of a released version is still read."""
    assert in_order(list(_read_by_strata(both))) == expected


def test_both_readers_agree_on_the_details(both: Both) -> None:
    """What describes the sources is the same to both, tables and all."""
    mine = both.reader.details(both.reader.manifest(BACKUP_ID))
    assert mine == both.wiring.restorer.details(both.manifest())
    assert [table["copied"] for table in mine["warm"]["tables"]] == [["line"], ["name", "id", "body", "raw"]]


def test_the_second_reader_reads_a_backup_made_now(hot_url: str, folder: Path) -> None:
    """What the pipeline writes today is what docs/format.md says."""
    keyring = _private_keyring(folder)
    fill_hot(hot_url, 0)
    settings = Settings(
        hot_url=SecretStr(hot_url),
        local_url=(folder / "store").as_uri(),
        spool_url=(folder / "spool").as_uri(),
        keyring_file=keyring,
    )
    manifest = back_up(settings, BACKUP_ID)
    assert _found(Reader(folder / "store", keyring), manifest.backup_id) == in_order(list(held_by_hot(hot_url, (0,))))


@pytest.mark.parametrize("name", OBJECTS)
def test_one_changed_bit_of_an_object_is_refused_by_name(both: Both, name: str) -> None:
    """Wherever the bit is, and even where the digest is made to match."""
    layer_id, stored = both.stored(name)
    for _ in _damaged(both.store / name):
        both.refuse(layer_id, stored)
        both.refuse_as_recorded(layer_id, stored)


def test_one_changed_bit_of_a_manifest_is_refused_by_name(both: Both) -> None:
    """Nothing of a manifest is believed that was not signed."""
    for _ in _damaged(both.store / MANIFEST):
        both.refuse_manifest()


@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_of_another_length_is_refused_by_name(both: Both, name: str) -> None:
    """Cut short anywhere, or one byte too long, and even where size and digest are made to match."""
    layer_id, stored = both.stored(name)
    for _ in _resized(both.store / name):
        both.refuse(layer_id, stored)
        both.refuse_as_recorded(layer_id, stored)


def test_a_manifest_of_another_length_is_refused_by_name(both: Both) -> None:
    """Half a manifest is none."""
    for _ in _resized(both.store / MANIFEST):
        both.refuse_manifest()


def test_a_missing_object_is_refused_by_name(both: Both) -> None:
    """What the manifest names must be there."""
    for name in OBJECTS:
        (both.store / name).unlink()
        both.refuse(*both.stored(name))


def test_exchanged_objects_are_refused_by_name(both: Both) -> None:
    """Good bytes in the wrong place are damage: of the same layer, of another layer, of another kind."""
    here = SEGMENT
    layer_id, stored = both.stored(here)
    for other in ("hot/000001.seg", "warm/000000.seg", "hot/000000.idx"):
        there = f"layers/{BACKUP_ID}-{other}"
        _exchange(both.store / here, both.store / there)
        both.refuse(layer_id, stored)
        both.refuse(*both.stored(there))
        both.refuse_as_recorded(layer_id, stored)
        _exchange(both.store / here, both.store / there)


def test_a_manifest_under_another_name_is_refused_by_name(both: Both) -> None:
    """A backup cannot be passed off as another."""
    other = "20250102-030405-full-000000"
    (both.store / MANIFEST).rename(both.store / manifest_name(other))
    with pytest.raises(IntegrityError, match=other):
        both.wiring.metadata.load(other)
    with pytest.raises(Refused, match=other):
        both.reader.manifest(other)


def test_a_format_of_the_future_is_refused(both: Both) -> None:
    """An unknown version is said to be one, by objects and by manifests whose signature is good."""
    layer_id, stored = both.stored(OBJECTS[0])
    path = both.store / OBJECTS[0]
    data = bytearray(path.read_bytes())
    data[8] = 1
    path.write_bytes(data)
    both.refuse_as_recorded(layer_id, stored)

    _sign_anew(both, lambda body: body.replace(b'"format":0', b'"format":1'))
    both.refuse_manifest()
    with pytest.raises(IntegrityError, match="format version 1"):
        both.manifest()


def test_a_member_that_the_format_does_not_have_is_refused(both: Both) -> None:
    """A signed manifest that says more than its version knows is of another version."""
    _sign_anew(both, lambda body: body.replace(b'"format":0', b'"extra":1,"format":0'))
    both.refuse_manifest()


def test_a_signature_holds_nothing_else(both: Both) -> None:
    """A member that nobody signed is not let through, wherever it stands, nor is one that is missing."""
    path = both.store / MANIFEST
    data = path.read_bytes()
    at = data.rindex(b'"signature":{')
    body, seal = data[:at], data[at:]
    for other in (
        seal.replace(b'{"ed25519"', b'{"a":1,"ed25519"'),
        seal.replace(b',"key_id"', b',"f":1,"key_id"'),
        seal.replace(b'"}}', b'","z":1}}'),
        seal.replace(b'"}}', b'","z":"1"}}'),
        seal.replace(b'"}}', b'"},"z":1}'),
        seal.replace(b',"key_id"', b',"key_id":"","key_id"'),
        seal[: seal.index(b',"key_id"')] + b"}}\n",
    ):
        assert other != seal
        path.write_bytes(body + other)
        both.refuse_manifest()


def test_every_byte_of_a_manifest_is_as_it_was_written(both: Both) -> None:
    """Not one other spelling of the same document is let through: base64's unused bits, white space, escapes, order."""
    path = both.store / MANIFEST
    data = path.read_bytes()
    end = data.rindex(b'==","key_id"') - 1
    digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    number = digits.index(data[end])
    assert number % 16 == 0
    unused = (data[:end] + bytes([digits[number + bits]]) + data[end + 1 :] for bits in (1, 2, 4, 8, 15))
    document = json.loads(data)
    turned = {"signature": document["signature"], "manifest": document["manifest"]}
    for other in (
        *unused,
        data.replace(b'==","key_id"', b'=","key_id"'),
        data.replace(b'":', b'": ', 1),
        data.replace(b'"key_id":"s-', b'"key_id":"\\u0073-'),
        data[:-1],
        b"\xef\xbb\xbf" + data,
        json.dumps(turned, separators=(",", ":")).encode() + b"\n",
    ):
        assert other != data
        path.write_bytes(other)
        both.refuse_manifest()


def test_a_signature_of_something_else_makes_no_manifest(both: Both) -> None:
    """What is signed says that it is a manifest."""
    _sign_anew(both, lambda body: body, signed_as=b"")
    both.refuse_manifest()


@pytest.mark.parametrize(
    ("kind", "owner", "blocks"),
    [(5, "20250102-030405-full-000000", 1), (1, BACKUP_ID, 1), (5, BACKUP_ID, 2), (5, BACKUP_ID, 0)],
    ids=["another backup's", "a segment", "two blocks", "no block"],
)
def test_details_are_one_document_of_this_backup(both: Both, kind: int, owner: str, blocks: int) -> None:
    """Whatever else is sealed with the backup's key is not taken for them."""
    manifest = both.manifest()
    document = json.dumps(both.wiring.restorer.details(manifest)).encode()
    header = bytearray(base64.b64decode(manifest.details)[:200])
    header[10], header[132:196] = kind, owner.encode().ljust(64, b"\0")
    secret = both.wiring.keyring.unwrap(manifest.key_id, base64.b64decode(manifest.wrapped_key)).secret
    sealed = _sealed(secret, bytes(header), [(_packed(document), len(document), 1, b"")] * blocks)
    _sign_anew(both, lambda body: body.replace(manifest.details.encode(), base64.b64encode(sealed)))
    with pytest.raises(Refused, match=MANIFEST):
        both.reader.details(both.reader.manifest(BACKUP_ID))
    with pytest.raises(IntegrityError, match=BACKUP_ID):
        both.wiring.restorer.details(both.manifest())


def test_a_fingerprint_key_that_the_keyring_lacks_is_refused(both: Both) -> None:
    """It is the one the manifest names, not the one used for what is new."""
    document = json.loads(both.keyring.read_text())
    (named,) = (key for key in document["keys"] if key["purpose"] == "fingerprint")
    named["id"] = "f-another"
    both.keyring.write_text(json.dumps(document))
    reader = Reader(both.store, both.keyring)
    with pytest.raises(Refused, match=MANIFEST):
        list(reader.records(reader.manifest(BACKUP_ID)))
    with pytest.raises(KeyringError):
        Wiring(both.wiring.settings).restorer.verifier(both.manifest())


def test_what_is_sealed_anew_and_holds_the_same_is_believed(both: Both) -> None:
    """So what the next tests see refused is refused for what they changed."""
    for name in OBJECTS:
        layer_id, _ = both.stored(name)
        both.believe(
            layer_id, both.resealed(name, _as_it_is if name.endswith(".pack") else _by_rows(lambda rows: rows))
        )


@pytest.mark.parametrize(
    ("name", "change", "why", "other_why"),
    [
        (PACK, _names_exchanged, "does not match its id", "does not match its id"),
        (PACK, lambda blocks: blocks[::-1], *NOT_ITS_SUM),
        (PACK, _counted_as(2), "does not match its id", "has not the rows that the table says"),
        (PACK, _counted_as(0), "does not match its id", "has not the rows that the table says"),
        (CHUNK_INDEX, _reversed("pack", "block"), *NOT_ITS_SUM),
        (CHUNK_INDEX, _with("block", 1), *NOT_ITS_SUM),
        (CHUNK_INDEX, _with("pack", PACK.replace("000000.pack", "000001.pack")), *NOT_ITS_SUM),
        (INDEX, _with("key", b"another"), "does not match its hash", "does not match its hash"),
        (INDEX, _with("key", None), "lacks values", "has nulls"),
        (SEGMENT, _with("fingerprint", None), "lacks values", "has nulls"),
        (INDEX, _by_rows(_beyond_its_names), "not an Arrow stream", "out of bounds"),
        (SEGMENT, _by_rows(_not_utf8), "not an Arrow stream", "UTF8"),
    ],
)
def test_rows_that_are_not_as_collected_are_refused(
    both: Both, name: str, change: Change, why: str, other_why: str
) -> None:
    """Even sealed with the right keys: ids of other chunks, chunks moved, places that are others', nulls, no rows."""
    layer_id, _ = both.stored(name)
    both.refuse_as_recorded(layer_id, both.resealed(name, change), why, other_why)


@pytest.mark.parametrize(
    "pack",
    [
        zstandard.ZstdCompressor(write_content_size=False).compress,
        lambda raw: _packed(raw) + b"\0",
        lambda raw: _packed(raw) + _packed(b"more"),
        lambda raw: _packed(raw + b"\0"),
    ],
    ids=["no size", "a byte after it", "a frame after it", "another size"],
)
def test_a_block_is_exactly_one_frame_of_its_length(both: Both, pack: Packing) -> None:
    """What a decompressor would let pass, or would have to guess."""
    layer_id, _ = both.stored(INDEX)
    both.refuse_as_recorded(layer_id, both.resealed(INDEX, pack=pack))


def test_a_table_with_a_byte_left_over_is_refused(both: Both) -> None:
    """Even one that was sealed with it."""
    forged = both.resealed(INDEX, left_over=b"\0")
    both.refuse_as_recorded(both.stored(INDEX)[0], forged, "block table", "its table does not describe it")


@pytest.mark.parametrize("at", [13, 15, 20, 23, 196, 199])
def test_a_header_with_a_byte_where_none_may_be_is_refused(both: Both, at: int) -> None:
    """Even one that everything in the object was sealed under."""
    forged = both.resealed(INDEX, marked=at)
    both.refuse_as_recorded(both.stored(INDEX)[0], forged, "bytes where none may be", "its zeros are not")


def test_a_chunk_index_that_does_not_add_up_to_the_packs_is_refused(both: Both) -> None:
    """Even where its own proof is good and the manifest is signed anew."""
    _, stored = both.stored(CHUNK_INDEX)
    forged = both.resealed(CHUNK_INDEX, _reversed("pack", "block"))
    reader = LayerReader(both.wiring.store, both.wiring.keyring)
    places = index_places(reader.rows(forged, reader.open(both.stored(CHUNK_INDEX)[0], forged), 0))
    proof = Prover(derive(both.secret, b"proof")).proof(CHUNK_INDEX, places_checksum(places)).encode()

    def change(body: bytes) -> bytes:
        for was, new in (
            (stored.digest.encode(), forged.digest.encode()),
            (stored.proof.encode(), proof),
            (b'"raw_bytes":%d,' % stored.raw_bytes, b'"raw_bytes":%d,' % forged.raw_bytes),
            (b'"size":%d}' % stored.size, b'"size":%d}' % forged.size),
        ):
            assert body.count(was) == 1
            body = body.replace(was, new)
        return body

    _sign_anew(both, change)
    with pytest.raises(Refused, match="does not add up to its packs"):
        list(both.reader.records(both.reader.manifest(BACKUP_ID)))
    with pytest.raises(IntegrityError, match="does not hold the chunk"):
        list(_read_by_strata(both))


def _private_keyring(folder: Path) -> Path:
    path = folder / "keyring.json"
    shutil.copyfile(V0 / KEYRING, path)
    path.chmod(0o600)
    return path


def _found(reader: Reader, backup_id: str) -> list[Listed]:
    records = reader.records(reader.manifest(backup_id))
    return in_order([_as_listed(record) for record in records])


def _as_listed(record: second_reader.Record) -> Listed:
    return listed(
        record.tier,
        record.namespace,
        record.key,
        record.value,
        record.encoding,
        expires_at=record.expires_at,
        modified_at=record.modified_at,
        attrs=_parsed(record.attrs),
    )


def _read_by_strata(both: Both) -> Iterator[Listed]:
    reader = LayerReader(both.wiring.store, both.wiring.keyring)
    for layer in both.manifest().layers:
        chunks = ChunkReader(layer, reader, Chunker(derive(both.secret, b"chunk")))
        for table in read_records(layer, reader):
            for row in table.to_pylist():
                value = b"".join(chunks.parts(row["chunks"])) if row["value"] is None else row["value"]
                moments = {name: _milliseconds(row[name]) for name in ("expires_at", "modified_at")}
                attrs = _parsed(row["attrs"])
                yield listed(layer.tier, row["namespace"], row["key"], value, row["encoding"], **moments, attrs=attrs)


def _parsed(attrs: str | None) -> dict[str, Any] | None:
    return None if attrs is None else json.loads(attrs)


def _milliseconds(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1000)


def _damaged(path: Path) -> Iterator[None]:
    """One bit of the file changed, at its first and last bytes and at places spread between them; then put right."""
    data = path.read_bytes()
    size = len(data)
    spread = (size * number // _SPREAD for number in range(_SPREAD))
    for at in sorted({*range(min(_EDGE, size)), *range(max(size - _EDGE, 0), size), *spread}):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        yield
    path.write_bytes(data)


def _resized(path: Path) -> Iterator[None]:
    """The file cut to several lengths, and one byte longer; then put right."""
    data = path.read_bytes()
    size = len(data)
    for length in (0, 1, 7, 199, 200, 239, size // 3, size // 2, size - 25, size - 24, size - 1):
        path.write_bytes(data[:length])
        yield
    path.write_bytes(data + b"\n")
    yield
    path.write_bytes(data)


def _exchange(one: Path, other: Path) -> None:
    held = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(held)


def _sign_anew(both: Both, change: Callable[[bytes], bytes], signed_as: bytes = b"strata manifest v0\n") -> None:
    """Change the manifest's body, and sign it with the right key."""
    path = both.store / MANIFEST
    data = path.read_bytes()
    at = data.rindex(b',"signature":{')
    body = change(data[len(b'{"manifest":') : at])
    body = json.dumps(json.loads(body), sort_keys=True, separators=(",", ":")).encode()
    key_id, signature = FileKeyring.load(both.keyring).sign(signed_as + body)
    seal = b'{"ed25519":"' + base64.b64encode(signature) + b'","key_id":"' + key_id.encode() + b'"}'
    path.write_bytes(b'{"manifest":' + body + b',"signature":' + seal + b"}\n")
