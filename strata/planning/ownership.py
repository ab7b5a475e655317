"""Whose a store is, and whether this installation may write into it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, NoReturn

from strata.errors import StoreForeign
from strata.model.copies import CatalogueEntry
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


def sole_maker(makers: Collection[str], listed: int, told: str | None) -> str | None:
    """The installation that a store which does not say whose it is surely belongs to; None where nothing is sure.

    It made every backup that can be read there, and at least one; where `told` says which this is, it is this one. A
    store without any backup belongs to this one.
    """
    if not listed:
        return told
    maker = next(iter(makers), None)
    return maker if len(makers) == 1 and told in {None, maker} else None


def untold_reasons(tier: StorageTier, identity: StoreIdentity) -> list[str]:
    """Why a backup lies in a store that does not tell whose it is."""
    if identity.store_id:
        return []
    owner = f"all that can be read there is of installation {identity.installation}"
    told = f"{tier.upper()} does not tell whose it is because its store.json is lost or damaged"
    return [f"{told}; it is used because {owner}. {_ADOPT.format(tier)}"]


def own_backups(
    entries: Sequence[CatalogueEntry], stores: Mapping[StorageTier, StoreIdentity], installation: str | None
) -> list[CatalogueEntry]:
    """The backups that this installation made: only of these one can be its latest.

    Where nothing says which installation this is, that of the stores counts, or else that of all backups;
    StoreForeign where they differ, or where there are backups and none is of this installation.
    """
    makers = {entry.installation for entry in entries}
    owner = installation or agreed(stores) or (next(iter(makers)) if len(makers) == 1 else None)
    if owner is None and entries:
        raise StoreForeign(
            f"which backup is the latest cannot be told: they are of {len(makers)} installations",
            hint="Name the backup by its id, or set STRATA_INSTALLATION.",
        )
    formerly = (one.installations for one in stores.values() if one.installation == owner)
    ours = frozenset({owner}).union(*formerly)
    found = [entry for entry in entries if entry.installation in ours]
    if entries and not found:
        raise StoreForeign(
            f"none of the backups is of this installation ({owner}): they are of {', '.join(sorted(makers))}",
            hint="`strata list` shows them; name one by its id to use it nevertheless.",
        )
    return found
