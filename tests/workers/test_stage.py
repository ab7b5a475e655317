"""What a stage task takes, and what it logs of the stores it used."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from celery import Celery, Task

from strata.model.tier import StorageTier
from strata.storage.port import ObjectStore
from tasks.stage import StageFailed, StageTask, forget_wiring, wiring
from tasks.starting import StartTask


@pytest.fixture
def local(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A LOCAL store that this process works on."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("STRATA_LOCAL_URL", (folder / "store").as_uri())
    forget_wiring()
    yield
    forget_wiring()


def logged(caplog: pytest.LogCaptureFixture, body: Callable[[ObjectStore], object]) -> list[str]:
    """What is logged of a stage that does that with the store."""

    def work(run_id: str) -> None:
        body(wiring().stores[StorageTier.LOCAL])

    stage = Celery("test", set_as_current=False).task(work, base=StageTask, name="stage")
    with caplog.at_level(logging.INFO):
        stage("run1")
    return [record.getMessage() for record in caplog.records]


@pytest.mark.usefixtures("local")
def test_each_store_that_a_stage_used_has_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """Calls, MB and seconds of this stage, not of those before it."""
    (said,) = logged(caplog, lambda store: store.put("one", [bytes(1_500_000)]))
    assert said.startswith("stage of run1 used LOCAL: 1 calls, 1.5 MB, ")
    caplog.clear()
    (said,) = logged(caplog, lambda store: (store.get("one", 0, 200_000), store.size("one")))
    assert said.startswith("stage of run1 used LOCAL: 2 calls, 0.2 MB, ")


@pytest.mark.usefixtures("local")
def test_a_stage_that_used_no_store_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Stages between the tiers and the spool are many."""
    assert logged(caplog, lambda _: None) == []


@pytest.mark.parametrize(
    ("args", "kwargs", "sentence"),
    [
        ((), {}, "stage takes run_id, number, and was given others"),
        (("run1",), {}, "stage takes run_id, number"),
        (("run1", 1, 2), {}, "stage takes run_id, number"),
        (("run1", 1), {"run_id": "run2"}, "stage takes run_id, number"),
        (("run1", 1), {"what": 1}, "stage takes run_id, number"),
        ((["run1"], 1), {}, "run_id of stage is wrong: it must be text"),
        (("x" * 10_000, 1), {}, "run_id of stage is wrong: it must be text of at most 200 characters"),
        (("run1", "1"), {}, "number of stage is wrong: it must be a whole number"),
    ],
)
def test_arguments_that_a_stage_does_not_take_are_refused(
    args: tuple[object, ...], kwargs: dict[str, object], sentence: str
) -> None:
    """In one sentence, before anything is done, whoever sent them."""

    def work(run_id: str, number: int) -> str:
        return f"{run_id} {number}"

    stage = Celery("test", set_as_current=False).task(work, base=StageTask, name="stage")
    with pytest.raises(StageFailed, match=f"^{sentence}"):
        stage(*args, **kwargs)


@pytest.mark.usefixtures("local")
def test_a_stage_takes_its_arguments_by_name() -> None:
    """As `celery call --kwargs` sends them."""

    def work(run_id: str) -> str:
        return run_id

    stage = Celery("test", set_as_current=False).task(work, base=StageTask, name="stage")
    assert stage(run_id="run1") == "run1"


@pytest.mark.parametrize(("base", "sentence"), [(StageTask, "run_id of task is wrong"), (StartTask, "task got an")])
def test_a_failure_that_is_a_sentence_is_logged_without_a_traceback(
    base: type[Task], sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Celery calls it expected, and one line of ours says it as an error."""

    def work(run_id: str) -> str:
        return run_id

    task = Celery("test", set_as_current=False).task(work, base=base, name="task")
    with caplog.at_level(logging.INFO):
        assert isinstance(task.apply((1, *(["more"] if base is StartTask else []))).result, StageFailed)
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert [line.partition(sentence)[1] for line in errors] == [sentence]
    assert not [record for record in caplog.records if record.exc_info or "unexpected" in record.getMessage()]
