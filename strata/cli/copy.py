"""`strata copy`: takes a backup to a further store."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from strata.cli.backup import check_followable, sender
from strata.cli.looking import look_around
from strata.cli.output import OneOf, Output, Seconds, common_options, facts, refuse_waiting_options, size, styled
from strata.model.tier import StorageTier, Tier

if TYPE_CHECKING:
    from strata.engine.copier import CopyMade
    from strata.model.plan import CopyPlan


@click.command("copy")
@click.argument("backup", metavar="ID")
@click.option("--to", "target", type=OneOf(StorageTier), required=True, help="The store that gets the copy.")
@click.option("--from", "source", type=OneOf(StorageTier), help="The store to read from; the nearest otherwise.")
@click.option("--wait/--no-wait", default=True, help="Wait for its end and show how it goes (the default).")
@click.option("--timeout", type=Seconds(), metavar="SECONDS", help="Wait no longer than this.")
@click.option("--local", is_flag=True, help="Do it in this process, without broker and workers.")
@click.option("--dry-run", is_flag=True, help="Only show what would be copied.")
@common_options
def copy_command(
    output: Output,
    backup: str,
    target: str,
    source: str | None,
    timeout: float | None,
    *,
    wait: bool,
    local: bool,
    dry_run: bool,
) -> None:
    """Copy a backup to another store, byte for byte. ID is a full id, a unique beginning of one, or `latest`.

    Its sources are not read again. What the store holds already is not copied twice, so a copy that was cut short
    goes on where it stood; each object is read back there and compared, and the manifest comes last.
    """
    from strata.cli.watching import here, outcome, tell_sent
    from strata.engine.copier import CopyMade
    from strata.engine.local import copy_here
    from strata.model.run import Stage
    from strata.planning.backup import new_run_id
    from strata.settings import load_settings
    from strata.wiring import Wiring
    from tasks.enqueue import enqueue_copy

    refuse_waiting_options(local=local, wait=wait, timeout=timeout)
    wiring, to = Wiring(load_settings()), StorageTier(target)
    read_from = StorageTier(source) if source else None
    backup_id = wiring.depots.find(backup, read_from)[1].backup_id
    run_id = new_run_id("copy", datetime.now(UTC))
    title = f"Copy of {backup_id} to {to.upper()}"
    if dry_run:
        _show_plan(output, wiring.copier.plan(run_id, backup_id, to, read_from))
    elif local:
        manager = wiring.local_manager
        _show_made(
            output,
            here(output, manager, run_id, title, lambda: copy_here(manager, backup_id, run_id, to, read_from)),
        )
    else:
        app = sender(wiring.settings)
        check_followable(wiring, run_id)
        seen = look_around(output, wiring, tuple(Tier))
        enqueue_copy(app, backup_id, run_id, to, read_from, confirmed=seen)
        if not wait:
            tell_sent(output, run_id)
            return
        result = outcome(output, wiring.ledger, run_id, title, timeout, Stage.COMMIT)
        _show_made(output, CopyMade.model_validate_json(result))


def _show_plan(output: Output, plan: CopyPlan) -> None:
    output.show(
        facts(
            [
                ("backup", plan.backup_id),
                ("from", f"{plan.source.upper()}, {plan.source_url}"),
                ("to", f"{plan.target.upper()}, {plan.target_url}"),
                ("to be copied", f"{plan.objects:,} objects, {size(plan.bytes)}"),
            ]
        )
    )
    output.note("Nothing was done.")
    output.document(plan.model_dump(mode="json"))


def _show_made(output: Output, made: CopyMade) -> None:
    output.say(
        styled(
            "Backup ",
            (made.backup_id, "bold"),
            f" is in {made.storage_tier.upper()} too: {made.objects:,} objects, of which "
            f"{made.copied:,} ({size(made.bytes)}) were copied now.",
        )
    )
    output.document(made.model_dump(mode="json"))
