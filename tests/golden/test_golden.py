"""The stored format holds: two readers that share no code agree on real bytes, and refuse the same damage."""

from __future__ import annotations

import ast
import base64
import json
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

from strata.catalog.canonical import canonical
from strata.catalog.history import RunBook
from strata.catalog.identity import IdentityBook
from strata.catalog.layers import LayerCatalog
from strata.catalog.notes import NoteBook
from strata.content.chunks import index_places, places_checksum
from strata.content.proof import Prover
from strata.engine.failures import reason_of
from strata.engine.layers import LayerReader
from strata.engine.local import restore_here
from strata.errors import IntegrityError, KeyringError, StrataError
from strata.model.backup_type import BackupType
from strata.model.layer import Layer, LayerKind, LayerRef, ObjectKind, StoredObject, layer_document_name
from strata.model.manifest import BackupMetadata, manifest_name
from strata.model.record import LargeValue
from strata.model.tier import StorageTier, Tier
from strata.seal.encryption import derive
from strata.seal.keyring import FileKeyring
from strata.settings import Settings
from strata.sources.port import RestoreMode
from strata.testing import MemoryRecord, MemorySource
from strata.wiring import Wiring
from tests.engine.workbench import Workbench
from tests.golden import reader as second_reader
from tests.golden.make_golden import (
    BACKUP_ID,
    EXPECTED,
    FAILED,
    INCREMENTAL,
    KEYRING,
    REASON,
    SNAPSHOT,
    STORE,
    SYNTHETIC,
    Listed,
    back_up,
    change_hot,
    change_hot_again,
    fill_hot,
    held_by_hot,
    in_order,
    listed,
)
from tests.golden.reader import Reader, Refused

V0: Final = Path(__file__).parent / "v0"
BACKUPS: Final = [BACKUP_ID, INCREMENTAL, SYNTHETIC, SNAPSHOT]
MANIFEST: Final = manifest_name(BACKUP_ID)
STORED: Final = sorted(
    path.relative_to(V0 / STORE).as_posix()
    for part in ("layers", "chunks")
    for path in (V0 / STORE / part).rglob("*.*")
)
DOCUMENTS: Final = [name for name in STORED if name.endswith("/layer.json")]
OBJECTS: Final = [name for name in STORED if name not in DOCUMENTS]
PACK: Final = next(name for name in OBJECTS if name.endswith(".pack"))
CHUNK_INDEX: Final = next(name for name in OBJECTS if name.endswith(".cdx"))
INDEX: Final = f"layers/{BACKUP_ID}-cold/000000.idx"
SEGMENT: Final = f"layers/{BACKUP_ID}-hot/000000.seg"
DELTA: Final = f"layers/{INCREMENTAL}-hot/000000.seg"
TOMBSTONES: Final = f"layers/{INCREMENTAL}-hot/000001.seg"
COMPACT: Final = f"layers/{BACKUP_ID}-warm/000000.seg"
"""A compact segment whose keys stand by themselves; in the next one they are the beginnings of the values."""
WITHIN: Final = f"layers/{SYNTHETIC}-warm/000000.seg"
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


def _by_bytes(change: Callable[[bytes], bytes]) -> Change:
    """Each block's bytes changed."""
    return lambda blocks: [(change(raw), rows, first) for raw, rows, first in blocks]


