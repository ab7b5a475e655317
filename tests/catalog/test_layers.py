"""Layer documents: written once, found by the digest that manifests give, and trusted only as they were written."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from strata.catalog.layers import LayerCatalog
from strata.errors import IntegrityError, ObjectExists, ObjectNotFound
from strata.model.layer import Layer, LayerKind, LayerRef, ObjectKind, StoredObject, layer_document_name
from strata.model.manifest import FORMAT_VERSION
from strata.model.tier import Tier
from strata.storage.filesystem import Durability, FilesystemStore
from strata.testing import Lie, LyingStore, TornStore


def a_layer(layer_id: str = "b-hot", **changed: Any) -> Layer:
    """A layer of two objects."""
    objects = tuple(
        StoredObject(
            listed=True,
            name=f"layers/{layer_id}/000000.{suffix}",
            kind=kind,
            seq=0,
            rows=3,
            raw_bytes=100,
            size=200,
            digest="ab" * 32,
            proof="cd" * 16,
        )
        for kind, suffix in ((ObjectKind.SEGMENT, "seg"), (ObjectKind.INDEX, "idx"))
    )
    fields: dict[str, Any] = {
        "format": FORMAT_VERSION,
        "layer_id": layer_id,
        "backup_id": "b",
        "created_at": datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC),
        "tier": Tier.HOT,
        "kind": LayerKind.DELTA,
        "fingerprint_key_id": "f-0123456789ab",
        "records": 2,
        "tombstones": 1,
        "chunked": 1,
        "logical_bytes": 50,
        "objects": objects,
    }
    return Layer(**{**fields, **changed})


@pytest.fixture
def store(folder: Path) -> FilesystemStore:
    """An empty store."""
    return FilesystemStore(folder / "store", Durability.CACHED)


@pytest.fixture
def catalog(store: FilesystemStore) -> LayerCatalog:
    """The layers of it."""
    return LayerCatalog(store)


def test_a_layer_is_loaded_as_it_was_saved(catalog: LayerCatalog, store: FilesystemStore) -> None:
    """By the reference that a manifest has, in this process and in any other."""
    lender = catalog.ref(a_layer("a-cold"))
    layer = a_layer(borrows=(lender,))
    catalog.save(layer)
    assert catalog.load(catalog.ref(layer)) == layer
    assert LayerCatalog(store).load(catalog.ref(layer)) == layer


def test_a_reference_says_what_the_layer_says_in_sum(catalog: LayerCatalog) -> None:
    """Counts, bytes, the number of objects, and the digest of the document's bytes."""
    layer = a_layer()
    ref = catalog.ref(layer)
    assert (ref.records, ref.tombstones, ref.chunked, ref.logical_bytes) == (2, 1, 1, 50)
    assert (ref.objects, ref.stored_bytes) == (2, 400)
    shared = set(Layer.model_fields) & set(LayerRef.model_fields) - {"objects"}
    assert all(getattr(ref, name) == getattr(layer, name) for name in shared)


def test_a_document_is_canonical_and_readable(catalog: LayerCatalog, store: FilesystemStore) -> None:
    """One line of plain JSON, in the one spelling whose digest manifests give."""
    layer = a_layer()
    catalog.save(layer)
    data = store.get(layer_document_name("b-hot"))
    document = json.loads(data)
    assert document["layer_id"] == "b-hot"
    assert data == json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    assert catalog.ref(layer).digest == blake3(data).hexdigest()


def test_a_layer_is_saved_once(catalog: LayerCatalog) -> None:
    """A second document of one layer is refused, and the first stays as it is."""
    catalog.save(a_layer())
    with pytest.raises(ObjectExists):
        catalog.save(a_layer(records=9))
    assert catalog.load(catalog.ref(a_layer())) == a_layer()


