"""Whether an id may be a run's: every start asks before the id names anything."""

from __future__ import annotations

import getpass
import socket
from pathlib import PurePath

from strata.catalog.ledger import Ledger
from strata.engine.spool import Spool
from strata.errors import SettingError
from strata.model.run import Run, RunKind
from strata.planning.backup import checked_run_id, is_our_id


def known_run(ledger: Ledger, spool: Spool, run_id: str, kind: RunKind, handed: str = "") -> Run | None:
    """The run of that id and kind, or None for a new one; SettingError where the id cannot be that of such a run.

    The end of a run sweeps its folder of the spool, so an id of somebody's choice must not be the name of a folder
    that no run made. `handed` is the document that a new backup finds there.
    """
    run = ledger.run(checked_run_id(run_id))
    if run is not None:
        if run.kind is not kind:
            raise SettingError(
                f"{run_id} is the id of a {run.kind}, so no {kind} can have it", hint="Leave it out to be given one."
            )
        return run
    if not is_our_id(run_id) and any(name != handed for name in spool.names(run_id)):
        raise SettingError(
            f"the spool holds {run_id}, which the ledger does not know as a run, so no {kind} can have that id",
            hint="Leave it out to be given one, or remove what lies there.",
        )
    return None


def who() -> str:
    """Who starts a run, in words."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "a user without a name"
    return f"{PurePath(user).name}@{socket.gethostname()}"
