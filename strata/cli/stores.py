"""`strata stores`: which stores there are, and setting up the one on a share."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from strata.cli.choosing import StoreChoice
from strata.cli.output import OneOf, Output, common_options, plain_table
from strata.errors import Refused
from strata.model.tier import StorageTier

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
@click.argument("tier", type=OneOf(["network"]))
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


@stores_command.command("settle")
@click.argument("tier", type=StoreChoice())
@click.option("--yes", is_flag=True, help="Do not ask.")
@common_options
def settle(output: Output, tier: StorageTier, *, yes: bool) -> None:
    """Say that the backups which disappeared from a store are known to be gone; nothing asks for them any more.

    First find out who emptied the store or set it back: only with that done are its backups worth what they promise.
    """
    import getpass

    from strata.catalog.removals import RemovalBook
    from strata.settings import load_settings
    from strata.store_wiring import StoreWiring

    wiring = StoreWiring(load_settings(), tell=output.note)
    gone = sorted({one.backup_id for one in wiring.catalogue.only(tier).view().gone})
    if not gone:
        output.say(f"Nothing disappeared from {tier.upper()}.")
        output.document({"settled": []})
        return
    output.note(f"Disappeared from {tier.upper()}: {', '.join(gone)}")
    confirm(f"Are these {len(gone)} backups known to be gone for good?", yes=yes)
    RemovalBook(wiring.stores[tier], wiring.keyring).add(gone, wiring.clock.now(), f"a person ({getpass.getuser()})")
    output.say(f"{len(gone)} backups are settled: prunes of {tier.upper()} go on.")
    output.document({"settled": gone})


@stores_command.command("adopt")
@click.argument("tier", type=StoreChoice())
@click.option("--yes", is_flag=True, help="Do not ask.")
@common_options
def adopt(output: Output, tier: StorageTier, *, yes: bool) -> None:
    """Make a store this installation's own: one that belonged to another, or lost its store.json.

    Its backups then count as this installation's, and the other one is refused there. Nothing else in it changes. A
    store that lost its store.json gets a new id: its backups are to be verified again, and backups that prunes removed
    may be shown as disappeared until `strata stores settle`.
    """
    from strata.settings import load_settings
    from strata.wiring import Wiring

    wiring = Wiring(load_settings(), tell=output.note)
    owner = wiring.local_manager.owner
    adoption = owner.adoption(tier, wiring.catalogue.only(tier).view().entries, wiring.clock.now())
    output.note(f"{tier.upper()} ({wiring.stores[tier].url}): {adoption.said}")
    confirm(f"Make it the store of installation {adoption.identity.installation}?", yes=yes)
    made = owner.adopt(tier, adoption.identity)
    output.say(f"{tier.upper()} belongs to installation {made.installation} now.")
    if adoption.renewed:
        output.note(
            f"Its store.json was lost or damaged, so it has a new id ({made.store_id}). What was noted there under the "
            "old one counts no more: proofs (`strata verify`), acceptances (`strata accept`), pins and holds that were "
            f"lifted. Backups that prunes removed may be shown as disappeared: `strata stores settle {tier}`."
        )
    output.document(made.model_dump(mode="json"))


def confirm(question: str, *, yes: bool) -> None:
    """Ask a person; Refused where the answer is no, or nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Refused("nobody can be asked here", hint="Say --yes to do it unasked.")
    if not click.confirm(question, err=True):
        raise Refused("nothing was done")


def _fault(store: ObjectStore) -> str:
    """Why the store does not answer, or nothing."""
    from strata.errors import StrataError

    try:
        next(iter(store.list("doctor/")), None)
    except StrataError as error:
        return error.sentence
    return ""
