"""BackupPlanner: decides what a backup will do, from what is recorded and configured; enters and writes nothing."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from strata.catalog.ledger import Ledger
from strata.catalog.owner import Owner
from strata.clock import Clock
from strata.engine.depot import Depot, Depots
from strata.engine.meeting import Meeting, Pause
from strata.engine.parallel import answered
from strata.engine.runner import Attempt
from strata.engine.spool import Spool
from strata.errors import LOST, ObjectDenied, SettingError
from strata.model.backup_type import RULES, BackupType, Manner
from strata.model.context import BackupContext, BackupSummary, TierSummary
from strata.model.coverage import Coverage, DoubtKind, SourceKind
from strata.model.layer import LayerRef
from strata.model.plan import BackupPlan
from strata.model.store import StoreIdentity
from strata.model.tier import Tier
from strata.planning.backup import StackPolicy, Wish, plan_tiers
from strata.planning.completeness import History, doubts_before, with_accepted
from strata.planning.ownership import untold_reasons
from strata.planning.rounds import Rounds
from strata.planning.soundness import denied_reasons, gone_reasons
from strata.planning.tier_strategy import Placement
from strata.seal.keyring import Keyring

_SHORT_MEETING: Final = 0.5

_OTHERS_SECONDS: Final = 5.0
"""How long other stores are waited for: what they do not tell leaves a backup in doubt that need not be."""

_NO_PARENT: Final = {DoubtKind.FEWER, DoubtKind.PART_MISSING, DoubtKind.HALF_RESTORED}
"""Doubts about a tier on which nothing is built."""


@dataclass(frozen=True)
class BackupOptions:
    """What the configuration says of every backup."""

    tiers: Mapping[Tier, SourceKind]
    """The tiers that are backed up, and from where each is read."""
    place: Callable[[BackupType], Placement]
    """Where a type of backup goes."""
    zstd_level: int
    segment_bytes: int
    patterns: Mapping[BackupType, tuple[str, ...]] = field(default_factory=dict)
    """Scopes that are not the types' own."""
    policy: StackPolicy = field(default_factory=StackPolicy)
    pause: Pause | None = None
    """What stands still while the cuts are taken."""
    meeting_seconds: float = 30.0
    """How long the collectors wait for each other."""
    rounds: Rounds = field(default_factory=Rounds)
    """How often all tiers are cut, and what follows where they never were together."""

    def meeting(self, plan: BackupPlan, ledger: Ledger, attempt: Attempt) -> Meeting:
        """Where the collectors of a backup meet. A document is of one moment, whenever a part of it is read again."""
        run_id, tiers = plan.backup_id, tuple(part.tier for part in plan.included)
        if RULES[plan.backup_type].manner is Manner.STUBBORN:  # neither waits long nor asks anybody to stand still
            return Meeting(ledger, run_id, tiers, min(self.meeting_seconds, _SHORT_MEETING), check=attempt.check)
        if plan.override:
            return Meeting(ledger, run_id, tiers, self.meeting_seconds, check=attempt.check)
        seconds, pause = self.meeting_seconds, self.pause
        return Meeting(ledger, run_id, tiers, seconds, pause, attempt.check, attempt.claim, self.rounds)


