"""`strata pin`, `unpin`, `hold` and `release`: what people decide of a backup, noted in every store that holds it."""

from __future__ import annotations

import click

from strata.cli.choosing import tell_unable
from strata.cli.output import Output, common_options
from strata.model.tier import StorageTier

_ID = click.argument("backup", metavar="ID")


@click.command("pin")
@_ID
@click.option("--reason", default="", help="Why; it is kept with the pin.")
@common_options
def pin_command(output: Output, backup: str, reason: str) -> None:
    """Keep a backup until it is unpinned: no retention rule removes it."""
    _note(output, backup, "pinned", reason, "is pinned")


@click.command("unpin")
@_ID
@common_options
def unpin_command(output: Output, backup: str) -> None:
    """Let a pinned backup go the way of the others."""
    _note(output, backup, "unpinned", "", "is not pinned any more")


@click.command("hold")
@_ID
@click.option("--reason", required=True, help="Why, such as a case's number; it is kept with the hold.")
@common_options
def hold_command(output: Output, backup: str, reason: str) -> None:
    """Put a backup under legal hold: nothing removes it until the hold is lifted."""
    _note(output, backup, "held", reason, "is under legal hold")


@click.command("release")
@_ID
@click.option("--reason", default="", help="Why; it is kept with the release.")
@common_options
def release_command(output: Output, backup: str, reason: str) -> None:
    """Lift a legal hold; a pin, where there is one, stays."""
    _note(output, backup, "released", reason, "is under no legal hold any more")


def _note(output: Output, backup: str, kind: str, reason: str, said: str) -> None:
    from strata.catalog.notes import NoteKind
    from strata.settings import load_settings
    from strata.store_wiring import StoreWiring

    wiring = StoreWiring(load_settings(), tell=output.note)
    found = wiring.catalogue.resolve(backup)
    backup_id = found.manifest.backup_id
    noted, missed = wiring.catalogue.note(
        NoteKind(kind), backup_id, wiring.clock.now(), {"reason": reason} if reason else {}
    )
    tell_unable(output, found, {})
    output.say(f"Backup [bold]{backup_id}[/] {said}; noted in {_words(noted)}.")
    for tier, why in missed.items():
        output.note(f"{tier.upper()} did not take the note, the others' counts: {why}")
    output.document({"backup_id": backup_id, "kind": kind, "noted": noted, "missed": missed})


def _words(tiers: list[StorageTier]) -> str:
    return " and ".join(tier.upper() for tier in tiers)
