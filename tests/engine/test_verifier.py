"""The verifier: an object is proved by its content, not by what it says of itself."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from blake3 import blake3

from strata.content.blocks import decode_block, encode_block
from strata.engine.creator import prove_all
from strata.engine.layers import SCHEMAS, LayerReader
from strata.engine.survey import survey
from strata.engine.verifier import Verifier
from strata.errors import IntegrityError, ObjectNotFound
from strata.model.layer import Layer, ObjectKind, StoredObject
from strata.model.manifest import BackupMetadata
from strata.model.tier import Tier
from strata.seal.compression import CompressionService
from strata.seal.frame import Compression, FrameKey, FrameWriter, open_whole
from strata.storage.port import ObjectStore
from strata.testing import Lie, LyingStore, MemoryRecord, MemorySource
from tests.engine.workbench import Workbench

KINDS = [ObjectKind.SEGMENT, ObjectKind.INDEX, ObjectKind.PACK, ObjectKind.CHUNK_INDEX]


@pytest.fixture
def bench(folder: Path) -> Workbench:
    """A tier with small and large values."""
    records = {("0", b"%d" % number): MemoryRecord(b"value %d" % number) for number in range(20)}
    large = {("0", b"large %d" % n): MemoryRecord(random.Random(n).randbytes((1 << 20) + 1)) for n in range(2)}
    return Workbench(folder, {Tier.HOT: MemorySource(Tier.HOT, {**records, **large})}, segment_bytes=4 << 20)


@pytest.fixture
def manifest(bench: Workbench) -> BackupMetadata:
    """A backup of it."""
    return bench.backup()


@pytest.fixture
def layer(bench: Workbench, manifest: BackupMetadata) -> Layer:
    """Its layer, with objects of every kind."""
    return bench.layers(manifest)[0]


@pytest.fixture
def verifier(bench: Workbench, manifest: BackupMetadata) -> Verifier:
    """What proves it."""
    return bench.restorer.verifier(manifest)


def test_whole_objects_are_proved(verifier: Verifier, layer: Layer) -> None:
    """Every object of a backup passes, again and again."""
    assert {stored.kind for stored in layer.objects} == set(KINDS)
    for stored in layer.objects * 2:
        verifier.prove(layer.layer_id, stored)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "changed",
    [
        {"rows": 1_000_000},
        {"proof": "00" * 16},
        {"size": 1},
        {"digest": "00" * 32},
        {"seq": 9},
        {"kind": ObjectKind.DOCUMENT},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_an_object_that_is_not_what_the_manifest_says_is_named(
    verifier: Verifier, layer: Layer, kind: ObjectKind, changed: dict[str, Any]
) -> None:
    """Rows, proof, size, digest, number and kind each must be those of the manifest."""
    (stored,) = layer.of_kind(kind)
    with pytest.raises(IntegrityError, match=stored.name):
        verifier.prove(layer.layer_id, stored.model_copy(update=changed))


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_of_another_layer_is_refused(verifier: Verifier, layer: Layer, kind: ObjectKind) -> None:
    """A whole object in the place of another layer's is in the wrong place."""
    (stored,) = layer.of_kind(kind)
    with pytest.raises(IntegrityError, match="in the wrong place"):
        verifier.prove("another-layer", stored)


@pytest.mark.parametrize("lie", Lie)
def test_the_store_is_read_and_not_believed(bench: Workbench, manifest: BackupMetadata, layer: Layer, lie: Lie) -> None:
    """Bytes that differ from those written, or are not there, are found out by reading them."""
    store: ObjectStore = LyingStore(bench.files, "*", lie)
    secret = bench.keyring.fingerprint_key(manifest.fingerprint_key_id).secret
    verifier = Verifier(LayerReader(store, bench.keyring), store, secret)
    for stored in layer.objects:
        with pytest.raises((IntegrityError, ObjectNotFound), match=stored.name):
            verifier.prove(layer.layer_id, stored)


