"""How a run stands, in lines: read from what its ledger says of its stages."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Final

from strata.catalog.ledger import Ledger
from strata.cli.output import size
from strata.cli.thawing import waits
from strata.model.plan import BackupPlan, CopyPlan, PruneOrder, RestorePlan
from strata.model.run import Progress, Run, RunKind, Stage, StageRow
from strata.model.ticket import Collected, Merged

_UNIT_STAGES: Final = (Stage.COMPRESS, Stage.ENCRYPT, Stage.STORE)
_TELLING: Final = {Stage.COLLECT, Stage.MERGE, Stage.VERIFY, Stage.THAW, Stage.CHECK, Stage.APPLY}
"""Stages whose result says more than that they are done."""


class LineState(StrEnum):
    """Where a line's stage stands."""

    WAITING = "waiting"
    WORKING = "working"
    DONE = "done"


@dataclass(frozen=True)
class Line:
    """One stage of a run: what it has done so far, and which share of it (where that can be known)."""

    name: str
    state: LineState
    detail: str = ""
    seconds: float | None = None
    share: float | None = None


@dataclass(frozen=True)
class Sight:
    """What the ledger says of a run at one moment."""

    run: Run
    rows: list[StageRow]
    progress: dict[str, Progress]
    results: dict[tuple[Stage, str], str] = field(default_factory=dict)

    def lines(self) -> list[Line]:
        """The run's stages, in their order; none where it was refused."""
        if not self.run.plan:
            return []
        lines = {
            RunKind.BACKUP: _backup_lines,
            RunKind.RESTORE: _restore_lines,
            RunKind.COPY: _copy_lines,
            RunKind.PRUNE: _prune_lines,
        }
        return list(lines[self.run.kind](self))

    def of(self, stage: Stage, unit: str | None = None) -> list[StageRow]:
        """The rows of a stage, or of one unit of it."""
        return [row for row in self.rows if row.stage is stage and unit in {None, row.unit}]

    def told(self, stage: Stage, unit: str = "") -> Progress:
        """How far a unit said it was."""
        return self.progress.get(f"{stage}:{unit}", Progress())


class Watch:
    """Looks at one run; the few results it needs are asked of the ledger once."""

    def __init__(self, ledger: Ledger, run_id: str) -> None:
        self._ledger, self._run_id = ledger, run_id
        self._results: dict[tuple[Stage, str], str] = {}

    def look(self) -> Sight | None:
        """How the run stands now; None before any worker has taken it."""
        run = self._ledger.run(self._run_id)
        if run is None:
            return None
        rows = self._ledger.rows(self._run_id)
        for row in rows:
            key = row.stage, row.unit
            if row.done and row.stage in _TELLING and key not in self._results:
                self._results[key] = self._ledger.result(self._run_id, *key) or ""
        return Sight(run, rows, self._ledger.progress(self._run_id), dict(self._results))


def _backup_lines(sight: Sight) -> Iterator[Line]:
    plan = BackupPlan.model_validate_json(sight.run.plan)
    if baselines := sight.of(Stage.BASELINE):
        yield _line(Stage.BASELINE, baselines)
    for part in plan.included:
        yield _collect_line(sight, part.tier)
    merged = sight.results.get((Stage.MERGE, ""))
    units = _units(merged) if merged else None
    yield _line(Stage.MERGE, sight.of(Stage.MERGE), "" if units is None else f"{units} objects to store")
    for stage in _UNIT_STAGES:
        yield _unit_line(sight, stage, units)
    yield _proof_line(sight, Stage.VERIFY)
    yield _line(Stage.RECORD, sight.of(Stage.RECORD))


def _restore_lines(sight: Sight) -> Iterator[Line]:
    plan = RestorePlan.model_validate_json(sight.run.plan)
    if plan.thaw:
        yield _thaw_line(sight)
    yield _proof_line(sight, Stage.CHECK)
    for tier in plan.tiers:
        result = sight.results.get((Stage.APPLY, tier))
        told = _applied(result) if result else sight.told(Stage.APPLY, tier)
        name = f"{Stage.APPLY} {tier}"
        detail = _records(told) if told.records else ""
        yield _line(name, sight.of(Stage.APPLY, tier), detail, _share(told.records, told.total))
    yield _line(Stage.FINISH, sight.of(Stage.FINISH))


