"""What Flower shows of runs, as the local stack starts it: names of stages, words, and metrics that do not grow."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest

from strata.model.backup_type import BackupType
from tests.pipeline.conftest import Pipeline
from workers.configuration import TASK_MODULES
from workers.flower_defaults import USER
from workers.local_stack.layout import FLOWER, Secrets
from workers.local_stack.parts import Part, make_parts
from workers.local_stack.stack import LocalStack

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Flower:
    """A running one, with its user and password."""

    def __init__(self, address: str, password: str) -> None:
        self.address, self._entry = address, f"{USER}:{password}"

    def get(self, path: str) -> str:
        """An answer, as a program gets it."""
        request = urllib.request.Request(self.address + path)  # noqa: S310 - our own
        request.add_header("Authorization", "Basic " + base64.b64encode(self._entry.encode()).decode())
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return str(answer.read().decode())

    def succeeded(self, task: str) -> int:
        """How often a task ended well, by the metrics."""
        found = re.findall(
            rf'^flower_events_total{{task="{re.escape(task)}",type="task-succeeded",[^}}]*}} (\S+)$',
            self.get("/metrics"),
            re.MULTILINE,
        )
        return int(sum(map(float, found)))

    def series(self) -> set[tuple[str, str, str]]:
        """Metric, task and worker of each series of a task; what a retry adds comes once and stays."""
        rows = re.findall(r"^(flower_\w+)\{(.*)\} \S+$", self.get("/metrics"), re.MULTILINE)
        told = [(name, dict(re.findall(r'(\w+)="([^"]*)"', labels))) for name, labels in rows]
        return {(name, labels["task"], labels["worker"]) for name, labels in told if "task" in labels}

    def page(self, path: str, folder: Path) -> str:
        """A page as a person sees it, in a browser."""
        assert CHROMIUM
        address = self.address.replace("//", f"//{self._entry}@") + path
        seen = subprocess.run(
            [
                CHROMIUM,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                f"--user-data-dir={folder}",
                "--virtual-time-budget=10000",
                "--dump-dom",
                address,
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return unescape(seen.stdout)


def part_of(stack: LocalStack) -> tuple[Part, Secrets]:
    """Flower as the stack would start it."""
    secrets = stack.layout.read_secrets()
    assert secrets
    (part,) = make_parts(stack.layout, secrets, [FLOWER])
    return part, secrets


@pytest.fixture(scope="module")
def flower(running_stack: LocalStack) -> Iterator[Flower]:
    """Flower beside the stack's workers, started as the stack does."""
    part, secrets = part_of(running_stack)
    process = part.start()
    try:
        yield Flower(part.address, secrets.flower_password)
    finally:
        process.stop()


@pytest.fixture
def watched(pipeline: Pipeline, flower: Flower) -> Flower:
    """The same, once it listens to the workers."""
    part, _ = part_of(pipeline.stack)
    pipeline.until(part.ready, "Flower does not listen")
    pipeline.until(lambda: 'flower_worker_online{worker="control@' in flower.get("/metrics"), "it hears of no worker")
    return flower


def incremental(pipeline: Pipeline, flower: Flower, value: str) -> str:
    """An INCREMENTAL of one changed key, whose last stage Flower has seen end; its id."""
    before = flower.succeeded("tasks.record.record")
    pipeline.bot.hot.set("position:1", value)
    run_id = pipeline.backed_up(BackupType.INCREMENTAL).backup_id
    pipeline.until(lambda: flower.succeeded("tasks.record.record") > before, "Flower did not see its end")
    return run_id


def test_backups_add_no_series_to_the_metrics(pipeline: Pipeline, watched: Flower) -> None:
    """Each series is that of a task by its name, and two INCREMENTALs more add none."""
    pipeline.bot.hot.set("position:1", "x")
    pipeline.backed_up()
    for value in ("a", "b"):
        incremental(pipeline, watched, value)
    before = watched.series()
    for value in ("c", "d"):
        incremental(pipeline, watched, value)
    assert watched.series() - before == set()
    assert {task.rpartition(".")[0].removeprefix("tasks.") for _, task, _ in before} <= {
        module.removeprefix("tasks.") for module in TASK_MODULES
    }
    assert {worker.partition("@")[0] for _, _, worker in before} <= {"control", "collect", "seal", "store", "emergency"}


def test_every_stage_of_a_run_ends_in_flower_with_words(pipeline: Pipeline, watched: Flower) -> None:
    """Which run, unit and bytes as arguments, what came of it as result; and none is lost or left STARTED."""
    pipeline.bot.hot.set("position:1", "x")
    pipeline.backed_up()
    run_id = incremental(pipeline, watched, "y")
    pipeline.restored(run_id)
    pipeline.until(lambda: watched.succeeded("tasks.restore.finish"), "Flower did not see the restore's end")
    tasks = [task for task in json.loads(watched.get("/api/tasks?limit=1000")).values() if run_id in task["args"]]
    assert {task["state"] for task in tasks} == {"SUCCESS"}
    by_name = {task["name"].rpartition(".")[2]: task for task in tasks}
    stages = "baseline collect_all collect_hot merge compress encrypt store verify record"
    assert set(stages.split()) <= set(by_name)
    assert by_name["collect_hot"]["kwargs"] == "{tier: HOT}"
    assert re.search(r"1 records, 0\.0 MB", by_name["collect_hot"]["result"])
    assert re.fullmatch(r"\{tier: \w+, unit: \w+ \d+/\d+, bytes: \d+\.\d MB\}", by_name["store"]["kwargs"])
    assert re.search(r"\d+\.\d MB stored", by_name["store"]["result"])
    assert re.search(r"\d+ objects to be stored", by_name["merge"]["result"])
    restored = {task["name"].rpartition(".")[2]: task for task in json.loads(watched.get("/api/tasks")).values()}
    assert {restored[name]["state"] for name in ("apply_all", "apply_rest", "apply_hot", "finish")} == {"SUCCESS"}
    assert "records written" in restored["apply_hot"]["result"]


def test_a_person_sees_runs_in_the_browser(pipeline: Pipeline, watched: Flower, folder: Path) -> None:
    """The list of tasks shows the stage, the run and what came of it, and no state that the tiers hold."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    pipeline.bot.hot.set("position:1", "planted-value")
    run_id = incremental(pipeline, watched, "planted-value-2")
    seen = watched.page("/tasks", folder)
    for words in ("tasks.record.record", run_id, "SUCCESS", "MB stored"):
        assert words in seen, words
    assert "planted-value" not in seen
