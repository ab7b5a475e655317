"""`strata verify`: reads a backup back and proves it, object by object, to the last one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from strata.cli.output import Output, common_options, size
from strata.errors import IntegrityError

if TYPE_CHECKING:
    from strata.engine.survey import Damage
    from strata.model.layer import StoredObject
    from strata.model.manifest import BackupMetadata
    from strata.model.run import Progress


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
@common_options
def verify_command(output: Output, backup: str) -> None:
    """Read a backup back from its store and prove it whole; every damaged object is named.

    ID is a full id, a unique beginning of one, or `latest`. Nothing is written anywhere.
    """
    from strata.settings import load_settings
    from strata.wiring import Wiring

    wiring = Wiring(load_settings())
    manifest = wiring.depots.nearest.metadata.resolve(backup)
    pairs, lost = wiring.depots.nearest.restorer.readable(manifest)
    with _shown(output, f"Verifying {manifest.backup_id}", len(pairs)) as report:
        damages = wiring.depots.nearest.restorer.damaged(manifest, report)
    if damages:
        raise BackupDamaged(manifest.backup_id, damages, len(pairs) + len(lost))
    objects = [stored for _, stored in pairs]
    output.say(
        f"Backup [bold]{manifest.backup_id}[/] is whole: {len(objects)} objects, {manifest.records:,} records, "
        f"{size(sum(stored.size for stored in objects))} read back and proved."
    )
    output.document(_as_document(manifest, objects))


@contextmanager
def _shown(output: Output, title: str, total: int) -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal, a line elsewhere."""
    if not output.live:
        output.note(f"{title}: {total} objects")
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=output.err, transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda progress: bar.update(task, completed=progress.objects)


def _as_document(manifest: BackupMetadata, objects: list[StoredObject]) -> dict[str, Any]:
    return {
        "backup_id": manifest.backup_id,
        "whole": True,
        "objects": len(objects),
        "records": manifest.records,
        "stored_bytes": sum(stored.size for stored in objects),
    }
