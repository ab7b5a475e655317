"""BackupCreator: the stages between collection and the record, in their order."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
from blake3 import blake3

from strata import __version__
from strata.clock import Clock
from strata.content.blocks import decode_block, encode_block, first_key, in_key_order, split_rows
from strata.content.compact import encode_compact
from strata.content.fingerprint import EMPTY_CHECKSUM, Fingerprinter, add_checksums, checksum
from strata.content.marks import PartMarker
from strata.content.proof import Prover
from strata.engine.details import reasons_of, seal_details
from strata.engine.layers import LayerReader
from strata.engine.merger import Merger
from strata.engine.runner import Attempt
from strata.engine.spool import Held, Spool, SpoolWriter
from strata.engine.survey import VERIFY_THREADS, Damage, survey, survey_presence
from strata.engine.verifier import Listings, Verifier
from strata.errors import IntegrityError, ObjectExists
from strata.model.backup_type import RULES, Reads
from strata.model.coverage import SourceKind
from strata.model.layer import Layer, LayerKind, LayerRef, ObjectKind, StoredObject
from strata.model.manifest import FORMAT_VERSION, HALF_RESTORED, BackupMetadata, TierContent
from strata.model.plan import BackupPlan, TierPlan
from strata.model.record import PARTS, RECORD_SCHEMA
from strata.model.run import Progress
from strata.model.ticket import (
    Baselined,
    Collected,
    Compressed,
    Merged,
    Sealed,
    Spooled,
    Stored,
    TierMerged,
    Unit,
    Verified,
)
from strata.model.tier import Tier
from strata.seal.compression import CompressionService
from strata.seal.encryption import derive
from strata.seal.frame import Compression, FrameKey, FrameReader
from strata.seal.keyring import Keyring
from strata.storage.port import ObjectStore


class BackupCreator:
    """Merges, compresses, encrypts, stores and verifies what was collected, and writes the manifest."""

    def __init__(self, spool: Spool, store: ObjectStore, keyring: Keyring, clock: Clock) -> None:
        self._spool, self._store, self._keyring, self._clock = spool, store, keyring, clock

    def merge(
        self, plan: BackupPlan, collected: Sequence[Collected], baselines: Mapping[Tier, Baselined], attempt: Attempt
    ) -> Merged:
        """Bring the tiers together: compare each with its baseline, build its index, decide which rows are kept."""
        fingerprinter = Fingerprinter(self._fingerprint_secret(plan))
        return Merger(self._spool, fingerprinter, plan, attempt).merge(collected, baselines)

    def compress(self, plan: BackupPlan, merged: Merged, spooled: Spooled, attempt: Attempt) -> Compressed:
        """Compress a unit block by block; a segment's records are sorted by key first, which saves bytes."""
        frame = self._spool.open(plan.backup_id, spooled.name, Held.of(spooled.unit))
        service = CompressionService(plan.zstd_level)
        unit, name = spooled.unit, attempt.name("object")
        with self._spool.begin(plan.backup_id, name, Held.of(unit), Compression.ZSTD) as writer:
            lost = set(self._lost(plan, merged, unit))
            if unit.kind is ObjectKind.SEGMENT:
                done = self._compress_records(spooled, frame, lost, service, writer)
            else:
                done = self._compress_blocks(spooled, frame, lost, service, writer)
            writer.commit()
        return Compressed(unit=unit, name=name, **done)

    def encrypt(self, plan: BackupPlan, compressed: Compressed, attempt: Attempt) -> Sealed:
        """Seal a unit under the backup's data key: these are the bytes that will be stored."""
        frame = self._spool.open(plan.backup_id, compressed.name, Held.of(compressed.unit))
        unit, layer_id, digest = compressed.unit, plan.layer_id(compressed.unit.tier), blake3()
        name, key = attempt.name("object"), self._data_key(plan)
        with self._spool.begin_sealed(name, key, layer_id, Held.of(unit), Compression.ZSTD, digest.update) as writer:
            for number, block in enumerate(frame.blocks):
                writer.add(frame.payload(number), block.raw_length, block.rows, block.first)
            writer.commit()
        stored_as = unit.name_in(layer_id)
        stored = StoredObject(
            name=stored_as,
            kind=unit.kind,
            seq=unit.seq,
            rows=compressed.rows,
            raw_bytes=compressed.raw_bytes,
            size=writer.size,
            digest=digest.hexdigest(),
            proof=self._prover(plan).proof(stored_as, bytes.fromhex(compressed.checksum)),
            listed=compressed.listed,
        )
        return Sealed(**compressed.model_dump(exclude={"name"}), name=name, stored=stored)

    def store(self, sealed: Sealed) -> Stored:
        """Put a unit into the store under its final name; done twice, the second finds the first's bytes."""
        data, stored = self._spool.get_sealed(sealed.name), sealed.stored
        if blake3(data).hexdigest() != stored.digest:
            raise IntegrityError(f"{sealed.name} in the spool is damaged: its bytes are not those that were sealed")
        try:
            self._store.put(stored.name, [data])
        except ObjectExists:
            if blake3(self._store.get(stored.name, 0, stored.size + 1)).hexdigest() != stored.digest:
                raise
        return Stored(unit=sealed.unit, stored=stored, checksum=sealed.checksum, chunked=sealed.chunked)

    def verify(self, plan: BackupPlan, merged: Merged, stored: Sequence[Stored], attempt: Attempt) -> Verified:
        """Read every object back from the store and prove it against what was collected."""
        missing = {spooled.unit.label for spooled in merged.objects} - {one.unit.label for one in stored}
        if missing:
            raise IntegrityError(f"{len(missing)} objects of {plan.backup_id} were never stored: {min(missing)}")
        work = [(plan.layer_id(one.unit.tier), one.stored) for one in stored]
        prove_all(self._verifier(plan), work, attempt.report)
        for tier in merged.tiers:
            prove_sums(tier, stored)
        return Verified(
            objects=len(stored),
            records=sum(tier.records for tier in merged.tiers),
            bytes=sum(s.stored.size for s in stored),
        )

    def verify_inherited(self, plan: BackupPlan, layers: Sequence[Layer], attempt: Attempt) -> list[Damage]:
        """Look at every object that the backup takes over from others; those that are not what was written.

        A backup that reads all of its sources also reads and proves these; any other looks that they are there.
        """
        work = [(layer.layer_id, stored) for layer in layers for stored in layer.objects]
        if RULES[plan.backup_type].reads is Reads.EVERYTHING:
            return survey(self._verifier(plan), work, attempt.report)
        return survey_presence(self._store, [stored for _, stored in work])

    def layer(
        self, plan: BackupPlan, tier: TierMerged, stored: Sequence[Stored], borrows: Sequence[LayerRef]
    ) -> Layer | None:
        """The layer that this backup wrote of a tier; None where nothing changed."""
        own = [one for one in stored if one.unit.tier is tier.tier]
        if tier.stack and not own:
            return None
        objects = sorted((one.stored for one in own), key=lambda one: (list(ObjectKind).index(one.kind), one.seq))
        return Layer(
            format=FORMAT_VERSION,
            layer_id=plan.layer_id(tier.tier),
            backup_id=plan.backup_id,
            created_at=plan.created_at,
            tier=tier.tier,
            kind=LayerKind.DELTA if tier.stack else LayerKind.BASE,
            fingerprint_key_id=plan.fingerprint_key_id,
            records=tier.kept,
            tombstones=tier.tombstones,
            chunked=sum(one.chunked for one in own),
            logical_bytes=tier.kept_bytes,
            objects=tuple(objects),
            borrows=tuple(borrows),
        )

    def manifest(
        self,
        plan: BackupPlan,
        collected: Sequence[Collected],
        merged: Merged,
        written: Sequence[LayerRef],
        borrowed: Sequence[LayerRef],
        seconds: Mapping[str, float],
    ) -> BackupMetadata:
        """The manifest of a backup whose every object was verified."""
        there = [part for part in collected if not part.missing]
        descriptions = {part.tier.value: self._description(plan, part) for part in there}
        descriptions |= {part.tier.value: {"failure": part.failure} for part in collected if part.missing}
        marker = PartMarker(derive(self._fingerprint_secret(plan), b"part"))
        parts = {
            part.tier: marker.marks(part.tier, descriptions[part.tier].get(PARTS, ()))
            for part in there
            if plan.tier(part.tier).source is not SourceKind.HANDED  # a document may say anything
        }
        return BackupMetadata(
            format=FORMAT_VERSION,
            backup_id=plan.backup_id,
            backup_type=plan.backup_type,
            generation=plan.generation,
            created_at=plan.created_at,
            recorded_at=self._clock.now(),
            storage_tier=plan.storage_tier,
            store_url=plan.store_url,
            store_id=plan.store_id,
            installation=plan.installation,
            key_id=plan.key_id,
            wrapped_key=plan.wrapped_key,
            fingerprint_key_id=plan.fingerprint_key_id,
            parent=plan.parent,
            reasons=(*plan.reasons, *reasons_of(descriptions, plan.backup_id)),
            tiers=tuple(_content(tier, collected, merged, written, parts.get(tier.tier, ())) for tier in plan.tiers),
            borrowed=tuple(borrowed),
            seconds={name: round(value, 3) for name, value in seconds.items()},
            written_by=f"strata {__version__}",
            details=seal_details(self._data_key(plan), plan.backup_id, descriptions),
        )

    def _description(self, plan: BackupPlan, part: Collected) -> dict[str, Any]:
        """What describes the source of a tier."""
        description: dict[str, Any] = self._spool.document(plan.backup_id, part.description, part.tier)
        return description

    def _lost(self, plan: BackupPlan, merged: Merged, unit: Unit) -> list[int]:
        """The rows of a segment, or blocks of a pack, that are not stored."""
        selection = merged.selection(unit)
        lost: list[int] = self._spool.document(plan.backup_id, selection, unit.tier) if selection else []
        return lost

    @staticmethod
    def _compress_blocks(
        spooled: Spooled, frame: FrameReader, lost: set[int], service: CompressionService, writer: SpoolWriter
    ) -> dict[str, Any]:
        raw = 0
        for number, block in enumerate(frame.blocks):
            if number not in lost:
                raw += block.raw_length
                writer.add(service.compress(frame.read(number)), block.raw_length, block.rows, block.first)
        return {"rows": spooled.rows, "raw_bytes": raw, "checksum": spooled.checksum}

    @staticmethod
    def _compress_records(
        spooled: Spooled, frame: FrameReader, lost: set[int], service: CompressionService, writer: SpoolWriter
    ) -> dict[str, Any]:
        rows = pa.concat_tables([decode_block(block, RECORD_SCHEMA) for block in frame])
        if lost:
            kept = np.ones(rows.num_rows, bool)
            kept[list(lost)] = False
            rows = rows.filter(pa.array(kept))
        rows = in_key_order(rows)
        raw = 0
        for part in split_rows(rows):
            block = encode_block(part) if spooled.listed else encode_compact(part)
            raw += len(block)
            writer.add(service.compress(block), len(block), part.num_rows, first_key(part))
        total = checksum(rows["fingerprint"]).hex()
        if not spooled.listed and (rows.num_rows, total) != (spooled.rows, spooled.checksum):
            raise IntegrityError(f"segment {spooled.unit.label} does not hold the records that were merged")
        return {
            "rows": rows.num_rows,
            "raw_bytes": raw,
            "checksum": total,
            "listed": spooled.listed,
            "chunked": rows.num_rows - rows["chunks"].null_count,
        }

    def _verifier(self, plan: BackupPlan) -> Verifier:
        reader = LayerReader(self._store, self._keyring)
        return Verifier(reader, self._store, self._fingerprint_secret(plan))

    def _fingerprint_secret(self, plan: BackupPlan) -> bytes:
        return self._keyring.fingerprint_key(plan.fingerprint_key_id).secret

    def _prover(self, plan: BackupPlan) -> Prover:
        return Prover(derive(self._fingerprint_secret(plan), b"proof"))

    def _data_key(self, plan: BackupPlan) -> FrameKey:
        key = self._keyring.unwrap(plan.key_id, base64.b64decode(plan.wrapped_key))
        return FrameKey(key.secret, key.key_id, key.wrapped)


