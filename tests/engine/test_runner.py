"""The guard before every stage: delivered twice it is done once, and whoever lost the right to work stops."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis

from strata.catalog.lease import FileLease
from strata.catalog.ledger import Claim, Ledger
from strata.catalog.memory_ledger import MemoryLedger
from strata.catalog.redis_ledger import RedisLedger
from strata.engine import runner as module
from strata.engine.runner import Attempt, StageRunner, Waits, is_dead, this_process
from strata.errors import BrokerUnavailable, IntegrityError, LeaseLost, RunFailed, StageBusy
from strata.model.layer import Document
from strata.model.run import Progress, Run, RunKind, RunState, Stage
from strata.testing import SettableClock

RUN = "run"


class Outcome(Document):
    """What a stage leaves."""

    text: str


@pytest.fixture(params=["memory", "redis"])
def ledger(request: pytest.FixtureRequest) -> Iterator[Ledger]:
    """An empty ledger of each kind."""
    if request.param == "memory":
        yield MemoryLedger()
        return
    with redis.Redis.from_url(request.getfixturevalue("hot_url")) as client:
        yield RedisLedger(client)


@pytest.fixture
def lease(folder: Path) -> FileLease:
    """A lease of this machine."""
    return FileLease(folder / "lease")


@pytest.fixture
def runner(ledger: Ledger, lease: FileLease) -> StageRunner:
    """A runner, and a run that holds the lease."""
    return entered(ledger, lease)


def entered(ledger: Ledger, lease: FileLease) -> StageRunner:
    """A runner over a ledger in which the run was entered."""
    now = datetime.now(UTC)
    fence = lease.acquire(RUN, "ann")
    ledger.create(
        Run(run_id=RUN, kind=RunKind.BACKUP, state=RunState.RUNNING, created_at=now, updated_at=now, fence=fence)
    )
    return StageRunner(ledger, lease, SettableClock())


def do(runner: StageRunner, work: Callable[[Attempt], Outcome]) -> str:
    """Deliver one stage once."""
    return runner.run(RUN, Stage.MERGE, "hot", Outcome, work).text


def says(text: str) -> Callable[[Attempt], Outcome]:
    """Work that leaves a text."""
    return lambda _: Outcome(text=text)


def fails(_: Attempt) -> Outcome:
    """Work that fails."""
    raise IntegrityError("the work failed")


def test_a_stage_delivered_twice_is_done_once(runner: StageRunner) -> None:
    """The second delivery gets the first one's result, and does not work."""
    assert do(runner, says("first")) == "first"
    assert do(runner, says("second")) == "first"
    assert do(runner, fails) == "first"


def test_a_stage_that_failed_can_be_tried_again_at_once(runner: StageRunner) -> None:
    """A failure is raised as it is, and gives the claim back: nobody waits for it to run out."""
    with pytest.raises(IntegrityError, match="the work failed"):
        do(runner, fails)
    assert do(runner, lambda attempt: Outcome(text=str(attempt.claim.attempt))) == "2"


def test_a_stage_that_is_being_done_is_busy(runner: StageRunner) -> None:
    """While one worker works, a second delivery raises StageBusy; once done, it gets the result."""
    began, go_on = threading.Event(), threading.Event()

    def slow(_: Attempt) -> Outcome:
        began.set()
        assert go_on.wait(10)
        return Outcome(text="slow")

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(do, runner, slow)
        assert began.wait(10)
        with pytest.raises(StageBusy):
            do(runner, says("second"))
        go_on.set()
        assert first.result() == "slow"
    assert do(runner, says("second")) == "slow"


_TAKE = """
import sys, redis
from strata.catalog.redis_ledger import RedisLedger
from strata.engine.runner import this_process
from strata.model.run import Stage
RedisLedger(redis.Redis.from_url(sys.argv[1])).take("run", Stage.MERGE, "hot", this_process())
"""


def test_a_worker_of_this_machine_that_died_is_replaced_at_once(hot_url: str, lease: FileLease) -> None:
    """The claim of a process that is gone need not run out: the next delivery here takes it over."""
    with redis.Redis.from_url(hot_url) as client:
        runner = entered(RedisLedger(client), lease)
        subprocess.run([sys.executable, "-c", _TAKE, hot_url], check=True)
        assert runner.ledger.rows(RUN)[0].owner.startswith(socket.gethostname())
        assert do(runner, lambda attempt: Outcome(text=str(attempt.claim.attempt))) == "2"


