"""Recorder: what a backup takes over from others in its depot, and how it comes to exist there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from strata.catalog.owner import Owner
from strata.engine.creator import BackupCreator
from strata.engine.depot import Depot
from strata.engine.runner import Attempt
from strata.engine.survey import survey_presence
from strata.errors import LOST, IntegrityError, ObjectExists, StorageError
from strata.model.coverage import Doubt
from strata.model.layer import Layer, LayerRef, layer_document_name
from strata.model.manifest import manifest_name
from strata.model.plan import BackupPlan
from strata.model.run import Stage, StageRow
from strata.model.ticket import Collected, KnownChunks, Merged, Stored
from strata.model.tier import Tier
from strata.planning.completeness import doubts_about


@dataclass(frozen=True)
class Recorder:
    """The last steps of one backup; `chunks` are those that were stored before it, where it knows of any."""

    plan: BackupPlan
    depot: Depot
    creator: BackupCreator
    owner: Owner
    merged: Merged
    stored: Sequence[Stored]
    chunks: Callable[[], KnownChunks | None]

    def prove_inherited(self, attempt: Attempt) -> None:
        """Layers taken over from other backups are what was written; one that is not is noted, and never built on."""
        layers = [self._reload(ref) for ref in self._inherited()]
        damages = self.creator.verify_inherited(self.plan, layers, attempt)
        if not damages:
            return
        names = {damage.name for damage in damages}
        for layer in layers:
            if any(stored.name in names for stored in layer.objects):
                self.depot.damage.note(layer.layer_id)
        raise _builds_on(damages[0].name, damages[0].reason)

    def commit(
        self, collected: Sequence[Collected], seconds: Mapping[str, float], attempt: Attempt
    ) -> tuple[Doubt, ...]:
        """Write the layers' documents, then the manifest: now the backup exists. What it may lack is given back."""
        written = self._save_layers()
        locker = self.depot.locker
        if locker:
            needed = [self._loaded(ref) for ref in (*self._inherited(), *written)]
            locker.lock_layers(self.plan.backup_type, self.plan.created_at, needed)
        stacked = {ref.layer_id for tier in self.merged.tiers for ref in tier.stack} | {ref.layer_id for ref in written}
        borrowed = [ref for ref in self._inherited() if ref.layer_id not in stacked]
        plan = self._still_owned()
        manifest = self.creator.manifest(plan, collected, self.merged, written, borrowed, seconds)
        self._see_inherited()
        attempt.check()
        try:
            self.depot.metadata.save(manifest)
        except ObjectExists:
            self._see_own()  # an earlier attempt wrote it, and died before it said so
        self.owner.remember(self.depot.store.url, self.plan.backup_id, self.plan.generation)
        if locker:
            with suppress(
                StorageError
            ):  # the backup is there, and its layers are locked; `strata status` tells the rest
                locker.lock_manifest(manifest)
        return doubts_about(self.plan.backup_type, self.plan.expected, manifest.covers)

    def _see_own(self) -> None:
        """The manifest that is there is this run's: no other has its data key."""
        if self.depot.metadata.load(self.plan.backup_id).wrapped_key != self.plan.wrapped_key:
            raise IntegrityError(
                f"{manifest_name(self.plan.backup_id)} is that of another run, so this backup is not recorded",
                hint="Give each backup an id of its own.",
            )

    def _still_owned(self) -> BackupPlan:
        """The plan, with the identity that the store has now: where two claimed it at once, one's was not kept."""
        if not self.plan.store_id:
            return self.plan
        identity = self.owner.require(self.plan.storage_tier, self.plan.installation)
        return self.plan.model_copy(update={"store_id": identity.store_id})

    def _see_inherited(self) -> None:
        """Everything taken over is there at this moment too: whatever became of it since it was proved, is told."""
        layers = [self._reload(ref) for ref in self._inherited()]
        lacking = survey_presence(self.depot.store, [stored for layer in layers for stored in layer.objects])
        if lacking:
            raise _builds_on(lacking[0].name, lacking[0].reason)

    def _reload(self, ref: LayerRef) -> Layer:
        try:
            with self.depot.damage.watching(ref.layer_id):
                return self.depot.layers.reload(ref)
        except LOST as error:
            raise _builds_on(layer_document_name(ref.layer_id), error.sentence) from None

    def _loaded(self, ref: LayerRef) -> Layer:
        with self.depot.damage.watching(ref.layer_id):
            return self.depot.layers.load(ref)

    def _save_layers(self) -> list[LayerRef]:
        """Write the documents of this backup's layers, in the order of the tiers: a later one may borrow."""
        written: dict[Tier, LayerRef] = {}
        for tier in self.merged.tiers:
            borrows = [*self._shelved(tier.borrowed), *(written[lender] for lender in tier.lenders)]
            layer = self.creator.layer(self.plan, tier, self.stored, borrows)
            if layer is not None:
                written[tier.tier] = self.depot.layers.ref(layer)
                self._save_layer(layer)
        return list(written.values())

    def _save_layer(self, layer: Layer) -> None:
        layers = self.depot.layers
        try:
            layers.save(layer)
        except ObjectExists:
            layers.load(layers.ref(layer))  # an earlier attempt wrote it: the same, or this raises

    def _inherited(self) -> list[LayerRef]:
        """Every layer of other backups that this one needs: those of its stacks, and those that lend chunks."""
        found = {ref.layer_id: ref for tier in self.merged.tiers for ref in tier.stack}
        lent = [ref for layer in [self._loaded(ref) for ref in found.values()] for ref in layer.borrows]
        lent += [ref for tier in self.merged.tiers for ref in self._shelved(tier.borrowed)]
        return list((found | {ref.layer_id: ref for ref in lent}).values())

    def _shelved(self, layer_ids: Sequence[str]) -> list[LayerRef]:
        """Layers that the list of stored chunks names."""
        chunks = self.chunks() if layer_ids else None
        return [ref for ref in (chunks.layers if chunks else ()) if ref.layer_id in layer_ids]


def _builds_on(name: str, reason: str) -> IntegrityError:
    return IntegrityError(
        f"{name}, which this backup would build on, is damaged: {reason}",
        hint="The next backup does not build on it; look at the disk below.",
    )


def stage_seconds(rows: list[StageRow]) -> dict[str, float]:
    """Seconds each stage took from its first unit's beginning to its last unit's end; collection by tier."""
    spans: dict[str, tuple[float, float]] = {}
    for row in rows:
        if row.seconds is None:
            continue
        name = f"{row.stage} {row.unit}" if row.stage in {Stage.COLLECT, Stage.APPLY} else row.stage.value
        began, ended = spans.get(name, (row.began, row.began))
        spans[name] = min(began, row.began), max(ended, row.began + row.seconds)
    return {name: ended - began for name, (began, ended) in spans.items()}
