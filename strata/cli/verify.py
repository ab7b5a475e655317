"""`strata verify`: reads a backup back and proves it, object by object, to the last one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import click

from strata.cli.choosing import find, store_option, type_option
from strata.cli.output import Output, common_options, size, styled
from strata.errors import IntegrityError, KeyringError, StorageError
from strata.model.layer import layer_document_name
from strata.model.tier import StorageTier

if TYPE_CHECKING:
    from datetime import datetime

    from strata.catalog.catalogue import Found
    from strata.engine.survey import Damage
    from strata.model.layer import StoredObject
    from strata.model.run import Progress
    from strata.wiring import Wiring


_PERCENT: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%?", re.ASCII)
_WHOLE: Final = 100


class BackupDamaged(IntegrityError):
    """Objects of a backup are damaged or missing; `damages` has all of them."""

    def __init__(self, backup_id: str, damages: list[Damage], objects: int) -> None:
        shown = "; ".join(f"{damage.name} ({damage.reason})" for damage in damages)
        super().__init__(
            f"{backup_id}: {len(damages)} of {objects} objects are damaged: {shown}",
            hint="The other objects are whole. Restore from another copy or backup, and look at the disk below.",
        )


class Percent(click.ParamType):  # type: ignore[type-arg] # generic from click 8.3 on
    """A share in percent, above 0 and up to 100: `5%`, `2.5%`."""

    name = "percent"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Fraction:
        """The number before the sign, exactly; or a usage error."""
        if isinstance(value, Fraction):
            return value
        match = _PERCENT.fullmatch(value)
        percent = Fraction(match[1]) if match else Fraction(0)
        if not 0 < percent <= _WHOLE:
            self.fail(f"{value!r} is not a share from above 0% to 100%, such as 5% or 2.5%.", param, ctx)
        return percent


@click.command("verify")
@click.argument("backup", metavar="[ID]", required=False)
@click.option("--all", "everything", is_flag=True, help="Everything that lies in the stores, not one backup.")
@click.option("--share", type=Percent(), metavar="N%", help="So much of it: what was not read for the longest time.")
@type_option
@store_option
@common_options
def verify_command(
    output: Output,
    backup: str | None,
    kind: str | None,
    store: StorageTier | None,
    share: Fraction | None,
    *,
    everything: bool,
) -> None:
    """Read a backup back from a store and prove it whole; every damaged object is named.

    ID is a full id, a unique beginning of one, or `latest`. What is found is noted beside the backup. Of several copies
    the first is read, LOCAL, NETWORK, CLOUD, ARCHIVE; --store chooses another.

    In place of an ID, --all reads every layer of every store but ARCHIVE, and --share that part of the bytes which was
    not read for the longest time; --store chooses one store. Interrupted, what was read until then is noted and counts.
    Without this command beat does the same bit by bit: STRATA_VERIFY_DAYS, STRATA_VERIFY_BUDGET.
    """
    if sum((backup is not None, everything, share is not None)) != 1:
        raise click.UsageError("Name what is to be verified: an ID, --all, or --share N%; one of them.")
    if backup is not None:
        _verify_one(output, backup, kind, store)
        return
    if kind is not None:
        raise click.UsageError("--type chooses among the backups that an ID may mean; --all and --share have none.")
    from strata.cli.verify_stores import verify_stores

    verify_stores(output, store, share)


def _verify_one(output: Output, backup: str, kind: str | None, store: StorageTier | None) -> None:
    from strata.settings import load_settings
    from strata.wiring import Wiring

    wiring = Wiring(load_settings(), tell=output.note)
    found = find(output, wiring, backup, kind, store)
    manifest, restorer = found.manifest, wiring.depots.of(found.store).restorer
    pairs, lost = restorer.readable(manifest)
    began = wiring.clock.now()
    title = f"Verifying {manifest.backup_id} in {found.store.upper()}"
    with shown(output, title, len(pairs), "objects") as report:
        damages = restorer.damaged(manifest, report)
    with _noting(output):
        note_verified(wiring, found, pairs, damages, began)
    if damages:
        raise BackupDamaged(manifest.backup_id, damages, len(pairs) + len(lost))
    objects = [stored for _, stored in pairs]
    output.say(
        styled(
            "Backup ",
            (manifest.backup_id, "bold"),
            f" is whole: {len(objects)} objects, {manifest.records:,} records, "
            f"{size(sum(stored.size for stored in objects))} read back and proved.",
        )
    )
    output.document(_as_document(found, objects))


def note_verified(
    wiring: Wiring, found: Found, pairs: list[tuple[str, StoredObject]], damages: list[Damage], began: datetime
) -> None:
    """Note in the store which layers were read back whole, or which of them are damaged."""
    from strata.catalog.notes import NoteKind
    from strata.catalog.readings import Reading

    depot, now = wiring.depots.of(found.store), wiring.clock.now()
    book = depot.book
    if not damages:
        read = Reading.of_backup(found.manifest, began)
        for layer_id in sorted(depot.damage.layers & set(read.layers)):
            book.add(NoteKind.VERIFIED, layer_id, now, Reading(began=began, layers=(layer_id,)).body)
        book.add(NoteKind.VERIFIED, found.manifest.backup_id, now, {"objects": len(pairs), **read.body})
    layers = {stored.name: layer_id for layer_id, stored in pairs} | {
        layer_document_name(ref.layer_id): ref.layer_id for ref in found.manifest.layers
    }
    for layer_id in sorted({layers[damage.name] for damage in damages}):
        book.add(NoteKind.DAMAGED, layer_id, now)


@contextmanager
def _noting(output: Output) -> Iterator[None]:
    """What was found counts though it cannot be noted: the store may be read-only, the keyring unable to sign."""
    try:
        yield
    except (StorageError, KeyringError) as error:
        output.note(f"What was found could not be noted beside the backup: {error.sentence}")


@contextmanager
def shown(output: Output, title: str, total: int, what: str) -> Iterator[Callable[[Progress], None]]:
    """A line, and on a terminal a bar below it."""
    output.note(f"{title}: {total:,} {what}")
    if not output.live:
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=output.err, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda progress: bar.update(task, completed=progress.objects)


def _as_document(found: Found, objects: list[StoredObject]) -> dict[str, Any]:
    return {
        "backup_id": found.manifest.backup_id,
        "storage_tier": found.store.value,
        "whole": True,
        "objects": len(objects),
        "records": found.manifest.records,
        "stored_bytes": sum(stored.size for stored in objects),
    }
