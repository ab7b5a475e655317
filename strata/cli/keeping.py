"""`strata pin`, `unpin`, `hold`, `release` and `accept`: what people decide of a backup, noted in its stores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from strata.cli.choosing import LATEST, tell_unable
from strata.cli.doubts import with_names
from strata.cli.output import Output, common_options, styled
from strata.model.tier import StorageTier

if TYPE_CHECKING:
    from strata.store_wiring import StoreWiring

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


@click.command("accept")
@_ID
@click.option("--reason", default="", help="Why it is right; it is kept with the note.")
@common_options
def accept_command(output: Output, backup: str, reason: str) -> None:
    """Say that a backup which may be incomplete is right as it is.

    It counts as a good one then, later backups of its type are judged from it on, and what older ones held beside it is
    kept no longer than their retention says.
    """
    from strata.catalog.notes import ACCEPTED_MANIFEST
    from strata.settings import load_settings
    from strata.store_wiring import StoreWiring

    if backup == LATEST:
        raise click.UsageError("`latest` never means a backup in doubt: give the ID of the backup to accept.")
    wiring = StoreWiring(load_settings(), tell=output.note)
    found = wiring.catalogue.resolve(backup)
    backup_id, view = found.manifest.backup_id, wiring.catalogue.view()
    entry = view.entry(backup_id)
    doubts = view.judgement.doubts(entry) if entry else ()
    if not doubts:
        done = "is accepted already"
        if not (entry and entry.accepted):
            wiring.catalogue.refuse_silence(f"whether {backup_id} is in doubt cannot be told")
            done = "is in no doubt: there is nothing to accept"
        output.say(styled("Backup ", (backup_id, "bold"), f" {done}."))
        output.document({"backup_id": backup_id, "kind": "accepted", "noted": [], "missed": {}, "doubts": []})
        return
    told = [doubt.sentence for doubt in doubts]
    for doubt in with_names(wiring, backup_id, doubts):
        output.note(f"Accepted: {doubt.sentence}.")
    digest = wiring.catalogue.metadata(found.store).digest(backup_id)
    body = {ACCEPTED_MANIFEST: digest, "doubts": told, **({"reason": reason} if reason else {})}
    _write(output, wiring, backup_id, "accepted", body, "is accepted")


def _note(output: Output, backup: str, kind: str, reason: str, said: str) -> None:
    from strata.settings import load_settings
    from strata.store_wiring import StoreWiring

    wiring = StoreWiring(load_settings(), tell=output.note)
    found = wiring.catalogue.resolve(backup)
    tell_unable(output, found, {})
    _write(output, wiring, found.manifest.backup_id, kind, {"reason": reason} if reason else {}, said)


def _write(output: Output, wiring: StoreWiring, backup_id: str, kind: str, body: Mapping[str, Any], said: str) -> None:
    from strata.catalog.notes import NoteKind

    noted, missed = wiring.catalogue.note(NoteKind(kind), backup_id, wiring.clock.now(), body)
    output.say(styled("Backup ", (backup_id, "bold"), f" {said}; noted in {_words(noted)}."))
    for tier, why in missed.items():
        output.note(f"The note could not be written to {tier.upper()}: {why}. One store that has it is enough.")
    output.document({"backup_id": backup_id, "kind": kind, "noted": noted, "missed": missed})


def _words(tiers: list[StorageTier]) -> str:
    return " and ".join(tier.upper() for tier in tiers)
