"""`strata runs`: what the ledger knows of backups and restores, and who holds the lease."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from strata.cli.output import Output, age, common_options, local_time, plain_table, seconds
from strata.cli.thawing import thaw_ends, waits

if TYPE_CHECKING:
    from strata.model.run import Run

_STYLES: Final = {"RUNNING": "yellow", "WAITING": "cyan", "DONE": "green", "FAILED": "red", "REFUSED": "magenta"}


@click.command("runs")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many, newest first.")
@common_options
def runs_command(output: Output, limit: int) -> None:
    """Show the latest runs, failed and refused ones too, and who holds the lease."""
    from strata.settings import load_settings
    from strata.wiring import Wiring

    wiring = Wiring(load_settings())
    runs, holder = wiring.ledger.runs(limit), wiring.lease.holder()
    output.document({"lease": holder, "runs": [_as_document(run) for run in runs]})
    if output.json:
        return
    _show(output, runs)
    output.say(f"\nThe lease is held by {holder}." if holder else "\nNobody holds the lease: a backup can begin.")


def _show(output: Output, runs: list[Run]) -> None:
    from rich.text import Text

    if not runs:
        output.say("The ledger knows no run.")
        return
    table = plain_table("run", "state", "began", "", "took", "reason", right=("took",), wrap=("reason",))
    for run in runs:
        shown = "WAITING" if waits(run) else run.state.value
        state = Text(shown, _STYLES[shown])
        again = f"sent again {run.resent}x" if run.resent else ""
        reason = Text("; ".join(filter(None, [run.reason, waits(run), again])))
        table.add_row(run.run_id, state, local_time(run.created_at), age(run.created_at), _took(run), reason)
    output.show(table)


def _took(run: Run) -> str:
    return seconds((run.updated_at - run.created_at).total_seconds()) if run.state.final else ""


def _as_document(run: Run) -> dict[str, Any]:
    return {**run.model_dump(mode="json", exclude={"plan", "fence"}), "thaw_ends": thaw_ends(run)}
