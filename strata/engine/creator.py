"""BackupCreator: the stages between collection and the record, in their order."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import pyarrow as pa
from blake3 import blake3

from strata import __version__
from strata.clock import Clock
from strata.content.blocks import decode_block, encode_block, first_key, in_key_order, split_rows
from strata.content.fingerprint import EMPTY_CHECKSUM, add_checksums, checksum
from strata.content.index import PART_SCHEMA, PartBlocks, merged_index
from strata.content.proof import Prover
from strata.engine.assembly import write_sorted
from strata.engine.runner import Attempt
from strata.engine.spool import Spool, SpoolWriter
from strata.engine.verifier import LayerReader, Verifier
from strata.errors import IntegrityError, ObjectExists
from strata.model.layer import Layer, LayerKind, ObjectKind, StoredObject
from strata.model.manifest import FORMAT_VERSION, BackupMetadata, TierContent
from strata.model.plan import BackupPlan
from strata.model.record import RECORD_SCHEMA
from strata.model.run import Progress
from strata.model.ticket import Collected, Compressed, Merged, Sealed, Spooled, Stored, TierMerged, Unit, Verified
from strata.model.tier import Tier
from strata.seal.compression import CompressionService
from strata.seal.encryption import derive
from strata.seal.frame import Compression, FrameKey, FrameReader, FrameWriter
from strata.seal.keyring import Keyring
from strata.storage.port import ObjectStore

VERIFY_THREADS: Final = 2


class BackupCreator:
    """Merges, compresses, encrypts, stores and verifies what was collected, and writes the manifest."""

    def __init__(self, spool: Spool, store: ObjectStore, keyring: Keyring, clock: Clock) -> None:
        self._spool, self._store, self._keyring, self._clock = spool, store, keyring, clock

    def merge(self, plan: BackupPlan, collected: Sequence[Collected], attempt: Attempt) -> Merged:
        """Bring the tiers together: build each tier's index, and decide which rows are kept."""
        return Merged(tiers=tuple(self._merge_tier(plan, tier, attempt) for tier in collected))

    def compress(self, plan: BackupPlan, merged: Merged, spooled: Spooled, attempt: Attempt) -> Compressed:
        """Compress a unit block by block; a segment's records are sorted by key first, which saves bytes."""
        frame = self._spool.open(plan.backup_id, spooled.name)
        service = CompressionService(plan.zstd_level)
        unit, name = spooled.unit, attempt.name("object")
        with self._spool.begin(plan.backup_id, name, (unit.kind, unit.seq), Compression.ZSTD) as writer:
            if unit.kind is ObjectKind.SEGMENT:
                rows, raw, summed = self._compress_records(plan, merged, spooled, frame, service, writer)
            else:
                rows, raw, summed = spooled.rows, spooled.raw_bytes, spooled.checksum
                for number, block in enumerate(frame.blocks):
                    writer.add(service.compress(frame.read(number)), block.raw_length, block.rows, block.first)
            writer.commit()
        return Compressed(unit=unit, name=name, rows=rows, raw_bytes=raw, checksum=summed)

    def encrypt(self, plan: BackupPlan, compressed: Compressed, attempt: Attempt) -> Sealed:
        """Seal a unit under the backup's data key: these are the bytes that will be stored."""
        frame = self._spool.open(plan.backup_id, compressed.name)
        unit, layer_id, digest = compressed.unit, plan.layer_id(compressed.unit.tier), blake3()
        name, key = attempt.name("object"), self._data_key(plan)
        with self._spool.begin_sealed(
            name, key, layer_id, (unit.kind, unit.seq), Compression.ZSTD, digest.update
        ) as writer:
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
            if blake3(self._store.get(stored.name)).hexdigest() != stored.digest:
                raise
        return Stored(unit=sealed.unit, stored=stored, checksum=sealed.checksum)

    def verify(self, plan: BackupPlan, merged: Merged, stored: Sequence[Stored], attempt: Attempt) -> Verified:
        """Read every object back from the store and prove it against what was collected."""
        missing = {spooled.unit.label for spooled in merged.objects} - {one.unit.label for one in stored}
        if missing:
            raise IntegrityError(f"{len(missing)} objects of {plan.backup_id} were never stored: {min(missing)}")
        work = [(plan.layer_id(one.unit.tier), one.stored) for one in stored]
        reader = LayerReader(self._store, self._keyring)
        prove_all(Verifier(reader, self._store, self._fingerprint_secret(plan)), work, attempt.report)
        for tier in merged.tiers:
            prove_sums(tier, stored)
        return Verified(
            objects=len(stored),
            records=sum(tier.records for tier in merged.tiers),
            bytes=sum(s.stored.size for s in stored),
        )

    def manifest(
        self,
        plan: BackupPlan,
        collected: Sequence[Collected],
        merged: Merged,
        stored: Sequence[Stored],
        seconds: Mapping[str, float],
    ) -> BackupMetadata:
        """The manifest of a backup whose every object was verified."""
        descriptions = {part.tier.value: self._spool.document(plan.backup_id, part.description) for part in collected}
        cuts = {part.tier: part.cut for part in collected}
        contents = tuple(
            TierContent(
                tier=tier.tier,
                stack=self._stack(plan, tier.tier, merged, stored),
                records=sum(part.records for part in merged.tiers if part.tier is tier.tier),
                patterns=tier.patterns,
                cut=cuts.get(tier.tier, {}),
                reason=tier.reason,
            )
            for tier in plan.tiers
        )
        return BackupMetadata(
            format=FORMAT_VERSION,
            backup_id=plan.backup_id,
            backup_type=plan.backup_type,
            created_at=plan.created_at,
            recorded_at=self._clock.now(),
            storage_tier=plan.storage_tier,
            store_url=plan.store_url,
            key_id=plan.key_id,
            wrapped_key=plan.wrapped_key,
            fingerprint_key_id=plan.fingerprint_key_id,
            parent=None,
            tiers=contents,
            seconds={name: round(value, 3) for name, value in seconds.items()},
            written_by=f"strata {__version__}",
            details=seal_details(self._data_key(plan), plan.backup_id, descriptions),
        )

    def _merge_tier(self, plan: BackupPlan, tier: Collected, attempt: Attempt) -> TierMerged:
        parts = [self._part(plan.backup_id, name) for name in tier.index_parts]
        dropped: dict[int, list[int]] = {}
        objects = list(tier.objects)
        records = 0
        for rows in merged_index(parts, dropped):
            records += rows.num_rows
            write_sorted(
                rows,
                ObjectKind.INDEX,
                lambda part: part["key_hash"][0].as_py().to_bytes(8, "big"),
                lambda part: checksum(part["fingerprint"]),
                tier.tier,
                plan.segment_bytes,
                self._spool,
                attempt,
                objects,
            )
            attempt.report(Progress(records=records))
        selections = {}
        for segment, lost in dropped.items():
            selections[segment] = attempt.name(tier.tier, f"selection-{segment:06d}")
            self._spool.put_document(plan.backup_id, selections[segment], lost)
        return TierMerged(
            tier=tier.tier,
            objects=tuple(objects),
            selections=selections,
            records=records,
            tombstones=0,
            logical_bytes=tier.logical_bytes,
        )

    def _part(self, run_id: str, name: str) -> PartBlocks:
        frame = self._spool.open_ranged(run_id, name)
        firsts = np.array([int.from_bytes(block.first, "big") for block in frame.blocks], np.uint64)
        rows = sum(block.rows for block in frame.blocks)
        return PartBlocks(rows, firsts, lambda number: decode_block(frame.read(number), PART_SCHEMA))

    def _compress_records(
        self,
        plan: BackupPlan,
        merged: Merged,
        spooled: Spooled,
        frame: FrameReader,
        service: CompressionService,
        writer: SpoolWriter,
    ) -> tuple[int, int, str]:
        rows = pa.concat_tables([decode_block(block, RECORD_SCHEMA) for block in frame])
        selection = merged.selection(spooled.unit)
        if selection:
            kept = np.ones(rows.num_rows, bool)
            kept[self._spool.document(plan.backup_id, selection)] = False
            rows = rows.filter(pa.array(kept))
        rows = in_key_order(rows)
        raw = 0
        for part in split_rows(rows):
            block = encode_block(part)
            raw += len(block)
            writer.add(service.compress(block), len(block), part.num_rows, first_key(part))
        return rows.num_rows, raw, checksum(rows["fingerprint"]).hex()

    def _stack(self, plan: BackupPlan, tier: Tier, merged: Merged, stored: Sequence[Stored]) -> tuple[Layer, ...]:
        part = next((part for part in merged.tiers if part.tier is tier), None)
        if part is None:
            return ()
        objects = [one.stored for one in stored if one.unit.tier is tier]
        objects.sort(key=lambda one: (list(ObjectKind).index(one.kind), one.seq))
        return (
            Layer(
                layer_id=plan.layer_id(tier),
                tier=tier,
                kind=LayerKind.BASE,
                records=part.records,
                tombstones=part.tombstones,
                logical_bytes=part.logical_bytes,
                objects=tuple(objects),
            ),
        )

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
        if one.unit.tier is tier.tier:
            sums[one.unit.kind] = add_checksums(sums[one.unit.kind], bytes.fromhex(one.checksum))
            rows[one.unit.kind] += one.stored.rows
    listed = rows[ObjectKind.INDEX] == rows[ObjectKind.SEGMENT] == tier.records + tier.tombstones
    if not listed or sums[ObjectKind.INDEX] != sums[ObjectKind.SEGMENT]:
        raise IntegrityError(f"the index of {tier.tier.label} does not list the records of its segments")
    if sums[ObjectKind.CHUNK_INDEX] != sums[ObjectKind.PACK]:
        raise IntegrityError(f"the chunk index of {tier.tier.label} does not list the chunks of its packs")