def prove_sums(tier: TierMerged, stored: Sequence[Stored]) -> None:
    """The index lists exactly the records of the segments, and the chunk index exactly the chunks of the packs."""
    sums = dict.fromkeys(ObjectKind, EMPTY_CHECKSUM)
    rows = dict.fromkeys(ObjectKind, 0)
    for one in stored:
        if one.unit.tier is tier.tier and one.stored.listed:
            sums[one.unit.kind] = add_checksums(sums[one.unit.kind], bytes.fromhex(one.checksum))
            rows[one.unit.kind] += one.stored.rows
    compact = [one for one in stored if one.unit.tier is tier.tier and not one.stored.listed]
    expected = {one.unit: (one.rows, one.checksum) for one in tier.objects if not one.listed}
    if {one.unit: (one.stored.rows, one.checksum) for one in compact} != expected:
        raise IntegrityError(f"the compact segments of {tier.tier.label} do not hold the records that were merged")
    listed = rows[ObjectKind.INDEX] == rows[ObjectKind.SEGMENT]
    present = rows[ObjectKind.SEGMENT] + sum(one.stored.rows for one in compact)
    if not listed or present != tier.kept + tier.tombstones or sums[ObjectKind.INDEX] != sums[ObjectKind.SEGMENT]:
        raise IntegrityError(f"the index of {tier.tier.label} does not list the records of its segments")
    if sums[ObjectKind.CHUNK_INDEX] != sums[ObjectKind.PACK]:
        raise IntegrityError(f"the chunk index of {tier.tier.label} does not list the chunks of its packs")


