"""`strata verify`: reads a backup back and proves it, object by object, to the last one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

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


class BackupDamaged(IntegrityError):
    """Objects of a backup are damaged or missing; `damages` has all of them."""

    def __init__(self, backup_id: str, damages: list[Damage], objects: int) -> None:
        shown = "; ".join(f"{damage.name} ({damage.reason})" for damage in damages)
        super().__init__(
            f"{backup_id}: {len(damages)} of {objects} objects are damaged: {shown}",
            hint="The other objects are whole. Restore from another copy or backup, and look at the disk below.",
        )


@click.command("verify")
@click.argument("backup", metavar="ID")
@type_option
@store_option
@common_options
def verify_command(output: Output, backup: str, kind: str | None, store: StorageTier | None) -> None:
    """Read a backup back from a store and prove it whole; every damaged object is named.

    ID is a full id, a unique beginning of one, or `latest`. What is found is noted beside the backup. Of several copies
    the first is read, LOCAL, NETWORK, CLOUD, ARCHIVE; --store chooses another.
    """
    from strata.settings import load_settings
    from strata.wiring import Wiring

    wiring = Wiring(load_settings(), tell=output.note)
    found = find(output, wiring, backup, kind, store)
    manifest, restorer = found.manifest, wiring.depots.of(found.store).restorer
    pairs, lost = restorer.readable(manifest)
    began = wiring.clock.now()
    with _shown(output, f"Verifying {manifest.backup_id} in {found.store.upper()}", len(pairs)) as report:
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
def _shown(output: Output, title: str, total: int) -> Iterator[Callable[[Progress], None]]:
    """A line, and on a terminal a bar below it."""
    output.note(f"{title}: {total} objects")
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
