"""One contract for every ledger: at-least-once delivery, exactly-once effect."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from strata.catalog import memory_ledger, redis_ledger
from strata.catalog.lease import RedisLease
from strata.catalog.ledger import MAX_ATTEMPTS, Claim, Done, Ledger, Seat
from strata.catalog.memory_ledger import MemoryLedger
from strata.catalog.redis_ledger import RedisLedger
from strata.errors import BrokerUnavailable, RunFailed, StageBusy
from strata.model.run import COMMITS, Progress, Run, RunKind, RunState, Stage
from workers.local_stack.servers import RedisServer

RUN = "20250102-030405-full-601d00"
NOW = datetime.now(UTC).replace(microsecond=0)


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


@pytest.fixture
def _stale_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims run out the moment they are taken or renewed: nobody has to wait for it."""
    monkeypatch.setattr(memory_ledger, "CLAIM_SECONDS", 0)
    monkeypatch.setattr(redis_ledger, "CLAIM_SECONDS", 0)


def a_run(run_id: str = RUN, *, created_at: datetime = NOW, state: RunState = RunState.RUNNING) -> Run:
    """A run as the manager enters it."""
    return Run(
        run_id=run_id,
        kind=RunKind.BACKUP,
        state=state,
        created_at=created_at,
        updated_at=created_at,
        plan='{"a": "plan"}',
        fence=3,
    )


def claimed(ledger: Ledger, stage: Stage = Stage.COLLECT, unit: str = "hot", owner: str = "ann") -> Claim:
    """A claim, where one must be given."""
    taken = ledger.take(RUN, stage, unit, owner)
    assert isinstance(taken, Claim)
    return taken


def test_restores_are_told_apart_from_other_runs(ledger: Ledger, run: Run) -> None:
    """Latest first, whatever their state; no other kind of run is among them."""
    older, newer = (
        a_run(name, created_at=NOW + timedelta(seconds=second)).model_copy(update={"kind": RunKind.RESTORE})
        for second, name in enumerate(["older", "newer"])
    )
    ledger.create(older)
    ledger.create(newer)
    ledger.end("older", RunState.DONE)
    assert [one.run_id for one in ledger.restores()] == ["newer", "older"]
    assert ledger.restores()[1].state is RunState.DONE
    assert ledger.run(RUN) == run


# --- runs ---------------------------------------------------------------------------------------------------------


def test_a_run_is_found_as_it_was_entered(ledger: Ledger, run: Run) -> None:
    """What was entered is read back, to the millisecond."""
    assert ledger.run(RUN) == run
    assert ledger.run("another") is None


def test_a_run_is_entered_once(ledger: Ledger, run: Run) -> None:
    """A second run of one id is refused, and the first stays as it is."""
    with pytest.raises(RunFailed, match=f"a run {RUN} is known already"):
        ledger.create(run.model_copy(update={"plan": "other"}))
    assert ledger.run(RUN) == run


def test_runs_are_listed_newest_first(ledger: Ledger) -> None:
    """The latest runs come first, no more than asked for."""
    for number in (2, 0, 4, 1, 3):
        ledger.create(a_run(f"run-{number}", created_at=NOW + timedelta(minutes=number)))
    assert [run.run_id for run in ledger.runs(3)] == ["run-4", "run-3", "run-2"]
    assert len(ledger.runs(100)) == 5


@pytest.mark.parametrize("state", [RunState.DONE, RunState.FAILED, RunState.REFUSED])
def test_a_run_ends_once(ledger: Ledger, run: Run, state: RunState) -> None:
    """The first end counts, with its reason and code; later ones change nothing."""
    assert ledger.end(RUN, state, "the reason", "the-code")
    for other in (RunState.DONE, RunState.FAILED):
        assert not ledger.end(RUN, other, "another reason")
    ended = ledger.run(RUN)
    assert ended
    assert (ended.state, ended.reason, ended.code) == (state, "the reason", "the-code")


