"""Whether two processes mean the same: decided by what servers say of themselves."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from strata.errors import IdentityMismatch
from strata.model.identity import KEYRING, LEDGER, RETENTION, STARTED, SYSTEM, Identities, Identity
from strata.model.run import Stage
from strata.model.tier import StorageTier, Tier

_HERE: Final = "for this worker"
_THERE: Final = "where the run was started"


def same(one: Identity, other: Identity) -> bool:
    """Whether both are the same place of the same server.

    All that both servers said must agree; one fact with several values (the keys of a keyring) agrees where a value is
    shared. Where there is nothing that both said, the addresses are all there is to go by. A server that was started
    again is the same one: see `_restarted`.
    """
    if one.place != other.place:
        return False
    both = one.server.keys() & other.server.keys()
    if not both:
        return one.address == other.address
    differing = {name for name in both if not set(one.server[name]) & set(other.server[name])}
    return not differing or (differing == {STARTED} and SYSTEM in both and _restarted(one, other))


def _restarted(one: Identity, other: Identity) -> bool:
    """Whether one of two looks at a cluster saw the other's server, started again in between.

    Then all else agrees, the way to it and the server's own end of that among it, and it was started after the earlier
    look. A copy of its data folder that ran already when somebody looked is never taken for it.
    """
    earlier, later = sorted((one, other), key=lambda look: look.server[STARTED])
    reached = (one.address, one.listening) == (other.address, other.listening)
    return reached and bool(earlier.asked) and later.server[STARTED][0] > earlier.asked


def refuse_difference(confirmed: Identity | None, here: Identity) -> None:
    """IdentityMismatch, which names the part and what each saw; nothing where nobody has seen it before."""
    if confirmed is None or same(confirmed, here):
        return
    raise IdentityMismatch(
        f"{here.label} of this worker is another than the one the run was started for: here it is {here}, "
        f"there it was {confirmed}; nothing was done with it",
        hint="Give the sender and all workers the same settings. A Redis that was restarted meanwhile counts as "
        "another: start again.",
    )


def refuse_unseen(confirmed: Identities, stores: Iterable[StorageTier]) -> None:
    """IdentityMismatch for a store that a sender who saw others did not see: what would go there was not shown."""
    if not confirmed.parts:
        return
    if unseen := [tier.upper() for tier in stores if confirmed.of(tier) is None]:
        raise IdentityMismatch(
            f"this worker has stores that the sender did not see: {', '.join(unseen)}; nothing was done",
            hint="Give the sender and all workers the same stores.",
        )


def refuse_other_tiers(confirmed: Identities, here: Collection[Tier], of: Iterable[Tier] = tuple(Tier)) -> None:
    """IdentityMismatch where one side has a tier configured and the other has not.

    A sender without any only sends: then the worker's are taken, and nothing is compared.
    """
    if not confirmed.tiers:
        return
    for tier in of:
        if (tier in here) != (tier in confirmed.tiers):
            has, lacks = (_HERE, _THERE) if tier in here else (_THERE, _HERE)
            raise IdentityMismatch(
                f"{tier.label} is configured {has} and not {lacks}; nothing was done",
                hint=f"Give the sender and all workers the same STRATA_{tier.upper()}_URL; a sender with the settings "
                "of no tier leaves them to the workers.",
            )


def touched(stage: Stage, unit: str, plan: Mapping[str, Any]) -> tuple[str, ...]:
    """The parts that a unit of a stage works on, by the plan of its run; those of a tier that is read come later."""
    match stage:
        case Stage.BASELINE | Stage.STORE | Stage.VERIFY | Stage.THAW:
            parts: tuple[str, ...] = (plan["storage_tier"],)
        case Stage.COLLECT | Stage.MERGE | Stage.COMPRESS | Stage.ENCRYPT:
            parts = (KEYRING,)
        case Stage.RECORD:
            parts = (plan["storage_tier"], KEYRING)
        case Stage.CHECK:
            parts = (plan["storage_tier"], KEYRING, *plan["tiers"])
        case Stage.APPLY:
            parts = (plan["storage_tier"], KEYRING, unit)
        case Stage.COPY | Stage.COMMIT:
            parts = (plan["source"], plan["target"])
        case Stage.MARK:
            parts = (*plan["stores"], RETENTION)
        case Stage.SWEEP:
            parts = (unit, RETENTION)
        case Stage.FINISH:
            parts = ()
    return (LEDGER, *parts)


def overlapping(hot: Identity, others: Iterable[tuple[str, Identity]]) -> list[str]:
    """The names of those that lie in a database of HOT."""
    return [name for name, other in others if _shares_database(hot, other)]


def _shares_database(hot: Identity, other: Identity) -> bool:
    databases = set(hot.place.removeprefix("database ").split(","))
    within = other.model_copy(update={"place": hot.place})
    return other.place.removeprefix("database ") in databases and same(hot, within)