def _compact_with(column: str, value: Any) -> Change:
    """One value in every row of a column of compact blocks."""

    def change(raw: bytes) -> bytes:
        length, form = struct.unpack_from("<II", raw)
        ((stream, _, _),) = _with(column, value)([(raw[8 : 8 + length], 0, b"")])
        return struct.pack("<II", len(stream), form) + stream + raw[8 + length :]

    return _by_bytes(change)


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
        self._verifier = self.wiring.depots.nearest.restorer.verifier(self.manifest())
        self._said = self.reader.manifest(BACKUP_ID)
        refs = (ref for backup_id in BACKUPS for ref in self.manifest(backup_id).layers)
        self.refs = {ref.layer_id: ref for ref in refs}
        catalog = LayerCatalog(self.wiring.depots.nearest.store)
        self.layers = {layer_id: catalog.load(ref) for layer_id, ref in self.refs.items()}

    def manifest(self, backup_id: str = BACKUP_ID) -> BackupMetadata:
        """The manifest of a golden backup."""
        return self.wiring.depots.nearest.metadata.load(backup_id)

    def stored(self, name: str) -> tuple[str, StoredObject]:
        """What its layer's document says of an object, and the layer."""
        pairs = ((layer.layer_id, one) for layer in self.layers.values() for one in layer.objects)
        return next(pair for pair in pairs if pair[1].name == name)

    def document(self, name: str) -> LayerRef:
        """What manifests say of the layer whose document has this name."""
        return next(ref for ref in self.refs.values() if layer_document_name(ref.layer_id) == name)

    def refuse_document(self, ref: LayerRef, why: str | None = None, other_why: str = "") -> None:
        """Assert that both refuse a layer's document, and say its name; and why."""
        name = layer_document_name(ref.layer_id)
        with pytest.raises(StrataError, match=why) as said:
            LayerCatalog(self.wiring.depots.nearest.store).load(ref)
        assert name in said.value.sentence
        with pytest.raises(Refused, match=f"{name}.*{other_why}"):
            self.reader.layer(ref.model_dump(mode="json"))

    def refuse_whole(self, backup_id: str, name: str) -> None:
        """Assert that neither reads a backup to its end, and that both say the name of what is in the way."""
        manifest = self.manifest(backup_id)
        with pytest.raises(StrataError, match=name):
            self.wiring.depots.nearest.restorer.verify(manifest, tuple(Tier), lambda _: None)
        with pytest.raises(Refused, match=name):
            list(self.reader.records(self.reader.manifest(backup_id)))

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
        reader = LayerReader(self.wiring.depots.nearest.store, self.wiring.keyring)
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
        good, bad = self.wiring.depots.nearest.metadata.history()
        assert [one.name for one in bad] == [MANIFEST]
        assert [one.backup_id for one in good] == BACKUPS[:0:-1]
        with pytest.raises(Refused, match=MANIFEST):
            self.reader.manifest(BACKUP_ID)


@pytest.fixture
def both(folder: Path) -> Both:
    """The golden store in a folder of the test's own, with its keyring as private as it must be."""
    shutil.copytree(V0 / STORE, folder / "store")
    return Both(folder / "store", _private_keyring(folder), folder / "spool")


@pytest.fixture(scope="module")
def expected() -> dict[str, list[Listed]]:
    """What the servers held when each golden backup was made."""
    states: dict[str, list[Listed]] = json.loads((V0 / EXPECTED).read_text())
    return states


def test_both_readers_see_whose_the_store_is(both: Both) -> None:
    """The identity is the same document to both, and every manifest names it."""
    found = IdentityBook(both.wiring.stores[StorageTier.LOCAL], FileKeyring.load(both.keyring)).read()
    said = both.reader.identity()
    assert found
    assert found.model_dump(mode="json") == {**said, "created_at": found.model_dump(mode="json")["created_at"]}
    for backup_id in BACKUPS:
        manifest = both.reader.manifest(backup_id)
        assert (manifest["store_id"], manifest["installation"]) == (said["store_id"], said["installation"])
    (both.store / "store.json").write_bytes((both.store / "store.json").read_bytes().replace(b"store_id", b"store_ie"))
    with pytest.raises(Refused, match=r"^store\.json"):
        both.reader.identity()


def test_the_second_reader_imports_nothing_of_strata() -> None:
    """Its agreement would prove little if it shared code with what it checks."""
    tree = ast.parse(Path(second_reader.__file__).read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "." for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name.partition(".")[0] for name in imported} & {"strata", "tasks", "workers", "tests", "."}


def test_the_golden_store_holds_every_kind_of_object(both: Both) -> None:
    """Several segments, several blocks, packs and chunk indexes: what is not there would not be proved."""
    objects = [one for layer in both.layers.values() for one in layer.objects]
    assert {one.kind for one in objects} == set(ObjectKind) - {ObjectKind.DOCUMENT}
    assert sorted(one.name for one in objects) == OBJECTS
    assert sorted(layer_document_name(layer_id) for layer_id in both.layers) == DOCUMENTS
    assert len(both.layers[f"{BACKUP_ID}-hot"].of_kind(ObjectKind.SEGMENT)) == 2
    layer_id, first = both.stored(SEGMENT)
    assert len(both.object_rows(layer_id, first)) > 1
    assert both.stored(PACK)[1].rows > 1
    assert sum(one.kind is ObjectKind.PACK for one in objects) > 1
    marks = {row["mark"] is None for name in (INDEX, INDEX.replace("-cold", "-hot")) for row in _rows(both, name)}
    assert marks == {False, True}


