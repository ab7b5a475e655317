"""Decisions, frozen before anything is done; a dry run prints them."""

from __future__ import annotations

from datetime import datetime

from strata.model.backup_type import BackupType
from strata.model.coverage import Doubt, Expected, SourceKind
from strata.model.identity import NOTHING_SEEN, Identities
from strata.model.layer import Document
from strata.model.manifest import BackupMetadata
from strata.model.scope import EVERYTHING, Scope
from strata.model.thaw import ThawPlan
from strata.model.tier import StorageTier, Tier


class TierPlan(Document):
    """What a backup will do with one tier; without a layer id the tier is left out, for the reason given."""

    tier: Tier
    layer_id: str | None
    patterns: tuple[str, ...] = EVERYTHING
    source: SourceKind | None = None
    """From where it will be read; None where it is left out."""
    parent: str | None = None
    """The backup whose view of the tier is the baseline: only what differs is stored. None: all of it is."""
    thorough: bool = True
    """Whether everything is read; else what the source calls unchanged since the parent is not."""
    reason: str = ""
    half: str = ""
    """The sentence on a restore that may have left the tier half overwritten; empty where none did."""

    @property
    def scope(self) -> Scope:
        """The keys the backup covers."""
        return Scope(self.patterns)


class BackupPlan(Document):
    """Everything a backup needs to know of itself; `wrapped_key` is sealed by the keyring's key `key_id`."""

    backup_id: str
    backup_type: BackupType
    generation: int
    created_at: datetime
    parent: str | None
    tiers: tuple[TierPlan, ...]
    storage_tier: StorageTier
    store_url: str
    store_id: str
    """The identity of that store, or the one that it gets when the run begins."""
    installation: str
    copies: tuple[StorageTier, ...] = ()
    """The stores that get a copy once it is recorded."""
    key_id: str
    wrapped_key: str
    fingerprint_key_id: str
    zstd_level: int
    segment_bytes: int
    reasons: tuple[str, ...] = ()
    knows_chunks: bool = False
    """Whether the store held chunks of large values when it was planned."""
    override: str = ""
    """The document in the spool that is read in place of the live tiers, where one was handed over."""
    confirmed: Identities = NOTHING_SEEN
    """What the sender saw: a worker that works on another part refuses."""
    expected: tuple[Expected, ...] = ()
    """What the backups of the store make one expect of the tiers."""
    doubts: tuple[Doubt, ...] = ()
    """What the backup will lack, as far as that is known before anything is read."""

    @property
    def included(self) -> tuple[TierPlan, ...]:
        """The tiers that will be backed up."""
        return tuple(tier for tier in self.tiers if tier.layer_id is not None)

    def tier(self, tier: Tier) -> TierPlan:
        """The plan of one tier."""
        return next(plan for plan in self.tiers if plan.tier is tier)

    def layer_id(self, tier: Tier) -> str:
        """The layer that will hold an included tier."""
        layer_id = self.tier(tier).layer_id
        assert layer_id is not None, f"{tier} is not part of {self.backup_id}"
        return layer_id


class RestorePlan(Document):
    """What a restore will do: which backup, read from which store, into which tiers, how."""

    restore_id: str
    backup_id: str
    storage_tier: StorageTier
    store_url: str
    store_id: str = ""
    mode: str
    created_at: datetime
    tiers: tuple[Tier, ...]
    reasons: tuple[str, ...] = ()
    thaw: ThawPlan | None = None
    """What must be thawed first; None where everything can be read."""
    confirmed: Identities = NOTHING_SEEN
    """The targets, the store, the keyring and the ledger as the worker that planned it saw them."""
    manifest: BackupMetadata | None = None
    """The backup, for the person who is asked."""


class Span(Document):
    """A run of a layer's objects, by their places in its document: from `first` up to, not including, `last`."""

    layer_id: str
    first: int
    last: int


class CopyPart(Document):
    """What one task of a copy brings to the target."""

    number: int
    spans: tuple[Span, ...]
    objects: int
    bytes: int


class CopyPlan(Document):
    """What a copy will do: which backup, from which store to which; what the target lacked when it was planned."""

    copy_id: str
    backup_id: str
    created_at: datetime
    source: StorageTier
    source_url: str
    source_id: str = ""
    target: StorageTier
    target_url: str
    target_id: str = ""
    parts: tuple[CopyPart, ...]
    objects: int
    bytes: int
    confirmed: Identities = NOTHING_SEEN
    """What the sender saw: a worker that works on another part refuses."""


class PruneOrder(Document):
    """A prune of these stores. What it removes is planned when it comes to each: the stores change meanwhile."""

    prune_id: str
    created_at: datetime
    stores: tuple[StorageTier, ...]
    confirmed: Identities = NOTHING_SEEN
    """What the sender saw: a worker that works on another part refuses."""