def prove_all(verifier: Verifier, work: Sequence[tuple[str, StoredObject]], report: Callable[[Progress], None]) -> None:
    """Prove (layer id, object) pairs, a few at a time; the first failure is raised once none is under way."""
    done = size = 0
    with ThreadPoolExecutor(VERIFY_THREADS, thread_name_prefix="verify") as pool:
        try:
            for stored, _ in zip(
                (one for _, one in work), pool.map(lambda pair: verifier.prove(*pair), work), strict=True
            ):
                done, size = done + 1, size + stored.size
                report(Progress(objects=done, total=len(work), bytes=size))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def seal_details(key: FrameKey, backup_id: str, descriptions: Mapping[str, Any]) -> str:
    """The manifest's sealed part."""
    sealed = bytearray()
    writer = FrameWriter(key, ObjectKind.DOCUMENT, backup_id, 0, Compression.ZSTD, sealed.extend)
    data = json.dumps(descriptions, sort_keys=True, separators=(",", ":")).encode()
    writer.add(CompressionService(3).compress(data), len(data), 1)
    writer.finish()
    return base64.b64encode(sealed).decode()


def unit_of(label: str) -> Unit:
    """The unit a label names: `hot/segment/3`."""
    tier, kind, seq = label.split("/")
    return Unit(tier=Tier(tier), kind=ObjectKind(kind), seq=int(seq))
