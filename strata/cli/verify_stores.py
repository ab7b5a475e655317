"""`strata verify --all` and `--share`: all that lies in the stores, or what was not read for the longest time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from strata.cli.output import Output, plain_table, size
from strata.cli.verify import shown
from strata.errors import IntegrityError, KeyringError, StoreUnavailable

if TYPE_CHECKING:
    from fractions import Fraction

    from strata.catalog.unreadable import Unreadable
    from strata.engine.store_prover import StoreProved
    from strata.model.tier import StorageTier


class StoresDamaged(IntegrityError):
    """Objects in stores are damaged or missing; the sentence names every one."""

    def __init__(self, stores: Sequence[StoreProved]) -> None:
        found = [(store, damage) for store in stores for damage in store.damages]
        named = "; ".join(f"{one.name} in {store.storage_tier.upper()} ({one.reason})" for store, one in found)
        what = "1 object is" if len(found) == 1 else f"{len(found)} objects are"
        super().__init__(
            f"{what} damaged: {named}",
            hint="`strata status` names the backups that need them. `strata copy` mends a copy from another store that "
            "has the backup whole; look at the disk below.",
        )


class NotAllRead(StoreUnavailable):
    """A store could not be read to the end, or what was found could not be noted there."""

    def __init__(self, stores: Sequence[StoreProved]) -> None:
        told = "; ".join(f"{store.storage_tier.upper()}: {store.failure}" for store in stores if store.failure)
        super().__init__(f"not everything was read and noted: {told}", hint="Run it again once the store answers.")


class NotAllChecked(KeyringError):
    """Manifests lie in the stores that this keyring cannot check, so nothing that they name was read."""

    def __init__(self, unread: Sequence[Unreadable]) -> None:
        what = "1 manifest was" if len(unread) == 1 else f"{len(unread):,} manifests were"
        super().__init__(
            f"not everything was read: {what} passed over: {unread[0].reason}",
            hint="Bring back the keyring the backups were made with.",
        )


def verify_stores(output: Output, store: StorageTier | None, share: Fraction | None) -> None:
    """Read the layers of the stores, or a share of them, and say what was found: damage before a store's failure."""
    from strata.catalog.metadata import is_manifest
    from strata.engine.store_prover import READABLE
    from strata.planning.proving import oldest_first
    from strata.planning.proving import share as share_of
    from strata.settings import load_settings
    from strata.wiring import Wiring

    wiring = Wiring(load_settings(), tell=output.note)
    tiers = READABLE if store is None else (wiring.depots.of(store).tier,)
    prover = wiring.prover
    readable = prover.readable(tiers)
    layers = oldest_first(readable.layers) if share is None else share_of(readable.layers, share)
    with shown(output, "Verifying what lies in the stores", len(layers), "layers") as report:
        stores = prover.prove(readable, layers, report=report, tiers=tiers)
    _show(output, stores)
    damaged, failed = [one for one in stores if one.damages], [one for one in stores if one.failure]
    if failed and damaged:
        output.note(NotAllRead(failed).sentence)
    if damaged:
        raise StoresDamaged(damaged)
    if failed:
        raise NotAllRead(failed)
    shelves = [shelf for shelf in readable.view.shelves if shelf.tier in tiers]
    if unread := [bad for shelf in shelves for bad in shelf.bad if bad.keyless and is_manifest(bad.name)]:
        raise NotAllChecked(unread)
    output.document({"whole": True, "stores": [one.model_dump(mode="json") for one in stores]})


def _show(output: Output, stores: Sequence[StoreProved]) -> None:
    numbers = ("layers", "objects", "read", "damaged", "not read")
    table = plain_table("store", *numbers, right=numbers)
    for one in stores:
        counts = (f"{one.layers:,}", f"{one.objects:,}", size(one.bytes), f"{len(one.damages):,}", f"{one.left:,}")
        table.add_row(one.storage_tier.value, *counts)
    output.show(table)
