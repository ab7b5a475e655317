"""Merge: brings the collected tiers together, and decides what of them is stored.

Each tier's rows are compared with the parent's view, range by range: what is as it was is not stored again, and what
is gone leaves a tombstone. A chunk that two tiers collected is kept in the first one only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from strata.content.blocks import decode_block, encode_block
from strata.content.chunks import CHUNK_INDEX_SCHEMA, index_places, places_checksum
from strata.content.compact import MOST_ROWS
from strata.content.diff import Comparison, Counts, Difference
from strata.content.fingerprint import EMPTY_CHECKSUM, Fingerprinter, add_checksums, checksum
from strata.content.index import INDEX_SCHEMA, LISTED_SCHEMA, PART_SCHEMA, SortedRows
from strata.content.segment_sums import SegmentSums
from strata.engine.assembly import chunk_index, write_sorted
from strata.engine.layers import firsts_of
from strata.engine.runner import Attempt
from strata.engine.spool import Held, Spool, SpoolWriter
from strata.model.layer import ObjectKind, object_name
from strata.model.manifest import Changes
from strata.model.plan import BackupPlan
from strata.model.record import MOMENT, RECORD_SCHEMA
from strata.model.run import Progress
from strata.model.ticket import Baselined, Collected, Merged, Spooled, TierMerged, Unit
from strata.model.tier import Tier
from strata.seal.frame import Compression


class Merger:
    """Merges what was collected; needs the spool and the fingerprint key, not the store."""

    def __init__(self, spool: Spool, fingerprinter: Fingerprinter, plan: BackupPlan, attempt: Attempt) -> None:
        self._spool, self._fingerprinter, self._plan, self._attempt = spool, fingerprinter, plan, attempt
        self._owners: dict[bytes, Tier] = {}

    def merge(self, collected: Sequence[Collected], baselines: Mapping[Tier, Baselined]) -> Merged:
        """All tiers that were read, in their order."""
        return Merged(
            tiers=tuple(self._merge_tier(tier, baselines.get(tier.tier)) for tier in collected if not tier.missing)
        )

    def _merge_tier(self, tier: Collected, baseline: Baselined | None) -> TierMerged:
        comparison = Comparison(
            self._sorted(tier.tier, tier.index_parts, PART_SCHEMA),
            self._sorted(tier.tier, baseline.objects if baseline else (), LISTED_SCHEMA),
        )
        segments = [one for one in tier.objects if one.unit.kind is ObjectKind.SEGMENT]
        graves = Graves(self._spool, self._plan, tier.tier, len(segments), self._attempt)
        kept, unlisted = _Kept(), Unlisted.of(segments)
        index = write_sorted(
            unlisted.left_out(self._index_rows(comparison, graves, kept)),
            ObjectKind.INDEX,
            tier.tier,
            self._plan.segment_bytes,
            self._spool,
            self._attempt,
        )
        chunks, dropped_blocks, lenders = self._own_chunks(tier)
        dropped = {unit.unit.label: rows for unit in segments if (rows := comparison.dropped.of(unit.unit.seq))}
        stored = [one for one in segments if len(dropped.get(one.unit.label, ())) < one.rows]
        selections = {
            one.unit.label: self._select(one.unit, dropped[one.unit.label])
            for one in stored
            if one.unit.label in dropped
        }
        selections |= {unit.label: self._select(unit, blocks) for unit, blocks in dropped_blocks.items()}
        return TierMerged(
            tier=tier.tier,
            objects=(*map(unlisted.proved, stored), *graves.finish(), *chunks, *index),
            selections=selections,
            stack=baseline.stack if baseline else (),
            records=comparison.counts.present,
            kept=kept.records,
            tombstones=kept.tombstones,
            logical_bytes=comparison.counts.size,
            kept_bytes=kept.bytes,
            changes=_changes(comparison.counts, thorough=self._plan.tier(tier.tier).thorough) if baseline else None,
            borrowed=tier.borrowed,
            lenders=lenders,
        )

    def _index_rows(self, comparison: Comparison, graves: Graves, kept: _Kept) -> Iterator[pa.Table]:
        """The rows of the new layer's index, in order of key hash; writes the tombstones on the way."""
        for difference in comparison.differences():
            rows = self._rows_of(difference, graves)
            kept.add(difference)
            self._attempt.report(Progress(records=comparison.counts.present))
            if rows.num_rows:
                yield rows

    def _rows_of(self, difference: Difference, graves: Graves) -> pa.Table:
        kept = difference.kept.select([*LISTED_SCHEMA.names, "segment"])
        kept = kept.append_column(INDEX_SCHEMA.field("tombstone"), pa.array(np.zeros(kept.num_rows, bool)))
        gone = difference.gone
        if not gone.num_rows:
            return kept.cast(INDEX_SCHEMA)
        prints = self._fingerprinter.tombstones(gone["key_hash"].to_numpy())
        segment = graves.add(gone, prints)
        count = gone.num_rows
        columns = [
            gone["key_hash"],
            prints,
            gone["namespace"],
            gone["key"],
            pa.array(np.zeros(count, np.uint64)),
            pa.nulls(count, pa.binary(16)),
            pa.array(np.full(count, segment, np.uint32)),
            pa.array(np.ones(count, bool)),
        ]
        rows = pa.concat_tables([kept.cast(INDEX_SCHEMA), pa.table(columns, INDEX_SCHEMA)]).unify_dictionaries()
        return rows.take(pa.array(np.argsort(rows["key_hash"].to_numpy(), kind="stable")))

    def _own_chunks(self, tier: Collected) -> tuple[list[Spooled], dict[Unit, list[int]], tuple[Tier, ...]]:
        """The tier's packs and chunk index without what an earlier tier has; what packs lose; and to which tiers."""
        objects = [one for one in tier.objects if one.unit.kind in {ObjectKind.PACK, ObjectKind.CHUNK_INDEX}]
        places = self._places(objects)
        if not any(chunk in self._owners for chunk in places):
            self._owners |= dict.fromkeys(places, tier.tier)
            return objects, {}, ()
        packs: list[Spooled] = []
        dropped: dict[Unit, list[int]] = {}
        kept: dict[bytes, tuple[str, int]] = {}
        for pack in (one for one in objects if one.unit.kind is ObjectKind.PACK):
            name = object_name(self._plan.layer_id(tier.tier), ObjectKind.PACK, pack.unit.seq)
            blocks = sorted((block, chunk) for chunk, (where, block) in places.items() if where == name)
            own = [chunk for _, chunk in blocks if chunk not in self._owners]
            dropped[pack.unit] = [block for block, chunk in blocks if chunk in self._owners]
            if own:
                here = {chunk: (name, number) for number, chunk in enumerate(own)}
                total = places_checksum([(chunk, *place) for chunk, place in here.items()])
                packs.append(pack.model_copy(update={"rows": len(own), "checksum": total.hex()}))
                kept |= here
        lenders = tuple(sorted({self._owners[chunk] for chunk in places if chunk in self._owners}))
        self._owners |= dict.fromkeys(kept, tier.tier)
        index = [chunk_index(kept)] if kept else []
        written = write_sorted(
            index, ObjectKind.CHUNK_INDEX, tier.tier, self._plan.segment_bytes, self._spool, self._attempt
        )
        return [*packs, *written], {one.unit: dropped[one.unit] for one in packs if dropped[one.unit]}, lenders

    def _places(self, objects: Sequence[Spooled]) -> dict[bytes, tuple[str, int]]:
        places: dict[bytes, tuple[str, int]] = {}
        for one in objects:
            if one.unit.kind is ObjectKind.CHUNK_INDEX:
                for block in self._spool.open(self._plan.backup_id, one.name, Held.of(one.unit)):
                    rows = index_places(decode_block(block, CHUNK_INDEX_SCHEMA))
                    places |= {chunk: (pack, number) for chunk, pack, number in rows}
        return places

    def _select(self, unit: Unit, dropped: list[int]) -> str:
        name = self._attempt.name(unit.tier, f"selection-{unit.kind}-{unit.seq:06d}")
        self._spool.put_document(self._plan.backup_id, name, dropped, unit.tier)
        return name

    def _sorted(self, tier: Tier, names: Sequence[str], schema: pa.Schema) -> list[SortedRows]:
        """The sorted rows of each of these objects, which are numbered as they stand."""
        held = (Held(ObjectKind.INDEX, number, tier) for number in range(len(names)))
        return [self._rows(name, one, schema) for name, one in zip(names, held, strict=True)]

    def _rows(self, name: str, held: Held, schema: pa.Schema) -> SortedRows:
        frame = self._spool.open_ranged(self._plan.backup_id, name, held)
        rows = sum(block.rows for block in frame.blocks)
        return SortedRows(rows, firsts_of(frame), lambda number: decode_block(frame.read(number), schema))


