"""A restore is planned where it will be done, entered in the ledger, and begins once its plan is confirmed.

The plan says what those who will do it see: which servers are overwritten, from which store. Until it is confirmed
nothing is done, no lease is held, and it ends by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from strata.engine.admission import who
from strata.engine.restore_store import RestoreWish
from strata.errors import Refused, RunFailed, SettingError, StrataError
from strata.model.identity import KEYRING, LEDGER, NOTHING_SEEN, Identities
from strata.model.plan import RestorePlan
from strata.model.run import Run, RunKind, RunState
from strata.model.tier import Tier

if TYPE_CHECKING:
    from strata.engine.manager import BackupManager

CONFIRM_SECONDS: Final = 900.0
"""For how long a plan waits for the person who asked for it."""


def plan_restore(
    manager: BackupManager,
    wish: RestoreWish,
    confirmed: Identities = NOTHING_SEEN,
    again: Callable[[StrataError], bool] = lambda _: False,
) -> RestorePlan:
    """Find the backup, look at the targets, and enter the plan; IdentityMismatch where the sender saw others.

    `again` says of an error that it will be tried again: then it is no refusal, and nothing is entered.
    """
    if (known := manager.known(wish.run_id, RunKind.RESTORE)) is not None:
        return manager.plan_of(known)
    try:
        plan = _looked_at(manager, wish, confirmed)
    except StrataError as error:
        if not again(error):
            manager.refuse(wish.run_id, RunKind.RESTORE, None, error)
        raise
    run = manager.begin(wish.run_id, RunKind.RESTORE, plan.model_dump_json(), None, RunState.PLANNED)
    if run.state is RunState.PLANNED:
        manager.ledger.wait(wish.run_id, CONFIRM_SECONDS, "its plan to be confirmed")
    return manager.plan_of(run)


def start_restore(
    manager: BackupManager,
    wish: RestoreWish,
    confirmed: Identities = NOTHING_SEEN,
    again: Callable[[StrataError], bool] = lambda _: False,
) -> RestorePlan:
    """Plan a restore that nobody need confirm, and begin it under the lease; or, where it must thaw, without one."""
    if (known := manager.known(wish.run_id, RunKind.RESTORE)) is not None:
        if known.state is RunState.PLANNED:
            raise RunFailed(f"the plan of {wish.run_id} waits to be confirmed", hint="Confirm it, or use another id.")
        return manager.plan_of(known)
    fence = None
    try:
        plan = _looked_at(manager, wish, confirmed)
        fence = None if plan.thaw else manager.lease.acquire(wish.run_id, who())
    except StrataError as error:
        if not again(error):
            manager.refuse(wish.run_id, RunKind.RESTORE, fence, error)
        raise
    run = manager.begin(wish.run_id, RunKind.RESTORE, plan.model_dump_json(), fence)
    if plan.thaw:
        manager.ledger.wait(wish.run_id, 0, _THAW)
    return manager.plan_of(run)


def confirm_restore(manager: BackupManager, run_id: str) -> RestorePlan:
    """Begin a restore whose plan was confirmed: take the lease, so that nothing is backed up half restored.

    Where something must be thawed first, the lease is taken after the thaw. Called again, it begins nothing anew.
    """
    run = manager.ledger.run(run_id)
    if run is None:
        raise RunFailed(f"no restore {run_id} is known that could be confirmed", hint="Plan it again.")
    plan = manager.plan_of(run)
    if run.state in {RunState.FAILED, RunState.REFUSED}:
        raise RunFailed(run.reason or f"the restore {run_id} has ended")
    if run.state is not RunState.PLANNED:
        return plan
    fence = None
    try:
        manager.looks.compare(run_id, plan.confirmed, *(one.part for one in plan.confirmed.parts))
        fence = None if plan.thaw else manager.lease.acquire(run_id, who())
        if not manager.ledger.confirm(run_id, fence):
            raise Refused(*_LATE)
    except StrataError as error:
        if fence is not None:
            manager.lease.release(fence)
        manager.ledger.end(run_id, RunState.REFUSED, error.sentence, error.code)
        raise
    begun = manager.ledger.run(run_id)
    if fence is not None and begun is not None and begun.fence != fence:  # another delivery was quicker
        manager.lease.release(fence)
    if plan.thaw:
        manager.ledger.wait(run_id, 0, _THAW)
    return plan


def let_lapse(manager: BackupManager, run: Run) -> bool:
    """End a plan that nobody confirmed in time; whether it was one."""
    if run.state is not RunState.PLANNED:
        return False
    now = manager.ledger.clock_ms() / 1000
    if run.wakes_at is None and now - run.updated_at.timestamp() < CONFIRM_SECONDS:
        return True
    if run.wakes_at is None or run.wakes_at.timestamp() < now:
        manager.ledger.end(run.run_id, RunState.REFUSED, _LATE[0], Refused.code)
    return True


def _looked_at(manager: BackupManager, wish: RestoreWish, confirmed: Identities) -> RestorePlan:
    looks = manager.looks
    looks.compare(wish.run_id, confirmed, LEDGER, KEYRING)
    plan, manifest = manager.restore_stores.planned(wish, manager.clock.now())
    if missing := [tier for tier in plan.tiers if looks and not looks.has(tier)]:
        raise SettingError(
            f"{missing[0].label} cannot be restored: STRATA_{missing[0].upper()}_URL is not set",
            hint="Set it, or name the tiers to restore with --tier.",
        )
    looks.compare_tiers(confirmed, plan.tiers)
    looks.compare(wish.run_id, confirmed, plan.storage_tier, *plan.tiers)
    if Tier.HOT in plan.tiers:
        looks.keep_apart()
    seen = looks.see([part for part in (*plan.tiers, plan.storage_tier, KEYRING, LEDGER) if looks.has(part)])
    return plan.model_copy(update={"confirmed": seen, "manifest": manifest})


_THAW: Final = "a thaw that has not begun"
_LATE: Final = (f"nobody confirmed its plan within {CONFIRM_SECONDS / 60:.0f} minutes, so nothing was restored",)
