"""`strata catalogue`: what this machine keeps of the stores' catalogues."""

from __future__ import annotations

import click

from strata.cli.choosing import tell_silent
from strata.cli.output import Output, common_options, plain_table, size, styled
from strata.errors import StorageError


@click.group("catalogue")
def catalogue_command() -> None:
    """What this machine keeps of the stores' catalogues (STRATA_CACHE_FOLDER); it may be lost at any time."""


@catalogue_command.command("rebuild")
@common_options
def rebuild(output: Output) -> int:
    """Forget what is kept of every configured store, and read it anew; ends with 7 where one does not answer."""
    from strata.settings import load_settings
    from strata.store_wiring import StoreWiring

    wiring = StoreWiring(load_settings(), tell=output.note)
    gone = {one.store for one in wiring.catalogue.view().gone}
    for tier, store in wiring.stores.items():
        if tier in gone:
            output.note(f"Backups disappeared from {tier.upper()}: what is kept of it stays. `strata list` names them.")
        else:
            wiring.catalogue_cache.forget(store.url)
    view = wiring.catalogue.view()
    tell_silent(output, view.silent)
    read = {shelf.tier: len(shelf.rows) for shelf in view.shelves}
    for tier, count in read.items():
        output.say(f"{tier.upper()}: {count:,} backups were read.")
    output.document({"read": read, "silent": view.silent, "unreadable": len(view.unreadable)})
    return StorageError.exit_code if view.silent else 0


@catalogue_command.command("status")
@common_options
def status(output: Output) -> None:
    """Show what is kept, by store."""
    from strata.settings import load_settings
    from strata.store_wiring import StoreWiring

    wiring = StoreWiring(load_settings(), tell=output.note)
    states = wiring.catalogue_cache.states()
    folder = str(wiring.settings.cache_folder)
    output.document({"folder": folder, "stores": [one._asdict() for one in states]})
    if not states:
        output.say(f"Nothing is kept in {folder}.")
        return
    output.say(styled((folder, "dim")))
    table = plain_table("store", "backups", "notes", "size", right=("backups", "notes", "size"), wrap=("store",))
    for one in states:
        table.add_row(one.store_url, f"{one.backups:,}", f"{one.notes:,}", size(one.size))
    output.show(table)
