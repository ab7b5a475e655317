"""Whose a store is, and whether this installation may write into it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NoReturn

from strata.errors import StoreForeign
from strata.model.store import StoreIdentity
from strata.model.tier import StorageTier

_ADOPT: Final = "If it is this installation's store after all: `strata stores adopt {}`."


def agreed(stores: Mapping[StorageTier, StoreIdentity]) -> str | None:
    """The one installation that the stores belong to; None where there is no store, StoreForeign where they differ."""
    owners = {identity.installation: tier for tier, identity in stores.items()}
    if len(owners) > 1:
        said = " and ".join(f"{tier.upper()} to installation {owner}" for owner, tier in sorted(owners.items()))
        raise StoreForeign(
            f"the stores belong to different installations: {said}",
            hint="Set STRATA_INSTALLATION to the one that this is, or correct the URLs of the stores.",
        )
    return next(iter(owners), None)


def refuse_foreign(tier: StorageTier, url: str, identity: StoreIdentity, installation: str) -> None:
    """StoreForeign where the store belongs to another installation."""
    if identity.installation != installation:
        raise StoreForeign(
            f"{tier.upper()} ({url}) belongs to installation {identity.installation}, and this one is {installation}",
            hint="Give each installation a store of its own. " + _ADOPT.format(tier),
        )


def refuse_nameless(tier: StorageTier, url: str) -> NoReturn:
    """StoreForeign: a store holds backups, and nothing says whose they are."""
    raise StoreForeign(
        f"{tier.upper()} ({url}) holds backups, but no store.json that says whose they are",
        hint="Nothing was written there. " + _ADOPT.format(tier),
    )
