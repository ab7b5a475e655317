"""BackupRestorer: proves a backup whole, then writes its tiers back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from strata.catalog.metadata import BackupMetadataManager
from strata.content.fingerprint import Fingerprinter
from strata.engine.collector import naming_tier, source_of
from strata.engine.creator import prove_all
from strata.engine.details import open_details
from strata.engine.layers import LayerReader
from strata.engine.runner import Attempt
from strata.engine.stack import StackReader, chunk_objects, objects_to_read
from strata.engine.survey import Damage, survey
from strata.engine.verifier import Verifier
from strata.errors import LOST, SettingError, SourceError
from strata.memory import give_back_freed_memory
from strata.model.layer import Document, Layer, LayerRef, StoredObject, layer_document_name
from strata.model.manifest import BackupMetadata
from strata.model.plan import RestorePlan
from strata.model.record import VALUE_BYTES, LargeValue
from strata.model.run import Progress
from strata.model.scope import Scope
from strata.model.ticket import Verified
from strata.model.tier import Tier
from strata.planning.restore import later, rounds
from strata.seal.keyring import Keyring
from strata.sources.port import Application, ApplyCounts, KnownKeys, Permit, RestoreMode, StateSource
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
    whole: bool = False
    """The backup covers every key of the tier."""

    def with_note(self, note: str) -> Applied:
        """The same, and what else a person should know."""
        return self.model_copy(update={"notes": (*self.notes, note)}) if note else self


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
        descriptions = self._described(manifest)
        self._try([tier for tiers in rounds(plan.tiers) for tier in tiers], descriptions)
        return self.verify(manifest, plan.tiers, attempt.report)

    def verify(self, manifest: BackupMetadata, tiers: tuple[Tier, ...], report: Callable[[Progress], None]) -> Verified:
        """Read back and prove every object of the tiers."""
        open_details(self._keyring, manifest)
        work = self.objects(manifest, tiers)
        prove_all(self.verifier(manifest), work, report)
        return Verified(
            objects=len(work),
            records=sum(content.records for content in manifest.tiers if content.tier in tiers),
            bytes=sum(one.size for _, one in work),
        )

    def damaged(self, manifest: BackupMetadata, report: Callable[[Progress], None]) -> list[Damage]:
        """Read back every object of every tier, and list all that are damaged or missing, documents of layers too."""
        open_details(self._keyring, manifest)
        work, lost = self.readable(manifest)
        return [*lost, *survey(self.verifier(manifest), work, report)]

    def readable(self, manifest: BackupMetadata) -> tuple[list[tuple[str, StoredObject]], list[Damage]]:
        """Every object of every layer of a backup, as far as its layers' documents tell; and the documents that do not.

        Of layers that only lend, what belongs to their chunks.
        """
        return self._readable(manifest, manifest.layers)

    def damaged_layer(self, manifest: BackupMetadata, layer_id: str) -> tuple[list[StoredObject], list[Damage]]:
        """Read back one layer of a backup; what was read, and what of it is damaged or missing, its document too."""
        work, lost = self._readable(manifest, [ref for ref in manifest.layers if ref.layer_id == layer_id])
        found = [*lost, *survey(self.verifier(manifest), work, lambda _: None)]
        return [stored for _, stored in work], found

    def _readable(
        self, manifest: BackupMetadata, refs: Sequence[LayerRef]
    ) -> tuple[list[tuple[str, StoredObject]], list[Damage]]:
        reader, stacked = (
            LayerReader(self._store, self._keyring),
            {ref for tier in manifest.tiers for ref in tier.stack},
        )
        work: list[tuple[str, StoredObject]] = []
        lost: list[Damage] = []
        for ref in dict.fromkeys(refs):
            try:
                (layer,) = reader.load([ref])
            except LOST as error:
                lost.append(Damage(layer_document_name(ref.layer_id), error.sentence))
            else:
                work += objects_to_read([layer], []) if ref in stacked else chunk_objects(layer)
        return work, lost

    def apply(self, plan: RestorePlan, tier: Tier, attempt: Attempt, permit: Permit) -> Applied:
        """Write one tier back, each lasting effect by a permit; exact counts, or an error."""
        manifest = self._metadata.load(plan.backup_id)
        content, descriptions = manifest.content(tier), self._described(manifest)
        mode = RestoreMode(plan.mode)
        if mode is RestoreMode.REHEARSE:
            return Applied(tier=tier)
        stack = self.stack(manifest, tier)
        with naming_tier(tier), self._target(tier, descriptions, mode, permit) as application:
            read = _write_all(stack, application, content.records, attempt)
            self._try(later(plan.tiers, tier), descriptions)
            counts = application.finish(_known(stack, mode), Scope(content.patterns))
        give_back_freed_memory(counts.bytes)
        accounted = counts.written + counts.unchanged + counts.expired
        if read != content.records or accounted != read:
            raise SourceError(
                f"{tier.label}: of {content.records} records {read} were read and {accounted} accounted for",
                hint="The restore is not complete; run it again.",
            )
        return _applied(tier, counts, whole=Scope(content.patterns).is_everything)

    def _try(self, tiers: Iterable[Tier], descriptions: Mapping[str, Any]) -> None:
        """Raise unless each tier's target can take what the backup holds."""
        for tier in tiers:
            with naming_tier(tier):
                source_of(self._sources, tier).check(descriptions[tier.value])

    def _described(self, manifest: BackupMetadata) -> dict[str, Any]:
        """What describes each tier's source, and how much a target must hold of it."""
        sizes = {content.tier.value: content.logical_bytes for content in manifest.tiers}
        described = open_details(self._keyring, manifest).items()
        return {name: {**description, VALUE_BYTES: sizes.get(name, 0)} for name, description in described}

    def _target(
        self, tier: Tier, descriptions: Mapping[str, Any], mode: RestoreMode, permit: Permit
    ) -> AbstractContextManager[Application]:
        return source_of(self._sources, tier).apply(descriptions[tier.value], mode, permit)

    def items(self, manifest: BackupMetadata, tier: Tier) -> Iterator[pa.Table | LargeValue]:
        """Every record of a tier: tables of `CONTENT_SCHEMA` without values in chunks, and those one by one."""
        stack = self.stack(manifest, tier)
        for table in stack.tables():
            inline, large = _split(table)
            if inline.num_rows:
                yield inline
            yield from (stack.large(row) for row in large.to_pylist())

    def stack(self, manifest: BackupMetadata, tier: Tier) -> StackReader:
        """What reads one tier of a backup."""
        reader = LayerReader(self._store, self._keyring)
        layers = reader.load(manifest.content(tier).stack)
        return StackReader(reader, layers, [*layers, *_lenders(reader, layers)], self._fingerprint_secret(manifest))

    def objects(self, manifest: BackupMetadata, tiers: tuple[Tier, ...]) -> list[tuple[str, StoredObject]]:
        """Every object that restoring the tiers reads, once, as (layer id, object)."""
        reader = LayerReader(self._store, self._keyring)
        stacks = [reader.load(content.stack) for content in manifest.tiers if content.tier in tiers]
        found = {
            stored.name: (layer_id, stored)
            for layers in stacks
            for layer_id, stored in objects_to_read(layers, _lenders(reader, layers))
        }
        return list(found.values())

    def verifier(self, manifest: BackupMetadata) -> Verifier:
        """What proves the objects of a backup."""
        reader = LayerReader(self._store, self._keyring)
        return Verifier(reader, self._store, self._fingerprint_secret(manifest))

    def details(self, manifest: BackupMetadata) -> dict[str, Any]:
        """What describes the sources, by tier: the manifest's sealed part."""
        return open_details(self._keyring, manifest)

    def _fingerprint_secret(self, manifest: BackupMetadata) -> bytes:
        return self._keyring.fingerprint_key(manifest.fingerprint_key_id).secret


