"""What people and beat enqueue is checked where it comes in, by the workers, whoever sent it."""

from __future__ import annotations

from typing import Any, Final

import pytest

from strata.model.run import RunState, Stage
from strata.planning.backup import new_run_id
from strata.sources.port import RestoreMode
from tests.pipeline.conftest import Pipeline

START_BACKUP: Final = ("tasks.start.start_backup", "backup_id")
START_RESTORE: Final = ("tasks.restore.start_restore", "restore_id")
COPY_BACKUP: Final = ("tasks.copy.copy_backup", "copy_id")
PRUNE: Final = ("tasks.upkeep.prune", "run_id")

WRONG: Final[list[tuple[tuple[str, str], dict[str, Any], str]]] = [
    (START_BACKUP, {"backup_type": "fulll"}, "'fulll' is not one of 'full', 'incremental'"),
    (START_BACKUP, {"fresh": "yes"}, "fresh of start_backup is wrong: it must be true or false"),
    (START_BACKUP, {"patience": "long"}, "patience of start_backup is wrong: it must be a whole number"),
    (START_BACKUP, {"patience": -1}, "patience of start_backup is wrong"),
    (START_BACKUP, {"override": 7}, "override of start_backup is wrong: it must be text"),
    (START_BACKUP, {"type": "full"}, "start_backup has no argument 'type'; it takes backup_type, backup_id"),
    (START_RESTORE, {"mode": "exact"}, "start_restore needs backup, which was not given"),
    (START_RESTORE, {"backup": "latest"}, "start_restore needs mode, which was not given"),
    (START_RESTORE, {"backup": "", "mode": "exact"}, "backup of start_restore is wrong: it names no backup"),
    (START_RESTORE, {"backup": "latest", "mode": "sideways"}, "'sideways' is not one of 'exact', 'overlay'"),
    (START_RESTORE, {"backup": "latest", "mode": "exact", "tiers": ["hott"]}, "'hott' is not one of 'hot'"),
    (START_RESTORE, {"backup": "latest", "mode": "exact", "tiers": "hot"}, "tiers of start_restore is wrong"),
    (START_RESTORE, {"backup": "latest", "mode": "exact", "store": "tape"}, "'tape' is not one of 'local'"),
    (START_RESTORE, {"backup": "latest", "mode": "exact", "speed": "warp"}, "'warp' is not one of 'bulk'"),
    (START_RESTORE, {"backup": "latest", "mode": "exact", "tier": "hot"}, "start_restore has no argument 'tier'"),
    (START_RESTORE, {"backup": "latest", "mode": "exact", "tiers": [["hot"]]}, "is not one of 'hot'"),
    (START_RESTORE, {"backup": "x" * 10_000, "mode": "exact"}, "backup of start_restore is wrong: it is longer than"),
    (START_BACKUP, {"override": "x" * 10_000}, "override of start_backup is wrong: it is longer than"),
    (COPY_BACKUP, {"backup_id": "x"}, "copy_backup needs to, which was not given"),
    (COPY_BACKUP, {"to": "cloud"}, "copy_backup needs backup_id, which was not given"),
    (COPY_BACKUP, {"backup_id": "x", "to": "moon"}, "'moon' is not one of 'local', 'network'"),
    (COPY_BACKUP, {"backup_id": "x", "to": "cloud", "source": "moon"}, "source of copy_backup is wrong: 'moon'"),
    (COPY_BACKUP, {"backup_id": "x", "to": "cloud", "from": "local"}, "copy_backup has no argument 'from'"),
    (PRUNE, {"patience": None}, "patience of prune is wrong: it must be a whole number"),
    (PRUNE, {"dry_run": True}, "prune has no argument 'dry_run'; it takes run_id, patience"),
]
"""A start, arguments that it must refuse, and what the refusal says."""


def send(pipeline: Pipeline, task: str, *args: object, **arguments: Any) -> Any:
    """Enqueue a task as anybody could; its result."""
    queue = pipeline.app.amqp.router.route({}, task)["queue"]
    return pipeline.app.send_task(task, args, arguments, queue=queue)


def said(pipeline: Pipeline, sentence: str) -> list[str]:
    """The refused runs whose reason says that."""
    runs = pipeline.wiring.ledger.runs(50)
    return [run.run_id for run in runs if run.state is RunState.REFUSED and sentence in run.reason]


def test_wrong_missing_and_unknown_arguments_are_refused_by_name(pipeline: Pipeline) -> None:
    """Each is entered in the ledger under the id that was asked for, with the code of a wrong setting."""
    pipeline.bot.hot.set("position:1", "x")
    sent = []
    for (task, id_argument), arguments, sentence in WRONG:
        run_id = new_run_id("wrong", pipeline.wiring.clock.now())
        send(pipeline, task, **{id_argument: run_id}, **arguments)
        sent.append((run_id, sentence))
    for run_id, sentence in sent:
        run = pipeline.wait(run_id, 30)
        assert (run.state, run.code) == (RunState.REFUSED, "setting"), (sentence, run)
        assert sentence in run.reason, (sentence, run.reason)
    assert pipeline.wiring.lease.holder() is None