def test_the_golden_store_holds_every_kind_of_stack(both: Both) -> None:
    """Deltas and tombstones in every tier, a full backup on a stack, and a backup that stands apart and borrows."""
    for tier in Tier:
        layer = both.layers[f"{INCREMENTAL}-{tier}"]
        changes = both.manifest(INCREMENTAL).content(tier).changes
        assert (layer.kind, layer.tombstones > 0) == (LayerKind.DELTA, True)
        assert changes
        assert 0 not in {changes.unchanged, changes.changed, changes.new, changes.gone}
    synthetic, snapshot = both.manifest(SYNTHETIC), both.manifest(SNAPSHOT)
    assert [len(content.stack) for content in synthetic.tiers] == [3, 3, 3]
    assert [len(content.stack) for content in snapshot.tiers] == [1, 1, 1]
    assert {layer.layer_id for layer in snapshot.borrowed} == {f"{BACKUP_ID}-cold", f"{INCREMENTAL}-cold"}
    chunked = [layer for layer in both.layers.values() if layer.chunked]
    assert any(not layer.of_kind(ObjectKind.CHUNK_INDEX) for layer in chunked)
    assert any(layer.borrows and layer.of_kind(ObjectKind.CHUNK_INDEX) for layer in chunked)


@pytest.mark.parametrize("backup_id", BACKUPS)
def test_the_second_reader_finds_what_was_backed_up(
    both: Both, expected: dict[str, list[Listed]], backup_id: str
) -> None:
    """A program written from docs/format.md alone reads every record, value by value."""
    assert both.reader.backups() == BACKUPS
    assert _found(both.reader, backup_id) == expected[backup_id]


@pytest.mark.parametrize("backup_id", BACKUPS)
def test_strata_verifies_the_golden_store(both: Both, expected: dict[str, list[Listed]], backup_id: str) -> None:
    """Every object of a released version is still proved."""
    verified = both.wiring.depots.nearest.restorer.verify(both.manifest(backup_id), tuple(Tier), lambda _: None)
    assert verified.records == len(expected[backup_id])
    if backup_id == BACKUP_ID:
        assert verified.objects == sum(BACKUP_ID in name for name in OBJECTS)


@pytest.mark.parametrize("backup_id", BACKUPS)
def test_strata_finds_what_was_backed_up(both: Both, expected: dict[str, list[Listed]], backup_id: str) -> None:
    """Every record of a released version is still read."""
    assert in_order(list(_read_by_strata(both, backup_id))) == expected[backup_id]


class Target(MemorySource):
    """A tier in memory that takes what was backed up of a real one."""

    def check(self, description: dict[str, Any]) -> None:
        assert description


@pytest.mark.parametrize("backup_id", BACKUPS)
def test_strata_restores_what_was_backed_up(folder: Path, expected: dict[str, list[Listed]], backup_id: str) -> None:
    """Into targets that held something else, record by record: what is not in the backup is gone."""
    shutil.copytree(V0 / STORE, folder / "store")
    _private_keyring(folder)
    targets = {tier: Target(tier, {("0", b"order: left over"): MemoryRecord(b"x")}) for tier in Tier}
    bench = Workbench(folder, dict(targets))
    restored = restore_here(bench.manager, backup_id, "restore", RestoreMode.EXACT, ())
    assert sum(tier.written for tier in restored.tiers) == len(expected[backup_id])
    found = [
        listed(
            tier,
            *name,
            record.value,
            record.encoding,
            expires_at=_milliseconds(record.expires_at),
            modified_at=_milliseconds(record.modified_at),
            attrs=_parsed(record.attrs),
        )
        for tier, target in targets.items()
        for name, record in target.records.items()
    ]
    assert in_order(found) == expected[backup_id]


@pytest.mark.parametrize("backup_id", BACKUPS)
def test_both_readers_agree_on_the_details(both: Both, backup_id: str) -> None:
    """What describes the sources is the same to both, tables and all."""
    mine = both.reader.details(both.reader.manifest(backup_id))
    assert mine == both.wiring.depots.nearest.restorer.details(both.manifest(backup_id))
    if backup_id != SNAPSHOT:
        copied = [table["copied"] for table in mine["warm"]["tables"]]
        assert copied == [["line"], ["name", "id", "body", "raw"], ["id", "price"]]


