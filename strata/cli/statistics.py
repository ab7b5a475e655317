"""`strata stats`: what the stores hold, in sum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from strata.cli.choosing import store_option, tell_silent
from strata.cli.output import Output, common_options, plain_table, ratio, size
from strata.model.tier import StorageTier

if TYPE_CHECKING:
    from strata.catalog.view import Sum


@click.command("stats")
@store_option
@common_options
def stats_command(output: Output, store: StorageTier | None) -> None:
    """Count backups, the bytes of the state in them, and the bytes they take: by type, by store and over all.

    Each layer counts once for each store, for the type of the oldest backup that has it.
    """
    from strata.settings import load_settings
    from strata.store_wiring import StoreWiring

    wiring = StoreWiring(load_settings(), tell=output.note)
    view = (wiring.catalogue.only(store) if store else wiring.catalogue).view()
    found = view.statistics()
    output.document(
        {
            "all": _as_document(found.all),
            "types": {kind.value: _as_document(one) for kind, one in found.types.items()},
            "stores": {tier.value: _as_document(one) for tier, one in found.stores.items()},
            "silent": {tier.value: reason for tier, reason in view.silent.items()},
            "unreadable": len(view.unreadable),
        }
    )
    tell_silent(output, view.silent)
    numbers = ("backups", "logical", "stored", "ratio")
    table = plain_table("", *numbers, right=numbers)
    for kind, one in found.types.items():
        table.add_row(kind.value, *_numbers(one))
    for tier, one in found.stores.items():
        table.add_row(f"in {tier.upper()}", *_numbers(one), style="dim")
    table.add_row("all", *_numbers(found.all), style="bold")
    output.show(table)
    if view.unreadable:
        output.note(f"{len(view.unreadable)} manifests cannot be read and are not counted: `strata list` names them.")


def _as_document(one: Sum) -> dict[str, Any]:
    return {**one.model_dump(mode="json"), "ratio": None if one.ratio is None else round(one.ratio, 2)}


def _numbers(one: Sum) -> tuple[str, str, str, str]:
    return (
        f"{one.backups:,}",
        size(one.logical_bytes),
        size(one.stored_bytes),
        ratio(one.logical_bytes, one.stored_bytes),
    )
