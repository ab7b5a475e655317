"""The tiers of a backup are of one moment, whoever has to collect a tier again; or the backup fails, or says so."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from strata.catalog import memory_ledger
from strata.engine import meeting
from strata.engine.local import backup_here
from strata.engine.meeting import call_round
from strata.engine.parallel import in_parallel
from strata.errors import RunFailed, SourceUnavailable, StageBusy
from strata.model.backup_type import BackupType
from strata.model.manifest import BackupMetadata
from strata.model.run import RunState, Stage
from strata.model.scope import Scope
from strata.model.tier import Tier
from strata.planning.rounds import Rounds, Torn
from strata.sources.port import ALL_KEYS, Baseline
from strata.testing import MemoryRecord, MemorySession, MemorySource
from tests.engine.workbench import RUN, Workbench

STEPS = ("connect", "cut", "read")
KEY = ("0", b"generation")

Fault = Callable[[], None]


class Killed(BaseException):
    """The worker's process is gone: nothing is tidied, no claim is given up."""


@dataclass
class Application:
    """Writes the next number into all tiers whenever anybody looks at one, unless it is paused. Implements Pause."""

    seconds: float = 5.0
    generation: int = 0
    paused: bool = False
    calls: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> int:
        """What all tiers hold."""
        with self.lock:
            self.generation += not self.paused
            return self.generation

    def begin(self, _: str) -> None:
        with self.lock:
            self.calls.append("begin")
            self.paused = True

    def holds(self, _: str) -> bool:
        return self.paused

    def end(self, _: str) -> None:
        with self.lock:
            self.calls.append("end")
            self.paused = False


class LinkedSource(MemorySource):
    """A tier of that application; each step of its collection has the faults that a test put there, each once."""

    def __init__(self, tier: Tier, application: Application) -> None:
        super().__init__(tier)
        self.application, self.faults = application, {step: deque[Fault]() for step in STEPS}

    def come_to(self, step: str) -> None:
        """Have the next fault of a step."""
        with suppress(IndexError):
            self.faults[step].popleft()()

    @contextmanager
    def connect(self) -> Iterator[MemorySession]:
        self.come_to("connect")
        yield LinkedSession(self)


@dataclass(frozen=True)
class LinkedSession(MemorySession):
    """Reads what the tier held at the cut."""

    source: LinkedSource

    def cut(self, scope: Scope = ALL_KEYS) -> dict[str, Any]:
        self.source.come_to("cut")
        held = {KEY: MemoryRecord(b"%d" % self.source.application.now())}
        self.source.records = held
        return super().cut(scope)

    def read(self, scope: Scope, baseline: Baseline | None = None) -> Iterator[Any]:
        items = list(super().read(scope, baseline))
        self.source.come_to("read")
        yield from items


@dataclass
class Linked:
    """Tiers that belong together, and the engine on them."""

    application: Application
    tiers: dict[Tier, LinkedSource]
    bench: Workbench

    def backup(self, processes: int = len(Tier)) -> BackupMetadata:
        """A backup, as workers make it: what was killed comes again, and so does what failed for a passing reason."""
        manager = self.bench.manager
        if manager.ledger.run(RUN) is None:
            manager.start(BackupType.FULL, RUN)
        while not manager.is_collected(RUN):
            call_round(manager.ledger, RUN)
            in_parallel(self._collected, list(Tier), processes)
        return backup_here(manager, BackupType.FULL, RUN)

    def _collected(self, tier: Tier) -> None:
        while True:
            try:
                self.bench.manager.collect(RUN, tier)
            except (Killed, SourceUnavailable):
                continue
            except StageBusy:
                time.sleep(0.01)
                continue
            except RunFailed as error:
                self.bench.ledger.note_failure(RUN, error.sentence, error.code)
                raise
            return

    def held(self) -> set[bytes]:
        """What a restore of the backup brings into the tiers."""
        for source in self.tiers.values():
            source.records = {}
        self.bench.restore()
        return {source.records[KEY].value for source in self.tiers.values()}


Make = Callable[..., Linked]


