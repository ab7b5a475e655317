"""Raw segments on their way into the spool: gathers records into blocks, blocks into segments, chunks into packs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from strata.content.blocks import BLOCK_BYTES, encode_block, split_rows
from strata.content.chunks import (
    CHUNK_INDEX_SCHEMA,
    Chunker,
    encode_refs,
    index_places,
    places_checksum,
)
from strata.content.fingerprint import EMPTY_CHECKSUM, Fingerprinter, add_checksums, checksum
from strata.content.index import INDEX_BLOCK_ROWS, index_part
from strata.engine.runner import Attempt
from strata.engine.spool import Spool, SpoolWriter
from strata.model.layer import ObjectKind, object_name
from strata.model.record import (
    LARGE_VALUE,
    MOMENT,
    RECORD_SCHEMA,
    SOURCE_SCHEMA,
    LargeValue,
    SourceItem,
    constant_column,
)
from strata.model.run import Progress
from strata.model.ticket import Collected, Spooled, Unit
from strata.model.tier import Tier
from strata.seal.frame import Compression

_LISTED = ["namespace", "key", "fingerprint"]


@dataclass
class _Open:
    """An object that is being filled."""

    writer: SpoolWriter
    unit: Unit
    rows: int = 0
    raw_bytes: int = 0
    checksum: bytes = EMPTY_CHECKSUM
    listed: list[pa.Table] = field(default_factory=list)


class TierAssembly:
    """Takes what a source yields and leaves sealed raw objects and index parts; holds one segment and one pack."""

    def __init__(
        self,
        tier: Tier,
        layer_id: str,
        segment_bytes: int,
        spool: Spool,
        fingerprinter: Fingerprinter,
        chunker: Chunker,
        attempt: Attempt,
    ) -> None:
        self._tier, self._layer_id, self._segment_bytes = tier, layer_id, segment_bytes
        self._spool, self._fingerprinter, self._chunker, self._attempt = spool, fingerprinter, chunker, attempt
        self._run_id = attempt.claim.run_id
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_bytes = 0
        self._large: list[tuple[LargeValue, bytes]] = []
        self._open: dict[ObjectKind, _Open] = {}
        self._places: dict[bytes, tuple[str, int]] = {}
        self._objects: list[Spooled] = []
        self._index_parts: list[str] = []
        self._records = self._logical = 0

    def add(self, item: SourceItem) -> None:
        """Take a batch of records or one large value."""
        if isinstance(item, LargeValue):
            self._add_large(item)
        else:
            self._add_batch(item)
        self._attempt.report(Progress(records=self._records, bytes=self._logical))

    def finish(self, cut: dict[str, Any], description: dict[str, Any]) -> Collected:
        """Write out what is left; the ticket for `merge`."""
        self._flush_records()
        for kind in list(self._open):
            self._close(kind)
        self._write_chunk_index()
        name = self._attempt.name("description")
        self._spool.put_document(self._run_id, name, description)
        return Collected(
            tier=self._tier,
            objects=tuple(self._objects),
            index_parts=tuple(self._index_parts),
            description=name,
            cut=cut,
            records=self._records,
            logical_bytes=self._logical,
        )

    @property
    def logical_bytes(self) -> int:
        """Bytes of the values taken so far."""
        return self._logical

    def abort(self) -> None:
        """Leave no half-written object."""
        for target in self._open.values():
            target.writer.abort()

    def _add_batch(self, batch: pa.RecordBatch) -> None:
        if not batch.num_rows:
            return
        lengths = pc.binary_length(batch["value"])
        logical = pc.sum(lengths).as_py() or 0
        if (pc.max(lengths).as_py() or 0) > LARGE_VALUE:
            rows = self._split_large(batch, lengths)
        else:
            rows = batch.append_column("chunks", pa.nulls(batch.num_rows, pa.large_binary()))
        self._queue(rows, batch.num_rows, logical)

    def _split_large(self, batch: pa.RecordBatch, lengths: pa.Array) -> pa.RecordBatch:
        """Values over LARGE_VALUE become chunk references; the rest of the batch stays as it is."""
        large = pc.greater(lengths, LARGE_VALUE).fill_null(False)
        refs = pc.replace_with_mask(
            pa.nulls(batch.num_rows, pa.large_binary()),
            large,
            pa.array(
                [self._store_chunks([value.as_buffer()])[0] for value in batch["value"].filter(large)],
                pa.large_binary(),
            ),
        )
        values = pc.if_else(large, pa.scalar(None, pa.large_binary()), batch["value"])
        position = SOURCE_SCHEMA.get_field_index("value")
        return batch.set_column(position, SOURCE_SCHEMA.field("value"), values).append_column("chunks", refs)

    def _add_large(self, item: LargeValue) -> None:
        refs, size = self._store_chunks(item.parts)
        self._large.append((item, refs))
        self._records += 1
        self._logical += size
        self._waiting_bytes += len(refs) + len(item.key)
        if self._waiting_bytes >= BLOCK_BYTES:
            self._flush_records()

    def _large_rows(self) -> list[pa.RecordBatch]:
        """The large values that wait, as they were read: a batch for each run of one namespace and encoding."""
        runs = groupby(self._large, lambda row: (row[0].namespace, row[0].encoding.value))
        batches = [large_batch(namespace, encoding, list(rows)) for (namespace, encoding), rows in runs]
        self._large = []
        return batches

    def _queue(self, rows: pa.RecordBatch, records: int, logical: int) -> None:
        self._waiting += [*self._large_rows(), rows]  # of a key that is read twice the later row must stand later
        self._waiting_bytes += rows.nbytes
        self._records += records
        self._logical += logical
        if self._waiting_bytes >= BLOCK_BYTES:
            self._flush_records()

    def _flush_records(self) -> None:
        batches = self._waiting + self._large_rows()
        if not batches:
            return
        rows = pa.Table.from_batches(batches)
        self._waiting, self._waiting_bytes = [], 0
        rows = rows.append_column(RECORD_SCHEMA.field("fingerprint"), self._fingerprinter.fingerprints(rows))
        rows = rows.cast(RECORD_SCHEMA)
        target = self._opened(ObjectKind.SEGMENT)
        block = encode_block(rows)
        target.writer.add(block, len(block), rows.num_rows)
        target.listed.append(rows.select(_LISTED))
        self._count(target, rows.num_rows, len(block), checksum(rows["fingerprint"]))

    def _store_chunks(self, parts: Any) -> tuple[bytes, int]:
        refs: list[tuple[bytes, int]] = []
        for chunk in self._chunker.cut(parts):
            name = self._chunker.name(chunk)
            refs.append((name, len(chunk)))
            if name not in self._places:
                self._store_chunk(name, chunk)
        return encode_refs(refs), sum(length for _, length in refs)

    def _store_chunk(self, name: bytes, chunk: memoryview) -> None:
        pack = self._opened(ObjectKind.PACK)
        place = object_name(self._layer_id, ObjectKind.PACK, pack.unit.seq), pack.writer.block_count
        self._places[name] = place
        pack.writer.add(chunk, len(chunk), 1, name)
        self._attempt.report(Progress(records=self._records, bytes=self._logical))
        self._count(pack, 1, len(chunk), places_checksum([(name, *place)]))

    def _opened(self, kind: ObjectKind) -> _Open:
        if kind not in self._open:
            seq = sum(spooled.unit.kind is kind for spooled in self._objects)
            unit = Unit(tier=self._tier, kind=kind, seq=seq)
            name = self._attempt.name(f"{kind}-{seq:06d}")
            self._open[kind] = _Open(self._spool.begin(self._run_id, name, (kind, seq), Compression.NONE), unit)
        return self._open[kind]

    def _count(self, target: _Open, rows: int, size: int, added: bytes) -> None:
        target.rows += rows
        target.raw_bytes += size
        target.checksum = add_checksums(target.checksum, added)
        if target.raw_bytes >= self._segment_bytes:
            self._close(target.unit.kind)

    def _close(self, kind: ObjectKind) -> None:
        target = self._open.pop(kind)
        target.writer.commit()
        self._objects.append(
            Spooled(
                unit=target.unit,
                name=target.writer.name,
                rows=target.rows,
                raw_bytes=target.raw_bytes,
                checksum=target.checksum.hex(),
            )
        )
        if target.listed:
            self._write_index_part(target)

    def _write_index_part(self, target: _Open) -> None:
        part = index_part(target.listed, self._fingerprinter, target.unit.seq)
        name = self._attempt.name(f"part-{target.unit.seq:06d}")
        with self._spool.begin(self._run_id, name, (ObjectKind.INDEX, target.unit.seq), Compression.NONE) as writer:
            for start in range(0, part.num_rows, INDEX_BLOCK_ROWS):
                rows = part.slice(start, INDEX_BLOCK_ROWS)
                block = encode_block(rows)
                writer.add(block, len(block), rows.num_rows, rows["key_hash"][0].as_py().to_bytes(8, "big"))
            writer.commit()
        self._index_parts.append(name)

    def _write_chunk_index(self) -> None:
        if not self._places:
            return
        names = sorted(self._places)
        packs, blocks = zip(*(self._places[name] for name in names), strict=True)
        table = pa.table(
            [pa.array(names, pa.binary(32)), pa.array(packs).dictionary_encode(), pa.array(blocks, pa.uint32())],
            CHUNK_INDEX_SCHEMA,
        )
        write_sorted(
            table,
            ObjectKind.CHUNK_INDEX,
            lambda rows: rows["id"][0].as_py(),
            lambda rows: places_checksum(index_places(rows)),
            self._tier,
            self._segment_bytes,
            self._spool,
            self._attempt,
            self._objects,
        )


def large_batch(namespace: str, encoding: str, rows: list[tuple[LargeValue, bytes]]) -> pa.RecordBatch:
    """Records whose values are stored as chunks: the columns of RECORD_SCHEMA without the fingerprint."""
    items = [item for item, _ in rows]
    columns = [
        constant_column(namespace, len(rows)),
        pa.array([item.key for item in items], pa.large_binary()),
        pa.nulls(len(rows), pa.large_binary()),
        constant_column(encoding, len(rows)),
        pa.array([item.expires_at for item in items], MOMENT),
        pa.array([item.modified_at for item in items], MOMENT),
        pa.array([item.attrs for item in items], pa.string()),
        pa.array([refs for _, refs in rows], pa.large_binary()),
    ]
    return pa.record_batch(columns, pa.schema(list(RECORD_SCHEMA)[:-1]))


def write_sorted(
    table: pa.Table,
    kind: ObjectKind,
    first: Callable[[pa.Table], bytes],
    summed: Callable[[pa.Table], bytes],
    tier: Tier,
    limit: int,
    spool: Spool,
    attempt: Attempt,
    objects: list[Spooled],
) -> None:
    """Write sorted rows as one or more raw objects of about `limit` bytes, appended to `objects`."""
    for part in split_rows(table, limit):
        seq = sum(spooled.unit.kind is kind for spooled in objects)
        name, raw = attempt.name(f"{tier}-{kind}-{seq:06d}"), 0
        with spool.begin(attempt.claim.run_id, name, (kind, seq), Compression.NONE) as writer:
            for rows in split_rows(part):
                block = encode_block(rows)
                writer.add(block, len(block), rows.num_rows, first(rows))
                raw += len(block)
            writer.commit()
        objects.append(
            Spooled(
                unit=Unit(tier=tier, kind=kind, seq=seq),
                name=name,
                rows=part.num_rows,
                raw_bytes=raw,
                checksum=summed(part).hex(),
            )
        )
