"""A ledger in this process's memory: for runs without a broker, and small real tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import uuid4

from strata.catalog.ledger import CLAIM_SECONDS, MAX_ATTEMPTS, Claim, Done, Seat, takes_none
from strata.clock import Clock, SystemClock
from strata.errors import RunFailed, StageBusy
from strata.model.run import COMMITS, Progress, Run, RunKind, RunState, Stage, StageRow


@dataclass
class _Row:
    owner: str = ""
    token: str | None = None
    expires: float = 0.0
    attempts: int = 0
    result: str | None = None
    seconds: float | None = None
    began: float = 0.0
    round: int | None = None
    seat: str | None = None
    before: int = 0
    """Attempts of earlier rounds, which count no more."""


@dataclass
class _Entry:
    run: Run
    rows: dict[tuple[Stage, str], _Row] = field(default_factory=dict)
    progress: dict[str, Progress] = field(default_factory=dict)
    failure: str = ""
    failure_code: str = ""
    marks: set[str] = field(default_factory=set)
    waited: bool = False
    round: int = 1


class MemoryLedger:
    """Implements Ledger for one process; thread-safe."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._entries: dict[str, _Entry] = {}
        self._lock = threading.RLock()

    def create(self, run: Run) -> None:
        with self._lock:
            if run.run_id in self._entries:
                raise RunFailed(f"a run {run.run_id} is known already")
            self._entries[run.run_id] = _Entry(run)

    def run(self, run_id: str) -> Run | None:
        entry = self._entries.get(run_id)
        return entry.run if entry else None

    def runs(self, limit: int) -> list[Run]:
        runs = sorted((entry.run for entry in self._entries.values()), key=lambda run: run.created_at, reverse=True)
        return runs[:limit]

    def restores(self) -> list[Run]:
        return [run for run in self.runs(len(self._entries)) if run.kind is RunKind.RESTORE]

    def end(self, run_id: str, state: RunState, reason: str = "", code: str = "") -> bool:
        with self._changing(run_id) as entry:
            if entry.run.state.final or (state is RunState.FAILED and _committing(entry, self.clock_ms() / 1000)):
                return False
            entry.run = entry.run.model_copy(update={"state": state, "reason": reason, "code": code})
            return True

    def note_failure(self, run_id: str, reason: str, code: str = "") -> None:
        with self._lock:
            entry = self._entries.get(run_id)
            if entry and not entry.failure:
                entry.failure, entry.failure_code = reason, code

    def failure(self, run_id: str) -> str:
        entry = self._entries.get(run_id)
        return entry.failure if entry else ""

    def failure_code(self, run_id: str) -> str:
        entry = self._entries.get(run_id)
        return entry.failure_code if entry else ""

    def take(self, run_id: str, stage: Stage, unit: str, owner: str, *, instead_of: str | None = None) -> Claim | Done:
        with self._changing(run_id) as entry:
            row = entry.rows.setdefault((stage, unit), _Row())
            if row.result is not None:
                return Done(row.result)
            if entry.run.state is not RunState.RUNNING:
                raise takes_none(run_id, entry.run.state, entry.run.reason)
            now = self._clock.now().timestamp()
            if row.token and row.expires > now and row.owner != instead_of:
                raise StageBusy(f"{stage} {unit} is being done by {row.owner}")
            if row.attempts - row.before >= MAX_ATTEMPTS:
                raise RunFailed(f"{stage} {unit} was given up after {row.attempts} attempts")
            row.owner, row.token, row.expires, row.began = owner, uuid4().hex, now + CLAIM_SECONDS, now
            row.attempts += 1
            entry.run = entry.run.model_copy(update={"wakes_at": None, "waits_for": ""})
            return Claim(run_id, stage, unit, row.token, row.attempts)

    def renew(self, claim: Claim) -> bool:
        with self._changing(claim.run_id) as entry:
            row = entry.rows[claim.stage, claim.unit]
            kept = row.token == claim.token and not entry.run.state.final
            if kept:
                row.expires = self._clock.now().timestamp() + CLAIM_SECONDS
            return kept

    def finish(self, claim: Claim, result: str, seconds: float) -> str:
        with self._changing(claim.run_id) as entry:
            row = entry.rows[claim.stage, claim.unit]
            if row.result is not None:
                return row.result
            if row.token != claim.token:
                raise StageBusy(f"{claim.stage} {claim.unit} went to {row.owner}")
            row.token, row.result, row.seconds = None, result if row.round in {None, entry.round} else None, seconds
            return result

    def release(self, claim: Claim, *, counted: bool = True) -> None:
        with self._changing(claim.run_id) as entry:
            row = entry.rows[claim.stage, claim.unit]
            if row.token == claim.token:
                row.token, row.attempts = None, row.attempts if counted else 0

    def wait(self, run_id: str, seconds: float, why: str) -> None:
        with self._changing(run_id) as entry:
            if not entry.run.state.final:
                wakes = self._clock.now() + timedelta(seconds=seconds)
                update = {"wakes_at": wakes, "waits_for": why, "resent": 0}
                entry.run, entry.waited = entry.run.model_copy(update=update), True

    def waiting(self) -> list[Run]:
        entries = list(self._entries.values())
        return [entry.run for entry in entries if entry.waited and not entry.run.state.final]

    def confirm(self, run_id: str, fence: int | None) -> bool:
        with self._changing(run_id) as entry:
            run = entry.run
            if run.state is not RunState.PLANNED:
                return run.state is RunState.RUNNING
            if run.wakes_at is None or run.wakes_at < self._clock.now():
                return False
            update = {"state": RunState.RUNNING, "wakes_at": None, "waits_for": "", "fence": fence}
            entry.run = run.model_copy(update=update)
            return True

    def grant(self, run_id: str, fence: int) -> bool:
        with self._changing(run_id) as entry:
            if entry.run.state is not RunState.RUNNING:
                return False
            entry.run = entry.run.model_copy(update={"fence": fence})
            return True

    def result(self, run_id: str, stage: Stage, unit: str) -> str | None:
        row = self._rows(run_id).get((stage, unit))
        return row.result if row else None

    def results(self, run_id: str, stage: Stage) -> dict[str, str]:
        rows = list(self._rows(run_id).items())
        return {unit: row.result for (at, unit), row in rows if at is stage and row.result is not None}

    def rows(self, run_id: str) -> list[StageRow]:
        return [
            StageRow(
                stage=stage,
                unit=unit,
                done=row.result is not None,
                owner=row.owner,
                attempts=row.attempts,
                seconds=row.seconds,
                began=row.began,
            )
            for (stage, unit), row in list(self._rows(run_id).items())
        ]

    def idle(self, run_id: str) -> bool:
        now = self._clock.now().timestamp()
        return not any(row.token and row.expires > now for row in list(self._rows(run_id).values()))

    def report(self, claim: Claim, progress: Progress) -> None:
        with self._changing(claim.run_id) as entry:
            entry.progress[f"{claim.stage}:{claim.unit}"] = progress

    def progress(self, run_id: str) -> dict[str, Progress]:
        entry = self._entries.get(run_id)
        return dict(entry.progress) if entry else {}

    def sit(self, claim: Claim) -> Seat:
        with self._changing(claim.run_id) as entry:
            row = entry.rows[claim.stage, claim.unit]
            if row.token != claim.token:
                raise StageBusy(f"{claim.stage} {claim.unit} went to {row.owner}")
            if row.round != entry.round:
                row.round, row.seat, row.before = entry.round, row.token, row.attempts - 1
            return Seat(entry.round, taken=row.seat != row.token)

    def round(self, run_id: str) -> int:
        with self._lock:
            return self._known(run_id).round

    def lose(self, run_id: str, number: int) -> None:
        with self._changing(run_id) as entry:
            if entry.round == number and not entry.run.state.final:
                entry.round += 1
                for row in entry.rows.values():
                    row.result = row.result if row.round is None else None

    def mark(self, run_id: str, mark: str) -> None:
        with self._changing(run_id) as entry:
            entry.marks.add(mark)

    def marks(self, run_id: str) -> frozenset[str]:
        with self._lock:
            return frozenset(self._known(run_id).marks)

    def clock_ms(self) -> float:
        return self._clock.now().timestamp() * 1000

    def mark_resent(self, run_id: str, after_seconds: float) -> int | None:
        with self._lock:
            run = self._known(run_id).run
            heard = max(run.updated_at, run.wakes_at or run.updated_at)
            if run.state.final or (self._clock.now() - heard).total_seconds() < after_seconds:
                return None
            if run.state is not RunState.RUNNING:
                return None
            update = {"resent": run.resent + 1, "updated_at": self._clock.now()}
            self._entries[run_id].run = run.model_copy(update=update)
            return run.resent + 1

    @contextmanager
    def _changing(self, run_id: str) -> Iterator[_Entry]:
        with self._lock:
            entry = self._known(run_id)
            ended = entry.run.state.final
            yield entry
            if not ended:
                entry.run = entry.run.model_copy(update={"updated_at": self._clock.now()})

    def _known(self, run_id: str) -> _Entry:
        entry = self._entries.get(run_id)
        if entry is None:
            raise RunFailed(f"no run {run_id} is known here")
        return entry

    def _rows(self, run_id: str) -> dict[tuple[Stage, str], _Row]:
        entry = self._entries.get(run_id)
        return entry.rows if entry else {}


def _committing(entry: _Entry, now: float) -> bool:
    rows = [row for (stage, _), row in entry.rows.items() if stage in COMMITS]
    return any(row.result is not None or (row.token and row.expires > now) for row in rows)
