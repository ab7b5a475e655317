"""Plans a backup: which tiers, compared with what, on which layers; every unusual choice says why."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from strata.errors import SettingError
from strata.model.backup_type import RULES, BackupType, Parent, Reads
from strata.model.context import BackupContext, BackupSummary, TierSummary
from strata.model.coverage import Coverage, SourceKind
from strata.model.plan import TierPlan
from strata.model.scope import Scope
from strata.model.tier import Tier

_RUN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,47}")
_OUR_ID: Final = re.compile(r"[0-9]{8}-[0-9]{6}-[a-z]+-[0-9a-f]{6}")

Intact = Callable[[TierSummary], str]
"""Says what a parent's stack lacks in the store, or nothing."""


@dataclass(frozen=True)
class StackPolicy:
    """When a stack is laid anew, so that restoring stays quick and dead bytes stay few."""

    depth: int = 128
    """A stack of so many layers takes no more: the next backup is compared with its base, and lies on that alone."""
    dead_share: float = 0.5
    """A fresh base is written where more than this share of the stack counts no more."""
    base_age: timedelta = timedelta(days=30)
    """A fresh base is written where the old one is older."""


@dataclass(frozen=True)
class TierPlans:
    """The tiers' plans, the backup's parent (that of most tiers), and the reasons."""

    tiers: tuple[TierPlan, ...]
    parent: str | None
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Wish:
    """What is asked for, and what is there: everything that planning the tiers depends on."""

    backup_id: str
    backup_type: BackupType
    now: datetime
    configured: Mapping[Tier, SourceKind]
    """The tiers there are, and from where each is read."""
    context: BackupContext
    """Backups of the store, under the same fingerprint key: others cannot be built on."""
    patterns: tuple[str, ...] = ()
    """The scope, where it is not the type's own."""
    policy: StackPolicy = field(default_factory=StackPolicy)
    fresh: bool = False
    """Whether nothing is to be built on."""
    renews: bool = False
    """Whether a worn stack is laid anew: by a FULL, and by any type in a store to which no FULL goes."""
    intact: Intact = lambda _: ""

    @property
    def scope(self) -> Scope:
        """The keys to be covered."""
        return Scope(self.patterns or RULES[self.backup_type].patterns)


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


def plan_tiers(wish: Wish) -> TierPlans:
    """What to do with each tier: one that is configured gets a layer, one that is not is left out, by name."""
    if not wish.configured:
        raise SettingError(
            "no tier is configured, so there is nothing to back up",
            hint="Set at least one of STRATA_HOT_URL, STRATA_WARM_URL, STRATA_COLD_URL.",
        )
    reasons: list[str] = []
    tiers = tuple(_plan_tier(wish, tier, reasons) for tier in Tier)
    parents = [plan.parent for plan in tiers if plan.parent]
    if RULES[wish.backup_type].reads is Reads.CHANGES and not parents:
        nothing = f"there is nothing that {_articled(wish.backup_type)} could build on"
        reasons = [f"{nothing}, so all of its keys are stored", *reasons]
    return TierPlans(tiers, max(parents, key=parents.count, default=None), tuple(reasons))


def _plan_tier(wish: Wish, tier: Tier, reasons: list[str]) -> TierPlan:
    patterns = wish.scope.patterns
    source = wish.configured.get(tier)
    if source is None:
        reason = f"STRATA_{tier.upper()}_URL is not set"
        return TierPlan(tier=tier, layer_id=None, patterns=patterns, reason=reason)
    parent = _parent(wish, Coverage(tier, source, patterns), reasons)
    return TierPlan(
        tier=tier,
        layer_id=f"{wish.backup_id}-{tier}",
        patterns=patterns,
        source=source,
        parent=parent.backup_id if parent else None,
        thorough=RULES[wish.backup_type].reads is Reads.EVERYTHING or parent is None,
    )


def _parent(wish: Wish, wanted: Coverage, reasons: list[str]) -> BackupSummary | None:
    """The backup whose view of a tier is the baseline; None where the tier is to be stored whole."""
    parent, tier = _candidate(wish, wanted), wanted.tier
    held = parent.tier(tier) if parent else None
    if parent is None or held is None:
        return None
    if lacking := wish.intact(held):
        reasons.append(f"{tier.label} is stored whole because {lacking}")
        return None
    if wish.renews and (why := _worn(wish, held)):
        reasons.append(f"{tier.label} gets a fresh base: {why}")
        return None
    if len(held.stack) < wish.policy.depth:
        return parent
    base = wish.context.find(held.stack[0].backup_id)
    bottom = base.tier(tier) if base else None
    if base is None or bottom is None or len(bottom.stack) > 1:
        reasons.append(f"{tier.label} gets a fresh base: its stack has {len(held.stack)} layers")
        return None
    reasons.append(f"{tier.label} is compared with its base because its stack has {len(held.stack)} layers")
    return base


def _candidate(wish: Wish, wanted: Coverage) -> BackupSummary | None:
    if wish.fresh:
        return None
    match RULES[wish.backup_type].parent:
        case Parent.NONE:
            return None
        case Parent.LAST_BACKUP:
            return wish.context.last_backup(wanted)
        case Parent.LAST_FULL:
            return wish.context.last_full(wanted)


def _worn(wish: Wish, held: TierSummary) -> str:
    """Why a stack should be laid anew, or nothing."""
    policy = wish.policy
    if len(held.stack) > 1 and held.dead_share > policy.dead_share:
        return f"{held.dead_share:.0%} of its stack counts no more"
    laid = held.stack[0].created_at
    if wish.now - laid > policy.base_age:
        return f"the old one is of {laid:%d %b %Y}"
    return ""


def _articled(backup_type: BackupType) -> str:
    return f"{'an' if backup_type[0] in 'aeiou' else 'a'} {backup_type} backup"
