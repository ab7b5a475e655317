"""Runs that wait, in every ledger: their silence means nothing, and they are found however old they are."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
import redis

from strata.catalog.ledger import MAX_ATTEMPTS, Ledger
from strata.catalog.memory_ledger import MemoryLedger
from strata.catalog.redis_ledger import RedisLedger
from strata.errors import RunFailed
from strata.model.run import Run, RunState, Stage
from tests.catalog.test_ledger import NOW, RUN, a_run, claimed


@pytest.fixture(params=["memory", "redis"])
def ledger(request: pytest.FixtureRequest) -> Iterator[Ledger]:
    """An empty ledger of each kind."""
    if request.param == "memory":
        yield MemoryLedger()
        return
    with redis.Redis.from_url(request.getfixturevalue("hot_url")) as client:
        yield RedisLedger(client)


@pytest.fixture
def run(ledger: Ledger) -> Run:
    """A run that was entered."""
    entered = a_run()
    ledger.create(entered)
    return entered


def test_a_run_that_waits_is_not_called_stalled(ledger: Ledger) -> None:
    """Until it should have been looked at, and so long after that, its silence means nothing."""
    ledger.create(a_run(created_at=NOW - timedelta(hours=1)))
    assert ledger.mark_resent(RUN, 30) == 1
    ledger.wait(RUN, 100, "a thaw")
    waiting = ledger.run(RUN)
    assert waiting
    assert waiting.waits_for == "a thaw"
    assert waiting.resent == 0
    assert waiting.wakes_at
    assert 90 < waiting.wakes_at.timestamp() - ledger.clock_ms() / 1000 < 110
    assert ledger.mark_resent(RUN, 0) is None
    ledger.wait(RUN, 0, "a thaw")
    assert ledger.mark_resent(RUN, 30) is None
    assert ledger.mark_resent(RUN, 0) == 1


def test_a_run_that_is_taken_up_waits_no_more(ledger: Ledger, run: Run) -> None:
    """Whoever works on it ends the waiting; it is still found among those that once waited, until it ends."""
    ledger.wait(RUN, 100, "a thaw")
    claimed(ledger)
    taken = ledger.run(RUN)
    assert taken
    assert (taken.wakes_at, taken.waits_for) == (None, "")
    assert [waiting.run_id for waiting in ledger.waiting()] == [RUN]
    ledger.end(RUN, RunState.DONE)
    assert ledger.waiting() == []
    ledger.wait(RUN, 100, "nothing")
    assert ledger.waiting() == []


def test_finding_that_one_has_to_wait_is_no_attempt(ledger: Ledger, run: Run) -> None:
    """A unit may be put down as often as it takes; one that kills its workers is still given up."""
    for _ in range(3 * MAX_ATTEMPTS):
        ledger.release(claimed(ledger), counted=False)
    for _ in range(MAX_ATTEMPTS):
        ledger.release(claimed(ledger))
    with pytest.raises(RunFailed, match="given up"):
        ledger.take(RUN, Stage.COLLECT, "hot", "ann")


def test_a_lease_is_granted_to_a_run_that_goes_on(ledger: Ledger, run: Run) -> None:
    """The number that a run took later is kept with it; a run that has ended takes none."""
    assert ledger.grant(RUN, 17)
    granted = ledger.run(RUN)
    assert granted
    assert granted.fence == 17
    ledger.end(RUN, RunState.FAILED, "because")
    assert not ledger.grant(RUN, 18)


def test_a_plan_takes_no_claims_until_it_is_confirmed(ledger: Ledger) -> None:
    """No stage of it can be worked on, and no sweeper sends it; once confirmed it runs under its lease."""
    ledger.create(a_run(state=RunState.PLANNED))
    ledger.wait(RUN, 100, "to be confirmed")
    with pytest.raises(RunFailed):
        claimed(ledger)
    assert ledger.mark_resent(RUN, -200) is None
    assert not ledger.grant(RUN, 7)
    assert ledger.confirm(RUN, 3)
    assert ledger.confirm(RUN, 4)
    begun = ledger.run(RUN)
    assert begun
    assert (begun.state, begun.fence, begun.wakes_at) == (RunState.RUNNING, 3, None)
    claimed(ledger)


def test_a_plan_is_confirmed_in_time_or_not_at_all(ledger: Ledger) -> None:
    """Without a time, after it, or once it was withdrawn it cannot begin."""
    ledger.create(a_run(state=RunState.PLANNED))
    assert not ledger.confirm(RUN, None)
    ledger.wait(RUN, -1, "to be confirmed")
    assert not ledger.confirm(RUN, None)
    ledger.wait(RUN, 100, "to be confirmed")
    assert ledger.end(RUN, RunState.REFUSED, "withdrawn")
    assert not ledger.confirm(RUN, None)
    ended = ledger.run(RUN)
    assert ended
    assert ended.state is RunState.REFUSED
