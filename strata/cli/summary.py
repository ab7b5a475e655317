"""A backup in numbers: as a table for people, as a document for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from strata.cli.doubts import doubt_documents
from strata.cli.output import Output, facts, plain_table, ratio, seconds, size, styled
from strata.errors import KeyringError
from strata.model.coverage import Doubt
from strata.model.manifest import BackupMetadata, TierContent
from strata.model.plan import BackupPlan
from strata.model.run import Stage
from strata.model.tier import Tier

if TYPE_CHECKING:
    from rich.table import Table

    from strata.seal.keyring import Keyring

_MOST_NOTES: Final = 10


def backup_document(backup: BackupMetadata) -> dict[str, Any]:
    """What `list`, `show` and `backup` say of a backup with --json; sizes in bytes."""
    return {
        "backup_id": backup.backup_id,
        "type": backup.backup_type.value,
        "created_at": backup.created_at.isoformat(),
        "recorded_at": backup.recorded_at.isoformat(),
        "storage_tier": backup.storage_tier.value,
        "store_url": backup.store_url,
        "key_id": backup.key_id,
        "parent": backup.parent,
        "generation": backup.generation,
        "reasons": list(backup.reasons),
        "skew_ms": backup.skew_ms,
        "cut_doubts": list(backup.cut_doubts),
        "records": backup.records,
        "logical_bytes": backup.logical_bytes,
        "added_bytes": backup.added_bytes,
        "stored_bytes": backup.stacked_bytes,
        "tiers": [_tier_document(content) for content in backup.tiers],
        "seconds": backup.seconds,
    }


def show_made(output: Output, backup: BackupMetadata, keyring: Keyring, doubts: Sequence[Doubt]) -> None:
    """What a backup that was just made holds, and what it cost."""
    took = (backup.recorded_at - backup.created_at).total_seconds()
    output.say("")
    output.say(styled("Backup ", (backup.backup_id, "bold"), f" is made and verified, {seconds(took)} after its plan."))
    told_later = {doubt.sentence for doubt in doubts}
    for reason in [one for one in (*backup.reasons, *backup.cut_doubts) if one not in told_later]:
        output.note(reason)
    lacking = lacking_of(keyring, backup)
    note_lacking(output, lacking)
    output.show(tier_table(backup))
    output.show(facts([("store", backup.store_url), ("stages", stage_words(backup))]))
    told = {"not_held": {tier.value: said for tier, said in lacking.items()}, "doubts": doubt_documents(doubts)}
    output.document({**backup_document(backup), **told})


def lacking_of(keyring: Keyring, backup: BackupMetadata) -> dict[Tier, list[str]]:
    """What the backup's records need and it does not hold, by tier; nothing where the keyring lacks its key."""
    from strata.engine.details import not_held, open_details

    with suppress(KeyringError):
        return not_held(open_details(keyring, backup))
    return {}


def note_lacking(output: Output, lacking: Mapping[Tier, Sequence[str]]) -> None:
    """Say what an empty database would have to be given before a restore; the first few of many."""
    for tier, sentences in lacking.items():
        for sentence in sentences[:_MOST_NOTES]:
            output.note(f"{tier.label}, not in the backup: {sentence}")
        if more := len(sentences[_MOST_NOTES:]):
            output.note(f"{tier.label}: {more} more are named by `strata show`")


def show_plan(output: Output, plan: BackupPlan) -> None:
    """What a backup would do, and why."""
    rows = [
        ("type", plan.backup_type.value),
        ("store", f"{plan.storage_tier.upper()}, {plan.store_url}"),
        ("parent", plan.parent or "none: it stands alone"),
        ("reasons", "; ".join(plan.reasons) or "as usual"),
    ]
    output.show(facts(list(rows)))
    table = plain_table("tier", "keys", "compared with", "reads", wrap=("keys",))
    for tier in plan.tiers:
        if tier.layer_id is None:
            table.add_row(tier.tier.label, "-", "-", f"nothing: {tier.reason}")
        else:
            reads = "everything" if tier.thorough else "what changed"
            table.add_row(
                tier.tier.label, ", ".join(tier.patterns), tier.parent or "nothing: it is stored whole", reads
            )
    output.show(table)
    for doubt in plan.doubts:
        output.note(f"The backup will be in doubt: {doubt.sentence}.")
    output.note("Nothing was done.")
    output.document(plan.model_dump(mode="json", exclude={"wrapped_key"}))


def tier_table(backup: BackupMetadata) -> Table:
    """What each tier holds; one that was left out says why."""
    from rich.text import Text

    numbers = ("records", "logical", "stored", "ratio", "added")
    table = plain_table("tier", *numbers, "changes", right=numbers, wrap=("changes",))
    for content in backup.tiers:
        if content.included:
            added = size(_added(content, backup.backup_id))
            row = _numbers(content.records, content.logical_bytes, content.stacked_bytes)
            table.add_row(content.tier.label, *row, added, _changes(content))
        else:
            table.add_row(content.tier.label, *"-----", Text(f"left out: {content.reason}", "yellow"))
    total = _numbers(backup.records, backup.logical_bytes, backup.stacked_bytes)
    table.add_row("all", *total, size(backup.added_bytes), style="bold")
    return table


def stage_words(backup: BackupMetadata) -> str:
    """Seconds of each stage: `collect hot 0.52 s, merge 0.10 s`."""
    order = [*Stage, *Tier]
    stages = sorted(backup.seconds.items(), key=lambda item: [order.index(word) for word in item[0].split()])
    return ", ".join(f"{name} {seconds(value)}" for name, value in stages)


def _tier_document(content: TierContent) -> dict[str, Any]:
    return {
        "tier": content.tier.value,
        "included": content.included,
        "source": content.source,
        "patterns": list(content.patterns),
        "reason": content.reason,
        "records": content.records,
        "logical_bytes": content.logical_bytes,
        "stored_bytes": content.stacked_bytes,
        "layers": len(content.stack),
        "parent": content.parent,
        "changes": content.changes.model_dump() if content.changes else None,
    }


def _added(content: TierContent, backup_id: str) -> int:
    return sum(layer.stored_bytes for layer in content.stack if layer.backup_id == backup_id)


def _changes(content: TierContent) -> str:
    """`12 changed, 3 new, 1 gone` against the parent; nothing where there was none."""
    changes = content.changes
    if changes is None:
        return "whole"
    counts = {"changed": changes.changed, "new": changes.new, "gone": changes.gone, "drifted": changes.drift or 0}
    return ", ".join(f"{count:,} {what}" for what, count in counts.items() if count) or "no change"


def _numbers(records: int, logical: int, stored: int) -> tuple[str, str, str, str]:
    return f"{records:,}", size(logical), size(stored), ratio(logical, stored)