@pytest.mark.parametrize("state", [RunState.DONE, RunState.FAILED])
def test_a_run_and_its_lease_end_in_the_same_moment(hot_url: str, state: RunState) -> None:
    """Whoever sees the end can begin the next run; a lease that went to another run meanwhile is left alone."""
    with redis.Redis.from_url(hot_url) as client:
        ledger, lease = RedisLedger(client), RedisLease(client)
        ledger.create(a_run().model_copy(update={"fence": lease.acquire(RUN, "ann")}))
        ledger.create(a_run("another").model_copy(update={"fence": 77}))
        assert ledger.end("another", state)
        assert lease.holder()
        assert ledger.end(RUN, state)
        assert lease.holder() is None


@pytest.mark.parametrize("stage", COMMITS)
def test_what_may_be_about_to_commit_is_not_called_a_failure(ledger: Ledger, run: Run, stage: Stage) -> None:
    """FAILED is refused while the last stage works and after it is done; DONE is not."""
    claim = claimed(ledger, stage, "")
    assert not ledger.end(RUN, RunState.FAILED, "too late")
    ledger.finish(claim, "result", 0)
    assert not ledger.end(RUN, RunState.FAILED, "too late")
    assert ledger.end(RUN, RunState.DONE)


@pytest.mark.parametrize("stage", COMMITS)
def test_a_last_stage_that_gave_up_may_be_called_a_failure(ledger: Ledger, run: Run, stage: Stage) -> None:
    """After the claim on the last stage was released the run can fail."""
    ledger.release(claimed(ledger, stage, ""))
    assert ledger.end(RUN, RunState.FAILED, "it failed")


@pytest.mark.usefixtures("_stale_at_once")
def test_a_last_stage_whose_worker_died_may_be_called_a_failure(ledger: Ledger, run: Run) -> None:
    """A claim on the last stage that ran out does not hold up the run's end."""
    claimed(ledger, Stage.RECORD, "")
    assert ledger.end(RUN, RunState.FAILED, "it died")


def test_the_first_failure_is_kept(ledger: Ledger, run: Run) -> None:
    """Of several stages that fail, the first one's reason and code stay."""
    assert (ledger.failure(RUN), ledger.failure_code(RUN)) == ("", "")
    ledger.note_failure(RUN, "first", "source")
    ledger.note_failure(RUN, "second", "storage")
    assert (ledger.failure(RUN), ledger.failure_code(RUN)) == ("first", "source")
    assert (ledger.failure("another"), ledger.failure_code("another")) == ("", "")


def test_a_failure_without_a_code_keeps_none(ledger: Ledger, run: Run) -> None:
    """The code of a second failure is not put beside the first one's reason."""
    ledger.note_failure(RUN, "first")
    ledger.note_failure(RUN, "second", "storage")
    assert (ledger.failure(RUN), ledger.failure_code(RUN)) == ("first", "")


# --- claims -------------------------------------------------------------------------------------------------------


def test_a_unit_is_taken_done_and_never_again(ledger: Ledger, run: Run) -> None:
    """A unit is claimed, finished with a result, and from then on answers with it."""
    claim = claimed(ledger)
    assert (claim.run_id, claim.stage, claim.unit, claim.attempt) == (RUN, Stage.COLLECT, "hot", 1)
    assert ledger.result(RUN, Stage.COLLECT, "hot") is None
    assert ledger.finish(claim, '{"a": "result"}', 1.5) == '{"a": "result"}'
    assert ledger.result(RUN, Stage.COLLECT, "hot") == '{"a": "result"}'
    assert ledger.take(RUN, Stage.COLLECT, "hot", "bob") == Done('{"a": "result"}')


def test_a_unit_that_is_being_done_is_busy(ledger: Ledger, run: Run) -> None:
    """While a claim stands nobody else gets one, not even its own owner; the error says who works."""
    claimed(ledger)
    for owner in ("bob", "ann"):
        with pytest.raises(StageBusy, match="collect hot is being done by ann"):
            ledger.take(RUN, Stage.COLLECT, "hot", owner)


