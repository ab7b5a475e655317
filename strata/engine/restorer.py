"""BackupRestorer: proves a backup whole, then writes its tiers back."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from strata.catalog.metadata import BackupMetadataManager
from strata.content.chunks import Chunker, decode_refs, index_places
from strata.content.fingerprint import Fingerprinter
from strata.engine.collector import naming_tier, source_of
from strata.engine.creator import prove_all
from strata.engine.runner import Attempt
from strata.engine.survey import Damage, survey
from strata.engine.verifier import LayerReader, Verifier
from strata.errors import IntegrityError, SettingError, SourceError
from strata.memory import give_back_freed_memory
from strata.model.layer import Document, Layer, ObjectKind
from strata.model.manifest import BackupMetadata, TierContent
from strata.model.plan import RestorePlan
from strata.model.record import Encoding, LargeValue
from strata.model.run import Progress
from strata.model.scope import Scope
from strata.model.ticket import Verified
from strata.model.tier import Tier
from strata.seal.encryption import derive
from strata.seal.frame import FrameKey, FrameReader, Header, open_whole
from strata.seal.keyring import Keyring
from strata.sources.port import Application, ApplyCounts, KnownKeys, RestoreMode, StateSource
from strata.storage.port import ObjectStore


class Applied(Document):
    """What a restore did to one tier, in records (bytes: of the values written)."""

    tier: Tier
    written: int = 0
    unchanged: int = 0
    removed: int = 0
    expired: int = 0
    bytes: int = 0
    notes: tuple[str, ...] = ()


class Restored(Document):
    """What a restore did: exact counts for each tier."""

    backup_id: str
    tiers: tuple[Applied, ...]


class BackupRestorer:
    """Reads backups from a store and applies them to their sources."""

    def __init__(
        self, store: ObjectStore, metadata: BackupMetadataManager, sources: Mapping[Tier, StateSource], keyring: Keyring
    ) -> None:
        self._store, self._metadata, self._sources, self._keyring = store, metadata, sources, keyring

    def check(self, plan: RestorePlan, attempt: Attempt) -> Verified:
        """Prove every object the restore will read, and that every target can take it; nothing is written."""
        manifest = self._metadata.load(plan.backup_id)
        descriptions = self.details(manifest)
        for tier in plan.tiers:
            with naming_tier(tier):
                source_of(self._sources, tier).check(descriptions[tier.value])
        return self.verify(manifest, plan.tiers, attempt.report)

    def verify(self, manifest: BackupMetadata, tiers: tuple[Tier, ...], report: Callable[[Progress], None]) -> Verified:
        """Read back and prove every object of the tiers."""
        layers = [layer for content in manifest.tiers if content.tier in tiers for layer in content.stack]
        work = [(layer.layer_id, stored) for layer in layers for stored in layer.objects]
        self.details(manifest)
        prove_all(self.verifier(manifest), work, report)
        return Verified(
            objects=len(work),
            records=sum(one.rows for _, one in work if one.kind is ObjectKind.SEGMENT),
            bytes=sum(one.size for _, one in work),
        )

    def damaged(self, manifest: BackupMetadata, report: Callable[[Progress], None]) -> list[Damage]:
        """Read back every object of every tier, and list all that are damaged or missing."""
        self.details(manifest)
        work = [(layer.layer_id, stored) for layer in manifest.layers for stored in layer.objects]
        return survey(self.verifier(manifest), work, report)

    def apply(self, plan: RestorePlan, tier: Tier, attempt: Attempt) -> Applied:
        """Write one tier back; exact counts, or an error."""
        manifest = self._metadata.load(plan.backup_id)
        content, description = manifest.content(tier), self.details(manifest)[tier.value]
        mode = RestoreMode(plan.mode)
        if mode is RestoreMode.REHEARSE:
            return Applied(tier=tier)
        reader = LayerReader(self._store, self._keyring)
        with naming_tier(tier), source_of(self._sources, tier).apply(description, mode) as application:
            read = self._write_all(manifest, content, reader, application, attempt)
            counts = application.finish(self._known(manifest, content, reader, mode), Scope(content.patterns))
        give_back_freed_memory(counts.bytes)
        accounted = counts.written + counts.unchanged + counts.expired
        if read != content.records or accounted != read:
            raise SourceError(
                f"{tier.label}: of {content.records} records {read} were read and {accounted} accounted for",
                hint="The restore is not complete; run it again.",
            )
        return _applied(tier, counts)

    def verifier(self, manifest: BackupMetadata) -> Verifier:
        """What proves the objects of a backup."""
        reader = LayerReader(self._store, self._keyring)
        return Verifier(reader, self._store, self._fingerprint_secret(manifest))

    def _fingerprint_secret(self, manifest: BackupMetadata) -> bytes:
        return self._keyring.fingerprint_key(manifest.fingerprint_key_id).secret

    def details(self, manifest: BackupMetadata) -> dict[str, Any]:
        """What describes the sources, by tier: the manifest's sealed part."""

        def key_for(header: Header) -> FrameKey:
            if (header.kind, header.owner) != (ObjectKind.DOCUMENT, manifest.backup_id):
                raise IntegrityError("its sealed part belongs elsewhere")
            data_key = self._keyring.unwrap(manifest.key_id, base64.b64decode(manifest.wrapped_key))
            return FrameKey(data_key.secret)

        try:
            (document,) = open_whole(base64.b64decode(manifest.details), key_for)
            details: dict[str, Any] = json.loads(document)
        except IntegrityError as error:
            raise IntegrityError(f"the manifest of {manifest.backup_id} is damaged: {error.sentence}") from None
        except ValueError:
            raise IntegrityError(f"the sealed part of the manifest of {manifest.backup_id} is damaged") from None
        return details

    def _write_all(
        self,
        manifest: BackupMetadata,
        content: TierContent,
        reader: LayerReader,
        application: Application,
        attempt: Attempt,
    ) -> int:
        chunker = Chunker(derive(self._fingerprint_secret(manifest), b"chunk"))
        rows = size = 0
        for layer in content.stack:
            chunks = ChunkReader(layer, reader, chunker)
            for table in read_records(layer, reader):
                size += _write(table, application, chunks)
                rows += table.num_rows
                attempt.report(Progress(records=rows, bytes=size, total=content.records))
        return rows

    def _known(
        self, manifest: BackupMetadata, content: TierContent, reader: LayerReader, mode: RestoreMode
    ) -> KnownKeys:
        """Whether a key is in the backup, by its hash: 8 bytes a record, and a collision only ever keeps a key."""
        if mode is not RestoreMode.EXACT:
            return lambda _, keys: np.ones(len(keys), bool)
        hashes = np.concatenate([np.empty(0, np.uint64), *(_key_hashes(layer, reader) for layer in content.stack)])
        hashes.sort()
        fingerprinter = Fingerprinter(self._fingerprint_secret(manifest))

        def known(namespace: str, keys: pa.Array) -> npt.NDArray[np.bool_]:
            wanted = fingerprinter.hash_keys(namespace, keys)
            if not len(hashes):
                return np.zeros(len(wanted), bool)
            at = np.minimum(np.searchsorted(hashes, wanted), len(hashes) - 1)
            return np.asarray(hashes[at] == wanted)

        return known


