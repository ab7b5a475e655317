"""The run ledger: makes at-least-once delivery exactly-once in effect.

Behind every stage stands one row for each run, stage and unit. `take` answers with a claim (do it), with the result
(it is done), or raises StageBusy (somebody does it). A claim has a token and runs out unless it is renewed; `finish`
writes the result only while the token still stands, so of two workers that did the same stage one wins, and both go
on with the winner's result. A run that has ended takes no more claims.

Units that must be done together sit down in a round (`sit`). When a round is lost, the results of all that sat in it
count no more: the units are to be done again, in the next round. Once every unit of a round has its result nobody can
lose it any more, because only a unit without a result has a claim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from strata.errors import RunFailed
from strata.model.run import Progress, Run, RunState, Stage, StageRow

CLAIM_SECONDS: Final = 60.0
"""A claim that was not renewed for so long is free again: its worker is dead or cut off."""

SILENT_SECONDS: Final = 25.0
"""No lasting effect begins longer after a renewal than this: what then begins has ended when the claim runs out.

The longest request takes 35 s: 5 s to connect to S3 and 30 s for its answer (as long as for one of Redis).
"""

RENEW_SECONDS: Final = 5.0
"""How often a working stage renews its claim and its lease."""

MAX_ATTEMPTS: Final = 6
"""A unit that took so many claims in one round without a result is given up: whatever it is, it kills its workers."""

KEEP_DAYS: Final = 14
"""How long the ledger remembers a run."""


@dataclass(frozen=True)
class Claim:
    """The right to do one unit of one stage; `attempt` counts from 1, `token` is of this claim alone."""

    run_id: str
    stage: Stage
    unit: str
    token: str
    attempt: int


@dataclass(frozen=True)
class Done:
    """The unit is done; `result` is the JSON document it left."""

    result: str


@dataclass(frozen=True)
class Seat:
    """Where a claim's unit sits: in which round, and whether an earlier claim of the unit sat in that round already."""

    round: int
    taken: bool


def takes_none(run_id: str, state: RunState, reason: str) -> RunFailed:
    """Why a run in that state takes no claim: an error that says so, for which `reason` it has ended included."""
    if state is RunState.PLANNED:
        return RunFailed(f"{run_id} is planned and not confirmed, so nothing of it is done yet")
    return RunFailed(f"the run {run_id} has ended as {state}{reason and f': {reason}'}")


class Ledger(Protocol):
    """Rows of runs and their stages; every verb is atomic."""

    def create(self, run: Run) -> None:
        """Enter a run; raises RunFailed where one of that id is known."""
        ...

    def run(self, run_id: str) -> Run | None:
        """The run, or None."""
        ...

    def runs(self, limit: int) -> list[Run]:
        """The latest runs, newest first."""
        ...

    def restores(self) -> list[Run]:
        """Every restore that it remembers, latest first; one that began is among them for at least KEEP_DAYS."""
        ...

    def end(self, run_id: str, state: RunState, reason: str = "", code: str = "") -> bool:
        """Move a running run to a final state; False where it was final already.

        A lease that lies beside the ledger is given back in the same moment, so that whoever sees the end can begin
        the next run. FAILED is refused too while the run's last stage (record, finish or commit) is done or under way:
        what may be about to commit is not called a failure.
        """
        ...

    def note_failure(self, run_id: str, reason: str, code: str = "") -> None:
        """Keep the first reason for which a stage failed, and its error's code, until the run is ended."""
        ...

    def failure(self, run_id: str) -> str:
        """The first reason noted, or nothing."""
        ...

    def failure_code(self, run_id: str) -> str:
        """The code noted with it, or nothing."""
        ...

    def take(self, run_id: str, stage: Stage, unit: str, owner: str, *, instead_of: str | None = None) -> Claim | Done:
        """Claim a unit; raises StageBusy while another claim stands, RunFailed when the run ended or gave up.

        `instead_of` names an owner known to be dead, whose claim need not be waited for.
        """
        ...

    def renew(self, claim: Claim) -> bool:
        """Keep a claim alive, and the run with it; False where the claim is lost, or the run has ended."""
        ...

    def finish(self, claim: Claim, result: str, seconds: float) -> str:
        """Leave the result; returns the one that counts. StageBusy where the claim went to somebody who works on it."""
        ...

    def release(self, claim: Claim, *, counted: bool = True) -> None:
        """Give up a claim without a result, so that the next attempt need not wait.

        Not `counted`, its attempts begin anew: it only found that it has to wait.
        """
        ...

    def wait(self, run_id: str, seconds: float, why: str) -> None:
        """Say that a run waits for something, and will be looked at again in so many seconds.

        Until then its silence means nothing, and how often it was sent again counts no more.
        """
        ...

    def waiting(self) -> list[Run]:
        """Every run that waits, or whose time to be looked at has come and gone; however old it is."""
        ...

    def confirm(self, run_id: str, fence: int | None) -> bool:
        """Begin a run that was PLANNED, under the lease of that number; True too where it has begun before.

        False where it has ended, or where it was not confirmed within the time that `wait` said.
        """
        ...

    def grant(self, run_id: str, fence: int) -> bool:
        """Note the number of the lease that a run took after it began; False where the run has ended."""
        ...

    def result(self, run_id: str, stage: Stage, unit: str) -> str | None:
        """The result of a unit that is done, or None."""
        ...

    def results(self, run_id: str, stage: Stage) -> dict[str, str]:
        """The results of every done unit of a stage, by unit."""
        ...

    def rows(self, run_id: str) -> list[StageRow]:
        """Every row of a run."""
        ...

    def idle(self, run_id: str) -> bool:
        """Whether no claim on a unit of the run stands; once it has ended, nobody writes for it any more."""
        ...

    def report(self, claim: Claim, progress: Progress) -> None:
        """Say how far a unit is."""
        ...

    def progress(self, run_id: str) -> dict[str, Progress]:
        """The latest report of each unit, by `stage:unit`."""
        ...

    def sit(self, claim: Claim) -> Seat:
        """Take the unit's seat in the current round; StageBusy where the claim is lost."""
        ...

    def round(self, run_id: str) -> int:
        """The current round, from 1."""
        ...

    def lose(self, run_id: str, number: int) -> None:
        """Begin the next round, unless it has begun; results of units that sat in this one count no more."""
        ...

    def mark(self, run_id: str, mark: str) -> None:
        """Set a mark on a run, for its stages to meet by; it stays."""
        ...

    def marks(self, run_id: str) -> frozenset[str]:
        """The marks of a run."""
        ...

    def clock_ms(self) -> float:
        """Milliseconds since 1970 by the ledger's clock, which all workers share."""
        ...

    def mark_resent(self, run_id: str, after_seconds: float) -> int | None:
        """Note that a run without a sign of life for so long is sent again; how often now, or None if it lives.

        Of a run that waits, the time counts from when it should have been looked at.
        """
        ...
