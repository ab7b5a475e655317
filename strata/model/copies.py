"""What is known of recorded backups over all stores: where their copies lie, and what people decided of them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from strata.model.backup_type import BackupType
from strata.model.coverage import Coverage, SourceKind
from strata.model.layer import Document
from strata.model.tier import StorageTier, Tier


class BackupStatus(StrEnum):
    """What may be said of a recorded backup; several may be true at once."""

    GOOD = "good"
    """It has a copy of which no damage is known."""
    DAMAGED = "damaged"
    """Damage of one of its copies was found."""
    DOUBTFUL = "doubtful"
    """It may be incomplete, by those before it, and nobody accepted it (strata/planning/goodness.py says so)."""
    PINNED = "pinned"
    HELD = "held"
    MARKED = "marked"
    """A prune marked it for removal."""


class Copy(Document):
    """One store's copy of a backup: the store holds the manifest and every layer it names."""

    storage_tier: StorageTier
    store_url: str
    locked_until: datetime | None = None
    """Until when the store itself refuses to remove it; None where it does not."""
    verified_at: datetime | None = None
    """Since when every layer of it was read back there whole: of their last readings the oldest, making them included.

    None where one never was, as in a store that cannot be read at once.
    """
    damaged: bool = False
    """Whether damage was found and noted since."""


class CatalogueEntry(Document):
    """A recorded backup, and its copies: what listing, retention, pruning and the state of the policy need."""

    backup_id: str
    backup_type: BackupType
    generation: int
    created_at: datetime
    recorded_at: datetime
    parent: str | None
    covers: tuple[Coverage, ...]
    """What it covers, by tier."""
    records: int
    logical_bytes: int
    added_bytes: int
    """Bytes its own layers take in a store."""
    stacked_bytes: int
    """Bytes all layers of its stacks take."""
    layers: tuple[str, ...]
    """The ids of every layer its manifest names: its stacks, and what they borrow from."""
    copies: tuple[Copy, ...]
    installation: str = ""
    """The installation that made it."""
    sealed_by: str = ""
    """The wrapping key that opens it."""
    pinned: bool = False
    """Kept until it is unpinned."""
    legal_hold: bool = False
    """Kept until the hold is lifted, and nothing else overrides that."""
    removal_marked_at: datetime | None = None
    """When a prune marked it; the sweep removes it when the time of grace is over."""
    accepted: bool = False
    """Whether a person said that it is right as it is, whatever it lacks."""

    def copy_in(self, tier: StorageTier) -> Copy | None:
        """Its copy in a store, if there is one."""
        return next((copy for copy in self.copies if copy.storage_tier is tier), None)

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """The tiers it holds."""
        return tuple([one.tier for one in self.covers if one.records is not None])

    @property
    def handed(self) -> bool:
        """Whether it holds state that was handed over, which says nothing of the live state."""
        return any(one.source is SourceKind.HANDED for one in self.covers)

    @property
    def good_copies(self) -> tuple[Copy, ...]:
        """The copies of which no damage is known."""
        return tuple([copy for copy in self.copies if not copy.damaged])

    @property
    def damaged(self) -> bool:
        """Whether damage of one of its copies is known."""
        return any(copy.damaged for copy in self.copies)

    @property
    def statuses(self) -> frozenset[BackupStatus]:
        """All that may be said of it by itself."""
        said = {
            BackupStatus.GOOD: bool(self.good_copies),
            BackupStatus.DAMAGED: self.damaged,
            BackupStatus.PINNED: self.pinned,
            BackupStatus.HELD: self.legal_hold,
            BackupStatus.MARKED: self.removal_marked_at is not None,
        }
        return frozenset(status for status, true in said.items() if true)