class ChunkReader:
    """Reads chunks of one layer's large values; keeps the pack it used last, as neighbours lie together."""

    def __init__(self, layer: Layer, reader: LayerReader, chunker: Chunker) -> None:
        self._layer, self._reader, self._chunker = layer, reader, chunker
        self._packs = {pack.name: pack for pack in layer.of_kind(ObjectKind.PACK)}
        self._places: dict[bytes, tuple[str, int]] | None = None
        self._open: tuple[str, FrameReader] | None = None

    def parts(self, refs: bytes) -> Iterator[bytes]:
        """The bytes of a value, chunk by chunk."""
        return (self._chunk(name, length) for name, length in decode_refs(refs))

    def _chunk(self, name: bytes, length: int) -> bytes:
        if self._places is None:
            self._places = self._read_places()
        pack, block = self._places.get(name, ("", 0))
        if pack not in self._packs:
            raise IntegrityError(f"a chunk of {self._layer.layer_id} is in none of its packs")
        frame = self._pack(pack)
        chunk = frame.read(block) if block < len(frame.blocks) else b""
        if len(chunk) != length or self._chunker.name(memoryview(chunk)) != name:
            raise IntegrityError(f"{pack} does not hold the chunk that the chunk index says it does")
        return chunk

    def _pack(self, name: str) -> FrameReader:
        if self._open is None or self._open[0] != name:
            self._open = name, self._reader.open(self._layer.layer_id, self._packs[name])
        return self._open[1]

    def _read_places(self) -> dict[bytes, tuple[str, int]]:
        places: dict[bytes, tuple[str, int]] = {}
        for stored in self._layer.of_kind(ObjectKind.CHUNK_INDEX):
            frame = self._reader.open(self._layer.layer_id, stored)
            for number in range(len(frame.blocks)):
                rows = index_places(self._reader.rows(stored, frame, number))
                places.update((name, (pack, block)) for name, pack, block in rows)
        return places


