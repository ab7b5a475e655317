"""Plans a backup: which tiers, which layers, which store."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from strata.errors import SettingError
from strata.model.plan import TierPlan
from strata.model.tier import BackupType, StorageTier, Tier

_RUN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,47}")
_OUR_ID: Final = re.compile(r"[0-9]{8}-[0-9]{6}-[a-z]+-[0-9a-f]{6}")

AVAILABLE = frozenset({BackupType.FULL})
"""The types that can be planned."""


def new_run_id(kind: str, now: datetime) -> str:
    """An id that sorts by time, says what it is, and is unique: `20261123-224501-full-3f9a2c`."""
    return f"{now:%Y%m%d-%H%M%S}-{kind}-{secrets.token_hex(3)}"


def is_our_id(name: str) -> bool:
    """Whether a name looks like one that `new_run_id` gave, and not like a folder of somebody else's."""
    return _OUR_ID.fullmatch(name) is not None


def checked_run_id(run_id: str) -> str:
    """The id, or SettingError where it cannot name objects: it becomes part of their names, and of layer ids."""
    if not _RUN_ID.fullmatch(run_id):
        raise SettingError(
            f"{run_id[:80]!r} cannot be the id of a run",
            hint="An id has 1 to 48 letters, digits and hyphens; leave it out to be given one.",
        )
    return run_id


def plan_tiers(backup_id: str, reachable: Mapping[Tier, bool]) -> tuple[TierPlan, ...]:
    """What to do with each tier: one that is configured gets a layer, one that is not is left out, by name."""
    if not any(reachable.values()):
        raise SettingError(
            "no tier is configured, so there is nothing to back up",
            hint="Set at least one of STRATA_HOT_URL, STRATA_WARM_URL, STRATA_COLD_URL.",
        )
    return tuple(
        TierPlan(tier=tier, layer_id=f"{backup_id}-{tier}")
        if reachable.get(tier)
        else TierPlan(tier=tier, layer_id=None, reason=f"STRATA_{tier.upper()}_URL is not set")
        for tier in Tier
    )


def named_type(name: str) -> BackupType:
    """The type of that name, or SettingError."""
    try:
        return BackupType(name)
    except ValueError:
        raise SettingError(
            f"there is no type of backup called {name!r}", hint=f"There are: {', '.join(BackupType)}."
        ) from None


def checked_type(backup_type: BackupType) -> BackupType:
    """The type, or SettingError where it cannot be planned."""
    if backup_type not in AVAILABLE:
        raise SettingError(
            f"backups of type {backup_type} are not available in this version",
            hint=f"Available: {', '.join(sorted(AVAILABLE))}.",
        )
    return backup_type


def choose_store(backup_type: BackupType, configured: Mapping[StorageTier, str]) -> tuple[StorageTier, str]:
    """The storage tier a backup goes to, and its URL."""
    for tier in (StorageTier.LOCAL, StorageTier.CLOUD):
        if tier in configured:
            return tier, configured[tier]
    raise SettingError(
        f"there is no store for a {backup_type} backup",
        hint="Set STRATA_LOCAL_URL, for example file:///var/lib/strata.",
    )