def test_a_silent_worker_elsewhere_is_waited_for(runner: StageRunner) -> None:
    """Whether a process of another machine lives cannot be known: its claim stands until it runs out."""
    runner.ledger.take(RUN, Stage.MERGE, "hot", "another-machine:1:1")
    with pytest.raises(StageBusy, match="another-machine"):
        do(runner, says("mine"))


def test_the_living_and_the_dead_are_told_apart() -> None:
    """This process lives; one of its id that began at another time does not; elsewhere nothing is known."""
    here = this_process().partition(":")[0]
    assert not is_dead(this_process())
    assert is_dead(f"{here}:{os.getpid()}:1")
    assert is_dead(f"{here}:999999999:1")
    for unknown in ("another-machine:1:1", "", here, f"{here}:", f"{here}:word:1"):
        assert not is_dead(unknown)


def test_a_machine_of_the_same_name_is_another_one() -> None:
    """Clones and containers share a name, and number their processes alike: of theirs nothing is known."""
    name, start, namespace = this_process().partition(":")[0].split("/")
    assert name == socket.gethostname()
    for other in (f"{name}/{start}x/{namespace}", f"{name}/{start}/{namespace}1", name):
        assert not is_dead(f"{other}:{os.getpid()}:1")
        assert not is_dead(f"{other}:999999999:1")


def test_a_run_without_its_lease_does_not_begin(runner: StageRunner, lease: FileLease) -> None:
    """A stage of a run whose lease is gone raises LeaseLost before it works, and gives its claim back."""
    lease.release(1)
    with pytest.raises(LeaseLost, match="run lost its lease"):
        do(runner, says("never"))
    assert runner.ledger.result(RUN, Stage.MERGE, "hot") is None
    assert isinstance(runner.ledger.take(RUN, Stage.MERGE, "hot", "next"), Claim)


@pytest.fixture
def _renews_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims and leases are renewed a hundred times a second."""
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.01)


@pytest.mark.usefixtures("_renews_often")
def test_work_stops_when_the_lease_is_lost(runner: StageRunner, lease: FileLease) -> None:
    """A run that loses its lease while it works is stopped at its next report, and leaves no result."""

    def work(attempt: Attempt) -> Outcome:
        lease.release(1)
        assert attempt.hold.lost.wait(10)
        attempt.report(Progress())
        raise AssertionError

    with pytest.raises(LeaseLost):
        do(runner, work)
    assert runner.ledger.result(RUN, Stage.MERGE, "hot") is None


@pytest.mark.usefixtures("_renews_often")
def test_work_that_never_looked_up_leaves_no_result_without_its_lease(runner: StageRunner, lease: FileLease) -> None:
    """Work that reports nothing and returns after the lease was lost does not count either."""

    def work(attempt: Attempt) -> Outcome:
        lease.release(1)
        assert attempt.hold.lost.wait(10)
        return Outcome(text="too late")

    with pytest.raises(LeaseLost):
        do(runner, work)
    assert runner.ledger.result(RUN, Stage.MERGE, "hot") is None


@pytest.mark.usefixtures("_renews_often")
def test_work_stops_when_its_claim_was_taken_over(runner: StageRunner) -> None:
    """A worker whose unit went to another that still works is told so and stops."""

    def work(attempt: Attempt) -> Outcome:
        runner.ledger.take(RUN, Stage.MERGE, "hot", "elsewhere:1:1", instead_of=this_process())
        assert attempt.hold.lost.wait(10)
        attempt.check()
        raise AssertionError

    with pytest.raises(LeaseLost, match="taken over by another worker"):
        do(runner, work)
    with pytest.raises(StageBusy, match="elsewhere"):
        do(runner, says("never"))


def overtaken(runner: StageRunner) -> None:
    """Another worker takes the unit over and finishes it."""
    claim = runner.ledger.take(RUN, Stage.MERGE, "hot", "elsewhere:1:1", instead_of=this_process())
    assert isinstance(claim, Claim)
    runner.ledger.finish(claim, Outcome(text="the winner's").model_dump_json(), 1)


def test_who_was_overtaken_goes_on_with_the_winners_result(runner: StageRunner) -> None:
    """Of two workers that did one stage both return what the first left."""

    def work(_: Attempt) -> Outcome:
        overtaken(runner)
        return Outcome(text="the loser's")

    assert do(runner, work) == "the winner's"


def test_who_fails_because_it_was_overtaken_did_not_fail(runner: StageRunner) -> None:
    """A worker that stumbles over what the winner tidied away returns the winner's result."""

    def work(attempt: Attempt) -> Outcome:
        overtaken(runner)
        return fails(attempt)

    assert do(runner, work) == "the winner's"