@pytest.fixture
def linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """The application, its tiers and the engine; the claim of a worker that was killed can be had at once."""
    monkeypatch.setattr(memory_ledger, "CLAIM_SECONDS", 0.3)

    def make(rounds: Rounds | None = None, seconds: float = 20.0, pause_seconds: float = 5.0) -> Linked:
        application = Application(pause_seconds)
        tiers = {tier: LinkedSource(tier, application) for tier in Tier}
        bench = Workbench(tmp_path, dict(tiers), meeting_seconds=seconds, pause=application, rounds=rounds or Rounds())
        return Linked(application, tiers, bench)

    return make


def fail() -> None:
    """The source fails, and a retry may help."""
    raise SourceUnavailable("it stopped answering")


def die() -> None:
    """The worker is killed."""
    raise Killed


def test_a_backup_is_of_one_moment_and_paused_once(linked: Make) -> None:
    """Nothing goes wrong: one round, one pause, one state in all tiers, and no doubt."""
    made = linked().backup()
    assert made.cut_doubts == ()


@pytest.mark.parametrize("processes", [1, 2])
def test_fewer_processes_than_tiers_make_a_backup_of_one_point(
    linked: Make, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits collects what nobody comes for, in the first round."""
    monkeypatch.setattr(meeting, "HELP_SECONDS", 0.1)
    there = linked()
    made = there.backup(processes)
    assert len(there.held()) == 1
    assert made.cut_doubts == ()
    assert there.application.calls.count("begin") == 1


def test_a_tier_that_cannot_be_read_where_others_wait_is_waited_for(
    linked: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong with it is told by its own task: here it failed once for its helper, and comes in time."""
    monkeypatch.setattr(meeting, "HELP_SECONDS", 0.1)
    there = linked(seconds=3.0)
    there.tiers[Tier.COLD].faults["connect"] += [fail, fail]
    made = there.backup(2)
    assert len(there.held()) == 1
    assert made.cut_doubts == ()


@pytest.mark.parametrize("fault", [fail, die])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("tier", Tier)
def test_a_tier_that_is_collected_again_is_collected_with_all_others(
    linked: Make, tier: Tier, step: str, fault: Fault
) -> None:
    """Whichever tier it is, before or after its cut: the backup holds one state, of one pause, without a doubt."""
    there = linked()
    there.tiers[tier].faults[step].append(fault)
    made = there.backup()
    assert len(there.held()) == 1
    assert made.cut_doubts == ()
    assert not there.application.paused
    lost = 0 if step == "connect" else 1  # before it is ready nobody has cut
    assert there.application.calls.count("begin") == 1 + lost


def test_tiers_that_are_lost_one_after_the_other_are_one_point_in_the_end(linked: Make) -> None:
    """A fault in each of several rounds: each costs a round, and the last one counts."""
    there = linked()
    for tier, step, fault in ((Tier.COLD, "read", die), (Tier.HOT, "read", fail), (Tier.WARM, "cut", die)):
        there.tiers[tier].faults[step].append(fault)
    began = time.monotonic()
    made = there.backup()
    assert time.monotonic() - began < 15  # nobody waits at a meeting that the others left
    assert len(there.held()) == 1
    assert made.cut_doubts == ()


def test_a_collector_that_reads_gives_up_when_its_round_is_lost(linked: Make) -> None:
    """It need not read to the end what counts no more."""
    there, lost = linked(), threading.Event()

    def lose() -> None:
        lost.set()
        fail()

    def read_long() -> None:
        assert lost.wait(10)
        while there.bench.ledger.round(RUN) == 1:
            time.sleep(0.01)
        time.sleep(1.1)  # a reader looks once a second

    there.tiers[Tier.WARM].faults["read"].append(lose)
    there.tiers[Tier.HOT].faults["read"].append(read_long)
    there.backup()
    assert len(there.held()) == 1
    rows = {(row.stage, row.unit): row for row in there.bench.ledger.rows(RUN)}
    assert rows[Stage.COLLECT, "hot"].attempts == 2


def test_a_pause_that_ends_too_early_is_taken_again(linked: Make) -> None:
    """Somebody ended it between two cuts: they are not one point, and all are cut again under another pause."""
    there = linked()
    there.tiers[Tier.COLD].faults["cut"].append(lambda: there.application.end("by hand"))
    made = there.backup()
    assert len(there.held()) == 1
    assert made.cut_doubts == ()
    assert there.application.calls.count("begin") == 2


def test_cuts_that_take_longer_than_a_pause_may_last_are_taken_again(linked: Make) -> None:
    """The application is let go on in time; the cut that came after that counts no more, nor do the others."""
    there = linked(pause_seconds=0.2)

    def wait_for_the_end() -> None:
        while there.application.paused:
            time.sleep(0.01)

    there.tiers[Tier.WARM].faults["cut"].append(wait_for_the_end)
    made = there.backup()
    assert len(there.held()) == 1
    assert made.cut_doubts == ()


def test_a_tier_that_is_late_is_waited_for_in_the_next_round(linked: Make) -> None:
    """Nobody cuts without it: the round is lost, and in the next all come."""
    there = linked(seconds=0.2)

    def be_late() -> None:
        while there.bench.ledger.round(RUN) == 1:
            time.sleep(0.01)

    there.tiers[Tier.WARM].faults["connect"].append(be_late)
    made = there.backup()
    assert len(there.held()) == 1
    assert made.cut_doubts == ()


def test_a_backup_whose_every_round_is_lost_fails(linked: Make) -> None:
    """It is not recorded, and the reason says what was lost and what to do."""
    there = linked(Rounds(3))
    there.tiers[Tier.WARM].faults["read"].extend([fail] * 3)
    with pytest.raises(RunFailed, match="not be cut together in 3 rounds: WARM"):
        there.backup()
    there.bench.manager.abandon(RUN)
    run = there.bench.ledger.run(RUN)
    assert run is not None
    assert run.state is RunState.FAILED
    assert "WARM" in run.reason
    assert not there.application.paused
    assert there.bench.stored("manifests/") == []


def test_a_backup_whose_every_round_is_lost_says_so_where_that_is_wanted(linked: Make) -> None:
    """With `tell` it is recorded, and the manifest says which tier may be of another moment, and why.

    That tier failed after the application had gone on, so it holds a later state than the two others.
    """
    there = linked(Rounds(3, Torn.TELL))

    def fail_after_the_pause() -> None:
        while there.application.paused:
            time.sleep(0.01)
        fail()

    there.tiers[Tier.WARM].faults["read"].extend([fail, fail, fail_after_the_pause])
    made = there.backup()
    assert len(there.held()) == 2
    (doubt,) = made.cut_doubts
    assert doubt.startswith("WARM (PostgreSQL) may be of another moment")
    assert "collected again" in doubt
    assert not there.application.paused


def test_an_emergency_waits_for_nobody(linked: Make) -> None:
    """It loses no round and asks for no pause: a tier that is collected again is cut alone, and the moments say so."""
    there = linked()
    manager = there.bench.manager
    manager.start(BackupType.EMERGENCY, RUN)
    for tier in Tier:
        manager.collect(RUN, tier)
    assert there.bench.ledger.round(RUN) == 1
    made = backup_here(manager, BackupType.EMERGENCY, RUN)
    assert there.application.calls == []
    assert made.cut_doubts == ()
    assert made.skew_ms is not None
    assert made.skew_ms > 0


def test_the_moments_span_everything_that_was_read(linked: Make) -> None:
    """The skew reaches from the first cut to the last moment that anything is of."""
    made = linked().backup()
    firsts, lasts = ([content.cut[name] for content in made.tiers] for name in ("first_ms", "last_ms"))
    assert all(first <= last for first, last in zip(firsts, lasts, strict=True))
    assert made.skew_ms == pytest.approx(max(lasts) - min(firsts), abs=0.01)


def test_a_tier_that_waits_for_one_that_failed_says_so_of_itself(linked: Make) -> None:
    """COLD was well: its own sentence says that it was not collected, and why."""
    bench = linked().bench
    bench.manager.start(BackupType.FULL, RUN)
    bench.ledger.note_failure(RUN, "HOT (Redis) refuses")
    with pytest.raises(RunFailed) as failed:
        bench.manager.collect(RUN, Tier.COLD)
    assert failed.value.sentence == "COLD (S3) was not collected because the backup fails: HOT (Redis) refuses"