def prove_all(verifier: Verifier, work: Sequence[tuple[str, StoredObject]], report: Callable[[Progress], None]) -> None:
    """Prove (layer id, object) pairs, a few at a time; the first failure is raised once none is under way."""
    done, size, listings = 0, 0, Listings()

    def prove(pair: tuple[str, StoredObject]) -> None:
        listings.add(*pair, verifier.prove(*pair))

    with ThreadPoolExecutor(VERIFY_THREADS, thread_name_prefix="verify") as pool:
        try:
            for (_, stored), _ in zip(work, pool.map(prove, work), strict=True):
                done, size = done + 1, size + stored.size
                report(Progress(objects=done, total=len(work), bytes=size))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    for layer_id in dict.fromkeys(layer_id for layer_id, _ in work):
        if wrong := listings.wrong(layer_id):
            raise IntegrityError(f"{listings.index_of(layer_id)} is damaged: {wrong}")


def _content(
    tier: TierPlan,
    collected: Sequence[Collected],
    merged: Merged,
    written: Sequence[LayerRef],
    parts: tuple[str, ...],
) -> TierContent:
    """What the manifest says of one tier."""
    part = next((one for one in collected if one.tier is tier.tier), None)
    result = next((one for one in merged.tiers if one.tier is tier.tier), None)
    if part is None or result is None:
        reason = part.missing if part else tier.reason
        return TierContent(
            tier=tier.tier,
            source=tier.source,
            stack=(),
            records=0,
            logical_bytes=0,
            patterns=tier.patterns,
            cut={},
            reason=reason,
        )
    return TierContent(
        tier=tier.tier,
        source=tier.source,
        stack=(*result.stack, *(ref for ref in written if ref.tier is tier.tier)),
        records=result.records,
        logical_bytes=result.logical_bytes,
        patterns=tier.patterns,
        parts=parts,
        cut={**part.cut, **({HALF_RESTORED: tier.half} if tier.half else {})},
        parent=tier.parent,
        changes=result.changes,
    )


def unit_of(label: str) -> Unit:
    """The unit a label names: `hot/segment/3`."""
    tier, kind, seq = label.split("/")
    return Unit(tier=Tier(tier), kind=ObjectKind(kind), seq=int(seq))
