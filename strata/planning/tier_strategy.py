"""Which store a type of backup goes to, and which get a copy."""

from __future__ import annotations

from dataclasses import dataclass

from strata.model.tier import StorageTier


@dataclass(frozen=True)
class Placement:
    """Where a backup is made, where it is copied to, and why not as the table says."""

    primary: StorageTier
    copies: tuple[StorageTier, ...] = ()
    reasons: tuple[str, ...] = ()
