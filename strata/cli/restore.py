"""`strata restore`: says what it will do, asks, and brings a backup back."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import click

from strata.cli.backup import check_followable, sender
from strata.cli.choosing import store_option, tell_unable
from strata.cli.output import (
    Output,
    Seconds,
    age,
    common_options,
    facts,
    local_time,
    plain_table,
    refuse_waiting_options,
    size,
)
from strata.errors import Refused, RunFailed, SettingError
from strata.model.tier import StorageTier, Tier

if TYPE_CHECKING:
    from strata.catalog.catalogue import Found
    from strata.engine.restorer import Restored
    from strata.model.manifest import BackupMetadata
    from strata.settings import Settings
    from strata.wiring import Wiring

EXACT: Final = "exact"
REHEARSE: Final = "rehearse"

_EFFECTS: Final = {
    EXACT: "becomes what the backup holds: {what} that are not in it are REMOVED",
    "overlay": "gets the backup's records; other {what} are left alone",
    REHEARSE: "is checked; nothing is written",
}
_CONTENTS: Final = {Tier.HOT: "keys", Tier.WARM: "rows of its tables", Tier.COLD: "objects"}


@click.command("restore")
@click.argument("backup", metavar="ID")
@click.option("--mode", type=click.Choice(list(_EFFECTS)), default=EXACT, show_default=True, help="See above.")
@click.option(
    "--tier", "tiers", type=click.Choice([tier.value for tier in Tier]), multiple=True, help="Only this tier."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--wait/--no-wait", default=True, help="Wait for its end and show how it goes (the default).")
@click.option("--timeout", type=Seconds(), metavar="SECONDS", help="Wait no longer than this.")
@click.option("--local", is_flag=True, help="Do it in this process, without broker and workers.")
@store_option
@common_options
def restore_command(
    output: Output,
    backup: str,
    mode: str,
    tiers: tuple[str, ...],
    timeout: float | None,
    store: StorageTier | None,
    *,
    yes: bool,
    wait: bool,
    local: bool,
) -> None:
    """Bring a backup back. ID is a full id, a unique beginning of one, or `latest`.

    Everything is read back and proved before anything is written. --mode says what happens to records that the
    backup does not hold: `exact` removes them, `overlay` leaves them alone, `rehearse` writes nothing at all.
    """
    from strata.engine.restorer import tiers_to_restore
    from strata.planning.backup import new_run_id
    from strata.settings import load_settings
    from strata.wiring import Wiring

    refuse_waiting_options(local=local, wait=wait, timeout=timeout)
    settings = load_settings()
    wiring = Wiring(settings, tell=output.note)
    found = wiring.catalogue.resolve(backup, store=store)
    tell_unable(output, found, wiring.catalogue.silent_stores)
    manifest = found.manifest
    wanted = tiers_to_restore(manifest, tuple(dict.fromkeys(map(Tier, tiers))))
    _show_plan(output, settings, manifest, mode, wanted, wiring.stores[found.store].url)
    if mode != REHEARSE and not yes:
        _ask(manifest)
    run_id = new_run_id("restore", datetime.now(UTC))
    if local:
        _here(output, wiring.restoring(), found, run_id, mode, wanted)
    else:
        _through_workers(output, wiring, found, run_id, mode, wanted, timeout if wait else None, wait=wait)


def _show_plan(
    output: Output, settings: Settings, manifest: BackupMetadata, mode: str, tiers: tuple[Tier, ...], source: str
) -> None:
    """What will be done to what, before anything is; on stderr, so that it is seen with --json too."""
    rows = [
        ("backup", manifest.backup_id),
        ("made", f"{local_time(manifest.created_at)} ({age(manifest.created_at)} ago)"),
        ("from", source),
        ("mode", mode),
    ]
    table = plain_table(
        "tier", "target", "records", "what happens to it", right=("records",), wrap=("what happens to it",)
    )
    for tier in tiers:
        effect = _EFFECTS[mode].format(what=_CONTENTS[tier])
        table.add_row(tier.label, address(settings, tier), f"{manifest.content(tier).records:,}", effect)
    output.err.print(facts(rows))
    output.err.print(table)


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


def _ask(manifest: BackupMetadata) -> None:
    if not sys.stdin.isatty():
        raise Refused("nobody can be asked here whether to restore", hint="Say --yes to do it unasked.")
    if not click.confirm(f"Restore {manifest.backup_id}?", err=True):
        raise Refused("nothing was restored")


def _here(output: Output, wiring: Wiring, found: Found, run_id: str, mode: str, tiers: tuple[Tier, ...]) -> None:
    from strata.cli.watching import here
    from strata.engine.local import restore_here
    from strata.sources.port import RestoreMode

    manager = wiring.local_manager

    def work() -> Restored:
        return restore_here(manager, found.manifest.backup_id, run_id, RestoreMode(mode), tiers, found.store)

    _show_done(output, run_id, mode, here(output, manager, run_id, f"Restore {run_id} (in this process)", work))


def _through_workers(
    output: Output,
    wiring: Wiring,
    found: Found,
    run_id: str,
    mode: str,
    tiers: tuple[Tier, ...],
    timeout: float | None,
    *,
    wait: bool,
) -> None:
    from strata.cli.watching import follow
    from strata.engine.restorer import Restored
    from strata.model.run import Stage
    from tasks.enqueue import enqueue_restore

    app = sender(wiring.settings)
    check_followable(wiring, run_id)
    enqueue_restore(app, found.manifest.backup_id, run_id, mode, tiers, found.store)
    if not wait:
        output.say(run_id)
        output.note("It was sent to the workers. See how it stands: strata runs")
        output.document({"run_id": run_id, "state": "SENT"})
        return
    follow(output, wiring.ledger, run_id, f"Restore {run_id}", timeout)
    result = wiring.ledger.result(run_id, Stage.FINISH, "")
    if result is None:
        raise RunFailed(f"{run_id} ended, but left no counts")
    _show_done(output, run_id, mode, Restored.model_validate_json(result))


def _show_done(output: Output, run_id: str, mode: str, restored: Restored) -> None:
    document: dict[str, Any] = restored.model_dump(mode="json")
    output.document({"run_id": run_id, "mode": mode, **document})
    if output.json:
        return
    output.say("")
    if mode == REHEARSE:
        output.say(f"Backup [bold]{restored.backup_id}[/] is whole and every target can take it. Nothing was written.")
        return
    output.say(f"Backup [bold]{restored.backup_id}[/] is restored.")
    numbers = ("written", "unchanged", "removed", "expired", "bytes")
    table = plain_table("tier", *numbers, right=numbers)
    for applied in restored.tiers:
        counts = (applied.written, applied.unchanged, applied.removed, applied.expired)
        table.add_row(applied.tier.label, *(f"{count:,}" for count in counts), size(applied.bytes))
    output.show(table)
    for applied in restored.tiers:
        for note in applied.notes:
            output.note(f"{applied.tier.label}: {note}")