def _lenders(reader: LayerReader, layers: Sequence[Layer]) -> list[Layer]:
    """The layers outside a stack that hold chunks of its values."""
    own = {layer.layer_id for layer in layers}
    lent = {ref.layer_id: ref for layer in layers for ref in layer.borrows if ref.layer_id not in own}
    return reader.load(list(lent.values()))


def _write_all(stack: StackReader, application: Application, total: int, attempt: Attempt) -> int:
    """Write every record of a stack; how many there were."""
    rows = size = 0
    for table in stack.tables():
        inline, large = _split(table)
        for batch in inline.to_batches():
            application.write(batch)
        size += int(pc.sum(pc.binary_length(inline["value"])).as_py() or 0)
        for row in large.to_pylist():
            value = stack.large(row)
            application.write_large(value)
            size += value.size
        rows += table.num_rows
        attempt.report(Progress(records=rows, bytes=size, total=total))
    return rows


def _split(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Records whose value stands in them, and those whose value is in chunks."""
    large = table["chunks"].is_valid()
    if not pc.any(large).as_py():
        return table, table.slice(0, 0)
    return table.filter(pc.invert(large)), table.filter(large)


def _known(stack: StackReader, mode: RestoreMode) -> KnownKeys:
    """Whether a key is in the backup, by its hash: 8 bytes a record, and a collision only ever keeps a key."""
    if mode is not RestoreMode.EXACT:
        return lambda _, keys: np.ones(len(keys), bool)
    hashes, fingerprinter = stack.key_hashes, Fingerprinter(stack.secret)

    def known(namespace: str, keys: pa.Array) -> npt.NDArray[np.bool_]:
        wanted = fingerprinter.hash_keys(namespace, keys)
        if not len(hashes):
            return np.zeros(len(wanted), bool)
        at = np.minimum(np.searchsorted(hashes, wanted), len(hashes) - 1)
        return np.asarray(hashes[at] == wanted)

    return known


def _applied(tier: Tier, counts: ApplyCounts, *, whole: bool) -> Applied:
    return Applied(
        tier=tier,
        written=counts.written,
        unchanged=counts.unchanged,
        removed=counts.removed,
        expired=counts.expired,
        bytes=counts.bytes,
        notes=tuple(counts.notes),
        whole=whole,
    )


def tiers_to_restore(manifest: BackupMetadata, wanted: tuple[Tier, ...]) -> tuple[Tier, ...]:
    """The tiers wanted (all the backup holds, where none is named); SettingError for one it does not hold."""
    held = tuple(content.tier for content in manifest.tiers if content.included)
    for tier in wanted:
        if tier not in held:
            raise SettingError(f"backup {manifest.backup_id} does not hold {tier.label}")
    return tuple(dict.fromkeys(wanted)) or held
