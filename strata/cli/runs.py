"""`strata runs`: what the ledger knows of backups and restores, and who holds the lease."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import click

from strata.cli.output import Output, age, common_options, local_time, plain_table, seconds
from strata.cli.thawing import thaw_ends, waits
from strata.errors import BrokerUnavailable, KeyringError, SettingError
from strata.model.run import RunState

if TYPE_CHECKING:
    from strata.model.run import Run
    from strata.wiring import Wiring

_STYLES: Final = {
    "PLANNED": "cyan",
    "RUNNING": "yellow",
    "WAITING": "cyan",
    "DONE": "green",
    "FAILED": "red",
    "REFUSED": "magenta",
}


@click.command("runs")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many, newest first.")
@common_options
def runs_command(output: Output, limit: int) -> None:
    """Show the latest runs, failed and refused ones too, and who holds the lease.

    The ledger forgets after two weeks, or with its Redis; runs that failed are told by the stores too.
    """
    from strata.settings import load_settings
    from strata.wiring import Wiring

    wiring = Wiring(load_settings(), tell=output.note)
    silent, holder, known = "", None, dict[str, dict[str, Any]]()
    try:
        known = {run.run_id: _as_document(run) for run in wiring.ledger.runs(limit)}
        holder = wiring.lease.holder()
    except (SettingError, BrokerUnavailable) as error:
        silent = error.sentence
    runs = sorted((_failures(output, wiring) | known).values(), key=lambda run: str(run["created_at"]), reverse=True)
    runs = runs[:limit]
    output.document({"ledger": silent or None, "lease": holder, "runs": runs})
    if output.json:
        return
    _show(output, runs)
    if silent:
        what = (
            "Only failed runs, as the stores tell of them, are shown" if runs else "What the ledger knows is not shown"
        )
        output.note(f"{what}: {silent}")
        return
    output.say(f"\nThe lease is held by {holder}." if holder else "\nNobody holds the lease: a backup can begin.")


def _failures(output: Output, wiring: Wiring) -> dict[str, dict[str, Any]]:
    """What the stores tell, as far as there are any that can be asked."""
    from strata.cli.failures import failure_document

    try:
        return {run.run_id: failure_document(run, wiring.keyring) for run in wiring.catalogue.failures()}
    except (SettingError, KeyringError) as error:
        output.note(f"What the stores tell of failed runs is not shown: {error.sentence}")
        return {}


def _show(output: Output, runs: list[dict[str, Any]]) -> None:
    from rich.text import Text

    if not runs:
        output.say("No run is known.")
        return
    table = plain_table("run", "state", "began", "age", "took", "reason", right=("took",), wrap=("reason",))
    for run in runs:
        waiting = run.get("waits") or ""
        shown, began = "WAITING" if waiting else run["state"], datetime.fromisoformat(run["created_at"])
        again = f"sent again {run['resent']}x" if run.get("resent") else ""
        reason = Text("; ".join(filter(None, [run["reason"], waiting, again])))
        state = Text(shown, _STYLES[shown])
        table.add_row(run["run_id"], state, local_time(began), age(began), _took(run, began), reason)
    output.show(table)


def _took(run: dict[str, Any], began: datetime) -> str:
    if not RunState(run["state"]).final:
        return ""
    return seconds((datetime.fromisoformat(run["updated_at"]) - began).total_seconds())


def _as_document(run: Run) -> dict[str, Any]:
    told = {"waits": waits(run), "thaw_ends": thaw_ends(run)}
    return {**run.model_dump(mode="json", exclude={"plan", "fence"}), **told}