class SilentLedger(MemoryLedger):
    """A ledger that does not answer renewals."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Semaphore(0)

    def renew(self, claim: Claim) -> bool:  # noqa: ARG002 - whichever it is
        self.asked.release()
        raise BrokerUnavailable("the ledger does not answer")


@pytest.mark.usefixtures("_renews_often")
def test_silence_of_the_ledger_is_no_loss(lease: FileLease) -> None:
    """A ledger that does not answer for a while stops no work: the claim stands until it runs out."""
    ledger = SilentLedger()

    def work(attempt: Attempt) -> Outcome:
        assert ledger.asked.acquire(timeout=10)
        assert ledger.asked.acquire(timeout=10)
        attempt.check()
        return Outcome(text="done")

    assert do(entered(ledger, lease), work) == "done"


def test_a_run_that_ended_does_no_more_work(runner: StageRunner) -> None:
    """After its end a run's stages raise its reason, and do not work."""
    runner.ledger.end(RUN, RunState.FAILED, "HOT (Redis) went away")
    with pytest.raises(RunFailed, match="went away"):
        do(runner, says("never"))


def test_a_run_without_a_lease_of_its_own_needs_none(lease: FileLease) -> None:
    """A run that was entered without a fence works without a lease."""
    ledger, now = MemoryLedger(), datetime.now(UTC)
    ledger.create(Run(run_id=RUN, kind=RunKind.BACKUP, state=RunState.RUNNING, created_at=now, updated_at=now))
    assert do(StageRunner(ledger, lease, SettableClock()), says("done")) == "done"


def test_the_seconds_of_a_stage_are_kept(lease: FileLease) -> None:
    """How long the work took, by the clock, stands in the stage's row."""
    clock = SettableClock()
    ledger = MemoryLedger()
    entered(ledger, lease)

    def work(_: Attempt) -> Outcome:
        clock.advance(timedelta(seconds=42))
        return Outcome(text="done")

    do(StageRunner(ledger, lease, clock), work)
    assert ledger.rows(RUN)[0].seconds == 42


def test_progress_is_told_five_times_a_second_at_most(lease: FileLease) -> None:
    """However often work reports, the ledger and the watcher hear of it at most five times a second."""
    clock, heard = SettableClock(), list[int]()
    ledger = MemoryLedger()
    entered(ledger, lease)

    def work(attempt: Attempt) -> Outcome:
        for number in range(100):
            clock.advance(timedelta(milliseconds=50))
            attempt.report(Progress(records=number))
        return Outcome(text="done")

    runner = StageRunner(ledger, lease, clock, lambda _, progress: heard.append(progress.records))
    do(runner, work)
    assert 20 <= len(heard) <= 25
    assert ledger.progress(RUN) == {"merge:hot": Progress(records=heard[-1])}


def test_no_two_attempts_use_one_name(runner: StageRunner) -> None:
    """Names in the spool carry run, stage, unit and attempt, and a token where attempts are counted anew."""
    names: list[str] = []
    errors = iter([IntegrityError("no"), Waits(1, "not yet"), IntegrityError("no")])

    def work(attempt: Attempt) -> Outcome:
        names.append(attempt.name("segment", 3))
        raise next(errors)

    for _ in range(3):
        with pytest.raises((IntegrityError, Waits)):
            do(runner, work)
    assert [name[: len("run/merge.hot.1")] for name in names] == [
        "run/merge.hot.1",
        "run/merge.hot.2",
        "run/merge.hot.1",
    ]
    assert all(name.endswith("/segment/3") for name in names)
    assert len(set(names)) == 3


def test_no_renewing_outlives_its_stage(runner: StageRunner) -> None:
    """When a stage is over, done or failed, nothing renews its claim any more."""
    with pytest.raises(IntegrityError):
        do(runner, fails)
    do(runner, says("done"))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("renew")]
