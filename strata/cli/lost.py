"""What to say of a run that the ledger showed and does not know any more: what it was about to do may be half done."""

from __future__ import annotations

from typing import Final

from strata.errors import StrataError
from strata.model.plan import RestorePlan
from strata.model.run import Run, RunKind
from strata.sources.port import RestoreMode

_LEFT: Final = {
    RunKind.BACKUP: ("whether the backup was made is not known here", "`strata list` shows it where it was made."),
    RunKind.COPY: ("whether the copy was made is not known here", "`strata list` shows it where it was made."),
    RunKind.PRUNE: ("it may have removed a part of what it marked", "Start another: `strata prune`."),
}
_REHEARSED: Final = ("a rehearsal keeps nothing, so no tier is changed", "Start another.")


class RunLost(StrataError):
    """The ledger has lost a run that it showed before."""

    code = "run-lost"
    exit_code = 10


def run_lost(run: Run) -> RunLost:
    """The error of a run, as it was seen last."""
    left, hint = _restore_left(run) if run.kind is RunKind.RESTORE else _LEFT[run.kind]
    return RunLost(
        f"the ledger has lost {run.run_id}, which it showed before (its Redis was emptied, exchanged or set back), so "
        f"no worker goes on with it; {left}",
        hint=hint,
    )


def _restore_left(run: Run) -> tuple[str, str]:
    """What a restore may leave: the store's notes say which tiers it began to overwrite."""
    plan = RestorePlan.model_validate_json(run.plan) if run.plan else None
    if plan and plan.mode == RestoreMode.REHEARSE:
        return _REHEARSED
    tiers = " and ".join(tier.label for tier in plan.tiers) if plan else "the tiers"
    return (
        f"{tiers} may be half overwritten",
        "`strata status` names the tiers that it began to overwrite; run the restore again.",
    )