def test_too_many_arguments_are_refused(pipeline: Pipeline) -> None:
    """An argument by place and by name, or one more than there are, starts nothing."""
    for arguments, named in ((("full", "twice-1"), {"backup_type": "full"}), (("full", "twice-2", True), {})):
        send(pipeline, START_BACKUP[0], *arguments, **named)
        assert "twice, or too many" in pipeline.wait(arguments[1], 30).reason


def test_upkeep_refuses_arguments_that_it_does_not_have(pipeline: Pipeline) -> None:
    """A task that takes none says so in its result, and does nothing."""
    for name in ("resend_stalled", "sweep", "copy_missing"):
        result = send(pipeline, f"tasks.upkeep.{name}", older_than=3)
        error = result.get(timeout=30, propagate=False)
        assert f"{name} has no argument 'older_than'; it takes none" in str(error)


@pytest.mark.parametrize(("task", "id_argument"), [START_BACKUP, START_RESTORE, COPY_BACKUP, PRUNE])
@pytest.mark.parametrize("run_id", ["../outside", "a/b", "", "x" * 49, "not ours"])
def test_an_id_that_cannot_be_one_names_nothing(pipeline: Pipeline, task: str, id_argument: str, run_id: str) -> None:
    """The refusal quotes it, and is entered under an id of its own."""
    named = {"backup": "latest", "mode": "exact"} if task == START_RESTORE[0] else {}
    named |= {"backup_id": "x", "to": "cloud"} if task == COPY_BACKUP[0] else {}
    before = set(said(pipeline, "cannot be the id of a run"))
    send(pipeline, task, **{id_argument: run_id}, **named)
    found = pipeline.until(
        lambda: set(said(pipeline, "cannot be the id of a run")) - before, "the refusal was not entered", 30
    )
    assert run_id not in found
    assert pipeline.wiring.ledger.run(run_id) is None


def test_an_id_that_names_another_folder_of_the_spool_removes_nothing(pipeline: Pipeline) -> None:
    """A restore under the name of a folder that no run made is refused, and the folder stays, after a sweep too."""
    pipeline.bot.hot.set("position:1", "x")
    backup = pipeline.backed_up()
    pipeline.wiring.spool_store.put("somebody-elses/file", [b"kept"])
    try:
        send(pipeline, START_RESTORE[0], backup=backup.backup_id, restore_id="somebody-elses", mode="exact")
        pipeline.until(lambda: said(pipeline, "the spool holds somebody-elses"), "the refusal was not entered", 30)
        pipeline.wiring.upkeep.sweep_spool()
        assert pipeline.wiring.spool_store.get("somebody-elses/file") == b"kept"
        assert pipeline.wiring.ledger.run("somebody-elses") is None
    finally:
        pipeline.wiring.spool_store.clear("somebody-elses")


def test_an_id_of_another_kind_of_run_is_refused(pipeline: Pipeline) -> None:
    """A restore cannot go under the id of a backup, and the backup stays as it is in the ledger."""
    pipeline.bot.hot.set("position:1", "x")
    backup = pipeline.backed_up()
    send(pipeline, START_RESTORE[0], backup="latest", restore_id=backup.backup_id, mode="exact")
    pipeline.until(lambda: said(pipeline, f"{backup.backup_id} is the id of a backup"), "it was not refused", 30)
    run = pipeline.wiring.ledger.run(backup.backup_id)
    assert run is not None
    assert run.state is RunState.DONE


def test_the_sentence_is_that_of_the_command_line(pipeline: Pipeline) -> None:
    """A wrong mode is refused in the same words by the command and by the task."""
    send(pipeline, START_RESTORE[0], backup="latest", restore_id="same-words", mode="sideways")
    reason = pipeline.wait("same-words", 30).reason
    words = reason.partition("is wrong: ")[2]
    command = pipeline.strata("restore", "latest", "--mode", "sideways")
    assert words
    assert words in command.stderr
    assert command.returncode == 2


def test_named_arguments_start_a_restore(pipeline: Pipeline) -> None:
    """Backup and mode are enough; a list of tiers names each once."""
    pipeline.bot.hot.set("position:1", "x")
    backup = pipeline.backed_up()
    pipeline.bot.hot.delete("position:1")
    send(
        pipeline,
        START_RESTORE[0],
        backup=backup.backup_id,
        restore_id="by-hand",
        mode=RestoreMode.EXACT.value,
        tiers=["hot", "hot"],
    )
    run = pipeline.wait("by-hand")
    assert run.state is RunState.DONE, run.reason
    assert set(pipeline.wiring.ledger.results(run.run_id, Stage.APPLY)) == {"hot"}
    assert pipeline.bot.hot.get("position:1") == b"x"
