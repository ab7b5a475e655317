"""Runs that failed, as the stores tell of them: for `strata list --status failed` and `strata runs`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from strata.cli.choosing import tell_silent
from strata.cli.output import Output, age, local_time, plain_table

if TYPE_CHECKING:
    from strata.catalog.catalogue import Catalogue
    from strata.catalog.history import FailedRun
    from strata.model.backup_type import BackupType
    from strata.model.run import RunState
    from strata.seal.keyring import Keyring


def show_failures(
    output: Output,
    catalogue: Catalogue,
    keyring: Keyring,
    state: RunState,
    backup_type: BackupType | None,
    since: datetime | None,
    until: datetime | None,
    limit: int | None,
) -> None:
    """Show those of a state that fit, newest first."""
    found = [
        run
        for run in catalogue.failures()
        if run.state is state
        and backup_type in {None, run.backup_type}
        and (since is None or run.created_at >= since)
        and (until is None or run.created_at < until)
    ][:limit]
    silent = {tier.value: reason for tier, reason in catalogue.silent_stores.items()}
    output.document({"silent": silent, "runs": [failure_document(run, keyring) for run in found]})
    tell_silent(output, catalogue.silent_stores)
    if output.json:
        return
    if not found:
        output.say(f"No run that {'failed' if state.value == 'FAILED' else 'was refused'} is like that.")
        return
    table = plain_table("run", "ended", "", "code", "reason", wrap=("reason",))
    for run in found:
        document = failure_document(run, keyring)
        table.add_row(run.run_id, local_time(run.ended_at), age(run.ended_at), run.code or "-", document["reason"])
    output.show(table)


def failure_document(run: FailedRun, keyring: Keyring) -> dict[str, Any]:
    """A failed run as `strata runs` shows it."""
    from strata.engine.failures import reason_of

    return {
        "run_id": run.run_id,
        "kind": run.kind.value,
        "state": run.state.value,
        "reason": reason_of(keyring, run),
        "code": run.code,
        "created_at": run.created_at.isoformat(),
        "updated_at": run.ended_at.isoformat(),
    }
