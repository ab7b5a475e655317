"""What the answers of workers and beat come to: which queues nobody reads, whose clock is wrong, whether beat lives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from strata.engine.doctor import Finding, Verdict
from strata.engine.timekeeping import in_words
from strata.planning.tables import spoken

BEAT_SECONDS: Final = 120.0
"""Beat sends something every 30 s: silent for longer than this, it does not run."""


@dataclass(frozen=True)
class Answer:
    """What a worker says of itself; `ahead` is None where it could not ask the ledger."""

    node: str
    queues: frozenset[str]
    ahead: timedelta | None

    @classmethod
    def of(cls, node: str, said: Mapping[str, Any]) -> Answer:
        """From what came through the broker."""
        ahead = said.get("ahead")
        queues = frozenset(str(one) for one in said.get("queues", ()))
        return cls(node, queues, timedelta(seconds=ahead) if isinstance(ahead, int | float) else None)


def unread(queues: Sequence[str], answers: Sequence[Answer]) -> list[str]:
    """The queues that no worker reads."""
    read = frozenset[str]().union(*(one.queues for one in answers))
    return [queue for queue in queues if queue not in read]


def workers(queues: Sequence[str], answers: Sequence[Answer]) -> Iterator[Finding]:
    """What is to be said of the workers that answered."""
    if not answers:
        yield Finding(
            "workers", Verdict.FAILED, "no worker answers", "Start them: see docs/how-to/deploy.md, or use --local."
        )
        return
    if lacking := unread(queues, answers):
        yield Finding(
            "queues",
            Verdict.FAILED,
            f"no worker reads {', '.join(lacking)}, so what is sent there waits for ever",
            "Start a worker with -Q and that queue: see docs/how-to/deploy.md.",
        )
    else:
        count = f"{len(answers)} worker{'s' * (len(answers) > 1)}"
        yield Finding("queues", Verdict.SAFE, f"every queue is read, by {count}")
    yield from _clocks(answers)


def _clocks(answers: Sequence[Answer]) -> Iterator[Finding]:
    wrong = [(one.node, in_words(one.ahead)) for one in answers if one.ahead is not None]
    for node, words in wrong:
        if words:
            yield Finding("clock", Verdict.WEAKER, f"the clock of {node} is {words}", "Set it right.")
    for one in answers:
        if one.ahead is None:
            said = f"{one.node} does not reach the ledger"
            yield Finding("ledger", Verdict.FAILED, said, "Check STRATA_RESULT_URL of that worker.")
    if wrong and len(wrong) == len(answers) and not any(words for _, words in wrong):
        yield Finding("clock", Verdict.SAFE, "their clocks are the ledger's")


def beat(last_ms: float | None, now_ms: float) -> Finding:
    """Whether beat runs, by when it last sent something."""
    hint = "Start it, once: celery -A workers beat."
    if last_ms is None:
        return Finding("beat", Verdict.FAILED, "it has never sent anything, so no backup is made by itself", hint)
    silent = timedelta(milliseconds=max(now_ms - last_ms, 0))
    if silent.total_seconds() > BEAT_SECONDS:
        said = f"it has sent nothing for {spoken(silent)}, so no backup is made by itself"
        return Finding("beat", Verdict.FAILED, said, hint)
    return Finding("beat", Verdict.SAFE, f"sent something {spoken(silent)} ago")
