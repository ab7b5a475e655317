"""What a backup covers: which tiers, each whole or in part, read from where, and how many records."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from strata.model.backup_type import BackupType
from strata.model.layer import Document
from strata.model.scope import EVERYTHING, Scope
from strata.model.tier import Tier


class SourceKind(StrEnum):
    """Where a tier's records came from."""

    LIVE = "live"
    """The tier's own service."""
    HANDED = "handed"
    """A document that was handed over."""
    STATE_MANAGER = "state-manager"
    """The application's state manager."""


class Parts(NamedTuple):
    """The parts of a tier that a backup holds, by marks that tell nothing of their names (docs/format.md)."""

    key: str = ""
    """The fingerprint key that the marks were made with: no others compare with them. Empty where nothing is told."""
    marks: tuple[str, ...] = ()
    """Sorted."""


class Coverage(NamedTuple):
    """What a backup covers of one tier; `records` is None where the tier was to be read and could not be."""

    tier: Tier
    source: SourceKind
    patterns: tuple[str, ...] = EVERYTHING
    records: int | None = None
    torn: str = ""
    """Why the tier may be of another moment than the backup's others; empty where all were cut together."""
    late: int = 0
    """Objects that changed or went after the cut, before they could be read."""
    half: str = ""
    """The sentence on a restore that may have left the tier half overwritten; empty where none did."""
    parts: Parts = Parts()
    """Which tables, databases or prefix of the tier it holds."""

    @property
    def held(self) -> bool:
        """Whether the backup holds the tier."""
        return self.records is not None

    @property
    def scope(self) -> Scope:
        """The keys it covers."""
        return Scope(self.patterns)


class Expected(Document):
    """What earlier backups make one expect of a tier: of the type, and of every backup of that scope and source."""

    tier: Tier
    source: SourceKind | None = None
    """From where the last backup of the type read it; None where that did not hold it."""
    held_by: BackupType | None = None
    """The type of backup that held it, where it is another one: the first of a type is expected to hold its tiers."""
    patterns: tuple[str, ...] = ()
    """The scope that it covered."""
    backups: int = 0
    """For how many backups of the type in a row it has been held so."""
    usual: float | None = None
    """The median of the records of the last backups with the scope and source; None where there is none."""
    last: int | None = None
    """The records of the last of them."""
    parts: Parts = Parts()
    """The parts that the last backup of any type held that read it from there."""
    parts_of: str = ""
    """That backup."""


class DoubtKind(StrEnum):
    """In which way a backup may be incomplete."""

    MISSING = "missing"
    """It lacks a tier."""
    NARROWER = "narrower"
    """It covers fewer keys of a tier than earlier ones."""
    PART_MISSING = "part-missing"
    """It lacks a table, a database or a prefix that earlier ones held."""
    OTHER_SOURCE = "other-source"
    """It read a tier from elsewhere than earlier ones."""
    EMPTY = "empty"
    """It holds a tier without any record, of which no earlier one held any: nothing is known to be lost."""
    FEWER = "fewer"
    """It holds less than half of the usual number of records, or none though there were some."""
    TORN = "torn"
    """A tier may be of another moment than the others."""
    HALF_RESTORED = "half-restored"
    """A restore had begun to overwrite a tier and was not done, or nobody could say whether one had."""


def torn_apart(tier: Tier, why: str) -> str:
    """The sentence on a tier that was not cut with the others."""
    return f"{tier.label} may be of another moment than the other tiers: {why}"


class Doubt(Document):
    """One reason why a backup may be incomplete, in a sentence; `tier` is None where it concerns them all."""

    kind: DoubtKind
    tier: Tier | None
    sentence: str
    against: str = ""
    """Of a part that is missing, the backup that held it."""