def test_units_do_not_stand_in_each_others_way(ledger: Ledger, run: Run) -> None:
    """Other units of a stage, and other stages of a unit, are taken on their own."""
    first = claimed(ledger, Stage.STORE, "hot/segment/0")
    others = [claimed(ledger, Stage.STORE, "hot/segment/1"), claimed(ledger, Stage.ENCRYPT, "hot/segment/0")]
    assert len({first.token, *(claim.token for claim in others)}) == 3
    ledger.finish(first, "result", 0)
    assert ledger.results(RUN, Stage.STORE) == {"hot/segment/0": "result"}


def test_a_released_unit_is_free_at_once(ledger: Ledger, run: Run) -> None:
    """After a release the next attempt need not wait; it is counted."""
    ledger.release(claimed(ledger))
    assert claimed(ledger, owner="bob").attempt == 2


def test_a_release_by_a_stranger_does_nothing(ledger: Ledger, run: Run) -> None:
    """Only the token that stands gives a claim back."""
    first = claimed(ledger)
    ledger.release(first)
    claimed(ledger, owner="bob")
    ledger.release(first)
    with pytest.raises(StageBusy, match="bob"):
        ledger.take(RUN, Stage.COLLECT, "hot", "carl")


def test_a_unit_that_kills_its_workers_is_given_up(ledger: Ledger, run: Run) -> None:
    """After MAX_ATTEMPTS claims without a result no more are given."""
    for attempt in range(1, MAX_ATTEMPTS + 1):
        claim = claimed(ledger)
        assert claim.attempt == attempt
        ledger.release(claim)
    with pytest.raises(RunFailed, match=f"collect hot was given up after {MAX_ATTEMPTS} attempts"):
        ledger.take(RUN, Stage.COLLECT, "hot", "ann")


@pytest.mark.usefixtures("_stale_at_once")
def test_a_silent_claim_runs_out(ledger: Ledger, run: Run) -> None:
    """The claim of a worker that fell silent goes to the next who asks."""
    first = claimed(ledger)
    second = claimed(ledger, owner="bob")
    assert second.attempt == 2
    assert not ledger.renew(first)
    assert ledger.renew(second)


