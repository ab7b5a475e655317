"""Copier: takes a recorded backup to another store, byte for byte, without reading its source again.

What the other store holds already is not copied twice, so a copy that was cut short goes on where it stood. The
manifest comes last, as everywhere: until then the copy does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from blake3 import blake3

from strata.catalog.documents import document
from strata.catalog.notes import NoteKind
from strata.catalog.readings import Reading
from strata.clock import Clock
from strata.engine.depot import Depot, Depots
from strata.engine.parallel import in_parallel
from strata.engine.runner import Attempt
from strata.engine.survey import survey_presence
from strata.errors import (
    IntegrityError,
    ObjectExists,
    ObjectFrozen,
    ObjectNotFound,
    SettingError,
    StorageError,
    StoreUnavailable,
)
from strata.model.layer import Document, Layer, LayerRef, StoredObject, layer_document_name
from strata.model.manifest import BackupMetadata, manifest_name
from strata.model.plan import CopyPart, CopyPlan, Span
from strata.model.run import Progress
from strata.model.tier import StorageTier
from strata.storage.port import ObjectStore

_PART_BYTES: Final = 1 << 30
_PART_OBJECTS: Final = 256
_THREADS: Final = 4
_ABSENT: Final = "absent"
_FROZEN: Final = "frozen"

_DECISIONS: Final = {NoteKind.PINNED, NoteKind.UNPINNED, NoteKind.HELD, NoteKind.RELEASED, NoteKind.ACCEPTED}


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
    made: Callable[[str, str, int], None] = lambda _url, _backup_id, _generation: None
    """Hears of each copy that is made."""

    def plan(self, copy_id: str, backup_id: str, target: StorageTier, source: StorageTier | None = None) -> CopyPlan:
        """What a copy would bring to the target, or prove there because damage is known; nothing is written."""
        here, there, manifest = self._found(backup_id, target, source)
        layers = _layers(here, manifest)
        wanted = {damage.name for damage in survey_presence(there.store, _objects(layers))}
        suspect = there.damage.layers
        wanted |= {stored.name for layer in layers if layer.layer_id in suspect for stored in layer.objects}
        parts = tuple(_parts(layers, wanted))
        return CopyPlan(
            copy_id=copy_id,
            backup_id=backup_id,
            created_at=self.clock.now(),
            source=here.tier,
            source_url=here.store.url,
            source_id=here.store_id(),
            target=target,
            target_url=there.store.url,
            target_id=there.store_id(),
            parts=parts,
            objects=sum(part.objects for part in parts),
            bytes=sum(part.bytes for part in parts),
        )

    def announce(self, backup_id: str, target: StorageTier, source: StorageTier | None = None) -> None:
        """Say in the target which layers are about to be copied: a prune leaves them alone. Comes before the plan."""
        _, there, manifest = self._found(backup_id, target, source)
        layers = [ref.layer_id for ref in _refs(manifest)]
        there.book.add(NoteKind.COPYING, backup_id, self.clock.now(), {"layers": layers})

    def copy(self, plan: CopyPlan, part: CopyPart, attempt: Attempt) -> Copied:
        """Copy the objects of a part that the target lacks, and compare each with what was written."""
        here, there = self._ends(plan)
        by_id = {layer.layer_id: layer for layer in _layers(here, here.metadata.load(plan.backup_id))}
        wanted = [
            (span.layer_id, stored)
            for span in part.spans
            for stored in by_id[span.layer_id].objects[span.first : span.last]
        ]
        sizes: list[int] = []
        frozen: list[str] = []

        def bring(pair: tuple[str, StoredObject]) -> None:
            attempt.check()
            layer_id, stored = pair
            with here.damage.watching(layer_id):
                if not _bring(stored, here.store, there.store):
                    frozen.append(stored.name)
            sizes.append(stored.size)
            attempt.report(Progress(objects=len(sizes), total=len(wanted), bytes=sum(sizes)))

        in_parallel(bring, wanted, _THREADS)
        return Copied(objects=len(wanted), bytes=sum(sizes), read_back=not frozen)

    def finish(self, plan: CopyPlan, copied: Sequence[Copied]) -> CopyMade:
        """See that all is there, then write the documents and, last, the manifest."""
        here, there = self._ends(plan)
        manifest, signed = here.metadata.proved(plan.backup_id)
        layers, now = _layers(here, manifest), self.clock.now()
        _see_all(layers, there)
        mended = sorted(there.damage.layers & {layer.layer_id for layer in layers})
        for ref in _refs(manifest):
            name, data = layer_document_name(ref.layer_id), here.layers.document(ref)
            _same(name, data, here.store, there.store, mend=ref.layer_id in mended)
        read = _read_back(plan, layers, copied)
        for layer_id in set(mended) & set(read.layers):
            there.book.add(NoteKind.VERIFIED, layer_id, now, read.model_copy(update={"layers": (layer_id,)}).body)
        if there.locker:
            there.locker.lock_layers(manifest.backup_type, manifest.created_at, layers)
        self._carry_decisions(plan.backup_id, there)
        written = _same(manifest_name(plan.backup_id), signed, here.store, there.store)
        if lacking := survey_presence(there.store, _objects(layers)):
            if written:  # a prune that began before our intent was there removed it meanwhile: no copy, then
                there.store.delete(manifest_name(plan.backup_id))
            raise _lacks(lacking[0].name, there)
        if there.locker:
            with suppress(StorageError):  # the copy is there and its layers are locked; `strata status` tells the rest
                there.locker.lock_manifest(manifest)
        there.metadata.load(plan.backup_id)
        read_back = all(part.read_back for part in copied) if copied else plan.target is not StorageTier.ARCHIVE
        there.book.add(
            NoteKind.COPIED, plan.backup_id, now, {"from": plan.source.value, "read_back": read_back, **read.body}
        )
        self.made(there.store.url, plan.backup_id, manifest.generation)
        return CopyMade(
            backup_id=plan.backup_id,
            storage_tier=plan.target,
            store_url=there.store.url,
            objects=sum(len(layer.objects) for layer in layers),
            copied=sum(part.objects for part in copied),
            bytes=sum(part.bytes for part in copied),
        )

    def _carry_decisions(self, backup_id: str, target: Depot) -> None:
        """What people decided of the backup holds for the copy too, wherever it was noted."""
        noted = {(note.kind, note.at) for note in target.book.of(backup_id)}
        for depot in self.depots:
            if depot.tier is target.tier:
                continue
            with suppress(StoreUnavailable):  # a store that is silent keeps its notes, and prunes wait for it
                for note in depot.book.of(backup_id):
                    if note.kind in _DECISIONS and (note.kind, note.at) not in noted:
                        target.book.add(note.kind, backup_id, note.at, note.body)

    def _found(
        self, backup_id: str, target: StorageTier, source: StorageTier | None
    ) -> tuple[Depot, Depot, BackupMetadata]:
        there = self.depots.of(target)
        here, manifest = self.depots.find(backup_id, source)
        if here.tier is target:
            raise SettingError(f"{backup_id} is in {target.upper()}: it cannot be copied onto itself")
        _refuse_another(manifest_name(manifest.backup_id), here.store, there.store)
        return here, there, manifest

    def _ends(self, plan: CopyPlan) -> tuple[Depot, Depot]:
        return (
            self.depots.planned(plan.copy_id, plan.source, plan.source_url, plan.source_id),
            self.depots.planned(plan.copy_id, plan.target, plan.target_url, plan.target_id),
        )


def _refuse_another(name: str, source: ObjectStore, target: ObjectStore) -> None:
    """Raise where the target holds another backup of the same id: its objects are not to be replaced."""
    with suppress(ObjectNotFound):
        if document(target, name) != document(source, name):
            raise _another(name, source, target)


def _another(name: str, source: ObjectStore, target: ObjectStore) -> IntegrityError:
    return IntegrityError(f"{name} in {target.url} is not that of {source.url}")


def _bring(stored: StoredObject, source: ObjectStore, target: ObjectStore) -> bool:
    """Bring one object, or another copy of it in the place of one that is damaged; whether it was read back there."""
    found = _digest_in(target, stored)
    if found == stored.digest:
        return True
    data = source.get(stored.name, 0, stored.size + 1)
    if blake3(data).hexdigest() != stored.digest:
        raise IntegrityError(
            f"{stored.name} in {source.url} is damaged: its bytes are not those that were written",
            hint="Nothing of it was copied. `strata verify` says what else is damaged.",
        )
    if found not in {_ABSENT, _FROZEN}:
        target.delete(stored.name)
    if found != _FROZEN:
        with suppress(ObjectExists):  # by another copy, or by this one before it was cut short
            target.put(stored.name, [data])
        found = _digest_in(target, stored)
    if found not in {stored.digest, _FROZEN}:
        raise IntegrityError(f"{stored.name} in {target.url} is not what was just copied there")
    return found == stored.digest


def _digest_in(store: ObjectStore, stored: StoredObject) -> str:
    """The digest of an object as a store holds it, or why there is none; of a longer one no more is read."""
    try:
        return blake3(store.get(stored.name, 0, stored.size + 1)).hexdigest()
    except ObjectNotFound:
        return _ABSENT
    except ObjectFrozen:
        return _FROZEN


def _see_all(layers: Sequence[Layer], target: Depot) -> None:
    if lacking := survey_presence(target.store, _objects(layers)):
        raise _lacks(lacking[0].name, target)


def _lacks(name: str, target: Depot) -> StoreUnavailable:
    return StoreUnavailable(
        f"{name} is not in {target.store.url}, though it was copied there",
        hint="Copy again: what is there is not copied twice.",
    )


def _same(name: str, data: bytes, source: ObjectStore, target: ObjectStore, *, mend: bool = False) -> bool:
    """Put a small document into the target as it was read from the source and proved; whether there was none yet."""
    written = True
    try:
        target.put(name, [data])
    except ObjectExists:
        written = False
        if mend and target.get(name, 0, len(data) + 1) != data:
            target.delete(name)
            target.put(name, [data])
    if target.get(name, 0, len(data) + 1) != data:
        raise _another(name, source, target)
    return written


def _read_back(plan: CopyPlan, layers: Sequence[Layer], copied: Sequence[Copied]) -> Reading:
    """The layers of which this copy read back every object in the target; not those that another one began."""
    spans = [span for part, done in zip(plan.parts, copied, strict=True) if done.read_back for span in part.spans]
    read: dict[str, int] = {}
    for span in spans:
        read[span.layer_id] = read.get(span.layer_id, 0) + span.last - span.first
    whole = (layer.layer_id for layer in layers if read.get(layer.layer_id) == len(layer.objects))
    return Reading(began=plan.created_at, layers=tuple(whole))


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
