"""Copier: takes a recorded backup to another store, byte for byte, without reading its source again.

What the other store holds already is not copied twice, so a copy that was cut short goes on where it stood. The
manifest comes last, as everywhere: until then the copy does not exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from blake3 import blake3

from strata.catalog.notes import NoteKind
from strata.clock import Clock
from strata.engine.depot import Depot, Depots
from strata.engine.parallel import in_parallel
from strata.engine.runner import Attempt
from strata.engine.survey import survey_presence
from strata.errors import IntegrityError, ObjectExists, ObjectFrozen, ObjectNotFound, SettingError, StoreUnavailable
from strata.model.layer import Document, Layer, LayerRef, StoredObject, layer_document_name
from strata.model.manifest import BackupMetadata, manifest_name
from strata.model.plan import CopyPart, CopyPlan, Span
from strata.model.run import Progress
from strata.model.tier import StorageTier
from strata.storage.port import ObjectStore

_PART_BYTES: Final = 1 << 30
_PART_OBJECTS: Final = 256
_THREADS: Final = 4


class Copied(Document):
    """What one part of a copy came to."""

    objects: int
    bytes: int
    read_back: bool = True
    """Whether every object was read back from the target and compared; one that is frozen there cannot be."""


class CopyMade(Document):
    """A store holds a further copy of a backup: all of its objects, and how many of them this run brought there."""

    backup_id: str
    storage_tier: StorageTier
    store_url: str
    objects: int
    copied: int
    bytes: int


@dataclass(frozen=True)
class Copier:
    """Copies backups between depots."""

    depots: Depots
    clock: Clock

    def plan(self, copy_id: str, backup_id: str, target: StorageTier, source: StorageTier | None = None) -> CopyPlan:
        """What a copy would bring to the target; nothing is written."""
        there = self.depots.of(target)
        here, manifest = self.depots.find(backup_id, source)
        if here.tier is target:
            raise SettingError(f"{backup_id} is in {target.upper()}: it cannot be copied onto itself")
        layers = _layers(here, manifest)
        missing = {damage.name for damage in survey_presence(there.store, _objects(layers))}
        parts = tuple(_parts(layers, missing))
        return CopyPlan(
            copy_id=copy_id,
            backup_id=backup_id,
            created_at=self.clock.now(),
            source=here.tier,
            source_url=here.store.url,
            target=target,
            target_url=there.store.url,
            parts=parts,
            objects=sum(part.objects for part in parts),
            bytes=sum(part.bytes for part in parts),
        )

    def announce(self, plan: CopyPlan) -> None:
        """Say in the target which layers are about to be copied: a prune leaves them alone."""
        here, there = self._ends(plan)
        layers = [ref.layer_id for ref in _refs(here.metadata.load(plan.backup_id))]
        there.book.add(NoteKind.COPYING, plan.backup_id, self.clock.now(), {"layers": layers})

    def copy(self, plan: CopyPlan, part: CopyPart, attempt: Attempt) -> Copied:
        """Copy the objects of a part that the target lacks, and compare each with what was written."""
        here, there = self._ends(plan)
        by_id = {layer.layer_id: layer for layer in _layers(here, here.metadata.load(plan.backup_id))}
        wanted = [stored for span in part.spans for stored in by_id[span.layer_id].objects[span.first : span.last]]
        missing = {damage.name for damage in survey_presence(there.store, wanted)}
        sizes: list[int] = []
        read_back: list[bool] = []

        def bring(stored: StoredObject) -> None:
            attempt.check()
            if stored.name in missing:
                read_back.append(_bring(stored, here.store, there))
            sizes.append(stored.size)
            attempt.report(Progress(objects=len(sizes), total=len(wanted), bytes=sum(sizes)))

        in_parallel(bring, wanted, _THREADS)
        return Copied(objects=len(wanted), bytes=sum(sizes), read_back=all(read_back))

    def finish(self, plan: CopyPlan, copied: Sequence[Copied]) -> CopyMade:
        """See that all is there, then write the documents and, last, the manifest."""
        here, there = self._ends(plan)
        manifest = here.metadata.load(plan.backup_id)
        layers = _layers(here, manifest)
        if lacking := survey_presence(there.store, _objects(layers)):
            raise StoreUnavailable(
                f"{lacking[0].name} is not in {there.store.url}, though it was copied there",
                hint="Copy again: what is there is not copied twice.",
            )
        for ref in _refs(manifest):
            _same(layer_document_name(ref.layer_id), here.store, there.store)
        if there.locker:
            there.locker.lock_layers(manifest.backup_type, manifest.created_at, layers)
        _same(manifest_name(plan.backup_id), here.store, there.store)
        if there.locker:
            there.locker.lock_manifest(manifest)
        there.metadata.load(plan.backup_id)
        body = {"from": plan.source.value, "read_back": all(part.read_back for part in copied)}
        there.book.add(NoteKind.COPIED, plan.backup_id, self.clock.now(), body)
        return CopyMade(
            backup_id=plan.backup_id,
            storage_tier=plan.target,
            store_url=there.store.url,
            objects=sum(len(layer.objects) for layer in layers),
            copied=sum(part.objects for part in copied),
            bytes=sum(part.bytes for part in copied),
        )

    def _ends(self, plan: CopyPlan) -> tuple[Depot, Depot]:
        return (
            self.depots.planned(plan.copy_id, plan.source, plan.source_url),
            self.depots.planned(plan.copy_id, plan.target, plan.target_url),
        )


def _bring(stored: StoredObject, source: ObjectStore, target: Depot) -> bool:
    """Copy one object; whether it was read back."""
    data = source.get(stored.name)
    if blake3(data).hexdigest() != stored.digest:
        raise IntegrityError(
            f"{stored.name} in {source.url} is damaged: its bytes are not those that were written",
            hint="Nothing of it was copied. `strata verify` says what else is damaged.",
        )
    with suppress(ObjectExists):  # by another copy, or by this one before it was cut short
        target.store.put(stored.name, [data])
    try:
        found = target.store.get(stored.name)
    except ObjectFrozen:
        return False
    if blake3(found).hexdigest() != stored.digest:
        raise IntegrityError(f"{stored.name} in {target.store.url} is not what was just copied there")
    return True


def _same(name: str, source: ObjectStore, target: ObjectStore) -> None:
    """Put a small document into the target as it stands in the source."""
    data = source.get(name)
    with suppress(ObjectExists):
        target.put(name, [data])
    if target.get(name) != data:
        raise IntegrityError(f"{name} in {target.url} is not that of {source.url}")


def _refs(manifest: BackupMetadata) -> list[LayerRef]:
    return list(dict.fromkeys(manifest.layers))


def _layers(depot: Depot, manifest: BackupMetadata) -> list[Layer]:
    try:
        return [depot.layers.load(ref) for ref in _refs(manifest)]
    except ObjectNotFound as error:
        raise IntegrityError(f"{manifest.backup_id} is not whole in {depot.store.url}: {error.sentence}") from None


def _objects(layers: Iterable[Layer]) -> list[StoredObject]:
    return [stored for layer in layers for stored in layer.objects]


def _parts(layers: Iterable[Layer], missing: set[str]) -> Iterator[CopyPart]:
    """The missing objects in runs of neighbours, and those in parts of about a gigabyte."""
    spans: list[Span] = []
    objects = size = number = 0
    for layer in layers:
        for at, stored in enumerate(layer.objects):
            if stored.name not in missing:
                continue
            if spans and spans[-1].layer_id == layer.layer_id and spans[-1].last == at:
                spans[-1] = Span(layer_id=layer.layer_id, first=spans[-1].first, last=at + 1)
            else:
                spans.append(Span(layer_id=layer.layer_id, first=at, last=at + 1))
            objects, size = objects + 1, size + stored.size
            if size >= _PART_BYTES or objects >= _PART_OBJECTS:
                yield CopyPart(number=number, spans=tuple(spans), objects=objects, bytes=size)
                spans, objects, size, number = [], 0, 0, number + 1
    if spans:
        yield CopyPart(number=number, spans=tuple(spans), objects=objects, bytes=size)