def test_the_second_reader_reads_backups_made_now(hot_url: str, folder: Path) -> None:
    """What the pipeline writes today is what docs/format.md says, layer upon layer."""
    keyring = _private_keyring(folder)
    settings = Settings(
        hot_url=SecretStr(hot_url),
        local_url=(folder / "store").as_uri(),
        spool_url=(folder / "spool").as_uri(),
        keyring_file=keyring,
    )
    held: dict[str, list[Listed]] = {}
    for backup_id, backup_type, change in (
        (BACKUP_ID, BackupType.FULL, fill_hot),
        (INCREMENTAL, BackupType.INCREMENTAL, change_hot),
        (SYNTHETIC, BackupType.FULL, change_hot_again),
    ):
        change(hot_url, 0)
        back_up(settings, backup_id, backup_type)
        held[backup_id] = in_order(list(held_by_hot(hot_url, (0,))))
    reader = Reader(folder / "store", keyring)
    assert {backup_id: _found(reader, backup_id) for backup_id in reader.backups()} == held


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
    """What a layer's document names must be there."""
    for name in OBJECTS:
        with _without(both.store / name):
            both.refuse(*both.stored(name))


def test_exchanged_objects_are_refused_by_name(both: Both) -> None:
    """Good bytes in the wrong place are damage: of the same layer, of another layer or backup, of another kind."""
    for here, others in (
        (SEGMENT, [f"layers/{BACKUP_ID}-{other}" for other in ("hot/000001.seg", "warm/000000.seg", "hot/000000.idx")]),
        (DELTA, [SEGMENT, TOMBSTONES, f"layers/{SYNTHETIC}-hot/000000.seg"]),
        (PACK, [PACK.replace("000000.pack", "000001.pack"), CHUNK_INDEX]),
    ):
        layer_id, stored = both.stored(here)
        for there in others:
            _exchange(both.store / here, both.store / there)
            both.refuse(layer_id, stored)
            both.refuse(*both.stored(there))
            both.refuse_as_recorded(layer_id, stored)
            _exchange(both.store / here, both.store / there)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_layers_document_that_is_not_as_it_was_written_is_refused_by_name(both: Both, name: str) -> None:
    """One changed bit anywhere, any other length, another layer's document in its place, or none."""
    ref = both.document(name)
    for _ in _damaged(both.store / name):
        both.refuse_document(ref)
    for _ in _resized(both.store / name):
        both.refuse_document(ref)
    there = next(other for other in DOCUMENTS if other != name)
    _exchange(both.store / name, both.store / there)
    both.refuse_document(ref)
    both.refuse_document(both.document(there))
    _exchange(both.store / name, both.store / there)
    with _without(both.store / name):
        both.refuse_document(ref)


@pytest.mark.parametrize(
    ("change", "why", "other_why"),
    [
        ({"records": 1}, "not the layer", "does not say what the manifest says"),
        ({"kind": "delta"}, "not the layer", "does not say what the manifest says"),
        ({"layer_id": f"{BACKUP_ID}-warm"}, "not the layer", "does not say what the manifest says"),
        ({"objects": []}, "not the layer", "has not the objects"),
        ({"format": 1}, "format version 1", "format is not known"),
        ({"extra": 1}, "misstates", "members are others"),
        ({"borrows": [{}]}, "misstates", "members are others"),
    ],
    ids=str,
)
def test_a_layers_document_that_does_not_say_what_the_manifest_says_is_refused(
    both: Both, change: dict[str, Any], why: str, other_why: str
) -> None:
    """Even one whose digest is the manifest's."""
    ref = both.refs[f"{BACKUP_ID}-hot"]
    path = both.store / layer_document_name(ref.layer_id)
    data = canonical(json.loads(path.read_bytes()) | change) + b"\n"
    path.write_bytes(data)
    both.refuse_document(ref.model_copy(update={"digest": blake3(data).hexdigest()}), why, other_why)


