"""`strata prune`: shows what need not be kept any more, asks, marks it, and removes what was marked long enough ago."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from strata.cli.backup import check_followable, sender
from strata.cli.listing import UNSOUND
from strata.cli.looking import look_around
from strata.cli.output import Output, Seconds, common_options, plain_table, refuse_waiting_options, size
from strata.errors import Refused, SettingError, StorageError
from strata.model.tier import Tier

if TYPE_CHECKING:
    from strata.engine.pruner import Planned, Pruned
    from strata.model.removal import MovePlan, PrunePlan, RetentionPlan


@click.command("prune")
@click.option("--dry-run", is_flag=True, help="Only show what it would do, and why.")
@click.option("--all", "everything", is_flag=True, help="Show every backup with its reasons, those that stay too.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--wait/--no-wait", default=True, help="Wait for its end and show how it goes (the default).")
@click.option("--timeout", type=Seconds(), metavar="SECONDS", help="Wait no longer than this.")
@click.option("--local", is_flag=True, help="Do it in this process, without broker and workers.")
@click.option("--no-workers", is_flag=True, help="With --local where no ledger answers: no worker works anywhere.")
@common_options
def prune_command(
    output: Output,
    timeout: float | None,
    *,
    dry_run: bool,
    everything: bool,
    yes: bool,
    wait: bool,
    local: bool,
    no_workers: bool,
) -> int:
    """Remove backups that need not be kept, and what nothing names any more.

    First they are marked. After the time of grace (STRATA_PRUNE_GRACE_HOURS) the next prune removes their manifests,
    and each layer that no backup of its store names. Nothing goes while a clock lies, while a store is silent, or from
    a store with a manifest that cannot be read or a backup that disappeared: then it ends with 17. Where a store does
    not let something go or does not take a mark, the rest is done all the same, and it ends with 7. --dry-run shows too
    what moves to ARCHIVE by its age.
    """
    from strata.cli.watching import here, outcome, tell_sent
    from strata.engine.prune_runs import prune_here
    from strata.engine.pruner import Pruned
    from strata.model.run import Stage
    from strata.planning.backup import new_run_id
    from strata.settings import load_settings
    from strata.wiring import Wiring
    from tasks.enqueue import enqueue_prune

    refuse_waiting_options(local=local, wait=wait, timeout=timeout)
    wiring = Wiring(load_settings(), tell=output.note)
    runs = wiring.local_prunes if local or not wiring.ledger_answers else wiring.prunes
    planned = runs.pruner.plan(runs.running)
    if dry_run:
        _show_dry(output, planned, everything=everything)
        return _code(planned.prune.frozen, *(store.frozen for store in planned.prune.stores))
    _show_plan(output, planned.prune, planned.retention, everything=everything, on_stderr=True)
    if not yes and _does_anything(planned.prune):
        _ask()
    run_id = new_run_id("prune", datetime.now(UTC))
    if local and not (no_workers or wiring.ledger_answers):
        raise SettingError(
            "no ledger answers here, so it cannot be seen whether workers back up or restore at this moment",
            hint="Set STRATA_RESULT_URL as the workers have it; where there are none, say --no-workers.",
        )
    if local:
        return show_done(
            output, run_id, here(output, runs.manager, run_id, f"Prune {run_id}", lambda: prune_here(runs, run_id))
        )
    app = sender(wiring.settings)
    check_followable(wiring, run_id)
    enqueue_prune(app, run_id, confirmed=look_around(output, wiring, tuple(Tier)))
    if not wait:
        tell_sent(output, run_id)
        return 0
    result = outcome(output, wiring.ledger, run_id, f"Prune {run_id}", timeout, Stage.FINISH)
    return show_done(output, run_id, Pruned.model_validate_json(result))


def _does_anything(plan: PrunePlan) -> bool:
    return bool(plan.marks or any(store.manifests or store.layers for store in plan.stores))


def _ask() -> None:
    if not sys.stdin.isatty():
        raise Refused("nobody can be asked here whether to prune", hint="Say --yes to do it unasked.")
    if not click.confirm("Prune?", err=True):
        raise Refused("nothing was pruned")


def _show_dry(output: Output, planned: Planned, *, everything: bool) -> None:
    if not output.json:
        _show_plan(output, planned.prune, planned.retention, everything=everything)
        _show_moves(output, planned.moves)
    output.note("Nothing was done.")
    output.document(
        {
            "plan": planned.prune.model_dump(mode="json"),
            "retention": planned.retention.model_dump(mode="json"),
            "moves": planned.moves.model_dump(mode="json"),
        }
    )


def _show_plan(
    output: Output, plan: PrunePlan, retention: RetentionPlan, *, everything: bool, on_stderr: bool = False
) -> None:
    """Every backup that something happens to, and why; with `everything` the others too."""
    from rich.text import Text

    console = output.err if on_stderr else output.out
    for reason in dict.fromkeys((*plan.frozen, *(why for store in plan.stores for why in store.frozen))):
        console.print(Text(f"Frozen: {reason}", "bold red"), soft_wrap=True)
    for notice in retention.notices:
        console.print(Text(notice, "yellow"), soft_wrap=True)
    rows = [*_rows(plan), *(_staying(plan, retention) if everything else ())]
    table = plain_table("backup", "in", "what happens", "why", wrap=("why",))
    for name, store, (what, style), why in rows:
        table.add_row(name, store, Text(what, style), why)
    if rows:
        console.print(table)
    elif not plan.frozen:
        console.print("Every backup is to be kept.")
    for swept in plan.stores:
        if swept.layers:
            freed = f"{len(swept.layers):,} layers, {swept.objects:,} objects, {size(swept.bytes)}"
            console.print(f"{swept.storage_tier.upper()}: {freed} are freed.")


def _show_moves(output: Output, moves: MovePlan) -> None:
    """What the workers will copy to ARCHIVE, what goes since it is there, and what stays though it is old enough."""
    for reason in moves.reasons:
        output.say(f"By age: {reason}.")
    table = plain_table("backup", "in", "by its age", "why", wrap=("why",))
    for step, what in ((moves.copies, "is copied to ARCHIVE"), (moves.releases, "goes because ARCHIVE has it")):
        for move in step:
            table.add_row(move.backup_id, move.source.value, what, move.reason)
    for item in moves.left:
        table.add_row(item.name, "", "stays where it is", item.reason)
    if table.rows:
        output.say("")
        output.show(table)


Row = tuple[str, str, tuple[str, str], str]
"""Backup or layer, store, what happens and its colour, and why."""


def _rows(plan: PrunePlan) -> Iterator[Row]:
    for mark in plan.marks:
        yield mark.name, "", ("is marked", "yellow"), mark.reason
    for mark in plan.unmarks:
        yield mark.name, "", ("stays after all", "green"), mark.reason
    for store in plan.stores:
        for gone in store.manifests:
            yield gone.name, store.storage_tier.value, ("is removed", "red"), gone.reason
        for waiting in store.waiting:
            yield waiting.name, store.storage_tier.value, ("waits", ""), waiting.reason


def _staying(plan: PrunePlan, retention: RetentionPlan) -> Iterator[Row]:
    told = {item.name for item in (*plan.marks, *plan.unmarks)}
    for decision in retention.decisions:
        if decision.keep and decision.backup_id not in told:
            yield decision.backup_id, "", ("stays", "green"), "; ".join(decision.reasons)


def _code(*frozen: Sequence[str]) -> int:
    return UNSOUND if any(frozen) else 0


def show_done(output: Output, run_id: str, pruned: Pruned) -> int:
    """Show what a prune did and what it could not do; the exit code."""
    output.document({"run_id": run_id, **pruned.model_dump(mode="json")})
    failed = [*pruned.marks.missed, *(sentence for store in pruned.stores for sentence in store.failed)]
    code = StorageError.exit_code if failed else _code(*(store.frozen for store in pruned.stores))
    for sentence in dict.fromkeys(failed):
        output.error(f"Not all was done: {sentence}", "The next prune does the rest once the store lets it.")
    if output.json:
        return code
    output.say(f"{len(pruned.marks.marked)} backups were marked, {len(pruned.marks.unmarked)} stay after all.")
    numbers = ("backups", "layers", "objects", "freed", "locked", "left")
    table = plain_table("store", *numbers, "frozen", right=numbers, wrap=("frozen",))
    for store in pruned.stores:
        counts = (store.manifests, store.layers, store.objects)
        table.add_row(
            store.storage_tier.value,
            *(f"{count:,}" for count in counts),
            size(store.bytes),
            f"{store.locked:,}",
            f"{store.left:,}",
            "; ".join(store.frozen),
        )
    output.show(table)
    return code
