"""`strata stores`: which stores there are, and setting up the one on a share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from strata.cli.output import Output, common_options, plain_table

if TYPE_CHECKING:
    from strata.storage.port import ObjectStore


@click.group("stores")
def stores_command() -> None:
    """The stores where backups rest."""


@stores_command.command("list")
@common_options
def list_stores(output: Output) -> int:
    """Show each configured store, and whether it answers; ends with 7 where one does not."""
    from strata.errors import StorageError
    from strata.settings import load_settings
    from strata.wiring import Wiring

    table = plain_table("tier", "url", "answers", wrap=("answers",))
    rows: list[dict[str, Any]] = []
    for tier, store in Wiring(load_settings()).bare_stores.items():
        fault = _fault(store)
        rows.append({"tier": tier.value, "url": store.url, "answers": not fault, "reason": fault})
        table.add_row(tier.value.upper(), store.url, fault or "yes")
    output.show(table)
    output.document({"stores": rows})
    return 0 if all(row["answers"] for row in rows) else StorageError.exit_code


@stores_command.command("init")
@click.argument("tier", type=click.Choice(["network"]))
@click.option("--any-folder", is_flag=True, help="Take the folder even where nothing is mounted there.")
@common_options
def init(output: Output, tier: str, *, any_folder: bool) -> None:
    """Set up the share of NETWORK: put the marker there by which it is known to be mounted."""
    from datetime import UTC, datetime

    from strata.errors import StoreNotMounted
    from strata.settings import load_settings, required
    from strata.storage.filesystem import folder_of
    from strata.storage.share import Share, is_mounted

    url = required(load_settings().network_url, "STRATA_NETWORK_URL", "it says which share is meant")
    folder = folder_of(url, "STRATA_NETWORK_URL")
    if not any_folder and not is_mounted(folder):
        raise StoreNotMounted(
            f"nothing is mounted at {folder}, nor above it: that is this machine's own disk",
            hint="Mount the share first; --any-folder takes the folder as it is.",
        )
    store_id = Share(folder).set_up(datetime.now(UTC))
    output.say(f"{url} is set up as the {tier.upper()} store {store_id}")
    output.document({"tier": tier, "url": url, "store_id": store_id})


def _fault(store: ObjectStore) -> str:
    """Why the store does not answer, or nothing."""
    from strata.errors import StrataError

    try:
        next(iter(store.list("doctor/")), None)
    except StrataError as error:
        return error.sentence
    return ""