@pytest.mark.parametrize("backup_id", BACKUPS)
def test_whatever_a_backup_needs_is_missed_by_name(both: Both, backup_id: str) -> None:
    """Layers of its own, layers below them, and layers that it borrows from: each object, and each document."""
    manifest = both.manifest(backup_id)
    borrowed = {ref.layer_id for ref in manifest.borrowed}
    names = [
        stored.name
        for ref in manifest.layers
        for stored in both.layers[ref.layer_id].objects
        if ref.layer_id not in borrowed or stored.kind in {ObjectKind.PACK, ObjectKind.CHUNK_INDEX}
    ]
    names += [layer_document_name(ref.layer_id) for ref in manifest.layers]
    for name in names:
        with _without(both.store / name):
            both.refuse_whole(backup_id, name)


def test_what_a_backup_does_not_need_does_not_hide_it(both: Both, expected: dict[str, list[Listed]]) -> None:
    """With all else of the store gone each backup is read as before: others' manifests, layers, and notes."""
    for backup_id in BACKUPS:
        manifest = both.manifest(backup_id)
        needed = {manifest_name(backup_id), *(layer_document_name(ref.layer_id) for ref in manifest.layers)}
        needed |= {stored.name for ref in manifest.layers for stored in both.layers[ref.layer_id].objects}
        alone = both.store.parent / f"only-{backup_id}"
        for name in needed:
            (alone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(both.store / name, alone / name)
        (alone / "notes").mkdir()
        (alone / "notes" / "nobody").write_bytes(b"\xff")
        assert _found(Reader(alone, both.keyring), backup_id) == expected[backup_id]


def test_notes_are_read_as_they_were_written(both: Both) -> None:
    """Both read the proof and the two pins of one second, and refuse one that was edited or lies elsewhere."""
    paths = sorted((both.store / "notes" / BACKUP_ID).iterdir())
    names = [path.relative_to(both.store).as_posix() for path in paths]
    book = NoteBook(both.wiring.stores[StorageTier.LOCAL], both.wiring.keyring)
    notes = [both.reader.note(name) for name in names]
    assert [note["kind"] for note in notes] == ["pinned", "pinned", "verified"]
    assert {note["body"].get("reason") for note in notes} == {"audit of \u00e9t\u00e9", "audit of autumn", None}
    mine = [note.model_dump(mode="json") for note in book.of(BACKUP_ID)]
    assert sorted(map(canonical, mine)) == sorted(map(canonical, notes))
    moved = paths[0].rename(paths[0].with_name("20250105T000000-pinned.json"))
    paths[2].write_bytes(paths[2].read_bytes().replace(b'"objects":12', b'"objects":13'))
    assert len(book.of(BACKUP_ID)) == 1
    assert len(book.ignored) == 2
    for name in (moved.relative_to(both.store).as_posix(), names[2]):
        with pytest.raises(Refused, match=name):
            both.reader.note(name)


def test_a_failed_run_is_read_as_it_was_written(both: Both) -> None:
    """Both read when it failed and why, and refuse one under another name."""
    book = RunBook(both.wiring.stores[StorageTier.LOCAL], both.wiring.keyring)
    (run,) = book.all()
    said = both.reader.failed_run(FAILED)
    assert (said.pop("reason"), said) == (REASON, run.model_dump(mode="json"))
    assert reason_of(both.wiring.keyring, run) == REASON
    (both.store / "history" / f"{FAILED}.json").rename(both.store / "history" / "other.json")
    assert book.all() == []
    with pytest.raises(Refused, match="other"):
        both.reader.failed_run("other")


def test_a_manifest_under_another_name_is_refused_by_name(both: Both) -> None:
    """A backup cannot be passed off as another."""
    other = "20250102-030405-full-000000"
    (both.store / MANIFEST).rename(both.store / manifest_name(other))
    with pytest.raises(IntegrityError, match=other):
        both.wiring.depots.nearest.metadata.load(other)
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


@pytest.mark.parametrize(
    ("was", "new"),
    [
        (b'"kind":"base"', b'"kind":"delta"'),
        (b'"layer_id":"%b-hot","logical_bytes"' % BACKUP_ID.encode(), b'"layer_id":"%b-hot","x":1,"logical_bytes"'),
        (b'"tier":"hot","tombstones"', b'"tier":"warm","tombstones"'),
        (b'"fingerprint_key_id":"f-', b'"fingerprint_key_id":"g-'),
    ],
    ids=["not a base", "another member", "of another tier", "of another fingerprint key"],
)
def test_a_stack_that_is_none_is_refused(both: Both, was: bytes, new: bytes) -> None:
    """Even in a manifest signed by the right key."""

    def change(body: bytes) -> bytes:
        assert was in body
        return body.replace(was, new, 1)

    _sign_anew(both, change)
    both.refuse_manifest()


def test_two_bases_are_no_stack(both: Both) -> None:
    """A stack lies on one base."""

    def change(body: bytes) -> bytes:
        document = json.loads(body)
        document["tiers"][0]["stack"] *= 2
        return canonical(document)

    _sign_anew(both, change)
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
    document = json.dumps(both.wiring.depots.nearest.restorer.details(manifest)).encode()
    header = bytearray(base64.b64decode(manifest.details)[:200])
    header[10], header[132:196] = kind, owner.encode().ljust(64, b"\0")
    secret = both.wiring.keyring.unwrap(manifest.key_id, base64.b64decode(manifest.wrapped_key)).secret
    sealed = _sealed(secret, bytes(header), [(_packed(document), len(document), 1, b"")] * blocks)
    _sign_anew(both, lambda body: body.replace(manifest.details.encode(), base64.b64encode(sealed)))
    with pytest.raises(Refused, match=MANIFEST):
        both.reader.details(both.reader.manifest(BACKUP_ID))
    with pytest.raises(IntegrityError, match=BACKUP_ID):
        both.wiring.depots.nearest.restorer.details(both.manifest())


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
        Wiring(both.wiring.settings).depots.nearest.restorer.verifier(both.manifest())


def test_what_is_sealed_anew_and_holds_the_same_is_believed(both: Both) -> None:
    """So what the next tests see refused is refused for what they changed."""
    for name in OBJECTS:
        layer_id, _ = both.stored(name)
        plain = name.endswith(".pack") or name in {COMPACT, WITHIN}
        both.believe(layer_id, both.resealed(name, _as_it_is if plain else _by_rows(lambda rows: rows)))


def test_there_are_compact_segments_of_both_forms(both: Both) -> None:
    """No index lists their records, and both readers take the form from the block."""
    for name, form in ((COMPACT, 0), (WITHIN, 1)):
        layer_id, stored = both.stored(name)
        frame = LayerReader(both.wiring.depots.nearest.store, both.wiring.keyring).open(layer_id, stored)
        assert not stored.listed
        assert not both.layers[layer_id].of_kind(ObjectKind.INDEX)
        assert frame.read(0)[4:8] == form.to_bytes(4, "little")


@pytest.mark.parametrize(
    ("name", "change", "why", "other_why"),
    [
        (COMPACT, _by_bytes(lambda raw: raw[:-1]), "has not the bytes", "other bytes than its rows"),
        (COMPACT, _by_bytes(lambda raw: raw + b"\0"), "has not the bytes", "other bytes than its rows"),
        (COMPACT, _by_bytes(lambda raw: raw[:4]), "cut short", "buffer"),
        (COMPACT, _by_bytes(lambda raw: raw[:4] + b"\2" + raw[5:]), "cut short", "cut short"),
        (COMPACT, _by_bytes(lambda raw: b"\xff" * 4 + raw[4:]), "cut short", "cut short"),
        (COMPACT, _by_bytes(lambda raw: raw[:4] + b"\1" + raw[5:]), "has not the bytes", "other bytes than its rows"),
        (COMPACT, _by_bytes(lambda raw: raw[:-2] + b"x\n"), *NOT_ITS_SUM),
        (COMPACT, _compact_with("encoding", None), "lacks values", "has nulls"),
        (COMPACT, _compact_with("key_size", 0), "has not the bytes", "other bytes than its rows"),
        (WITHIN, _compact_with("key_size", 9), "longer than its value", "longer than its value"),
        (WITHIN, _compact_with("key_size", 1), "add up|collected", "not in order|where the table says|proof"),
        (WITHIN, _compact_with("value_size", 1), "has not the bytes", "other bytes than its rows"),
    ],
)
def test_compact_blocks_that_are_not_as_written_are_refused(
    both: Both, name: str, change: Change, why: str, other_why: str
) -> None:
    """Even sealed with the right keys: bytes too few or too many, a form that there is not, other sizes, nulls."""
    layer_id, _ = both.stored(name)
    both.refuse_as_recorded(layer_id, both.resealed(name, change), why, other_why)


@pytest.mark.parametrize("name", [COMPACT, SEGMENT, INDEX, CHUNK_INDEX])
def test_an_object_is_read_in_the_form_that_its_document_says(both: Both, name: str) -> None:
    """A compact segment called listed, and any other object called compact, is refused; nothing is guessed."""
    layer_id, stored = both.stored(name)
    both.refuse_as_recorded(layer_id, stored.model_copy(update={"listed": not stored.listed}))


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
        (INDEX, _with("tombstone", None), "lacks values", "has nulls"),
        (DELTA, _with("value", b"another"), "does not match its fingerprint", "does not match its fingerprint"),
        (DELTA, _with("encoding", None), "does not match its fingerprint", "does not match its fingerprint"),
        (TOMBSTONES, _with("value", b""), "does not match its fingerprint", "does not match its fingerprint"),
        (TOMBSTONES, _with("key", b"another"), "does not match its fingerprint", "does not begin where"),
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
    reader = LayerReader(both.wiring.depots.nearest.store, both.wiring.keyring)
    places = index_places(reader.rows(forged, reader.open(both.stored(CHUNK_INDEX)[0], forged), 0))
    proof = Prover(derive(both.secret, b"proof")).proof(CHUNK_INDEX, places_checksum(places))
    _record_anew(both, stored, forged.model_copy(update={"proof": proof}))
    with pytest.raises(Refused, match="does not add up to its packs"):
        list(both.reader.records(both.reader.manifest(BACKUP_ID)))
    with pytest.raises(IntegrityError, match="does not hold the chunk"):
        list(_read_by_strata(both))


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        ("tombstone", True, "does not list its records"),
        ("segment", 1, "does not list its records"),
        ("size", 1, "tells another size"),
    ],
)
def test_an_index_that_does_not_list_the_segments_is_refused(both: Both, column: str, value: Any, why: str) -> None:
    """What proofs do not cover is compared row by row by whoever checks the writer."""
    _, stored = both.stored(INDEX)
    _record_anew(both, stored, both.resealed(INDEX, _with(column, value)))
    with pytest.raises(Refused, match=why):
        list(both.reader.records(both.reader.manifest(BACKUP_ID)))


