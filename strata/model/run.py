"""A run: one backup, restore, copy or prune on its way, as the ledger knows it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final

from strata.model.layer import Document


class RunKind(StrEnum):
    """What a run does."""

    BACKUP = "backup"
    RESTORE = "restore"
    COPY = "copy"
    PRUNE = "prune"


class RunState(StrEnum):
    """Where a run stands; the last three are final."""

    PLANNED = "PLANNED"
    """Its plan is entered and waits for the person who asked to confirm it; until then nothing is done."""
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"
    REFUSED = "REFUSED"
    """It never began: another run held the lease, or its plan could not be made."""

    @property
    def final(self) -> bool:
        """Whether nothing more happens to the run."""
        return self not in {RunState.PLANNED, RunState.RUNNING}


class Stage(StrEnum):
    """The stages, in their order; one task each."""

    BASELINE = "baseline"
    COLLECT = "collect"
    MERGE = "merge"
    COMPRESS = "compress"
    ENCRYPT = "encrypt"
    STORE = "store"
    VERIFY = "verify"
    RECORD = "record"
    THAW = "thaw"
    CHECK = "check"
    APPLY = "apply"
    FINISH = "finish"
    COPY = "copy"
    COMMIT = "commit"
    MARK = "mark"
    SWEEP = "sweep"


COMMITS: Final = (Stage.RECORD, Stage.FINISH, Stage.COMMIT)
"""The last stage of each kind of run: once it has begun, the run may have happened."""


class Run(Document):
    """One run: `plan` is its BackupPlan, RestorePlan, CopyPlan or PruneOrder as JSON, `fence` its lease's number."""

    run_id: str
    kind: RunKind
    state: RunState
    reason: str = ""
    code: str = ""
    """The code of the error behind the reason, where it was a deliberate one (strata.errors)."""
    created_at: datetime
    updated_at: datetime
    """When it last moved; of a run that has ended, when it ended."""
    plan: str = ""
    fence: int | None = None
    resent: int = 0
    """How often the sweeper has sent it again."""
    wakes_at: datetime | None = None
    """When it is looked at again, where it waits without holding a worker or the lease."""
    waits_for: str = ""
    """What it waits for, in words."""


class StageRow(Document):
    """What a run's ledger says of one unit of one stage."""

    stage: Stage
    unit: str
    done: bool
    owner: str
    attempts: int
    seconds: float | None = None
    began: float = 0.0
    """Seconds since the epoch."""


class Progress(Document):
    """How far a unit is: records and value bytes so far, or objects of `total`."""

    records: int = 0
    bytes: int = 0
    objects: int = 0
    total: int = 0
