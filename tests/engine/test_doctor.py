"""What the doctor's looks come to: each sentence, by what was seen."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from strata.engine.doctor import Finding, Verdict
from strata.engine.doctor_missing import NEEDS, missing
from strata.engine.doctor_redis import eviction
from strata.engine.doctor_workers import Answer, beat, unread, workers
from strata.engine.timekeeping import in_words

QUEUES = ("strata.control", "strata.store")
LATE = timedelta(seconds=-90)


def answer(node: str, *queues: str, ahead: timedelta | None = timedelta()) -> Answer:
    """What a worker says."""
    return Answer(node, frozenset(queues), ahead)


def told(findings: list[Finding]) -> list[tuple[Verdict, str]]:
    """Verdicts and sentences."""
    return [(one.verdict, one.said) for one in findings]


def test_all_that_is_missing_is_listed() -> None:
    """One finding for each need, whichever else is lacking; one setting of a need is enough."""
    assert [one.check for one in missing(set())] == [need.check for need in NEEDS]
    (some,) = missing({"network_url", "cold_url", "spool_url", "broker_url"})
    assert (some.check, some.verdict) == ("ledger", Verdict.WEAKER)
    assert told(list(missing({need.settings[-1] for need in NEEDS}))) == [
        (Verdict.SAFE, "stores, tiers, spool, broker and ledger are configured")
    ]


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([], [(Verdict.FAILED, "no worker answers")]),
        (
            [answer("a@h", "strata.control")],
            [
                (Verdict.FAILED, "no worker reads strata.store, so what is sent there waits for ever"),
                (Verdict.SAFE, "their clocks are the ledger's"),
            ],
        ),
        (
            [answer("a@h", *QUEUES), answer("b@h", "strata.store", ahead=LATE)],
            [
                (Verdict.SAFE, "every queue is read, by 2 workers"),
                (Verdict.WEAKER, "the clock of b@h is 90 s behind the ledger's"),
            ],
        ),
        (
            [answer("a@h", *QUEUES, ahead=None)],
            [
                (Verdict.SAFE, "every queue is read, by 1 worker"),
                (Verdict.FAILED, "a@h does not reach the ledger"),
            ],
        ),
    ],
)
def test_workers_are_judged_by_what_they_say(answers: list[Answer], expected: list[tuple[Verdict, str]]) -> None:
    """Queues that nobody reads, clocks that are wrong, a ledger that is out of reach: each by name."""
    assert told(list(workers(QUEUES, answers))) == expected


def test_an_answer_is_read_whatever_it_holds() -> None:
    """It came through the broker, from a worker of any version."""
    assert Answer.of("a@h", {}) == answer("a@h", ahead=None)
    assert Answer.of("a@h", {"ok": "pong", "ahead": "soon"}) == answer("a@h", ahead=None)
    assert Answer.of("a@h", {"queues": ["strata.store"], "ahead": 1.5}).ahead == timedelta(seconds=1.5)
    assert unread(QUEUES, []) == list(QUEUES)


@pytest.mark.parametrize(
    ("last_ms", "verdict", "said"),
    [
        (None, Verdict.FAILED, "it has never sent anything"),
        (1_000_000, Verdict.SAFE, "sent something 30 s ago"),
        (1_031_000, Verdict.SAFE, "sent something 0 s ago"),
        (0, Verdict.FAILED, "it has sent nothing for 17 min"),
    ],
)
def test_beat_lives_while_it_sends(last_ms: float | None, verdict: Verdict, said: str) -> None:
    """It sends something every 30 s; by the ledger's clock, and not by the one here."""
    found = beat(last_ms, 1_030_000)
    assert (found.verdict, found.said.partition(",")[0]) == (verdict, said)


@pytest.mark.parametrize(
    ("memory", "verdict"),
    [
        ({"maxmemory_policy": "allkeys-lru", "maxmemory": 1 << 20}, Verdict.FAILED),
        ({"maxmemory_policy": "volatile-ttl", "maxmemory": 1 << 20}, Verdict.FAILED),
        ({"maxmemory_policy": "allkeys-lru", "maxmemory": 0}, Verdict.SAFE),
        ({"maxmemory_policy": "noeviction", "maxmemory": 1 << 20}, Verdict.SAFE),
        ({}, Verdict.SAFE),
    ],
)
def test_a_redis_that_may_evict_is_no_ledger(memory: dict[str, Any], verdict: Verdict) -> None:
    """All of a run's keys expire, so every policy but noeviction may remove them."""
    assert eviction(memory, "runs are forgotten").verdict is verdict


@pytest.mark.parametrize(
    ("off", "words"),
    [
        (timedelta(seconds=26), "26 s ahead of the ledger's"),
        (timedelta(minutes=-6), "6 min behind the ledger's"),
        (timedelta(seconds=4), ""),
        (timedelta(seconds=-4), ""),
    ],
)
def test_a_clock_that_is_off_says_by_how_much(off: timedelta, words: str) -> None:
    """Less than a busy server may take to answer is not told."""
    assert in_words(off) == words
