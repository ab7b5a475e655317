"""Raw segments on their way into the spool: gathers records into blocks, blocks into segments, chunks into packs.

What the parent is known to hold as it is goes no further than the index part, and chunks that the store has are only
referred to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from strata.content.blocks import BLOCK_BYTES, BlockEncoder, encode_block, split_rows
from strata.content.chunks import (
    CHUNK_INDEX_SCHEMA,
    Chunker,
    decode_refs,
    encode_refs,
    index_places,
    places_checksum,
)
from strata.content.compact import is_small
from strata.content.fingerprint import EMPTY_CHECKSUM, Fingerprinter, Hashes, add_checksums, checksum, halves
from strata.content.index import (
    CLAIMED,
    INDEX_BLOCK_ROWS,
    LISTED_SCHEMA,
    NOWHERE,
    PART_SCHEMA,
    READ,
    UNREAD,
    in_hash_order,
)
from strata.engine.known import ChunkShelf, KnownState
from strata.engine.runner import Attempt
from strata.engine.spool import Held, Spool, SpoolWriter
from strata.model.layer import ObjectKind, object_name
from strata.model.record import (
    LARGE_VALUE,
    MARKED_SCHEMA,
    MOMENT,
    RECORD_SCHEMA,
    SOURCE_SCHEMA,
    Claimed,
    LargeValue,
    SourceItem,
    Unchanged,
    constant_column,
)
from strata.model.run import Progress
from strata.model.ticket import Collected, Spooled, Unit
from strata.model.tier import Tier
from strata.seal.frame import Compression
from strata.sources.port import Reading

_PART_ROWS: Final = 100_000
"""Rows of an index part: about 12 MB with their keys, twice that while they are sorted."""

_WAITING_SCHEMA: Final = pa.schema(
    [
        *SOURCE_SCHEMA,
        pa.field("chunks", pa.large_binary()),
        pa.field("mark", pa.binary(16)),
        pa.field("size", pa.uint64()),
        pa.field("claim", pa.uint8()),
    ]
)
"""Records that wait to become a block."""


@dataclass
class _Open:
    """An object that is being filled."""

    writer: SpoolWriter
    unit: Unit
    rows: int = 0
    raw_bytes: int = 0
    checksum: bytes = EMPTY_CHECKSUM
    plain: bool = True
    """Whether its rows have neither marks, which only an index keeps, nor values in chunks."""


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
        shelf: ChunkShelf,
        known: KnownState | None,
        attempt: Attempt,
    ) -> None:
        self._tier, self._layer_id, self._segment_bytes = tier, layer_id, segment_bytes
        self._spool, self._fingerprinter, self._chunker, self._attempt = spool, fingerprinter, chunker, attempt
        self._shelf, self._known = shelf, known
        self._run_id = attempt.claim.run_id
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_bytes = 0
        self._large: list[tuple[LargeValue, bytes, int, int]] = []
        self._listed: list[pa.Table] = []
        self._listed_rows = self._turns = 0
        self._open: dict[ObjectKind, _Open] = {}
        self._places: dict[bytes, tuple[str, int]] = {}
        self._lent: dict[bytes, str] = {}
        self._borrowed: set[str] = set()
        self._objects: list[Spooled] = []
        self._index_parts: list[str] = []
        self._records = self._logical = 0
        self._encoder = BlockEncoder()

    def add(self, item: SourceItem) -> None:
        """Take a batch of records, one large value, or the word that some are unchanged."""
        match item:
            case Unchanged():
                self._add_unread(item)
            case Claimed():
                self._add(item.item, CLAIMED)
            case _:
                self._add(item, READ)
        self._attempt.report(Progress(records=self._records, bytes=self._logical))

    def finish(self, cut: dict[str, Any], description: dict[str, Any]) -> Collected:
        """Write out what is left; the ticket for `merge`."""
        self._flush_records()
        self._flush_listed()
        for kind in list(self._open):
            self._close(kind)
        self._write_chunk_index()
        name = self._attempt.name("description")
        self._spool.put_document(self._run_id, name, description, self._tier)
        return Collected(
            tier=self._tier,
            objects=tuple(self._objects),
            index_parts=tuple(self._index_parts),
            description=name,
            cut=cut,
            records=self._records,
            logical_bytes=self._logical,
            borrowed=tuple(sorted(self._borrowed)),
        )

    @property
    def logical_bytes(self) -> int:
        """Bytes of the values taken so far."""
        return self._logical

    def abort(self) -> None:
        """Leave no half-written object."""
        for target in self._open.values():
            target.writer.abort()

    def _add(self, item: pa.RecordBatch | LargeValue, claim: int) -> None:
        if isinstance(item, LargeValue):
            self._add_large(item, claim)
        elif item.num_rows:
            self._add_batch(item, claim)

    def _add_unread(self, item: Unchanged) -> None:
        """Keys that are there, and nothing more is known of them."""
        rows = len(item.keys)
        self._flush_records()  # turns are in the order of reading
        hashes = self._fingerprinter.hash_keys(item.namespace, item.keys)
        columns = [
            pa.array(hashes),
            pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), rows, [None, pa.py_buffer(bytes(16 * rows))]),
            constant_column(item.namespace, rows),
            item.keys,
            pa.array(np.zeros(rows, np.uint64)),
            pa.nulls(rows, pa.binary(16)),
        ]
        self._list(pa.table(columns, LISTED_SCHEMA), np.full(rows, NOWHERE, np.uint32), np.zeros(rows, np.uint32),
                   pa.array(np.full(rows, UNREAD, np.uint8)))  # fmt: skip
        self._records += rows

    def _add_batch(self, batch: pa.RecordBatch, claim: int) -> None:
        rows = batch.num_rows
        lengths = pc.fill_null(pc.binary_length(batch["value"]), 0)
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        if (pc.max(lengths).as_py() or 0) > LARGE_VALUE:
            columns["value"], columns["chunks"] = self._split_large(batch["value"], lengths)
        columns.setdefault("chunks", pa.nulls(rows, pa.large_binary()))
        columns.setdefault("mark", pa.nulls(rows, pa.binary(16)))
        columns["size"] = pc.cast(lengths, pa.uint64())
        columns["claim"] = pa.array(np.full(rows, claim, np.uint8))
        waiting = pa.RecordBatch.from_arrays([columns[name] for name in _WAITING_SCHEMA.names], schema=_WAITING_SCHEMA)
        self._waiting += [*self._large_rows(), waiting]  # of a key that is read twice the later row must stand later
        self._waiting_bytes += waiting.nbytes
        self._records += rows
        self._logical += pc.sum(lengths).as_py() or 0
        if self._waiting_bytes >= BLOCK_BYTES:
            self._flush_records()

    def _split_large(self, values: pa.Array, lengths: pa.Array) -> tuple[pa.Array, pa.Array]:
        """Values over LARGE_VALUE become chunk references: (values without them, references)."""
        large = pc.greater(lengths, LARGE_VALUE)
        refs = pa.array([self._store_chunks([value.as_buffer()])[0] for value in values.filter(large)])
        chunks = pc.replace_with_mask(pa.nulls(len(values), pa.large_binary()), large, refs.cast(pa.large_binary()))
        return pc.if_else(large, pa.scalar(None, pa.large_binary()), values), chunks

    def _add_large(self, item: LargeValue, claim: int) -> None:
        refs, size = self._store_chunks(item.parts)
        self._large.append((item, refs, size, claim))
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

    def _flush_records(self) -> None:
        batches = self._waiting + self._large_rows()
        if not batches:
            return
        rows = pa.Table.from_batches(batches, _WAITING_SCHEMA)
        self._waiting, self._waiting_bytes = [], 0
        hashes = self._fingerprinter.key_hashes(rows)
        prints = self._fingerprinter.fingerprints(rows, hashes)
        claims = rows["claim"].to_numpy().copy()
        written = self._not_old(rows, hashes, self._not_known(hashes, prints), claims)
        columns = [pa.array(hashes), prints, *(rows[name] for name in ("namespace", "key", "size", "mark"))]
        segments, numbers = self._write(rows, prints, written)
        self._list(pa.table(columns, LISTED_SCHEMA), segments, numbers, pa.array(claims))

    def _not_known(self, hashes: Hashes, prints: pa.ChunkedArray) -> Hashes:
        """The numbers of the rows that the parent may not hold as they are."""
        if self._known is None:
            return np.arange(len(hashes), dtype=np.uint64)
        found = np.concatenate([halves(chunk) for chunk in prints.chunks])
        return np.flatnonzero(~self._known.holds(hashes, found)).astype(np.uint64)

    def _not_old(self, rows: pa.Table, hashes: Hashes, written: Hashes, claims: npt.NDArray[np.uint8]) -> Hashes:
        """Of the rows to be written those that do not call themselves old; the claims of the others say so."""
        if self._known is None or not len(written) or (old := self._known.old) is None:
            return written
        asked = written[self._known.has(hashes[written])]
        called = asked[np.array(old.rows(rows.take(pa.array(asked))), bool)]
        if self._known.reading is Reading.EVERYTHING:
            claims[called] = CLAIMED
            return written
        claims[called] = UNREAD
        return np.setdiff1d(written, called)

    def _write(self, rows: pa.Table, prints: pa.ChunkedArray, written: Hashes) -> tuple[Any, Any]:
        """Append rows to the open segment as a block; for every row, written or not, its segment and number there."""
        segments, numbers = np.full(rows.num_rows, NOWHERE, np.uint32), np.zeros(rows.num_rows, np.uint32)
        if not len(written):
            return segments, numbers
        records = pa.table([*(rows[name] for name in RECORD_SCHEMA.names[:-1]), prints], RECORD_SCHEMA)
        if len(written) < rows.num_rows:
            records = records.take(pa.array(written))
        if self._lent:
            self._note_borrowed(records["chunks"])
        target = self._opened(ObjectKind.SEGMENT)
        segments[written], numbers[written] = target.unit.seq, np.arange(target.rows, target.rows + len(written))
        target.plain = target.plain and not any(rows.num_rows - rows[name].null_count for name in ("mark", "chunks"))
        target.writer.go_on()
        block = self._encoder.encode(records)
        target.writer.add(block, len(block), records.num_rows)
        self._count(target, records.num_rows, len(block), checksum(records["fingerprint"]))
        return segments, numbers

    def _note_borrowed(self, chunks: pa.ChunkedArray) -> None:
        for refs in chunks.drop_null().to_pylist():
            self._borrowed |= {self._lent[name] for name, _ in decode_refs(refs) if name in self._lent}

    def _list(self, listed: pa.Table, segments: Any, numbers: Any, claims: Any) -> None:
        """Note rows for the index parts, in the order in which they were read."""
        turns = np.arange(self._turns, self._turns + listed.num_rows, dtype=np.uint64)
        self._turns += listed.num_rows
        # A key may be a view of the bytes its value lies in: kept as it is, it would keep these in memory too.
        keys = listed["key"].take(pa.array(np.arange(listed.num_rows)))
        listed = listed.set_column(LISTED_SCHEMA.get_field_index("key"), LISTED_SCHEMA.field("key"), keys)
        columns = [*listed.columns, pa.array(segments), pa.array(numbers), pa.array(turns), claims]
        self._listed.append(pa.table(columns, PART_SCHEMA))
        self._listed_rows += listed.num_rows
        if self._listed_rows >= _PART_ROWS:
            self._flush_listed()

    def _flush_listed(self) -> None:
        if not self._listed:
            return
        part, number = in_hash_order(self._listed), len(self._index_parts)
        self._listed, self._listed_rows = [], 0
        name = self._attempt.name(f"part-{number:06d}")
        held = Held(ObjectKind.INDEX, number, self._tier)
        with self._spool.begin(self._run_id, name, held, Compression.NONE) as writer:
            for start in range(0, part.num_rows, INDEX_BLOCK_ROWS):
                rows = part.slice(start, INDEX_BLOCK_ROWS)
                block = encode_block(rows)
                writer.add(block, len(block), rows.num_rows, rows["key_hash"][0].as_py().to_bytes(8, "big"))
            writer.commit()
        self._index_parts.append(name)

    def _store_chunks(self, parts: Any) -> tuple[bytes, int]:
        refs: list[tuple[bytes, int]] = []
        for chunk in self._chunker.cut(parts):
            name = self._chunker.name(chunk)
            refs.append((name, len(chunk)))
            if name not in self._places and name not in self._lent:
                self._store_chunk(name, chunk)
        return encode_refs(refs), sum(length for _, length in refs)

    def _store_chunk(self, name: bytes, chunk: memoryview) -> None:
        if layer := self._shelf.layer_of(name):
            self._lent[name] = layer.layer_id
            return
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
            self._open[kind] = _Open(self._spool.begin(self._run_id, name, Held.of(unit), Compression.NONE), unit)
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
                listed=not (target.plain and is_small(target.rows, target.raw_bytes)),
            )
        )

    def _write_chunk_index(self) -> None:
        if self._places:
            self._objects += write_sorted(
                [chunk_index(self._places)], ObjectKind.CHUNK_INDEX, self._tier, self._segment_bytes, self._spool,
                self._attempt,
            )  # fmt: skip


def large_batch(namespace: str, encoding: str, rows: list[tuple[LargeValue, bytes, int, int]]) -> pa.RecordBatch:
    """Records whose values are stored as chunks: (value, references, size, claim) each."""
    items = [item for item, *_ in rows]
    columns = [
        constant_column(namespace, len(rows)),
        pa.array([item.key for item in items], pa.large_binary()),
        pa.nulls(len(rows), pa.large_binary()),
        constant_column(encoding, len(rows)),
        pa.array([item.expires_at for item in items], MOMENT),
        pa.array([item.modified_at for item in items], MOMENT),
        pa.array([item.attrs for item in items], pa.string()),
        pa.array([refs for _, refs, _, _ in rows], pa.large_binary()),
        pa.array([item.mark for item in items], MARKED_SCHEMA.field("mark").type),
        pa.array([size for _, _, size, _ in rows], pa.uint64()),
        pa.array([claim for *_, claim in rows], pa.uint8()),
    ]
    return pa.record_batch(columns, _WAITING_SCHEMA)


def chunk_index(places: dict[bytes, tuple[str, int]]) -> pa.Table:
    """Chunks and where they are (pack, block), sorted by id."""
    names = sorted(places)
    packs, blocks = zip(*(places[name] for name in names), strict=True) if names else ((), ())
    columns = [pa.array(names, pa.binary(32)), pa.array(packs, pa.string()).dictionary_encode()]
    return pa.table([*columns, pa.array(blocks, pa.uint32())], CHUNK_INDEX_SCHEMA)


_Measures = tuple[Callable[[pa.Table], bytes], Callable[[pa.Table], bytes]]

_SORTED: Final[dict[ObjectKind, _Measures]] = {
    ObjectKind.INDEX: (
        lambda rows: rows["key_hash"][0].as_py().to_bytes(8, "big"),
        lambda rows: checksum(rows["fingerprint"]),
    ),
    ObjectKind.CHUNK_INDEX: (
        lambda rows: rows["id"][0].as_py(),
        lambda rows: places_checksum(index_places(rows)),
    ),
}
"""Of each kind of sorted object: what its blocks begin with, and what its rows add up to."""


def write_sorted(
    tables: Iterable[pa.Table], kind: ObjectKind, tier: Tier, limit: int, spool: Spool, attempt: Attempt
) -> list[Spooled]:
    """Write sorted rows as raw objects of about `limit` bytes."""
    first, summed = _SORTED[kind]
    objects: list[Spooled] = []
    for part in _in_parts(tables, limit):
        seq = len(objects)
        unit = Unit(tier=tier, kind=kind, seq=seq)
        name, raw = attempt.name(tier, f"{kind}-{seq:06d}"), 0
        with spool.begin(attempt.claim.run_id, name, Held.of(unit), Compression.NONE) as writer:
            for rows in split_rows(part):
                block = encode_block(rows)
                writer.add(block, len(block), rows.num_rows, first(rows))
                raw += len(block)
            writer.commit()
        objects.append(
            Spooled(
                unit=unit,
                name=name,
                rows=part.num_rows,
                raw_bytes=raw,
                checksum=summed(part).hex(),
            )
        )
    return objects


def _in_parts(tables: Iterable[pa.Table], limit: int) -> Iterator[pa.Table]:
    """The rows of tables in parts of about `limit` bytes, however many or few a table has."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(one.nbytes for one in waiting) >= limit:
            *parts, last = split_rows(pa.concat_tables(waiting).unify_dictionaries(), limit)
            yield from parts
            waiting = [last]
    if waiting:
        yield from split_rows(pa.concat_tables(waiting).unify_dictionaries(), limit)
