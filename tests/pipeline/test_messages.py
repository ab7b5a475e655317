"""Whatever anybody sends to the queues: each task answers in a sentence, nothing is lost, and every worker goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from kombu import Producer

from strata.model.run import RunState
from strata.planning.backup import new_run_id
from tasks.enqueue import PLAN_RESTORE, enqueue_restore
from tests.docs.test_tasks import tasks_known
from tests.pipeline.conftest import Pipeline
from workers.queues import CONTROL

UNKNOWN: Final = "20250102-030405-full-601d00"
"""The id of a run that no ledger knows."""
SECOND: Final[dict[str, str]] = {
    "baseline": "hot",
    "compress": "hot/segment/0",
    "encrypt": "hot/segment/0",
    "store": "hot/segment/0",
    "copy_part": "0",
    "sweep_store": "local",
}
"""Of stages that take more than the run, what else they take."""
ABANDON: Final = "tasks.abandon.abandon"
STARTS: Final = {"start_backup", "start_restore", "plan_restore", "confirm_restore", "copy_backup", "prune"}
NOTHING_LEFT: Final = {"take_back", "end_pause"}
"""Of a run that nobody knows nothing is left, and they say so."""
ALONE: Final = {"resend_stalled", "sweep", "copy_missing", "prove_oldest"}


def wrong_messages(task: str) -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any], str]]:
    """What is wrong, the arguments, and a part of the sentence that must come of it."""
    name = task.rpartition(".")[2]
    if name in ALONE:
        yield "unknown", (), {"older_than": 3}, "has no argument 'older_than'"
        yield "too many", (1, 2, 3), {}, "too many"
    elif name in STARTS:
        yield "unknown", (), {"colour": "red"}, "has no argument 'colour'" if name in NO_NEED else "needs"
        yield "too many", tuple(range(20)), {}, "too many"
        yield "wrong", (["x"],), {}, "is wrong: "
    elif task == ABANDON:
        yield "missing", ("id",), {}, "takes _failed_task_id, run_id, and was given others"
        yield "wrong", ("id",), {"run_id": 7}, "run_id of tasks.abandon.abandon is wrong"
    else:
        second = (SECOND[name],) if name in SECOND else ()
        yield "missing", (), {}, "and was given others"
        yield "unknown", (UNKNOWN, *second), {"colour": "red"}, "and was given others"
        yield "wrong", ([UNKNOWN], *second), {}, "is wrong: it must be"
        if name not in NOTHING_LEFT:
            yield "of no run", (UNKNOWN, *second), {}, UNKNOWN


NO_NEED: Final = {"start_backup", "prune"}
"""Starts that take no argument that must be given."""


def logs(pipeline: Pipeline, since: dict[Path, int] | None = None) -> str:
    """What all workers have logged; with the lengths of their logs, what they have logged since."""
    return "".join(path.read_bytes()[(since or {}).get(path, 0) :].decode() for path in lengths(pipeline))


def lengths(pipeline: Pipeline) -> dict[Path, int]:
    """How long each worker's log is."""
    return {path: path.stat().st_size for path in (Path(pipeline.stack.folder) / "logs").glob("worker-*.log")}


def test_every_task_answers_wrong_arguments_in_a_sentence(pipeline: Pipeline) -> None:
    """Wrong, missing, unknown and too many: one sentence each, no traceback in any log, and no run is touched."""
    pipeline.bot.hot.set("position:1", "x")
    backup = pipeline.backed_up()
    before = lengths(pipeline)
    sent = [
        (task, what, sentence, pipeline.app.send_task(task, args, kwargs, ignore_result=task == ABANDON))
        for task in sorted(tasks_known())
        for what, args, kwargs, sentence in wrong_messages(task)
    ]
    assert {task for task, *_ in sent} == tasks_known()
    said = {
        (task, what, sentence): str(result.get(timeout=60, propagate=False))
        for task, what, sentence, result in sent
        if task != ABANDON  # it keeps no result; its sentence is in the log
    }
    assert not {words: told for words, told in said.items() if words[2] not in told or "unforeseen" in told}
    pipeline.until(lambda: "run_id of tasks.abandon.abandon is wrong" in logs(pipeline, before), "abandon said nothing")
    assert "Traceback" not in logs(pipeline, before)
    refused = [run for run in pipeline.wiring.ledger.runs(100) if run.state is RunState.REFUSED]
    assert {run.code for run in refused if "argument" in run.reason} == {"setting"}
    run = pipeline.wiring.ledger.run(backup.backup_id)
    assert run is not None
    assert run.state is RunState.DONE
    assert pipeline.wiring.lease.holder() is None


@pytest.mark.parametrize(
    ("task", "second", "sentence"),
    [
        ("tasks.baseline.baseline", "moon", "'moon' is not one of"),
        ("tasks.compress.compress", "moon", "'moon' names no unit"),
        ("tasks.encrypt.encrypt", "hot/segment/-1", "names no unit"),
        ("tasks.store.store", "hot//3", "names no unit"),
    ],
)
def test_a_unit_that_is_none_is_refused_and_its_run_is_not_told(
    pipeline: Pipeline, task: str, second: str, sentence: str
) -> None:
    """A message that somebody mistyped gives no run a reason to fail."""
    pipeline.bot.hot.set("position:1", "x")
    backup = pipeline.backed_up().backup_id
    result = pipeline.app.send_task(task, (backup, second))
    assert sentence in str(result.get(timeout=30, propagate=False))
    assert pipeline.wiring.ledger.failure(backup) == ""


def test_a_stage_of_a_plan_that_waits_is_told_that_it_waits(pipeline: Pipeline) -> None:
    """It has not ended: nobody has confirmed it."""
    pipeline.bot.hot.set("position:1", "x")
    backup = pipeline.backed_up().backup_id
    run_id, ledger = new_run_id("restore", pipeline.wiring.clock.now()), pipeline.wiring.ledger
    enqueue_restore(pipeline.app, backup, run_id, "exact", task=PLAN_RESTORE)
    pipeline.until(lambda: ledger.run(run_id), "it was not planned", 30)
    result = pipeline.app.send_task("tasks.restore.check", (run_id,))
    assert f"{run_id} is planned and not confirmed" in str(result.get(timeout=30, propagate=False))


def test_what_is_no_task_message_is_thrown_away_with_a_line(pipeline: Pipeline) -> None:
    """The worker that got it works on, and nothing of the message is in its log."""
    worker = pipeline.stack.status().part("worker-control").process
    with pipeline.app.connection_for_write() as connection:
        queue = pipeline.app.amqp.queues[CONTROL]
        headers = {"task": "tasks.merge.merge", "id": "an-id"}
        Producer(connection.default_channel).publish(
            ["planted-text", {}, None],
            serializer="json",
            headers=headers,
            declare=[queue],
            routing_key=CONTROL,
            exchange=queue.exchange,
        )
    said = "a message in strata.control is no task message and was thrown away"
    pipeline.until(lambda: said in logs(pipeline), "it was not told", 30)
    pipeline.bot.hot.set("position:1", "x")
    pipeline.backed_up()
    assert pipeline.stack.status().part("worker-control").process == worker
    assert "planted-text" not in logs(pipeline)
