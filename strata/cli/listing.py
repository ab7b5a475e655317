"""`strata list`: which backups the stores hold, and where."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import click

from strata.catalog.restore_notes import told_by
from strata.cli.choosing import Moment, StoreChoice, tell_silent
from strata.cli.columns import in_columns, unique_lengths
from strata.cli.doubts import doubt_documents
from strata.cli.output import OneOf, Output, age, common_options, ratio, size, styled
from strata.errors import StoreUnavailable
from strata.model.backup_type import BackupType
from strata.model.copies import BackupStatus, CatalogueEntry
from strata.model.coverage import Doubt
from strata.model.run import RunState
from strata.model.tier import StorageTier, Tier
from strata.planning.soundness import named
from strata.planning.unfinished import advice, sentences, unfinished

if TYPE_CHECKING:
    from strata.catalog.unreadable import Unreadable
    from strata.catalog.view import View
    from strata.planning.goodness import Judgement
    from strata.planning.unfinished import Told

UNSOUND: Final = 17
"""The exit code where what is shown is not all, or a prune is frozen."""

_FAILED: Final = (RunState.FAILED.value.lower(), RunState.REFUSED.value.lower())
_HANDFUL: Final = 5
_NUMBERS: Final = ("age", "records", "logical", "ratio", "added")


@contextmanager
def _uncollected() -> Iterator[None]:
    """Look for no cycles: among 10,000 rows, which have none, that took an eighth of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@click.command("list")
@click.option("--type", "kind", type=OneOf(BackupType), help="Only this type.")
@click.option(
    "--status",
    type=OneOf((*BackupStatus, *_FAILED)),
    help="Only those of which this is true; `failed` and `refused` are runs that made no backup.",
)
@click.option("--since", type=Moment(), metavar="MOMENT", help="Made then or later: 2026-11-25T14:30, or 7d ago.")
@click.option("--until", type=Moment(), metavar="MOMENT", help="Made before.")
@click.option("--store", type=StoreChoice(), metavar="TIER", help="Only what this store holds.")
@click.option("--limit", type=click.IntRange(min=1), help="Only so many, the newest.")
@common_options
@_uncollected()
def list_command(
    output: Output,
    kind: str | None,
    status: str | None,
    since: datetime | None,
    until: datetime | None,
    store: StorageTier | None,
    limit: int | None,
) -> int:
    """Show the backups of all stores, newest first, and where each lies: in Local, Network, Cloud, Archive.

    A store that does not answer is named, and so is a manifest that cannot be read; neither hides another. Ends with 17
    where a manifest cannot be read, a backup cannot be opened with this keyring, or one that this machine or the ledger
    knew has disappeared.
    """
    from strata.settings import load_settings
    from strata.store_wiring import StoreWiring

    wiring = StoreWiring(load_settings(), tell=output.note)
    catalogue = wiring.catalogue.only(store) if store else wiring.catalogue
    backup_type = BackupType(kind) if kind else None
    if status in _FAILED:
        from strata.cli.failures import show_failures

        show_failures(output, catalogue, wiring.keyring, RunState(status.upper()), backup_type, since, until, limit)
        return 0
    view = catalogue.view()
    if len(view.silent) == len(catalogue.stores):
        raise StoreUnavailable(next(iter(view.silent.values())), hint="No store answers; check them, and try again.")
    found = view.find(
        backup_type=backup_type, status=BackupStatus(status) if status else None, since=since, until=until
    )
    shown = found[:limit]
    locked = [one for one in view.entries if not wiring.keyring.opens(one.sealed_by)]
    output.document({**_as_document(view, shown), "without_key": [one.backup_id for one in locked]})
    tell_silent(output, view.silent)
    if not output.json:
        _show(output, view, shown, len(found))
        _show_locked(output, locked)
    return UNSOUND if view.unreadable or view.gone or locked else 0


def entry_document(entry: CatalogueEntry, doubts: Sequence[Doubt]) -> dict[str, Any]:
    """What `list` says of a backup with --json; sizes in bytes, `ratio` is logical to stored."""
    return {
        "backup_id": entry.backup_id,
        "type": entry.backup_type.value,
        "created_at": entry.created_at.isoformat(),
        "recorded_at": entry.recorded_at.isoformat(),
        "generation": entry.generation,
        "parent": entry.parent,
        "tiers": [tier.value for tier in entry.tiers],
        "covers": [one._asdict() for one in entry.covers],
        "doubts": doubt_documents(doubts),
        "accepted": entry.accepted,
        "records": entry.records,
        "logical_bytes": entry.logical_bytes,
        "added_bytes": entry.added_bytes,
        "stored_bytes": entry.stacked_bytes,
        "ratio": round(entry.logical_bytes / entry.stacked_bytes, 2) if entry.stacked_bytes else None,
        "copies": [copy.model_dump(mode="json") for copy in entry.copies],
        "installation": entry.installation,
        "pinned": entry.pinned,
        "legal_hold": entry.legal_hold,
        "removal_marked_at": entry.removal_marked_at,
    }