Block = tuple[bytes, int, bytes]
"""A block's raw bytes, its rows and its "first" value."""

Change = Callable[[list[Block]], list[Block]]


def forged(bench: Workbench, manifest: BackupMetadata, kind: ObjectKind, change: Change) -> StoredObject:
    """The object with changed blocks, sealed anew under the true key, with the size and digest of the forgery."""
    layer = bench.layers(manifest)[0]
    (stored,) = layer.of_kind(kind)
    data_key = bench.keyring.unwrap(manifest.key_id, base64.b64decode(manifest.wrapped_key))
    key = FrameKey(data_key.secret, data_key.key_id, data_key.wrapped)
    sealed = bytearray()
    writer = FrameWriter(key, kind, layer.layer_id, stored.seq, Compression.ZSTD, sealed.extend)
    frame = open_whole(bench.files.get(stored.name), lambda _: key)
    held = [(frame.read(number), block.rows, block.first) for number, block in enumerate(frame.blocks)]
    for raw, rows, first in change(held):
        writer.add(CompressionService().compress(raw), len(raw), rows, first)
    writer.finish()
    data = bytes(sealed)
    bench.replace(stored.name, data)
    return stored.model_copy(update={"size": len(data), "digest": blake3(data).hexdigest()})


def by_rows(kind: ObjectKind, change: Callable[[pa.Table], pa.Table]) -> Change:
    """A change of each block's rows."""

    def changed(raw: bytes) -> bytes:
        return bytes(encode_block(change(decode_block(raw, SCHEMAS[kind])).cast(SCHEMAS[kind])))

    return lambda blocks: [(changed(raw), rows, first) for raw, rows, first in blocks]


def replaced(kind: ObjectKind, name: str, change: Callable[[list[Any]], list[Any]]) -> Change:
    """A change of one column's values."""

    def changed(table: pa.Table) -> pa.Table:
        at = table.schema.get_field_index(name)
        values = pa.array(change(table[name].to_pylist()), table.schema.field(at).type)
        return table.set_column(at, table.schema.field(at), values)

    return by_rows(kind, changed)


def counted_as(rows: int) -> Change:
    """A change of the number of rows that the table gives each block."""
    return lambda blocks: [(raw, rows, first) for raw, _, first in blocks]


def names_exchanged(blocks: list[Block]) -> list[Block]:
    """The blocks with each other's "first" values."""
    return [(raw, rows, first) for (raw, rows, _), (*_, first) in zip(blocks, reversed(blocks), strict=True)]


FORGERIES: dict[str, tuple[ObjectKind, Change, str]] = {
    "a value changed": (
        ObjectKind.SEGMENT,
        replaced(ObjectKind.SEGMENT, "value", lambda values: [value and value[:-1] + b"!" for value in values]),
        "does not match its fingerprint",
    ),
    "a key changed": (
        ObjectKind.SEGMENT,
        replaced(ObjectKind.SEGMENT, "key", lambda keys: [b"other", *keys[1:]]),
        "does not match its fingerprint",
    ),
    "fingerprints swapped": (
        ObjectKind.SEGMENT,
        replaced(ObjectKind.SEGMENT, "fingerprint", lambda found: found[::-1]),
        "does not match its fingerprint",
    ),
    "a record doubled in place of another": (
        ObjectKind.SEGMENT,
        by_rows(
            ObjectKind.SEGMENT,
            lambda table: pa.concat_tables([table.slice(0, 1), table.slice(0, 1), table.slice(2)]),
        ),
        "does not hold the records that were collected",
    ),
    "a key changed in the index": (
        ObjectKind.INDEX,
        replaced(ObjectKind.INDEX, "key", lambda keys: [b"other", *keys[1:]]),
        "a key does not match its hash",
    ),
    "a fingerprint changed in the index": (
        ObjectKind.INDEX,
        replaced(ObjectKind.INDEX, "fingerprint", lambda found: [bytes(16), *found[1:]]),
        "does not hold the records that were collected",
    ),
    "a chunk changed": (
        ObjectKind.PACK,
        lambda blocks: [(blocks[0][0][:-1] + b"!", *blocks[0][1:]), *blocks[1:]],
        "a chunk does not match its id",
    ),
    "the ids of chunks exchanged": (ObjectKind.PACK, names_exchanged, "a chunk does not match its id"),
    "a block that is two chunks": (ObjectKind.PACK, counted_as(2), "a chunk does not match its id"),
    "a block that is no chunk": (ObjectKind.PACK, counted_as(0), "a chunk does not match its id"),
    "chunks moved": (
        ObjectKind.PACK,
        lambda blocks: blocks[::-1],
        "does not hold the records that were collected",
    ),
    "a chunk missing": (ObjectKind.PACK, lambda blocks: blocks[1:], "does not hold the records that were collected"),
    "a place changed in the chunk index": (
        ObjectKind.CHUNK_INDEX,
        replaced(ObjectKind.CHUNK_INDEX, "block", lambda blocks: [blocks[0] + 1, *blocks[1:]]),
        "does not hold the records that were collected",
    ),
}