def read_records(layer: Layer, reader: LayerReader) -> Iterator[pa.Table]:
    """Every record of a layer, block by block; the next segment is read while this one is used."""
    segments = layer.of_kind(ObjectKind.SEGMENT)
    with ThreadPoolExecutor(1, thread_name_prefix="read") as pool:
        ahead = [pool.submit(reader.open, layer.layer_id, segment) for segment in segments[:1]]
        for number, segment in enumerate(segments):
            frame = ahead.pop().result()
            ahead = [
                pool.submit(reader.open, layer.layer_id, following) for following in segments[number + 1 : number + 2]
            ]
            for block in range(len(frame.blocks)):
                yield reader.rows(segment, frame, block)


def _write(table: pa.Table, application: Application, chunks: ChunkReader) -> int:
    """Write one block's records; returns the bytes of their values."""
    large = table["chunks"].is_valid()
    inline = table.filter(pc.invert(large)) if pc.any(large).as_py() else table
    for batch in inline.to_batches():
        application.write(batch)
    size = int(pc.sum(pc.binary_length(inline["value"])).as_py() or 0)
    if inline is table:
        return size
    for row in table.filter(large).to_pylist():
        total = sum(length for _, length in decode_refs(row["chunks"]))
        application.write_large(
            LargeValue(
                namespace=row["namespace"],
                key=row["key"],
                encoding=Encoding(row["encoding"]),
                size=total,
                parts=chunks.parts(row["chunks"]),
                expires_at=row["expires_at"],
                modified_at=row["modified_at"],
                attrs=row["attrs"],
            )
        )
        size += total
    return size


def _key_hashes(layer: Layer, reader: LayerReader) -> npt.NDArray[np.uint64]:
    found = [np.empty(0, np.uint64)]
    for stored in layer.of_kind(ObjectKind.INDEX):
        frame = reader.open(layer.layer_id, stored)
        found += [reader.rows(stored, frame, number)["key_hash"].to_numpy() for number in range(len(frame.blocks))]
    return np.concatenate(found)


def _applied(tier: Tier, counts: ApplyCounts) -> Applied:
    return Applied(
        tier=tier,
        written=counts.written,
        unchanged=counts.unchanged,
        removed=counts.removed,
        expired=counts.expired,
        bytes=counts.bytes,
        notes=tuple(counts.notes),
    )


def tiers_to_restore(manifest: BackupMetadata, wanted: tuple[Tier, ...]) -> tuple[Tier, ...]:
    """The tiers wanted (all the backup holds, where none is named); SettingError for one it does not hold."""
    held = tuple(content.tier for content in manifest.tiers if content.included)
    for tier in wanted:
        if tier not in held:
            raise SettingError(f"backup {manifest.backup_id} does not hold {tier.label}")
    return wanted or held
