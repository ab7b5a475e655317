"""What runs in one process leave in the spool when they are killed, so that the next one on the machine removes it.

No ledger that outlives the process knows such a run, so it says in its own folder, sealed, which process it is. Only
who is on the same machine since it started, in the same process namespace, can tell that a process is gone; what nobody
can tell is left for the sweep of the workers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from strata.engine.runner import is_dead, this_process
from strata.engine.spool import Spool
from strata.errors import StrataError
from strata.planning.backup import is_our_id

_PROCESS: Final = "process"


@contextmanager
def of_this_process(spool: Spool, run_id: str) -> Iterator[None]:
    """Remove what dead runs left, and say meanwhile that this run is of this process; neither stops the run."""
    sweep_dead(spool)
    sign(spool, run_id)
    try:
        yield
    finally:
        with suppress(StrataError):
            spool.delete([_name(run_id)])


def sign(spool: Spool, run_id: str) -> None:
    """Say that the run is of this process; an id of somebody's choice may be the name of another's folder."""
    if is_our_id(run_id):
        with suppress(StrataError):
            spool.put_document(run_id, _name(run_id), {"process": this_process()})


def sweep_dead(spool: Spool) -> list[str]:
    """Remove the staging of each run whose process is gone; their ids. A spool that fails is told by what needs it."""
    swept = []
    with suppress(StrataError):
        for run_id in filter(is_our_id, sorted(spool.runs())):
            with suppress(StrataError):
                if is_dead(spool.document(run_id, _name(run_id))["process"]):
                    spool.sweep(run_id)
                    swept.append(run_id)
    return swept


def _name(run_id: str) -> str:
    return f"{run_id}/{_PROCESS}"
