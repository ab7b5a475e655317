"""`strata export`: writes the whole state of a backup out, in the clear."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import click

from strata.cli.choosing import find, store_option, type_option
from strata.cli.output import OneOf, Output, common_options, size
from strata.cli.streams import data
from strata.errors import SettingError
from strata.model.tier import StorageTier, Tier

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from strata.engine.export import Export, Written
    from strata.engine.restorer import BackupRestorer

_STDOUT: Final = "-"
_PARQUET: Final = "parquet"


@click.command("export")
@click.argument("backup", metavar="ID")
@click.option("--format", "form", type=OneOf(["json", _PARQUET]), required=True, help="See above.")
@click.option("--output", "target", metavar="FILE", default=_STDOUT, help="A new file; - is stdout (the default).")
@click.option("--tier", "tiers", type=OneOf(Tier), multiple=True, help="Only this tier.")
@type_option
@store_option
@common_options
def export_command(
    output: Output,
    backup: str,
    form: str,
    target: str,
    tiers: tuple[str, ...],
    kind: str | None,
    store: StorageTier | None,
) -> None:
    """Write the state of a backup out, NOT encrypted. ID is a full id, a unique beginning of one, or `latest`.

    Every object is read back and proved before anything is written. `json` is one document that a person can read, and
    that `strata backup full --from-json` takes back byte for byte; `parquet` is one file, for analysis.
    """
    from strata.engine.export import Export, refuse_existing
    from strata.engine.restorer import tiers_to_restore
    from strata.settings import load_settings
    from strata.wiring import Wiring

    _refuse_mixing(output, form, target)
    if target != _STDOUT:
        refuse_existing(Path(target))
    wiring = Wiring(load_settings(), tell=output.note)
    found = find(output, wiring, backup, kind, store)
    manifest, restorer = found.manifest, wiring.depots.of(found.store).restorer
    wanted = tiers_to_restore(manifest, tuple(Tier(tier) for tier in dict.fromkeys(tiers)))
    output.note(f"Proving {manifest.backup_id}, then writing it out. The export is NOT encrypted: whoever reads it")
    output.note("reads the state. Keep it as you keep the state itself, and remove it when it has served.")
    restorer.verify(manifest, wanted, lambda _: None)
    export = Export(manifest, wanted, restorer.details(manifest))
    with _opened(target) as file:
        written = _write(restorer, export, form, file)
    _show_written(output, export, form, target, written)


def _refuse_mixing(output: Output, form: str, target: str) -> None:
    if form == _PARQUET and target == _STDOUT:
        raise SettingError("Parquet is written to a file", hint="Name one: --output FILE")
    if output.json and target == _STDOUT:
        raise SettingError("with --json standard output is for the counts", hint="Name a file: --output FILE")


def _opened(target: str) -> AbstractContextManager[BinaryIO]:
    from strata.engine.export import new_file

    return data() if target == _STDOUT else new_file(Path(target))


def _write(restorer: BackupRestorer, export: Export, form: str, file: BinaryIO) -> Written:
    from strata.engine.export import write_json, write_parquet

    write = write_parquet if form == _PARQUET else write_json
    return write(export, lambda tier: restorer.items(export.manifest, tier), file)


def _show_written(output: Output, export: Export, form: str, target: str, written: Written) -> None:
    records = sum(written.records.values())
    told = output.note if target == _STDOUT else output.say
    place = "standard output" if target == _STDOUT else target
    told(f"{records:,} records of {export.manifest.backup_id}, {size(written.bytes)}, were written to {place}.")
    document: dict[str, Any] = {
        "backup_id": export.manifest.backup_id,
        "format": form,
        "output": target,
        "records": records,
        "bytes": written.bytes,
        "tiers": {tier.value: written.records.get(tier, 0) for tier in export.tiers},
    }
    output.document(document)