@dataclass
class _Kept:
    """What goes into the new layer."""

    records: int = 0
    tombstones: int = 0
    bytes: int = field(default=0)

    def add(self, difference: Difference) -> None:
        self.records += difference.kept.num_rows
        self.tombstones += difference.gone.num_rows
        self.bytes += int(difference.kept["size"].to_numpy().sum(dtype=np.uint64))


class Unlisted:
    """The segments that become compact: leaves their rows out of the index, and notes what these add up to."""

    def __init__(self, segments: npt.NDArray[np.uint32]) -> None:
        self._segments, self._sums = segments, SegmentSums()

    @classmethod
    def of(cls, segments: Sequence[Spooled]) -> Unlisted:
        """The first of a tier's small segments, up to the rows that a layer may have unlisted."""
        small = [one for one in segments if not one.listed]
        ends = np.cumsum([one.rows for one in small])
        chosen = [one.unit.seq for one, end in zip(small, ends, strict=True) if end <= MOST_ROWS]
        return cls(np.array(chosen, np.uint32))

    def left_out(self, index: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """The rows of an index without those of the segments."""
        for rows in index:
            segments = rows["segment"].to_numpy()
            here = np.isin(segments, self._segments)
            self._sums.add(segments[here], rows["fingerprint"].filter(pa.array(here)))
            listed = rows.filter(pa.array(~here)) if here.any() else rows
            if listed.num_rows:
                yield listed

    def proved(self, segment: Spooled) -> Spooled:
        """A segment as it is to be stored: of one that is not listed, the rows it must keep and what they add up to."""
        if segment.unit.seq not in self._segments:
            return segment.model_copy(update={"listed": True})
        rows, total = self._sums.of(segment.unit.seq)
        return segment.model_copy(update={"rows": rows, "checksum": total.hex()})


class Graves:
    """Writes tombstones as raw segments, numbered after the collected ones."""

    def __init__(self, spool: Spool, plan: BackupPlan, tier: Tier, first: int, attempt: Attempt) -> None:
        self._spool, self._plan, self._tier, self._attempt = spool, plan, tier, attempt
        self._seq = first
        self._writer: SpoolWriter | None = None
        self._rows = self._raw = 0
        self._sum = EMPTY_CHECKSUM
        self._done: list[Spooled] = []

    def add(self, gone: pa.Table, prints: pa.FixedSizeBinaryArray) -> int:
        """Write the tombstones of these rows' keys; the segment they are in."""
        if self._writer is None:
            held = Held(ObjectKind.SEGMENT, self._seq, self._tier)
            name = self._attempt.name(self._tier, f"tombstones-{self._seq:06d}")
            self._writer = self._spool.begin(self._plan.backup_id, name, held, Compression.NONE)
        block, segment = encode_block(_tombstones(gone, prints)), self._seq
        self._writer.add(block, len(block), gone.num_rows)
        self._rows, self._raw = self._rows + gone.num_rows, self._raw + len(block)
        self._sum = add_checksums(self._sum, checksum(prints))
        if self._raw >= self._plan.segment_bytes:
            self._close(self._writer)
        return segment

    def finish(self) -> list[Spooled]:
        """The segments."""
        if self._writer is not None:
            self._close(self._writer)
        return self._done

    def _close(self, writer: SpoolWriter) -> None:
        writer.commit()
        unit = Unit(tier=self._tier, kind=ObjectKind.SEGMENT, seq=self._seq)
        self._done.append(
            Spooled(unit=unit, name=writer.name, rows=self._rows, raw_bytes=self._raw, checksum=self._sum.hex())
        )
        self._writer, self._rows, self._raw, self._sum = None, 0, 0, EMPTY_CHECKSUM
        self._seq += 1


def _tombstones(gone: pa.Table, prints: pa.FixedSizeBinaryArray) -> pa.Table:
    rows = gone.num_rows
    absent = {"expires_at": MOMENT, "modified_at": MOMENT, "attrs": pa.string()}
    columns = {
        "namespace": gone["namespace"],
        "key": gone["key"],
        "encoding": pa.DictionaryArray.from_arrays(pa.nulls(rows, pa.int32()), pa.array([], pa.string())),
        "fingerprint": prints,
    }
    blanks = {name: pa.nulls(rows, absent.get(name, pa.large_binary())) for name in RECORD_SCHEMA.names}
    return pa.table([columns.get(name, blanks[name]) for name in RECORD_SCHEMA.names], RECORD_SCHEMA)


def _changes(counts: Counts, *, thorough: bool) -> Changes:
    return Changes(
        unchanged=counts.unchanged,
        changed=counts.changed,
        new=counts.new,
        gone=counts.gone,
        drift=counts.drift if thorough else None,
    )