def _rows(both: Both, name: str) -> list[second_reader.Row]:
    return [row for block in both.object_rows(*both.stored(name)) for row in block]


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


def _read_by_strata(both: Both, backup_id: str = BACKUP_ID) -> Iterator[Listed]:
    for tier in Tier:
        for item in both.wiring.depots.nearest.restorer.items(both.manifest(backup_id), tier):
            if isinstance(item, LargeValue):
                yield _one(tier, vars(item) | {"value": b"".join(item.parts)})
            else:
                yield from (_one(tier, row) for row in item.to_pylist())


def _one(tier: Tier, row: dict[str, Any]) -> Listed:
    moments = {name: _milliseconds(row[name]) for name in ("expires_at", "modified_at")}
    attrs = _parsed(row["attrs"])
    return listed(tier, row["namespace"], row["key"], row["value"], row["encoding"], **moments, attrs=attrs)


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


@contextmanager
def _without(path: Path) -> Iterator[None]:
    """The file gone; then put right."""
    data = path.read_bytes()
    path.unlink()
    yield
    path.write_bytes(data)


def _record_anew(both: Both, was: StoredObject, forged: StoredObject) -> None:
    """Make the first backup name another object in place of one: in its layer's document, and in its manifest."""
    layer_id, _ = both.stored(was.name)
    layer, ref = both.layers[layer_id], both.refs[layer_id]
    objects = tuple(forged if one.name == was.name else one for one in layer.objects)
    catalog = LayerCatalog(both.wiring.depots.nearest.store)
    changed: Layer = layer.model_copy(update={"objects": objects})
    (both.store / layer_document_name(layer_id)).unlink()
    catalog.save(changed)
    new = catalog.ref(changed)

    def change(body: bytes) -> bytes:
        was_said, is_said = canonical(ref.model_dump(mode="json")), canonical(new.model_dump(mode="json"))
        assert body.count(was_said) == 1
        return body.replace(was_said, is_said)

    _sign_anew(both, change)


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