def test_a_renewed_claim_stands(ledger: Ledger, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim that was about to run out stands again after a renewal."""
    with monkeypatch.context() as patch:
        patch.setattr(memory_ledger, "CLAIM_SECONDS", 0)
        patch.setattr(redis_ledger, "CLAIM_SECONDS", 0)
        claim = claimed(ledger)
    assert ledger.renew(claim)
    with pytest.raises(StageBusy):
        ledger.take(RUN, Stage.COLLECT, "hot", "bob")


def test_the_claim_of_the_dead_need_not_be_waited_for(ledger: Ledger, run: Run) -> None:
    """`instead_of` takes over from the owner it names, and from nobody else."""
    first = claimed(ledger, owner="the dead")
    with pytest.raises(StageBusy):
        ledger.take(RUN, Stage.COLLECT, "hot", "bob", instead_of="somebody else")
    taken = ledger.take(RUN, Stage.COLLECT, "hot", "bob", instead_of="the dead")
    assert isinstance(taken, Claim)
    with pytest.raises(StageBusy, match="bob"):
        ledger.take(RUN, Stage.COLLECT, "hot", "carl", instead_of="the dead")
    assert not ledger.renew(first)


@pytest.mark.usefixtures("_stale_at_once")
def test_the_loser_goes_on_with_the_winners_result(ledger: Ledger, run: Run) -> None:
    """Of two workers that did one unit the first to finish with a claim that stands wins, and both get its result."""
    slow = claimed(ledger, owner="slow")
    quick = claimed(ledger, owner="quick")
    assert ledger.finish(quick, "the winner's", 1) == "the winner's"
    assert ledger.finish(slow, "the loser's", 9) == "the winner's"
    assert ledger.result(RUN, Stage.COLLECT, "hot") == "the winner's"


@pytest.mark.usefixtures("_stale_at_once")
def test_a_claim_that_was_lost_leaves_no_result(ledger: Ledger, run: Run) -> None:
    """A worker whose claim went to another that still works cannot leave its result."""
    slow = claimed(ledger, owner="slow")
    quick = claimed(ledger, owner="quick")
    with pytest.raises(StageBusy, match="went to quick"):
        ledger.finish(slow, "the loser's", 9)
    assert ledger.result(RUN, Stage.COLLECT, "hot") is None
    assert ledger.finish(quick, "the winner's", 1) == "the winner's"


@pytest.mark.usefixtures("_stale_at_once")
def test_a_claim_that_ran_out_but_went_to_nobody_still_finishes(ledger: Ledger, run: Run) -> None:
    """Late is not wrong: as long as nobody else has taken the unit, its work counts."""
    assert ledger.finish(claimed(ledger), "late", 99) == "late"


def test_finishing_twice_gives_the_first_result(ledger: Ledger, run: Run) -> None:
    """The second `finish` of a claim changes nothing."""
    claim = claimed(ledger)
    ledger.finish(claim, "first", 1)
    assert ledger.finish(claim, "second", 1) == "first"


def test_a_run_that_ended_takes_no_claims(ledger: Ledger, run: Run) -> None:
    """After its end a run gives no claims, and says that and why it ended; what is done still answers."""
    ledger.finish(claimed(ledger), "result", 1)
    ledger.end(RUN, RunState.FAILED, "HOT (Redis) went away")
    with pytest.raises(RunFailed, match=rf"the run {RUN} has ended as FAILED: HOT \(Redis\) went away"):
        ledger.take(RUN, Stage.MERGE, "", "ann")
    assert ledger.take(RUN, Stage.COLLECT, "hot", "ann") == Done("result")


def test_what_stages_still_do_does_not_move_the_end_of_a_run(ledger: Ledger, run: Run) -> None:
    """A run took from its beginning to its end, however long a stage that was under way goes on."""
    done, given_up = claimed(ledger, unit="hot"), claimed(ledger, unit="warm")
    ledger.end(RUN, RunState.FAILED, "because")
    ended = ledger.run(RUN)
    assert ended
    while ledger.clock_ms() <= ended.updated_at.timestamp() * 1000 + 1:
        pass
    ledger.report(done, Progress(records=1))
    ledger.finish(done, "{}", 1.0)
    ledger.release(given_up)
    ledger.renew(given_up)
    ledger.lose(RUN, 1)
    ledger.mark(RUN, "a mark")
    assert ledger.run(RUN) == ended


def test_a_run_is_idle_once_no_claim_on_it_stands(ledger: Ledger, run: Run) -> None:
    """Its end takes no claim away: whoever has one may still be writing, until it is given up, done or over."""
    assert ledger.idle(RUN)
    done, given_up = claimed(ledger, unit="hot"), claimed(ledger, unit="warm")
    ledger.end(RUN, RunState.FAILED, "because")
    assert not ledger.idle(RUN)
    ledger.finish(done, "{}", 1.0)
    assert not ledger.idle(RUN)
    ledger.release(given_up)
    assert ledger.idle(RUN)


@pytest.mark.usefixtures("_stale_at_once")
def test_a_claim_that_is_over_keeps_no_run_busy(ledger: Ledger, run: Run) -> None:
    """Its worker is dead or cut off."""
    claimed(ledger)
    assert ledger.idle(RUN)


def test_a_run_that_ended_without_a_reason_says_that_it_ended(ledger: Ledger, run: Run) -> None:
    """Where there is no reason the error names the run."""
    ledger.end(RUN, RunState.DONE)
    with pytest.raises(RunFailed, match=f"the run {RUN} has ended as DONE$"):
        ledger.take(RUN, Stage.MERGE, "", "ann")


def test_a_planned_run_takes_no_claims_and_says_that_it_was_not_confirmed(ledger: Ledger) -> None:
    """It has not ended: a stage that is sent for it is told that it waits."""
    ledger.create(a_run(state=RunState.PLANNED))
    with pytest.raises(RunFailed, match=f"^{RUN} is planned and not confirmed"):
        ledger.take(RUN, Stage.CHECK, "", "ann")


def test_a_run_that_is_not_known_takes_no_claims(ledger: Ledger) -> None:
    """Claims, ends and signs of life of an unknown run raise RunFailed that names it."""
    claim = Claim("nobody", Stage.MERGE, "", "token", 1)
    for verb in (
        lambda: ledger.take("nobody", Stage.MERGE, "", "ann"),
        lambda: ledger.end("nobody", RunState.FAILED),
        lambda: ledger.renew(claim),
        lambda: ledger.finish(claim, "", 0),
        lambda: ledger.release(claim),
        lambda: ledger.mark_resent("nobody", 0),
    ):
        with pytest.raises(RunFailed, match="nobody"):
            verb()


def test_a_run_that_is_not_known_has_nothing(ledger: Ledger) -> None:
    """Questions about an unknown run are answered with nothing."""
    assert ledger.result("nobody", Stage.MERGE, "") is None
    assert ledger.results("nobody", Stage.MERGE) == {}
    assert ledger.rows("nobody") == []
    assert ledger.progress("nobody") == {}
    ledger.note_failure("nobody", "a reason")
    assert ledger.run("nobody") is None


def test_of_sixteen_racing_workers_one_gets_the_claim(ledger: Ledger, run: Run) -> None:
    """However many ask at the same moment, one unit is claimed exactly once."""
    together = threading.Barrier(16)

    def claims(number: int) -> int:
        together.wait()
        try:
            return int(isinstance(ledger.take(RUN, Stage.COLLECT, "hot", f"worker {number}"), Claim))
        except StageBusy:
            return 0

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(claims, range(16))) == 1
    (row,) = ledger.rows(RUN)
    assert row.attempts == 1


def test_of_sixteen_racing_ends_one_counts(ledger: Ledger, run: Run) -> None:
    """However many end a run at the same moment, one is told that it did."""
    with ThreadPoolExecutor(16) as pool:
        ended = list(pool.map(lambda number: ledger.end(RUN, RunState.FAILED, f"reason {number}"), range(16)))
    assert ended.count(True) == 1
    found = ledger.run(RUN)
    assert found
    assert found.reason == f"reason {ended.index(True)}"


# --- what is told of a run ----------------------------------------------------------------------------------------


def test_results_are_those_of_one_stage(ledger: Ledger, run: Run) -> None:
    """The results of a stage come by unit, without units that are under way."""
    for unit in ("hot", "warm"):
        ledger.finish(claimed(ledger, unit=unit), f"{unit} result", 1)
    claimed(ledger, unit="cold")
    ledger.finish(claimed(ledger, Stage.MERGE, ""), "merged", 1)
    assert ledger.results(RUN, Stage.COLLECT) == {"hot": "hot result", "warm": "warm result"}
    assert ledger.results(RUN, Stage.MERGE) == {"": "merged"}
    assert ledger.results(RUN, Stage.STORE) == {}


def test_rows_tell_what_was_done_by_whom(ledger: Ledger, run: Run) -> None:
    """A row for each unit: whether it is done, by whom, at which attempt, how long it took and when it began."""
    ledger.finish(claimed(ledger), "result", 1.25)
    ledger.release(claimed(ledger, Stage.STORE, "hot/segment/0"))
    claimed(ledger, Stage.STORE, "hot/segment/0", owner="bob")
    done, working = sorted(ledger.rows(RUN), key=lambda row: row.stage)
    assert (done.stage, done.unit, done.done, done.owner, done.attempts, done.seconds) == (
        Stage.COLLECT, "hot", True, "ann", 1, 1.25,
    )  # fmt: skip
    assert (working.stage, working.unit, working.done, working.owner, working.attempts, working.seconds) == (
        Stage.STORE, "hot/segment/0", False, "bob", 2, None,
    )  # fmt: skip
    assert abs(done.began - datetime.now(UTC).timestamp()) < 60


def test_the_latest_progress_of_each_unit_is_told(ledger: Ledger, run: Run) -> None:
    """Reports of a unit replace each other, and those of others stay."""
    hot, warm = claimed(ledger), claimed(ledger, unit="warm")
    assert ledger.progress(RUN) == {}
    for claim, records in [(hot, 1), (warm, 2), (hot, 3)]:
        ledger.report(claim, Progress(records=records, bytes=records * 100))
    assert ledger.progress(RUN) == {
        "collect:hot": Progress(records=3, bytes=300),
        "collect:warm": Progress(records=2, bytes=200),
    }


def test_results_of_any_text_come_back(ledger: Ledger, run: Run) -> None:
    """Results and reasons with quotes, newlines and every script are kept as they are."""
    text = "quotes \" ' \\ and\nnewlines, \u00fc \u65e5\u672c \U0001f600, and a number 12345678901234567890"
    claim = claimed(ledger, unit="hot/segment/0")
    assert ledger.finish(claim, text, 0.1) == text
    assert ledger.result(RUN, Stage.COLLECT, "hot/segment/0") == text
    ledger.note_failure(RUN, text)
    assert ledger.failure(RUN) == text
    assert len(ledger.rows(RUN)) == 1


# --- signs of life ------------------------------------------------------------------------------------------------


def test_a_run_that_lives_is_not_sent_again(ledger: Ledger, run: Run) -> None:
    """A run that was heard of lately is left alone."""
    claimed(ledger)
    assert ledger.mark_resent(RUN, 3600) is None
    found = ledger.run(RUN)
    assert found
    assert found.resent == 0


def test_a_silent_run_is_sent_again_and_counted(ledger: Ledger) -> None:
    """A run without a sign of life is marked once, and then counts as heard of."""
    ledger.create(a_run(created_at=NOW - timedelta(hours=1)))
    assert ledger.mark_resent(RUN, 600) == 1
    assert ledger.mark_resent(RUN, 600) is None
    assert ledger.mark_resent(RUN, 0) == 2
    found = ledger.run(RUN)
    assert found
    assert found.resent == 2


@pytest.mark.parametrize("sign", ["take", "renew", "finish"])
def test_working_is_a_sign_of_life(ledger: Ledger, sign: str) -> None:
    """A claim taken, renewed or finished keeps the sweeper away."""
    ledger.create(a_run(created_at=NOW - timedelta(hours=1)))
    claim = claimed(ledger)
    if sign == "renew":
        ledger.renew(claim)
    if sign == "finish":
        ledger.finish(claim, "result", 0)
    assert ledger.mark_resent(RUN, 600) is None


def test_a_run_that_ended_is_not_sent_again(ledger: Ledger) -> None:
    """However long ago, a run that has ended stays ended."""
    ledger.create(a_run(created_at=NOW - timedelta(hours=1)))
    ledger.end(RUN, RunState.DONE)
    assert ledger.mark_resent(RUN, 0) is None


# --- rounds -------------------------------------------------------------------------------------------------------


def test_a_seat_is_one_claims_in_its_round(ledger: Ledger, run: Run) -> None:
    """Whoever comes to a unit again finds that an earlier claim sat there already; sitting twice is one seat."""
    first = claimed(ledger)
    assert [ledger.sit(first) for _ in range(2)] == [Seat(1, taken=False)] * 2
    ledger.release(first)
    assert ledger.sit(claimed(ledger)) == Seat(1, taken=True)
    assert ledger.sit(claimed(ledger, unit="warm")) == Seat(1, taken=False)


def test_a_lost_round_takes_the_results_of_all_that_sat_in_it(ledger: Ledger, run: Run) -> None:
    """They are to be done again, in the next round; units that sat in none keep their results."""
    apart = claimed(ledger, Stage.BASELINE)
    ledger.finish(apart, '"kept"', 1.0)
    for unit in ("hot", "warm"):
        claim = claimed(ledger, unit=unit)
        ledger.sit(claim)
        ledger.finish(claim, '"lost"', 1.0)
    assert len(ledger.results(RUN, Stage.COLLECT)) == 2
    ledger.lose(RUN, 1)
    assert ledger.round(RUN) == 2
    assert ledger.results(RUN, Stage.COLLECT) == {}
    assert ledger.result(RUN, Stage.COLLECT, "hot") is None
    assert ledger.results(RUN, Stage.BASELINE) == {"hot": '"kept"'}
    assert {row.unit for row in ledger.rows(RUN) if row.done} == {"hot"}
    again = claimed(ledger, unit="warm")
    assert again.attempt == 2
    assert ledger.sit(again) == Seat(2, taken=False)
    ledger.finish(again, '"found"', 1.0)
    assert ledger.results(RUN, Stage.COLLECT) == {"warm": '"found"'}


def test_a_round_is_lost_once(ledger: Ledger, run: Run) -> None:
    """Several may find at the same time that it is lost: one round follows, not several."""
    for _ in range(3):
        ledger.lose(RUN, 1)
    assert ledger.round(RUN) == 2


def test_a_result_that_comes_after_its_round_was_lost_counts_no_more(ledger: Ledger, run: Run) -> None:
    """Who still worked in the lost round leaves nothing that anybody takes for a result."""
    late = claimed(ledger)
    ledger.sit(late)
    ledger.lose(RUN, 1)
    ledger.finish(late, '"late"', 1.0)
    assert ledger.result(RUN, Stage.COLLECT, "hot") is None
    assert isinstance(ledger.take(RUN, Stage.COLLECT, "hot", "ben"), Claim)


@pytest.mark.usefixtures("_stale_at_once")
def test_a_lost_claim_takes_no_seat(ledger: Ledger, run: Run) -> None:
    """So nobody who was away for long can lose a round that others have finished."""
    stale = claimed(ledger, owner="ann")
    fresh = claimed(ledger, owner="ben")
    ledger.sit(fresh)
    with pytest.raises(StageBusy):
        ledger.sit(stale)
    ledger.finish(fresh, '"done"', 1.0)
    with pytest.raises(StageBusy):
        ledger.sit(stale)


@pytest.mark.usefixtures("_stale_at_once")
def test_attempts_are_counted_anew_in_each_round(ledger: Ledger, run: Run) -> None:
    """A unit is not given up for rounds that others lost; its attempts keep numbers of their own."""
    for number in range(1, 3 * MAX_ATTEMPTS):
        claim = claimed(ledger)
        assert claim.attempt == number
        ledger.sit(claim)
        ledger.lose(RUN, ledger.round(RUN))
    for _ in range(MAX_ATTEMPTS):
        ledger.sit(claimed(ledger))
    with pytest.raises(RunFailed, match="given up"):
        ledger.take(RUN, Stage.COLLECT, "hot", "ann")


# --- the ledger in Redis ------------------------------------------------------------------------------------------


def test_a_redis_that_does_not_answer_is_said_so() -> None:
    """Every verb raises BrokerUnavailable, which a retry may help, and names the setting."""
    ledger = RedisLedger(redis.Redis(port=1, retry=Retry(NoBackoff(), 0)))
    for verb in (
        lambda: ledger.run(RUN),
        lambda: ledger.take(RUN, Stage.MERGE, "", "ann"),
        lambda: ledger.results(RUN, Stage.MERGE),
        lambda: ledger.runs(1),
    ):
        with pytest.raises(BrokerUnavailable, match="the ledger") as caught:
            verb()
        assert "STRATA_RESULT_URL" in caught.value.hint


def test_a_redis_that_refuses_is_quoted(redis_server: RedisServer) -> None:
    """A wrong password or a database that is not there is an error in a sentence, not an unforeseen one."""
    wrong = [
        ("password=no", "invalid username-password pair"),
        (f"db=999&password={redis_server.password}", "DB index"),
    ]
    for options, words in wrong:
        with redis.Redis.from_url(f"redis://127.0.0.1:{redis_server.port}/?{options}") as client:
            for verb in (lambda: RedisLedger(client).run(RUN), lambda: RedisLease(client).holder()):
                with pytest.raises(BrokerUnavailable, match=rf"\(Redis\) refuses: .*{words}"):
                    verb()


def test_the_ledger_forgets_runs_in_two_weeks(hot_url: str) -> None:
    """Everything the ledger keeps of a run in Redis has a time to live."""
    with redis.Redis.from_url(hot_url) as client:
        ledger = RedisLedger(client)
        ledger.create(a_run())
        ledger.report(claimed(ledger), Progress())
        kept = list(client.scan_iter(f"strata:run:{RUN}*"))
        assert len(kept) == 3
        for key in kept:
            assert 0 < int(client.ttl(key)) <= 14 * 86400