class BackupPlanner:
    """Makes plans."""

    def __init__(self, depots: Depots, keyring: Keyring, clock: Clock, options: BackupOptions, owner: Owner) -> None:
        self._depots, self._keyring, self._owner = depots, keyring, owner
        self._clock, self._options = clock, options

    def decide(
        self,
        backup_type: BackupType,
        run_id: str,
        *,
        fresh: bool = False,
        handed: Mapping[Tier, SourceKind] | None = None,
    ) -> BackupPlan:
        """The plan a backup would have now; nothing is entered or written.

        `handed` says which tiers a document holds that is read in place of those that are configured.
        """
        placement = self._options.place(backup_type)
        depot = self._depots.of(placement.primary)
        key = self._keyring.new_data_key()
        self._keyring.spool_key(run_id), self._keyring.sign(b"")  # all there, or no run
        backups = depot.metadata.judged()
        identity = self._identity(depot, backup_type, backups)
        _refuse_taken(run_id, backups, depot)
        secret, past = self._keyring.fingerprint_key(), self._past(depot, backups, backup_type, identity.installation)
        fit = [one for one in past.context.backups if one.fingerprint_key_id == secret.key_id]
        wish = Wish(
            backup_id=run_id,
            backup_type=backup_type,
            now=self._clock.now(),
            configured=self._options.tiers if handed is None else handed,
            context=BackupContext.of(fit, past.context.doubted),
            patterns=self._options.patterns.get(backup_type, ()),
            policy=self._options.policy,
            fresh=fresh,
            renews=backup_type is BackupType.FULL
            or self._options.place(BackupType.FULL).primary is not placement.primary,
            intact=partial(_damage_of, depot),
        )
        planned = plan_tiers(wish)
        covers = [Coverage(part.tier, part.source, part.patterns) for part in planned.tiers if part.source is not None]
        expected = past.history.expected(backup_type, covers)
        gone = gone_reasons(depot.tier, self._depots.gone(depot, wish.now))
        denied = denied_reasons(depot.tier, sorted(depot.metadata.denied.values()))
        return BackupPlan(
            backup_id=run_id,
            backup_type=backup_type,
            generation=past.context.next_generation(wish.now),
            created_at=wish.now,
            parent=planned.parent,
            tiers=planned.tiers,
            storage_tier=depot.tier,
            store_url=depot.store.url,
            store_id=identity.store_id,
            installation=identity.installation,
            copies=placement.copies,
            key_id=key.key_id,
            wrapped_key=base64.b64encode(key.wrapped).decode(),
            fingerprint_key_id=secret.key_id,
            zstd_level=self._options.zstd_level,
            segment_bytes=self._options.segment_bytes,
            reasons=(*placement.reasons, *untold_reasons(depot.tier, identity), *gone, *denied, *planned.reasons),
            expected=expected,
            doubts=doubts_before(backup_type, expected, covers),
            knows_chunks=not fresh and any(layer.chunked for one in fit for tier in one.tiers for layer in tier.stack),
        )

    def _identity(self, depot: Depot, backup_type: BackupType, backups: Sequence[BackupSummary]) -> StoreIdentity:
        """Whose the store is. A stubborn backup goes where that is not told, if all that lies there is ours."""
        if RULES[backup_type].manner is Manner.ORDERLY:
            return self._owner.foresee(depot.tier, self._clock.now())
        makers, listed = {one.installation for one in backups}, len(depot.metadata.listed)
        return self._owner.foresee_untold(depot.tier, makers, listed, self._clock.now())

    def _past(
        self, depot: Depot, backups: Sequence[BackupSummary], backup_type: BackupType, installation: str
    ) -> _Past:
        """The past of a store; where something of it is in doubt, by what was accepted in the others that answer too.

        A stubborn backup builds on nothing, and waits for nobody.
        """
        past = _Past(backups)
        if not past.in_doubt or RULES[backup_type].manner is Manner.STUBBORN:
            return past
        others = {other.tier: other.metadata.accepted for other in self._depots if other is not depot}
        found = answered(others, self._clock, _OTHERS_SECONDS).values()
        return _Past(*with_accepted(backups, [one for accepted in found for one in accepted], installation))


def _refuse_taken(run_id: str, backups: Sequence[BackupSummary], depot: Depot) -> None:
    """SettingError where a backup has that id, though the ledger has forgotten it: it could never be recorded."""
    if any(one.backup_id == run_id for one in backups):
        raise SettingError(
            f"{depot.tier.upper()} holds a backup {run_id} already, so no other can have that id",
            hint="Leave the id out to be given one.",
        )


class _Past:
    """The backups of a store, and what they make one expect of the next.

    What was accepted elsewhere is judged among them, and nothing is built on it; nor on a tier that lost records or
    parts, or that may be half restored. On another scope or source nothing is built anyway.
    """

    def __init__(self, backups: Sequence[BackupSummary], elsewhere: Sequence[BackupSummary] = ()) -> None:
        self.history, self.in_doubt = History(), False
        doubted: set[tuple[str, Tier]] = set()
        for backup in reversed(BackupContext.of([*backups, *elsewhere]).backups):
            doubts = () if (found := self.history.add(backup)) and backup.accepted else found
            self.in_doubt |= bool(doubts)
            doubted |= {(backup.backup_id, doubt.tier) for doubt in doubts if doubt.kind in _NO_PARENT and doubt.tier}
        self.context = BackupContext.of(backups, frozenset(doubted))


def _damage_of(depot: Depot, held: TierSummary) -> str:
    """What a parent's stack lacks, or nothing: a layer whose document is gone, or that was found damaged.

    What its layers borrow chunks from counts as the stack does.
    """
    noted = depot.damage.layers
    for ref in held.stack:
        if why := _unfit(depot, ref, noted):
            return f"the parent's layer {ref.layer_id} {why}"
        for lender in depot.layers.load(ref).borrows:
            if why := _unfit(depot, lender, noted):
                return f"the parent's layer {ref.layer_id} borrows from {lender.layer_id}, which {why}"
    return ""


def _unfit(depot: Depot, ref: LayerRef, noted: set[str]) -> str:
    """Why a layer cannot be built on, as far as can be told without reading it; or nothing."""
    if ref.layer_id in noted:
        return "was found damaged"
    if depot.layers.lacks(ref):
        return f"is not in {depot.tier.upper()}"
    try:
        depot.layers.load(ref)
    except LOST:
        return "has a damaged document"
    except ObjectDenied:
        return "has a document that may not be read here"
    return ""


def decided(
    planner: BackupPlanner, spool: Spool, backup_type: BackupType, run_id: str, override: str, *, fresh: bool
) -> BackupPlan:
    """The plan of a backup of the live tiers, or of the document in the spool that `override` names."""
    if not override:
        return planner.decide(backup_type, run_id, fresh=fresh)
    from strata.engine.handed import reading_document, tiers_handed  # with all that reads documents

    handed = tiers_handed(spool, run_id, override)
    return reading_document(planner.decide(backup_type, run_id, fresh=fresh, handed=handed), override)