@pytest.mark.parametrize("lie", [Lie.FLIPS, Lie.LOSES])
def test_a_document_is_read_back_when_it_is_written(store: FilesystemStore, lie: Lie) -> None:
    """A store that keeps something else is found out before any manifest names the layer."""
    with pytest.raises((IntegrityError, ObjectNotFound), match=r"layers/b-hot/layer\.json"):
        LayerCatalog(LyingStore(store, "layers/*", lie)).save(a_layer())


def test_half_a_document_is_found_out_when_it_is_written(store: FilesystemStore) -> None:
    """A torn write is no document."""
    with pytest.raises(IntegrityError, match=r"layers/b-hot/layer\.json"):
        LayerCatalog(TornStore(store, "layers/*")).save(a_layer())


def replace(store: FilesystemStore, name: str, data: bytes) -> None:
    """Put other bytes in the place of an object, as a bad disk would."""
    store.delete(name)
    store.put(name, [data])


def test_a_document_that_is_not_as_it_was_written_is_refused_by_name(
    catalog: LayerCatalog, store: FilesystemStore
) -> None:
    """Whichever byte differs, and however it is cut: it is not loaded, and the error names it and what to do."""
    layer, name = a_layer(), layer_document_name("b-hot")
    catalog.save(layer)
    whole = store.get(name)
    flipped = (whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(0, len(whole), 11))
    for data in (*flipped, b"", whole[:-1], whole + b"\n", whole.replace(b":", b": ", 1)):
        replace(store, name, data)
        with pytest.raises(IntegrityError, match=name) as caught:
            LayerCatalog(store).load(catalog.ref(layer))
        assert "another copy" in caught.value.hint


def test_a_document_that_is_gone_is_missed_by_name(catalog: LayerCatalog) -> None:
    """What a manifest names must be there."""
    with pytest.raises(ObjectNotFound, match=r"layers/b-hot/layer\.json"):
        catalog.load(catalog.ref(a_layer()))


def test_another_layers_document_is_refused(catalog: LayerCatalog, store: FilesystemStore) -> None:
    """A true document under another layer's name is not that layer."""
    catalog.save(a_layer())
    store.put(layer_document_name("c-hot"), [store.get(layer_document_name("b-hot"))])
    with pytest.raises(IntegrityError, match=r"layers/c-hot/layer\.json"):
        catalog.load(catalog.ref(a_layer("c-hot")))


def recorded(store: FilesystemStore, layer: Layer, data: bytes) -> LayerRef:
    """A reference to a document of these bytes, as a manifest signed by the right key would have it."""
    store.put(layer_document_name(layer.layer_id), [data])
    return LayerCatalog(store).ref(layer).model_copy(update={"digest": blake3(data).hexdigest()})


@pytest.mark.parametrize("data", [b"", b"7", b"[]\n", b"{}\n", b"\xff", b"[" * 100_000, b"9" * 10_000])
def test_what_is_no_document_is_refused_by_name(catalog: LayerCatalog, store: FilesystemStore, data: bytes) -> None:
    """Even where its digest is right."""
    with pytest.raises(IntegrityError, match=r"layers/b-hot/layer\.json is not the document of a layer"):
        catalog.load(recorded(store, a_layer(), data))


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"extra": 1}, "misstates"),
        ({"records": None}, "misstates"),
        ({"format": 99, "extra": 1}, "format version 99"),
        ({"records": 3}, "is not the layer"),
        ({"layer_id": "c-hot"}, "is not the layer"),
        ({"objects": []}, "is not the layer"),
        ({"records": "2"}, "is not the layer"),
    ],
    ids=str,
)
def test_a_document_that_does_not_say_what_its_reference_says_is_refused(
    catalog: LayerCatalog, store: FilesystemStore, changed: dict[str, Any], why: str
) -> None:
    """Even one whose digest is right: members, format, and everything that the manifest says in sum."""
    data = json.dumps({**a_layer().model_dump(mode="json"), **changed}, sort_keys=True, separators=(",", ":"))
    with pytest.raises(IntegrityError, match=why) as caught:
        catalog.load(recorded(store, a_layer(), data.encode() + b"\n"))
    assert layer_document_name("b-hot") in caught.value.sentence