def _as_document(view: View, shown: list[CatalogueEntry]) -> dict[str, Any]:
    return {
        "stores": {shelf.tier.value: shelf.store.url for shelf in view.shelves},
        "silent": {tier.value: reason for tier, reason in view.silent.items()},
        "backups": [entry_document(entry, view.judgement.doubts(entry)) for entry in shown],
        "unreadable": [_unreadable(one) for one in view.unreadable],
        "ignored": [_unreadable(one) for one in view.ignored],
        "disappeared": [{"store": one.store, "backup_id": one.backup_id} for one in view.gone],
        "half_restored": sentences(_half_restored(view)),
    }


def _half_restored(view: View) -> list[Told]:
    """The restores that the stores tell of and that were not finished."""
    return unfinished(told_by(note for shelf in view.shelves for note in shelf.notes))


def _unreadable(one: Unreadable) -> dict[str, Any]:
    return {"store": one.store, "name": one.name, "reason": one.reason}


def _tell_missing_folders(output: Output, view: View) -> None:
    """Say which stores are folders that are not there: a word mistyped looks like a store that is empty."""
    from strata.storage.filesystem import folder_of

    for shelf in view.shelves:
        url = shelf.store.url
        if url.startswith("file:") and not folder_of(url, "").exists():
            setting = f"STRATA_{shelf.tier.upper()}_URL"
            output.note(f"{url} is not there; the first backup makes it. If it holds backups, correct {setting}.")


def _show(output: Output, view: View, shown: list[CatalogueEntry], found: int) -> None:
    for shelf in view.shelves:
        output.say(styled((f"{shelf.tier.value[0].upper()} {shelf.store.url}", "dim")))
    if shown:
        ids = [entry.backup_id for entry in shown]
        rows = [_row(entry, view.judgement) for entry in shown]
        header = ("id", *_NUMBERS[:1], "tiers", *_NUMBERS[1:], "in", "state")
        lengths = unique_lengths(ids)
        output.write(in_columns(header, rows, _NUMBERS, lengths, output.out.width, colour=output.colour))
    elif view.entries:
        output.say("No backup is like that.")
    elif not view.unreadable and not view.gone:
        output.say("There is no backup yet.")
        _tell_missing_folders(output, view)
        output.note("Make one: strata backup full")
    if found > len(shown):
        output.note(f"{found - len(shown):,} older ones are not shown.")
    for entry in view.judgement.in_doubt:
        for doubt in view.judgement.doubts(entry):
            output.note(f"{entry.backup_id} may be incomplete: {doubt.sentence}.")
        output.note(f"If that is right: strata accept {entry.backup_id}")
    _show_missing(output, view)
    if half := _half_restored(view):
        output.note(f"half restored: {'; '.join(sentences(half))}. {advice(half)}")
    _show_ignored(output, view)


def _show_ignored(output: Output, view: View) -> None:
    """What hides no backup; with a keyring that is not the store's it is every note."""
    for bad in view.ignored[:_HANDFUL]:
        output.note(f"ignored: {_where(bad)}")
    if more := len(view.ignored[_HANDFUL:]):
        output.note(f"ignored: {more:,} more, which --json names")


def _show_missing(output: Output, view: View) -> None:
    """What is there and cannot be read, and what was there."""
    for bad in view.unreadable:
        output.say(styled(("unreadable: ", "bold red"), _where(bad)))
    for gone in view.gone:
        where = f"{gone.backup_id} was in {gone.store.upper()}, and nothing of ours removed it"
        output.say(styled(("disappeared: ", "bold red"), where))


def _show_locked(output: Output, locked: list[CatalogueEntry]) -> None:
    """Backups that are there, and that this keyring cannot open."""
    for key_id, entries in groupby(sorted(locked, key=lambda one: one.sealed_by), lambda one: one.sealed_by):
        ids = [one.backup_id for one in entries]
        lacks = f"the keyring does not hold {key_id}, which opens {named(ids)}"
        output.say(styled(("no key: ", "bold red"), lacks))


def _where(bad: Unreadable) -> str:
    return f"{bad.reason} ({bad.store.upper()})" if bad.store else bad.reason


def _row(entry: CatalogueEntry, judgement: Judgement) -> tuple[str, ...]:
    states = (
        "" if entry.backup_type in entry.backup_id else entry.backup_type.value,  # not what was asked for
        "in doubt" if judgement.doubts(entry) else "",
        "changed after the cut" if any(one.late for one in entry.covers) else "",
        "handed over" if entry.handed else "",
        "damaged" if entry.damaged else "",
        "held" if entry.legal_hold else "",
        "pinned" if entry.pinned else "",
        "marked" if entry.removal_marked_at else "",
    )
    return (
        entry.backup_id,
        age(entry.created_at),
        _letters(Tier, entry.tiers),
        f"{entry.records:,}",
        size(entry.logical_bytes),
        ratio(entry.logical_bytes, entry.stacked_bytes),
        size(entry.added_bytes),
        _letters(StorageTier, tuple([copy.storage_tier for copy in entry.copies])),
        ", ".join(filter(None, states)),
    )


@cache
def _letters(tiers: type[Tier | StorageTier], held: tuple[Tier | StorageTier, ...]) -> str:
    """`HW-`: the first letters of those that are held."""
    return "".join(tier.value[0].upper() if tier in held else "-" for tier in tiers)
