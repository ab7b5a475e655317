"""Layer documents in a store: what objects a layer has, written once beside them and named by digest in manifests.

So a manifest stays small however many layers its stack has, and a layer that many backups share is described once.
"""

from __future__ import annotations

import json
from typing import Final, Protocol

from blake3 import blake3
from pydantic import ValidationError

from strata.catalog.canonical import canonical
from strata.catalog.documents import DOCUMENT_BYTES, document
from strata.errors import LOST, IntegrityError
from strata.model.layer import Layer, LayerRef, layer_document_name
from strata.model.manifest import FORMAT_VERSION

_OBJECT_BYTES: Final = 1024
"""More than a document says of one object."""


class DocumentStore(Protocol):
    """The verbs of a store that documents need."""

    @property
    def url(self) -> str: ...

    def put(self, name: str, parts: list[bytes]) -> None: ...

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes: ...

    def size(self, name: str) -> int: ...


class LayerCatalog:
    """Writes and reads layer documents of one store; keeps those it has read, for they never change."""

    def __init__(self, store: DocumentStore) -> None:
        self._store = store
        self._known: dict[str, Layer] = {}

    def ref(self, layer: Layer) -> LayerRef:
        """How a manifest names the layer."""
        return LayerRef(
            layer_id=layer.layer_id,
            backup_id=layer.backup_id,
            created_at=layer.created_at,
            tier=layer.tier,
            kind=layer.kind,
            fingerprint_key_id=layer.fingerprint_key_id,
            records=layer.records,
            tombstones=layer.tombstones,
            chunked=layer.chunked,
            logical_bytes=layer.logical_bytes,
            stored_bytes=layer.stored_bytes,
            objects=len(layer.objects),
            digest=blake3(_encoded(layer)).hexdigest(),
        )

    def save(self, layer: Layer) -> None:
        """Write the document, and read it back; ObjectExists where there is one of that name."""
        name, data = layer_document_name(layer.layer_id), _encoded(layer)
        self._store.put(name, [data])
        if self._store.get(name) != data:
            raise IntegrityError(f"{name} in {self._store.url} is not what was just written")

    def load(self, ref: LayerRef) -> Layer:
        """The layer a manifest names; IntegrityError or ObjectNotFound name its document."""
        if ref.digest not in self._known:
            self._known[ref.digest] = self._read(ref)
        return self._known[ref.digest]

    def document(self, ref: LayerRef) -> bytes:
        """The bytes of its document, as they were proved."""
        return _encoded(self.load(ref))

    def reload(self, ref: LayerRef) -> Layer:
        """The same, read from the store whatever is remembered of it: so it is there, and as it was written."""
        self._known[ref.digest] = layer = self._read(ref)
        return layer

    def lacks(self, ref: LayerRef) -> bool:
        """Whether the document is not in the store."""
        try:
            return self._store.size(layer_document_name(ref.layer_id)) == 0
        except LOST:
            return True

    def _read(self, ref: LayerRef) -> Layer:
        name = layer_document_name(ref.layer_id)
        data = document(self._store, name, DOCUMENT_BYTES + ref.objects * _OBJECT_BYTES)
        if blake3(data).hexdigest() != ref.digest:
            raise IntegrityError(
                f"{name} in {self._store.url} is damaged: its bytes are not those that were written",
                hint="Use another copy, or a backup whose stack does not have this layer (`strata list`).",
            )
        layer = _parsed(name, data)
        if self.ref(layer) != ref:
            raise IntegrityError(f"{name} in {self._store.url} is not the layer that a manifest names")
        return layer


def _parsed(name: str, data: bytes) -> Layer:
    try:
        version = json.loads(data)["format"]
        if version != FORMAT_VERSION:
            raise IntegrityError(f"{name} has format version {version}; this Strata reads {FORMAT_VERSION}")
        return Layer.model_validate_json(data)
    except ValidationError as error:
        raise IntegrityError(f"{name} lacks or misstates {error.error_count()} fields") from None
    except (ValueError, LookupError, TypeError, RecursionError):
        raise IntegrityError(f"{name} is not the document of a layer") from None


def _encoded(layer: Layer) -> bytes:
    return canonical(layer.model_dump(mode="json")) + b"\n"
