"""A worker's hold on its unit: trusted for a while after each renewal, and proved anew before it is trusted longer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from strata.catalog.lease import FileLease
from strata.catalog.ledger import CLAIM_SECONDS, SILENT_SECONDS, Claim
from strata.catalog.memory_ledger import MemoryLedger
from strata.clock import Stopwatch, SystemClock
from strata.engine.hold import Hold
from strata.errors import BrokerUnavailable, LeaseLost
from strata.model.run import Run, RunKind, RunState, Stage
from strata.s3client import CONNECT_SECONDS, READ_SECONDS
from strata.testing import SettableClock

RUN = "run"
TOO_LONG = timedelta(seconds=SILENT_SECONDS + 1)


class CountingLedger(MemoryLedger):
    """Counts renewals; does not answer them while it is `silent`."""

    def __init__(self) -> None:
        super().__init__()
        self.renewals = 0
        self.silent = False

    def renew(self, claim: Claim) -> bool:
        self.renewals += 1
        if self.silent:
            raise BrokerUnavailable("the ledger does not answer")
        return super().renew(claim)


class Bench:
    """A run that holds its lease, and one unit of it that this worker has claimed."""

    def __init__(self, folder: Path) -> None:
        self.ledger, self.lease, self.clock = CountingLedger(), FileLease(folder / "lease"), SettableClock()
        now, self.fence = datetime.now(UTC), self.lease.acquire(RUN, "ann")
        self.ledger.create(
            Run(
                run_id=RUN,
                kind=RunKind.RESTORE,
                state=RunState.RUNNING,
                created_at=now,
                updated_at=now,
                fence=self.fence,
            )
        )
        since = Stopwatch(self.clock)
        claim = self.ledger.take(RUN, Stage.APPLY, "hot", "here:1:1")
        assert isinstance(claim, Claim)
        self.hold = Hold(claim, self.fence, self.ledger, self.lease, self.clock, since)


@pytest.fixture
def bench(folder: Path) -> Bench:
    """A fresh one."""
    return Bench(folder)


def test_nobody_is_asked_while_the_last_renewal_is_young(bench: Bench) -> None:
    """Up to SILENT_SECONDS after a renewal a check costs a look at the clock."""
    bench.clock.advance(timedelta(seconds=SILENT_SECONDS))
    bench.hold.check()
    assert bench.ledger.renewals == 0


def test_after_a_silence_the_hold_is_renewed_before_anything_is_written(bench: Bench) -> None:
    """Later a check renews first, and from then on the hold is young again."""
    bench.clock.advance(TOO_LONG)
    bench.hold.check()
    bench.hold.check()
    assert bench.ledger.renewals == 1


@pytest.mark.parametrize("taken", ["claim", "lease", "run"])
def test_a_hold_that_went_to_another_permits_nothing_more(bench: Bench, taken: str) -> None:
    """After a silence the claim taken over, the lease given to another or the run ended is LeaseLost, for good."""
    bench.clock.advance(TOO_LONG)
    match taken:
        case "claim":
            bench.ledger.take(RUN, Stage.APPLY, "hot", "there:1:1", instead_of="here:1:1")
        case "lease":
            bench.lease.release(bench.fence)
        case "run":
            bench.ledger.end(RUN, RunState.FAILED, "given up")
    for _ in range(2):
        with pytest.raises(LeaseLost, match="writes nothing more") as caught:
            bench.hold.check()
        assert not caught.value.retryable


def test_a_claim_is_not_renewed_once_its_run_has_ended(bench: Bench) -> None:
    """What has ended is not kept alive, though nobody else has taken the unit."""
    bench.ledger.end(RUN, RunState.FAILED, "given up")
    assert not bench.hold.renew()
    assert bench.hold.lost.is_set()


def test_without_an_answer_nothing_is_written_after_the_claim_has_run_out(bench: Bench) -> None:
    """While nobody answers, a check does not return; when the claim has run out, it is LeaseLost."""
    bench.ledger.silent = True
    bench.clock.advance(timedelta(seconds=CLAIM_SECONDS + 1))
    with pytest.raises(LeaseLost):
        bench.hold.check()


def test_silence_before_the_claim_runs_out_loses_nothing(bench: Bench) -> None:
    """A ledger that answers again in time finds the hold as it was."""
    bench.ledger.silent = True
    bench.clock.advance(timedelta(seconds=CLAIM_SECONDS))
    assert not bench.hold.renew()
    bench.ledger.silent = False
    bench.hold.check()


def test_the_longest_request_ends_before_the_claim_runs_out() -> None:
    """What begins at the last moment at which it may is over when another can take the claim."""
    assert SILENT_SECONDS + CONNECT_SECONDS + READ_SECONDS <= CLAIM_SECONDS


class LeapingClock(SettableClock):
    """A machine that its hypervisor paused: only the time of day, set right afterwards, shows it."""

    def monotonic(self) -> float:
        return 0.0


def test_a_span_is_told_by_the_clock_that_saw_more_of_it() -> None:
    """Where the monotonic clock stood still, the time of day counts; where that was set back, the monotonic one."""
    paused, turned = LeapingClock(), SettableClock()
    watches = Stopwatch(paused), Stopwatch(turned)
    paused.advance(timedelta(seconds=50))
    turned.advance(timedelta(seconds=70))
    turned._moment -= timedelta(hours=1)  # set back by hand
    assert [watch.seconds for watch in watches] == [50, 70]


def test_the_systems_clock_goes_on_while_the_machine_is_suspended() -> None:
    """On Linux spans are measured by CLOCK_BOOTTIME, which counts suspension."""
    import time

    if not hasattr(time, "CLOCK_BOOTTIME"):
        pytest.skip("there is no such clock here")
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= SystemClock().monotonic() <= time.clock_gettime(time.CLOCK_BOOTTIME)
