"""The records of a tier of a backup, whatever its layers are: what an export reads."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from strata.content.chunks import Chunker, decode_refs
from strata.engine.restorer import ChunkReader, read_records
from strata.engine.verifier import LayerReader
from strata.model.manifest import BackupMetadata
from strata.model.record import Encoding, LargeValue
from strata.model.tier import Tier
from strata.seal.encryption import derive
from strata.seal.keyring import Keyring
from strata.storage.port import ObjectStore


def records_of(
    store: ObjectStore, keyring: Keyring, manifest: BackupMetadata, tier: Tier
) -> Iterator[pa.Table | LargeValue]:
    """Every record of the tier: tables of RECORD_SCHEMA whose values all stand in them, and large values."""
    reader = LayerReader(store, keyring)
    secret = keyring.fingerprint_key(manifest.fingerprint_key_id).secret
    for layer in manifest.content(tier).stack:
        chunks = ChunkReader(layer, reader, Chunker(derive(secret, b"chunk")))
        for table in read_records(layer, reader):
            large = table["chunks"].is_valid()
            yield table.filter(pc.invert(large))
            yield from (_large(row, chunks) for row in table.filter(large).to_pylist())


def _large(row: dict[str, object], chunks: ChunkReader) -> LargeValue:
    refs: bytes = row["chunks"]  # type: ignore[assignment]
    members = {name: row[name] for name in ("namespace", "key", "expires_at", "modified_at", "attrs")}
    return LargeValue(
        **members,  # type: ignore[arg-type]
        encoding=Encoding(str(row["encoding"])),
        size=sum(length for _, length in decode_refs(refs)),
        parts=chunks.parts(refs),
    )