@pytest.mark.parametrize(("kind", "change", "reason"), FORGERIES.values(), ids=FORGERIES.keys())
def test_content_that_does_not_add_up_is_refused(
    bench: Workbench,
    manifest: BackupMetadata,
    verifier: Verifier,
    kind: ObjectKind,
    change: Change,
    reason: str,
) -> None:
    """Bytes that were sealed wrongly by a true key pass every seal, and fail the proof of their content."""
    stored = forged(bench, manifest, kind, change)
    with pytest.raises(IntegrityError, match=reason) as caught:
        verifier.prove(manifest.layers[0].layer_id, stored)
    assert stored.name in caught.value.sentence


@pytest.mark.parametrize("kind", KINDS)
def test_a_forgery_that_changes_nothing_passes(
    bench: Workbench, manifest: BackupMetadata, verifier: Verifier, kind: ObjectKind
) -> None:
    """The same blocks sealed anew are the same content: what was refused above was refused for its content."""
    verifier.prove(manifest.layers[0].layer_id, forged(bench, manifest, kind, lambda blocks: blocks))


def test_an_index_that_lists_records_in_another_segment_is_refused(folder: Path) -> None:
    """Each object holds what it should, and every sum agrees: only the index says where its records are not."""
    records = {("0", b"key %d" % number): MemoryRecord(random.Random(number).randbytes(999)) for number in range(9000)}
    bench = Workbench(folder, {Tier.HOT: MemorySource(Tier.HOT, records, batch_rows=500)})
    manifest = bench.backup()
    (layer,), verifier = bench.layers(manifest), bench.restorer.verifier(manifest)
    assert len(layer.of_kind(ObjectKind.SEGMENT)) > 1
    exchanged = replaced(ObjectKind.INDEX, "segment", lambda found: [{0: 1, 1: 0}.get(one, one) for one in found])
    stored = forged(bench, manifest, ObjectKind.INDEX, exchanged)
    verifier.prove(layer.layer_id, stored)
    work = [(layer.layer_id, stored if one.kind is ObjectKind.INDEX else one) for one in layer.objects]
    (damage,) = survey(verifier, work, lambda _: None)
    assert (damage.name, damage.reason) == (stored.name, "it does not list the records of segment 0")
    with pytest.raises(IntegrityError, match=f"{stored.name} is damaged: it does not list the records of segment 0"):
        prove_all(verifier, work, lambda _: None)


def test_a_block_with_other_rows_than_its_table_says_is_refused(
    bench: Workbench, manifest: BackupMetadata, verifier: Verifier
) -> None:
    """Counts are counted, not believed."""
    stored = forged(bench, manifest, ObjectKind.SEGMENT, counted_as(1))
    with pytest.raises(IntegrityError, match="has not the rows that its table says"):
        verifier.prove(manifest.layers[0].layer_id, stored)
