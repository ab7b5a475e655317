"""Which backups are good: at least one of their copies is not known to be damaged."""

from __future__ import annotations

from collections.abc import Iterable

from strata.model.backup_type import BackupType
from strata.model.copies import CatalogueEntry, Copy


def good_copies(entry: CatalogueEntry) -> tuple[Copy, ...]:
    """The copies of which no damage is known."""
    return tuple(copy for copy in entry.copies if not copy.damaged)


def is_good(entry: CatalogueEntry) -> bool:
    """Whether it can be restored, as far as is known."""
    return any(not copy.damaged for copy in entry.copies)


def last_good_of_each_type(entries: Iterable[CatalogueEntry]) -> dict[BackupType, str]:
    """The id of the latest good backup of each type, by generation: no clock has a say in it."""
    last: dict[BackupType, CatalogueEntry] = {}
    for entry in entries:
        before = last.get(entry.backup_type)
        if is_good(entry) and (before is None or rank(entry) > rank(before)):
            last[entry.backup_type] = entry
    return {backup_type: entry.backup_id for backup_type, entry in last.items()}


def rank(entry: CatalogueEntry) -> tuple[int, float, str]:
    """Sorts backups, earliest first, in an order that a clock does not upset."""
    return entry.generation, entry.created_at.timestamp(), entry.backup_id
