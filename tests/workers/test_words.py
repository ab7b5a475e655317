"""What Flower shows of a task: words in its arguments and its result, and nothing in its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.app.task import Context
from celery.exceptions import Retry

from strata.engine.restorer import Applied
from strata.errors import LeaseLost, RunFailed, SourceUnavailable
from strata.model.identity import NOTHING_SEEN
from strata.model.run import Progress
from strata.model.ticket import Verified
from strata.model.tier import Tier
from tasks.stage import FAILURES, StageFailed, StageTask, failures_of, forget_wiring
from tasks.words import about, about_start, in_words, kept, proved, written

WORDS = {"argsrepr": "(run1, hot/segment/2)", "kwargsrepr": "{tier: HOT}"}


def test_arguments_are_words_and_a_fact_that_is_none_is_left_out() -> None:
    """The ids as arguments, the facts by their names."""
    assert about("run1", "hot/segment/2", tier="HOT", bytes="") == WORDS


def test_a_start_shows_what_was_asked_and_not_what_the_sender_saw() -> None:
    """Identities of servers are no words for a person, and the id stands there already."""
    asked: dict[str, Any] = {"backup": "b1", "restore_id": "run1", "mode": "exact", "tiers": ["hot", "cold"]}
    asked |= {"store": None, "confirmed": NOTHING_SEEN.model_dump(mode="json")}
    assert about_start("run1", asked) == {
        "argsrepr": "(run1)",
        "kwargsrepr": "{backup: b1, mode: exact, tiers: hot cold}",
    }


def test_what_came_of_a_task_is_said_in_words() -> None:
    """Records, objects and bytes."""
    assert in_words(Progress(records=120_000, bytes=31_400_000)) == "120,000 records, 31.4 MB"
    assert in_words(Progress(objects=12, total=30, bytes=31_400_000)) == "12/30 objects, 31.4 MB"
    assert proved(Verified(objects=3, records=1200, bytes=0)) == "3 objects proved, 1,200 records, 0.0 MB"
    applied = Applied(tier=Tier.HOT, written=1200, bytes=31_400_000, removed=3)
    assert written(applied) == "1,200 records written, 31.4 MB, 3 removed"


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, hot_url: str, folder: Path) -> Any:
    """A stage of an app with a broker that takes retries; `fails` is what it raises."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("STRATA_LOCAL_URL", (folder / "store").as_uri())
    monkeypatch.setenv("STRATA_BROKER_URL", hot_url)
    monkeypatch.setenv("STRATA_RESULT_URL", hot_url)
    forget_wiring()
    app = Celery("test", set_as_current=False, broker=hot_url)

    def work(run_id: str) -> str:
        raise app.fails

    yield app.task(work, base=StageTask, name="stage", shared=False)
    forget_wiring()


def failing(stage: Any, error: Exception, **headers: Any) -> Exception:
    """What comes of a message with those headers, of a stage that fails so."""
    stage.app.fails = error
    message = Context(id="id", args=["run1"], kwargs={}, called_directly=False, headers=headers, **WORDS)
    stage.request_stack.push(message)
    try:
        stage("run1")
    except (Retry, StageFailed) as raised:
        return raised
    finally:
        stage.request_stack.pop()
    raise AssertionError("it did not fail")


def test_a_stage_that_is_tried_again_keeps_its_words(stage: Any) -> None:
    """The message that takes the place of another says the same of its run and unit."""
    retried = failing(stage, SourceUnavailable("COLD (S3) does not answer"))
    assert isinstance(retried, Retry)
    assert {name: retried.sig.options[name] for name in WORDS} == WORDS
    assert kept(Context(**WORDS)) == WORDS


def test_a_stage_whose_run_ended_meanwhile_says_first_what_it_failed_of_itself(stage: Any) -> None:
    """HOT's failure ends the run; COLD, which waited to be tried again, is not told with HOT's sentence."""
    retried = failing(stage, SourceUnavailable("COLD (S3) does not answer"))
    assert isinstance(retried, Retry)
    headers = retried.sig.options["headers"]
    ended = failing(stage, RunFailed("the run run1 has ended as FAILED: HOT"), **headers)
    assert str(ended).startswith("COLD (S3) does not answer; not done when tried again: the run run1 has ended")
    assert str(failing(stage, LeaseLost("it was away"), **headers)) == "it was away"


@pytest.mark.parametrize("header", ["many", None, -1, 1.5, True, [], {"a": 1}, "4"])
def test_a_header_that_counts_nothing_counts_as_none(stage: Any, header: object) -> None:
    """Whoever sent it: the stage is tried again as a new one is."""
    assert failures_of(Context(headers={FAILURES: header})) == 0
    assert isinstance(failing(stage, SourceUnavailable("HOT (Redis) does not answer"), **{FAILURES: header}), Retry)
