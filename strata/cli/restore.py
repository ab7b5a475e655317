"""`strata restore`: says what it will do, asks, and brings a backup back."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import click

from strata.cli.choosing import find, store_option, type_option
from strata.cli.output import (
    OneOf,
    Output,
    Seconds,
    age,
    common_options,
    facts,
    local_time,
    plain_table,
    refuse_waiting_options,
    size,
    styled,
)
from strata.cli.restoring import Here, ThroughWorkers, plan_dry
from strata.cli.thawing import as_document, question, show_thaw
from strata.errors import KeyringError, Refused, SettingError, StoreUnavailable
from strata.model.coverage import SourceKind
from strata.model.tier import StorageTier, Tier

if TYPE_CHECKING:
    from strata.catalog.catalogue import Found
    from strata.engine.restorer import Restored
    from strata.model.manifest import BackupMetadata, TierContent
    from strata.model.plan import RestorePlan
    from strata.model.thaw import ThawPlan
    from strata.settings import Settings
    from strata.wiring import Wiring

EXACT: Final = "exact"
REHEARSE: Final = "rehearse"

_EFFECTS: Final = {
    EXACT: "becomes what the backup holds: {what} that are not in it are REMOVED",
    "overlay": "gets the backup's records; other {what} are left alone",
    REHEARSE: "is tried; nothing is kept",
}
_EXACT_IN_PART: Final = (
    "{what} that match {patterns} become what the backup holds: those that are not in it are REMOVED;"
    " all others are left alone"
)
_SPEEDS: Final = ("bulk", "standard", "expedited")
_CONTENTS: Final = {Tier.HOT: "keys", Tier.WARM: "rows of its tables", Tier.COLD: "objects"}


@click.command("restore")
@click.argument("backup", metavar="ID")
@click.option("--mode", type=OneOf(_EFFECTS), default=EXACT, show_default=True, help="See above.")
@click.option("--tier", "tiers", type=OneOf(Tier), multiple=True, help="Only this tier.")
@click.option("--speed", type=OneOf(_SPEEDS), help="How quickly archived objects are asked for.")
@click.option("--dry-run", is_flag=True, help="Print the plan, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--wait/--no-wait", default=True, help="Wait for its end and show how it goes (the default).")
@click.option("--timeout", type=Seconds(), metavar="SECONDS", help="Wait no longer than this.")
@click.option("--local", is_flag=True, help="Do it in this process, without broker and workers.")
@type_option
@store_option
@common_options
def restore_command(
    output: Output,
    backup: str,
    mode: str,
    tiers: tuple[str, ...],
    speed: str | None,
    timeout: float | None,
    kind: str | None,
    store: StorageTier | None,
    *,
    dry_run: bool,
    yes: bool,
    wait: bool,
    local: bool,
) -> None:
    """Bring a backup back. ID is a full id, a unique beginning of one, or `latest`.

    Everything is read back and proved, and the targets are tried, before anything is overwritten. --mode says what
    happens to records that the backup does not hold: `exact` removes them, `overlay` leaves them alone; `rehearse` ends
    after the trial, which changes nothing for good.

    What lies in an archive class is thawed first: the plan says how many objects, how long it takes and what it costs,
    and the restore waits, for days if it has to, without holding a worker.
    """
    from strata.cli.summary import lacking_of, note_lacking
    from strata.engine.restore_store import RestoreWish
    from strata.model.thaw import ThawSpeed
    from strata.planning.backup import new_run_id
    from strata.settings import load_settings
    from strata.sources.port import RestoreMode
    from strata.wiring import Wiring

    refuse_waiting_options(local=local, wait=wait, timeout=timeout)
    settings = load_settings()
    wiring = Wiring(settings, tell=output.note)
    here = local or (dry_run and settings.broker_url is None)
    found = _found(output, wiring, backup, kind, store, needed=here)
    wish = RestoreWish(
        run_id=new_run_id("restore", datetime.now(UTC)),
        reference=found.manifest.backup_id if found else backup,
        mode=RestoreMode(mode),
        tiers=tuple(dict.fromkeys(map(Tier, tiers))),
        storage_tier=found.store if found else store,
        speed=ThawSpeed(speed) if speed else None,
    )
    if not (here or wait or dry_run) and yes:  # nobody is asked, and nobody waits for the plan
        ThroughWorkers(output, wiring, None, wait=False).send(wish)
        return
    if dry_run and not here:
        runs, plan = plan_dry(output, wiring, wish, timeout)
    else:
        runs = Here(output, wiring) if here else ThroughWorkers(output, wiring, timeout, wait=wait)
        plan = runs.plan(wish)
    assert plan.manifest
    try:
        _show_plan(output, settings, plan.manifest, plan)
        with suppress(KeyringError):  # the workers have the keys; who asks need not
            lacking = lacking_of(wiring.keyring, plan.manifest).items()
            note_lacking(output, {tier: said for tier, said in lacking if tier in plan.tiers})
        if not dry_run and not yes and (mode != REHEARSE or plan.thaw):
            _ask(plan.manifest, plan.thaw)
    except BaseException:
        runs.withdraw(wish.run_id)
        raise
    if dry_run:
        runs.withdraw(wish.run_id)
        covers = [one._asdict() for one in plan.manifest.covers]
        held = {"backup_type": plan.manifest.backup_type, "covers": covers, "thaw": as_document(plan.thaw)}
        output.document({**plan.model_dump(mode="json", exclude={"restore_id", "manifest"}), **held})
        return
    if (restored := runs.restore(replace(wish, tiers=plan.tiers))) is not None:
        _show_done(output, wish.run_id, wish.mode.value, restored)


def _found(
    output: Output, wiring: Wiring, backup: str, kind: str | None, store: StorageTier | None, *, needed: bool
) -> Found | None:
    """The backup, as the stores that this machine reaches have it; None where it reaches none and need not."""
    try:
        return find(output, wiring, backup, kind, store)
    except (SettingError, KeyringError, StoreUnavailable):
        if needed or kind or _has_stores(wiring):
            raise
        return None


def _has_stores(wiring: Wiring) -> bool:
    """Whether this machine has stores and the keys to read what is in them."""
    try:
        return bool(wiring.stores and wiring.keyring)
    except (SettingError, KeyringError):
        return False


def _show_plan(output: Output, settings: Settings, manifest: BackupMetadata, plan: RestorePlan) -> None:
    """What will be done to what, before anything is; on stderr, so that it is seen with --json too."""
    rows = [
        ("backup", manifest.backup_id),
        ("type", manifest.backup_type.value),
        ("covers", _covered(manifest)),
        ("made", f"{local_time(manifest.created_at)} ({age(manifest.created_at)} ago)"),
        ("read from", plan.store_url),
        ("mode", plan.mode),
    ]
    table = plain_table(
        "tier", "target", "records", "what happens to it", right=("records",), wrap=("what happens to it",)
    )
    for tier in plan.tiers:
        effect = _effect(plan.mode, manifest.content(tier))
        target = plan.confirmed.of(tier)
        where = target.target if target else address(settings, tier)
        table.add_row(tier.label, where, f"{manifest.content(tier).records:,}", effect)
    for content in manifest.tiers:
        if not content.included:
            table.add_row(content.tier.label, "-", "-", f"left out, it stays as it is: {content.reason}")
    output.err.print(facts(rows))
    output.err.print(table)
    if plan.thaw:
        show_thaw(output, plan.thaw)


def _covered(manifest: BackupMetadata) -> str:
    """Which keys the backup covers, and whether they were handed over."""
    patterns = dict.fromkeys(", ".join(content.patterns) for content in manifest.tiers if content.included)
    keys = "all keys" if set(patterns) == {"*"} else f"only the keys {'; '.join(patterns)}"
    handed = any(content.source is SourceKind.HANDED for content in manifest.tiers)
    return f"{keys}, of state that was handed over" if handed else keys


def _effect(mode: str, content: TierContent) -> str:
    """What happens to a tier."""
    what = _CONTENTS[content.tier]
    if mode == EXACT and not content.scope.is_everything:
        return _EXACT_IN_PART.format(what=what, patterns=" or ".join(content.patterns))
    return _EFFECTS[mode].format(what=what)


def address(settings: Settings, tier: Tier) -> str:
    """Where a tier is, without user and password; SettingError where it is not set."""
    secret = {Tier.HOT: settings.hot_url, Tier.WARM: settings.warm_url}.get(tier)
    url = secret.get_secret_value() if secret else settings.cold_url if tier is Tier.COLD else None
    if url is None and tier is settings.state_manager_tier:
        return f"the state manager {settings.state_manager}"
    if url is None:
        raise SettingError(
            f"{tier.label} cannot be restored: STRATA_{tier.upper()}_URL is not set",
            hint="Set it, or name the tiers to restore with --tier.",
        )
    parts = urlsplit(url)
    place = f"{parts.netloc.rpartition('@')[2]}{parts.path}"
    if "@" in place:  # a password that is not quoted: better no address than a piece of it
        return f"as STRATA_{tier.upper()}_URL says"
    where = f" at {urlsplit(settings.cold_endpoint).netloc}" if tier is Tier.COLD and settings.cold_endpoint else ""
    return place + where


def _ask(manifest: BackupMetadata, thaw: ThawPlan | None) -> None:
    if not sys.stdin.isatty():
        raise Refused("nobody can be asked here whether to restore", hint="Say --yes to do it unasked.")
    if not click.confirm(f"{question(thaw) if thaw else 'Restore'} {manifest.backup_id}?", err=True):
        raise Refused("nothing was restored")


def _show_done(output: Output, run_id: str, mode: str, restored: Restored) -> None:
    document: dict[str, Any] = restored.model_dump(mode="json")
    output.document({"run_id": run_id, "mode": mode, **document})
    if output.json:
        return
    output.say("")
    if mode == REHEARSE:
        whole = " is whole, and no target refused it. Nothing is changed."
        output.say(styled("Backup ", (restored.backup_id, "bold"), whole))
        return
    output.say(styled("Backup ", (restored.backup_id, "bold"), " is restored."))
    numbers = ("written", "unchanged", "removed", "expired", "bytes")
    table = plain_table("tier", *numbers, right=numbers)
    for applied in restored.tiers:
        counts = (applied.written, applied.unchanged, applied.removed, applied.expired)
        table.add_row(applied.tier.label, *(f"{count:,}" for count in counts), size(applied.bytes))
    output.show(table)
    for applied in restored.tiers:
        for note in applied.notes:
            output.note(f"{applied.tier.label}: {note}")
