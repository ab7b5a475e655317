"""Lays out in the spool what a backup's parent holds, so that collectors need neither the store nor its keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import pyarrow as pa

from strata.catalog.metadata import BackupMetadataManager
from strata.content.blocks import encode_block
from strata.content.chunks import CHUNK_INDEX_SCHEMA, KNOWN_CHUNK_SCHEMA
from strata.content.index import SortedRows
from strata.content.stack import view
from strata.engine.damage import DamageNotes
from strata.engine.details import open_details
from strata.engine.layers import LayerReader
from strata.engine.runner import Attempt
from strata.engine.spool import Held, Spool
from strata.errors import LOST
from strata.model.layer import Layer, LayerRef, ObjectKind
from strata.model.plan import BackupPlan
from strata.model.run import Progress
from strata.model.ticket import Baselined, KnownChunks
from strata.model.tier import Tier
from strata.seal.frame import Compression
from strata.seal.keyring import Keyring

_BLOCK_ROWS: Final = 32_768


class BaselineBuilder:
    """Reads parents' indexes through the store, and writes them, resolved and sealed, into the spool."""

    def __init__(
        self,
        spool: Spool,
        reader: LayerReader,
        metadata: BackupMetadataManager,
        keyring: Keyring,
        notes: DamageNotes,
    ) -> None:
        self._spool, self._reader, self._metadata, self._keyring = spool, reader, metadata, keyring
        self._notes = notes

    def lay_out(self, plan: BackupPlan, tier: Tier, attempt: Attempt) -> Baselined:
        """What the tier's parent holds: keys, fingerprints, sizes and marks in order of key hash, and its source."""
        parent = self._metadata.load(plan.tier(tier).parent or "")
        content = parent.content(tier)
        about = attempt.name("about")
        description = open_details(self._keyring, parent)[tier.value]
        self._spool.put_document(plan.backup_id, about, {"cut": content.cut, "description": description}, tier)
        indexes = [self._index(ref) for ref in content.stack]
        names, rows = self._write(plan, view(indexes), ObjectKind.INDEX, tier, attempt)
        return Baselined(tier=tier, stack=content.stack, objects=tuple(names), rows=rows, about=about)

    def chunks(self, plan: BackupPlan, attempt: Attempt) -> KnownChunks:
        """Every chunk that recorded backups of this store hold under the same fingerprint key.

        A layer that cannot be read whole is noted and lends nothing: what it holds is stored anew.
        """
        lenders: list[LayerRef] = []

        def tables() -> Iterator[pa.Table]:
            for ref in self._chunk_layers(plan):
                rows = self._listed_chunks(ref)
                if rows.num_rows:
                    yield _numbered(rows, len(lenders))
                    lenders.append(ref)

        names, _ = self._write(plan, tables(), ObjectKind.CHUNK_INDEX, None, attempt)
        return KnownChunks(objects=tuple(names), layers=tuple(lenders))

    def _index(self, ref: LayerRef) -> SortedRows:
        with self._notes.watching(ref.layer_id):
            return self._notes.watched(self._reader.index(self._layer(ref)), ref.layer_id)

    def _layer(self, ref: LayerRef) -> Layer:
        (layer,) = self._reader.load([ref])
        return layer

    def _listed_chunks(self, ref: LayerRef) -> pa.Table:
        """All rows of a layer's chunk index; none of a layer that is damaged."""
        found = [CHUNK_INDEX_SCHEMA.empty_table()]
        try:
            with self._notes.watching(ref.layer_id):
                for stored in self._layer(ref).of_kind(ObjectKind.CHUNK_INDEX):
                    frame = self._reader.open(ref.layer_id, stored)
                    found += [self._reader.rows(stored, frame, number) for number in range(len(frame.blocks))]
        except LOST:
            return CHUNK_INDEX_SCHEMA.empty_table()
        return pa.concat_tables(found).unify_dictionaries()

    def _chunk_layers(self, plan: BackupPlan) -> list[LayerRef]:
        noted = self._notes.layers
        found = {
            layer.layer_id: layer
            for backup in self._metadata.context().backups
            if backup.fingerprint_key_id == plan.fingerprint_key_id
            for tier in backup.tiers
            for layer in tier.stack
            if layer.chunked and layer.layer_id not in noted
        }
        return list(found.values())

    def _write(
        self, plan: BackupPlan, tables: Iterable[pa.Table], kind: ObjectKind, tier: Tier | None, attempt: Attempt
    ) -> tuple[list[str], int]:
        """Write tables as blocks of objects of about a segment's size; their names, and the rows in all."""
        names: list[str] = []
        rows = size = 0
        writer = None
        for table in tables:
            if writer is None:
                names.append(attempt.name(f"{kind}-{len(names):06d}"))
                held = Held(kind, len(names) - 1, tier)
                writer = self._spool.begin(plan.backup_id, names[-1], held, Compression.NONE)
            for part in _blocks(table):
                block = encode_block(part)
                writer.add(block, len(block), part.num_rows, _first(part))
                rows, size = rows + part.num_rows, size + len(block)
            attempt.report(Progress(records=rows))
            if size >= plan.segment_bytes:
                writer.commit()
                writer, size = None, 0
        if writer is not None:
            writer.commit()
        return names, rows


def _blocks(table: pa.Table) -> Iterable[pa.Table]:
    return (table.slice(start, _BLOCK_ROWS) for start in range(0, table.num_rows, _BLOCK_ROWS))


def _first(rows: pa.Table) -> bytes:
    return rows["key_hash"][0].as_py().to_bytes(8, "big") if "key_hash" in rows.column_names else b""


def _numbered(rows: pa.Table, layer: int) -> pa.Table:
    """Rows of a chunk index as `KNOWN_CHUNK_SCHEMA`: the id, and the number of the layer."""
    return pa.table([rows["id"], pa.array([layer] * rows.num_rows, pa.uint32())], KNOWN_CHUNK_SCHEMA)
