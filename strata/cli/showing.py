"""`strata show`: all that is known of one backup: its manifest, its copies, and what was noted of it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from strata.cli.choosing import find, store_option, type_option
from strata.cli.doubts import doubt_documents, with_names
from strata.cli.output import Output, age, common_options, facts, local_time, plain_table, size, styled
from strata.errors import SettingError, StrataError
from strata.model.record import NOT_HELD
from strata.model.tier import StorageTier

if TYPE_CHECKING:
    from strata.catalog.notes import Note
    from strata.model.copies import CatalogueEntry
    from strata.model.coverage import Doubt
    from strata.model.manifest import BackupMetadata, TierContent
    from strata.seal.keyring import Keyring
    from strata.store_wiring import StoreWiring


@click.command("show")
@click.argument("backup", metavar="ID")
@type_option
@store_option
@common_options
def show_command(output: Output, backup: str, kind: str | None, store: StorageTier | None) -> None:
    """Show everything that is known of a backup. ID is a full id, a unique beginning of one, or `latest`."""
    from strata.engine.details import open_details
    from strata.settings import load_settings
    from strata.store_wiring import StoreWiring

    wiring = StoreWiring(load_settings(), tell=output.note)
    found = find(output, wiring, backup, kind, store)
    manifest = found.manifest
    entry, notes = wiring.catalogue.entry(found)
    unknown = set(StorageTier) if store else {*found.unable, *wiring.catalogue.silent_stores}
    missing = [tier for tier in _lacking(wiring, entry) if tier not in unknown]
    doubts = with_names(wiring, entry.backup_id, wiring.catalogue.seen.judgement.doubts(entry))
    told = {"copies", "pinned", "legal_hold", "removal_marked_at", "accepted"}
    known = entry.model_dump(mode="json", include=told)
    held = _held(wiring.keyring, manifest)
    sources = open_details(wiring.keyring, manifest) if held else {}
    output.document(
        {
            **manifest.model_dump(mode="json"),
            "skew_ms": manifest.skew_ms,
            "cut_doubts": list(manifest.cut_doubts),
            **known,
            "doubts": doubt_documents(doubts),
            "copies": [
                {**document, "medium": copy.storage_tier.medium}
                for document, copy in zip(known["copies"], entry.copies, strict=True)
            ],
            "missing": [
                {"storage_tier": tier.value, "medium": tier.medium, "store_url": wiring.stores[tier].url}
                for tier in missing
            ],
            "notes": [{"storage_tier": tier.value, **note.model_dump(mode="json")} for tier, note in notes],
            "key_held": held,
            "sources": sources,
        }
    )
    if not output.json:
        _show_backup(output, manifest, sources, _worth(entry, doubts), held=held)
        _show_copies(output, entry, {tier: wiring.stores[tier].url for tier in missing})
        _show_notes(output, notes)


def _lacking(wiring: StoreWiring, entry: CatalogueEntry) -> tuple[StorageTier, ...]:
    with suppress(SettingError):  # a machine that only restores has no store that takes such backups
        return wiring.strategy.lacking(entry, wiring.clock.now())
    return ()


def _show_copies(output: Output, entry: CatalogueEntry, missing: dict[StorageTier, str]) -> None:
    table = plain_table("copy in", "kind", "where", "proved", "state", wrap=("where",))
    for copy in entry.copies:
        proved = f"{local_time(copy.verified_at)} ({age(copy.verified_at)} ago)" if copy.verified_at else "-"
        lock = f"locked until {local_time(copy.locked_until)}" if copy.locked_until else ""
        state = ", ".join(filter(None, ("damaged" if copy.damaged else "", lock)))
        table.add_row(copy.storage_tier.upper(), copy.storage_tier.medium, copy.store_url, proved, state)
    for tier, url in missing.items():
        table.add_row(tier.upper(), tier.medium, url, "-", "missing")
    output.say("")
    output.show(table)


def _show_notes(output: Output, notes: list[tuple[StorageTier, Note]]) -> None:
    if not notes:
        return
    table = plain_table("noted", "", "in", "says", wrap=("says",))
    for tier, note in notes:
        said = ", ".join(f"{name} {_plain(value)}" for name, value in _told(note).items())
        table.add_row(local_time(note.at), note.kind.value, tier.upper(), said)
    output.say("")
    output.show(table)


def _told(note: Note) -> dict[str, Any]:
    """What a note says, of a reading how many layers it was of."""
    from strata.catalog.readings import reading_of

    reading = reading_of(note)
    return {**note.body, "read": f"{len(reading.layers)} layers"} if reading else note.body


def _held(keyring: Keyring, manifest: BackupMetadata) -> bool:
    try:
        keyring.unwrap(manifest.key_id, base64.b64decode(manifest.wrapped_key))
    except StrataError:
        return False
    return True


def _worth(entry: CatalogueEntry, doubts: Sequence[Doubt]) -> str:
    """Whether it holds what it should."""
    if doubts:
        return f"it may be incomplete: {'; '.join(doubt.sentence for doubt in doubts)}"
    return "accepted as it is" if entry.accepted else "no doubt"


def _show_backup(output: Output, manifest: BackupMetadata, sources: dict[str, Any], worth: str, *, held: bool) -> None:
    from strata.cli.summary import stage_words, tier_table

    made = f"{local_time(manifest.created_at)} ({age(manifest.created_at)} ago), recorded "
    output.show(
        facts(
            [
                ("backup", manifest.backup_id),
                ("type", manifest.backup_type.value),
                ("complete", worth),
                ("made", made + local_time(manifest.recorded_at)),
                ("made in", f"{manifest.storage_tier.upper()}, {manifest.store_url}"),
                ("key", f"{manifest.key_id} ({'the keyring holds it' if held else 'the keyring does NOT hold it'})"),
                ("parent", manifest.parent or "none: it stands alone"),
                ("skew", "unknown" if manifest.skew_ms is None else f"{manifest.skew_ms:,.1f} ms"),
                *(("the cut", doubt) for doubt in manifest.cut_doubts),
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
            output.say(styled("\n", (content.tier.label, "bold")))
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
    apart = {"tables", "continuity", NOT_HELD}
    told = [
        (name, _plain(value)) for name, value in source.items() if value not in (None, "", []) and name not in apart
    ]
    lacking = [("not in the backup", sentence) for sentence in source.get(NOT_HELD, [])]
    source_kind = content.source.value if content.source else "-"
    return [
        ("read from", source_kind),
        ("cut", cut),
        ("keys", ", ".join(content.patterns)),
        *layers,
        *told,
        *lacking,
        *_tables(source.get("tables", [])),
    ]


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
