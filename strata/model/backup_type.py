"""The types of backup and what makes each what it is: a new one is a member and a row here (docs/how-to/extend.md)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class BackupType(StrEnum):
    """What a backup covers and what it builds on."""

    FULL = "full"
    INCREMENTAL = "incremental"
    DIFFERENTIAL = "differential"
    SNAPSHOT = "snapshot"
    EMERGENCY = "emergency"


class Parent(StrEnum):
    """Which earlier backup a type is compared with, so that only the difference is stored."""

    NONE = "none"
    LAST_BACKUP = "last backup"
    LAST_FULL = "last full"


class Reads(StrEnum):
    """How much of its scope a type reads."""

    EVERYTHING = "everything"
    """All of it, whatever the sources say has not changed."""
    CHANGES = "changes"
    """Not what the sources call unchanged since the parent."""


class Manner(StrEnum):
    """How a type behaves among the others."""

    ORDERLY = "orderly"
    """Under the lease; a tier that cannot be read fails it."""
    STUBBORN = "stubborn"
    """Beside whatever runs, on a queue of its own; goes on without a tier that cannot be read in time, and says so."""


@dataclass(frozen=True)
class TypeRule:
    """What makes a type: which keys (glob patterns), compared with what, reading how much, behaving how."""

    patterns: tuple[str, ...]
    parent: Parent
    reads: Reads
    manner: Manner = Manner.ORDERLY
    moves_full_baseline: bool = False
    """Whether later backups may build on it as on a full one, within its scope."""


RULES: Final = {
    BackupType.FULL: TypeRule(("*",), Parent.LAST_BACKUP, Reads.EVERYTHING, moves_full_baseline=True),
    BackupType.INCREMENTAL: TypeRule(("*",), Parent.LAST_BACKUP, Reads.CHANGES),
    BackupType.DIFFERENTIAL: TypeRule(("*",), Parent.LAST_FULL, Reads.CHANGES),
    BackupType.SNAPSHOT: TypeRule(
        ("position:*", "order:*", "portfolio*", "performance*"),
        Parent.NONE,
        Reads.EVERYTHING,
        moves_full_baseline=True,
    ),
    BackupType.EMERGENCY: TypeRule(
        ("position:*", "portfolio*", "config:critical"), Parent.NONE, Reads.EVERYTHING, Manner.STUBBORN
    ),
}
"""Patterns are the first user's; STRATA_PATTERNS gives a type others."""
