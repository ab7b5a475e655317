"""`strata list` and `strata show`: which backups a store holds, and all that one's manifest says."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

import click

from strata.cli.output import Output, age, common_options, facts, local_time, plain_table, ratio, size
from strata.errors import StrataError

if TYPE_CHECKING:
    from rich.text import Text

    from strata.catalog.metadata import Unreadable
    from strata.model.manifest import BackupMetadata, TierContent
    from strata.seal.keyring import Keyring

_SHORTEST: Final = 4


@click.command("list")
@common_options
def list_command(output: Output) -> None:
    """Show every backup of the store, newest first; manifests that cannot be read are named with the reason."""
    from strata.cli.summary import backup_document
    from strata.settings import load_settings
    from strata.wiring import Wiring

    wiring = Wiring(load_settings())
    backups, unreadable = wiring.depots.nearest.metadata.history()
    output.document(
        {
            "store": wiring.depots.nearest.store.url,
            "backups": [backup_document(backup) for backup in backups],
            "unreadable": [{"name": bad.name, "reason": bad.reason} for bad in unreadable],
        }
    )
    if output.json:
        return
    output.say(f"[dim]{wiring.depots.nearest.store.url}[/]")
    _show_backups(output, backups, unreadable)


@click.command("show")
@click.argument("backup", metavar="ID")
@common_options
def show_command(output: Output, backup: str) -> None:
    """Show everything that is known of a backup. ID is a full id, a unique beginning of one, or `latest`."""
    from strata.settings import load_settings
    from strata.wiring import Wiring

    wiring = Wiring(load_settings())
    manifest = wiring.depots.nearest.metadata.resolve(backup)
    held = _held(wiring.keyring, manifest)
    sources = wiring.depots.nearest.restorer.details(manifest) if held else {}
    output.document({**manifest.model_dump(mode="json"), "key_held": held, "sources": sources})
    if not output.json:
        _show_backup(output, manifest, sources, held=held)


def _show_backups(output: Output, backups: list[BackupMetadata], unreadable: list[Unreadable]) -> None:
    from rich.text import Text

    if not backups and not unreadable:
        output.say("There is no backup yet.")
        output.note("Make one: strata backup full")
        return
    numbers = ("records", "logical", "added", "ratio")
    table = plain_table("id", "type", "made", "age", "tiers", *numbers, "store", right=("age", *numbers))
    table.collapse_padding = True  # ten columns fit into a hundred characters
    ids = [backup.backup_id for backup in backups]
    for backup in backups:
        table.add_row(
            _highlighted(backup.backup_id, ids),
            backup.backup_type.value,
            local_time(backup.created_at),
            age(backup.created_at),
            _tiers(backup),
            f"{backup.records:,}",
            size(backup.logical_bytes),
            size(backup.added_bytes),
            ratio(backup.logical_bytes, backup.added_bytes),
            backup.storage_tier.value,
        )
    if backups:
        output.show(table)
    for bad in unreadable:
        output.out.print(Text.assemble(("unreadable: ", "bold red"), bad.reason), soft_wrap=True)


def _highlighted(backup_id: str, ids: list[str]) -> Text:
    """The id, with the beginning that is enough to name it in bold."""
    from rich.text import Text

    others = [other for other in ids if other != backup_id]
    enough = next(
        (n for n in range(_SHORTEST, len(backup_id)) if not any(other.startswith(backup_id[:n]) for other in others)),
        len(backup_id),
    )
    return Text.assemble((backup_id[:enough], "bold cyan"), (backup_id[enough:], "dim"))


def _tiers(backup: BackupMetadata) -> Text:
    """H W C: the tiers it holds; one that was left out is a dot."""
    from rich.text import Text

    return Text(" ".join(content.tier.value[0].upper() if content.included else "·" for content in backup.tiers))


def _held(keyring: Keyring, manifest: BackupMetadata) -> bool:
    try:
        keyring.unwrap(manifest.key_id, base64.b64decode(manifest.wrapped_key))
    except StrataError:
        return False
    return True


def _show_backup(output: Output, manifest: BackupMetadata, sources: dict[str, Any], *, held: bool) -> None:
    from strata.cli.summary import stage_words, tier_table

    made = f"{local_time(manifest.created_at)} ({age(manifest.created_at)} ago), recorded "
    output.show(
        facts(
            [
                ("backup", manifest.backup_id),
                ("type", manifest.backup_type.value),
                ("made", made + local_time(manifest.recorded_at)),
                ("store", f"{manifest.storage_tier.upper()}, {manifest.store_url}"),
                ("key", f"{manifest.key_id} ({'the keyring holds it' if held else 'the keyring does NOT hold it'})"),
                ("parent", manifest.parent or "none: it stands alone"),
                ("skew", "unknown" if manifest.skew_ms is None else f"{manifest.skew_ms:.1f} ms between the cuts"),
                ("reasons", "; ".join(manifest.reasons) or "as usual"),
                ("stages", stage_words(manifest)),
                ("written by", f"{manifest.written_by}, format {manifest.format}"),
            ]
        )
    )
    output.say("")
    output.show(tier_table(manifest))
    for content in manifest.tiers:
        if content.included:
            output.say(f"\n[bold]{content.tier.label}[/]")
            output.show(facts(_tier_facts(content, sources.get(content.tier.value, {}))))


def _tier_facts(content: TierContent, source: dict[str, Any]) -> list[tuple[str, Any]]:
    cut = ", ".join(f"{name} {_plain(value)}" for name, value in content.cut.items() if value not in (None, ""))
    layers = [
        (
            f"{layer.kind} layer",
            f"{layer.layer_id}: {layer.records:,} records, {layer.tombstones:,} tombstones, {size(layer.stored_bytes)}",
        )
        for layer in content.stack
    ]
    told = [(name, _plain(value)) for name, value in source.items() if value not in (None, "", []) and name != "tables"]
    return [("cut", cut), ("keys", ", ".join(content.patterns)), *layers, *told, *_tables(source.get("tables", []))]


def _tables(tables: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Each table with its key and columns."""
    return [
        (
            f"table {table['name']}",
            f"key ({', '.join(table['key'] or ['none'])}); "
            + ", ".join(f"{column['name']} {column['type']}" for column in table["columns"]),
        )
        for table in tables
    ]


def _plain(value: Any) -> str:
    """A value of a document in words: `0: 19027` for an object, `0, 3` for a list."""
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_plain(part)}" for name, part in value.items())
    if isinstance(value, list):
        return ", ".join(_plain(part) for part in value)
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
