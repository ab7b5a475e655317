"""What retention decided, and what a prune or a move by age will do: each item with its reason."""

from __future__ import annotations

from datetime import datetime

from strata.model.backup_type import BackupType
from strata.model.layer import Document
from strata.model.tier import StorageTier


class Decision(Document):
    """Whether a backup is kept, and every reason for it."""

    backup_id: str
    backup_type: BackupType
    created_at: datetime
    keep: bool
    reasons: tuple[str, ...]
    frozen: bool = False
    """Whether only a clock that lies keeps it."""


class RetentionPlan(Document):
    """The decisions, newest first; while `frozen` says anything, nothing is removed."""

    decisions: tuple[Decision, ...]
    frozen: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    """What is wrong but stops only the backups it names."""

    @property
    def removed(self) -> tuple[Decision, ...]:
        """Those that may go."""
        return tuple(one for one in self.decisions if not one.keep)


class Reasoned(Document):
    """A backup or a layer by its id, and why something happens to it, or does not."""

    name: str
    reason: str


class SweptLayer(Document):
    """A layer whose objects go, and why."""

    layer_id: str
    objects: int
    bytes: int
    reason: str


class StorePrune(Document):
    """What goes from one store: manifests first, then the layers that none of the remaining ones reaches."""

    storage_tier: StorageTier
    manifests: tuple[Reasoned, ...] = ()
    layers: tuple[SweptLayer, ...] = ()
    waiting: tuple[Reasoned, ...] = ()
    """Backups and layers that are to go, but not yet."""
    frozen: tuple[str, ...] = ()
    """Why nothing goes from this store."""

    @property
    def objects(self) -> int:
        """Objects that go, manifests not counted."""
        return sum(layer.objects for layer in self.layers)

    @property
    def bytes(self) -> int:
        """Bytes that are freed."""
        return sum(layer.bytes for layer in self.layers)


class PrunePlan(Document):
    """What a prune will do, over all stores."""

    created_at: datetime
    marks: tuple[Reasoned, ...] = ()
    """Backups that are marked now, and go when the grace is over."""
    unmarks: tuple[Reasoned, ...] = ()
    """Backups whose mark is taken back."""
    stores: tuple[StorePrune, ...] = ()
    frozen: tuple[str, ...] = ()
    """Why nothing goes from any store."""

    @property
    def bytes(self) -> int:
        """Bytes that are freed in all stores."""
        return sum(store.bytes for store in self.stores)


class Move(Document):
    """One step of a move by age: a copy is made in `target`, or the one in `source` may go, for `target` has one."""

    backup_id: str
    source: StorageTier
    target: StorageTier
    reason: str


class MovePlan(Document):
    """What moves by age: first the copies, and in a later plan, when they are there, the releases."""

    copies: tuple[Move, ...] = ()
    releases: tuple[Move, ...] = ()
    left: tuple[Reasoned, ...] = ()
    """Backups that are old enough and stay where they are."""
    reasons: tuple[str, ...] = ()
    """What concerns no single backup."""