def _copy_lines(sight: Sight) -> Iterator[Line]:
    plan = CopyPlan.model_validate_json(sight.run.plan)
    rows = sight.of(Stage.COPY)
    done = {row.unit for row in rows if row.done}
    told = [sight.told(Stage.COPY, f"{part.number}") for part in plan.parts if f"{part.number}" not in done]
    there = [part for part in plan.parts if f"{part.number}" in done]
    objects = sum(part.objects for part in there) + sum(one.objects for one in told)
    size_there = sum(part.bytes for part in there) + sum(one.bytes for one in told)
    if plan.parts:
        detail = f"{objects} of {plan.objects} objects, {size(size_there)}"
        state = LineState.DONE if len(done) == len(plan.parts) else LineState.WORKING if rows else LineState.WAITING
        yield Line(f"copy to {plan.target}", state, detail, _span(rows), _share(objects, plan.objects))
    yield _line(Stage.COMMIT, sight.of(Stage.COMMIT))


def _prune_lines(sight: Sight) -> Iterator[Line]:
    yield _line(Stage.MARK, sight.of(Stage.MARK))
    for tier in PruneOrder.model_validate_json(sight.run.plan).stores:
        told = sight.told(Stage.SWEEP, tier)
        detail = f"{told.objects} of {told.total} objects, {size(told.bytes)}" if told.total else ""
        yield _line(f"{Stage.SWEEP} {tier}", sight.of(Stage.SWEEP, tier), detail, _share(told.objects, told.total))
    yield _line(Stage.FINISH, sight.of(Stage.FINISH))


def _collect_line(sight: Sight, tier: str) -> Line:
    result = sight.results.get((Stage.COLLECT, tier))
    told = _collected(result) if result else sight.told(Stage.COLLECT, tier)
    line = _line(f"{Stage.COLLECT} {tier}", sight.of(Stage.COLLECT, tier))
    rate = f", {size(told.bytes / line.seconds)}/s" if line.seconds and told.bytes else ""
    detail = _records(told) + rate if told.records or result else ""
    return Line(line.name, line.state, detail, line.seconds, line.share)


def _proof_line(sight: Sight, stage: Stage) -> Line:
    result = sight.results.get((stage, ""))
    told = _proved(result) if result else sight.told(stage)
    detail = f"{told.objects} of {told.total} objects, {size(told.bytes)}" if told.total else ""
    return _line(stage, sight.of(stage), detail, _share(told.objects, told.total))


def _thaw_line(sight: Sight) -> Line:
    rows, told = sight.of(Stage.THAW), sight.told(Stage.THAW)
    if any(row.done for row in rows):
        return _proof_line(sight, Stage.THAW)
    return _line(Stage.THAW, rows, waits(sight.run), _share(told.objects, told.total))


def _unit_line(sight: Sight, stage: Stage, units: int | None) -> Line:
    rows = sight.of(stage)
    done = sum(row.done for row in rows)
    if units is None:
        return Line(stage.value, LineState.WAITING)
    state = LineState.DONE if done >= units else LineState.WORKING if rows else LineState.WAITING
    return Line(stage.value, state, f"{done} of {units} objects", _span(rows), _share(done, units))


def _line(name: str, rows: list[StageRow], detail: str = "", share: float | None = None) -> Line:
    if not rows:
        return Line(str(name), LineState.WAITING)
    state = LineState.DONE if all(row.done for row in rows) else LineState.WORKING
    return Line(str(name), state, detail, _span(rows), 1.0 if state is LineState.DONE else share)


def _span(rows: list[StageRow]) -> float | None:
    """Seconds from the first unit's beginning to the last one's end, or until now."""
    if not rows:
        return None
    ends = [row.began + row.seconds if row.seconds is not None else time.time() for row in rows]
    return max(max(ends) - min(row.began for row in rows), 0.0)


def _records(told: Progress) -> str:
    return f"{told.records:,} records, {size(told.bytes)}"


def _share(done: int, total: int) -> float | None:
    return min(done / total, 1.0) if total else None


@cache
def _collected(result: str) -> Progress:
    collected = Collected.model_validate_json(result)
    return Progress(records=collected.records, bytes=collected.logical_bytes)


@cache
def _proved(result: str) -> Progress:
    proved = json.loads(result)
    return Progress(objects=proved["objects"], total=proved["objects"], bytes=proved["bytes"])


@cache
def _applied(result: str) -> Progress:
    applied = json.loads(result)
    return Progress(records=applied["written"] + applied["unchanged"] + applied["expired"], bytes=applied["bytes"])


@cache
def _units(result: str) -> int:
    return len(Merged.model_validate_json(result).objects)
