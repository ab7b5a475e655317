"""`strata backup`: makes a backup through the workers, or in this process."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from strata.cli.output import Output, Seconds, common_options, refuse_waiting_options
from strata.errors import KeyringError
from strata.model.tier import BackupType

if TYPE_CHECKING:
    from strata.settings import Settings


@click.command("backup")
@click.argument("backup_type", metavar="TYPE", type=click.Choice([kind.value for kind in BackupType]))
@click.option("--wait/--no-wait", default=True, help="Wait for its end and show how it goes (the default).")
@click.option("--timeout", type=Seconds(), metavar="SECONDS", help="Wait no longer than this.")
@click.option("--local", is_flag=True, help="Do it in this process, without broker and workers.")
@common_options
def backup_command(output: Output, backup_type: str, timeout: float | None, *, wait: bool, local: bool) -> None:
    """Back up all configured tiers together. TYPE is `full`."""
    from strata.planning.backup import checked_type, new_run_id
    from strata.settings import load_settings

    refuse_waiting_options(local=local, wait=wait, timeout=timeout)
    kind = checked_type(BackupType(backup_type))
    settings = load_settings()
    run_id = new_run_id(kind, datetime.now(UTC))
    if local:
        _here(output, settings, kind, run_id)
    else:
        _through_workers(output, settings, kind, run_id, timeout if wait else None, wait=wait)


def _here(output: Output, settings: Settings, kind: BackupType, run_id: str) -> None:
    from strata.cli.summary import show_made
    from strata.cli.watching import here
    from strata.engine.local import backup_here
    from strata.wiring import Wiring

    manager = Wiring(settings).local_manager
    title = f"Backup {run_id} ({kind}, in this process)"
    show_made(output, here(output, manager, run_id, title, lambda: backup_here(manager, kind, run_id)))


def _through_workers(
    output: Output, settings: Settings, kind: BackupType, run_id: str, timeout: float | None, *, wait: bool
) -> None:
    from strata.cli.summary import show_made
    from strata.cli.watching import follow
    from strata.wiring import Wiring
    from tasks.enqueue import enqueue_backup

    app, wiring = sender(settings), Wiring(settings)
    wiring.ledger.run(run_id)  # nothing is sent where nobody could follow it, nor any worker enter it
    enqueue_backup(app, kind, run_id)
    if not wait:
        output.say(run_id)
        output.note("It was sent to the workers. See how it stands: strata runs")
        output.document({"run_id": run_id, "state": "SENT"})
        return
    follow(output, wiring.ledger, run_id, f"Backup {run_id} ({kind})", timeout)
    try:
        made = wiring.metadata.load(run_id)
    except KeyringError as error:  # the workers have the keys; who asks need not
        output.say(f"Backup {run_id} is made and verified.")
        output.note(f"What it holds cannot be shown here: {error.sentence}")
        output.document({"backup_id": run_id})
    else:
        show_made(output, made)


def sender(settings: Settings) -> Any:
    """The app that sends to the workers; SettingError where there is no broker to send to."""
    from strata.settings import required

    required(settings.broker_url, "STRATA_BROKER_URL", "workers get their work through it (--local needs none)")
    required(settings.result_url, "STRATA_RESULT_URL", "the run is followed there (--local needs none)")
    from workers.configuration import make_app

    return make_app(settings)
