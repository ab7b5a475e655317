"""Each duty is done by workers that can: what a task enters is given to the group that serves its queue."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from strata.settings import Settings
from tests.docs.test_tasks import tasks_known
from workers.configuration import make_app
from workers.duties import DUTIES, Need
from workers.queues import GROUPS

WORDS = {Need.STORE: r"\bstore\b", Need.SOURCES: r"\*with passwords\*", Need.TIERS: r"the tiers' \*addresses\*"}
"""How the table of docs/how-to/deploy.md says what a group is given."""
EMERGENCY_STAGES = ("start", "collect", "merge", "compress", "encrypt", "store", "verify", "record", "abandon")


def given() -> dict[str, set[Need]]:
    """What each worker group is given, as the chart's values have it; who has passwords has addresses."""
    groups = yaml.safe_load(Path("helm/strata/values.yaml").read_text())["workers"]
    rights = {name: {Need(one) for one in group["needs"] if one != "keyring"} for name, group in groups.items()}
    return {name: needs | ({Need.TIERS} if Need.SOURCES in needs else set()) for name, needs in rights.items()}


def test_every_task_has_its_duty_in_the_table() -> None:
    """None is missing, and none is invented."""
    assert set(DUTIES) == tasks_known()


def test_every_duty_is_sent_to_workers_that_can() -> None:
    """By the routes of the app."""
    app = make_app(Settings(broker_url="redis://127.0.0.1", result_url="redis://127.0.0.1"))
    rights = given()
    for task, needs in DUTIES.items():
        queue = app.amqp.router.route({}, task)["queue"].name
        groups = [name for name, (queues, _) in GROUPS.items() if queue in queues]
        assert groups, task
        assert all(needs <= rights[name] for name in groups), task


def test_the_emergency_workers_can_do_every_stage_of_a_backup() -> None:
    """All of an EMERGENCY's stages are theirs."""
    stages = {task for task in DUTIES if task.split(".")[1] in EMERGENCY_STAGES}
    assert all(DUTIES[task] <= given()["emergency"] for task in stages)


def test_the_page_says_of_each_group_what_it_is_given() -> None:
    """The table of the page on deployment is that of the chart."""
    page = Path("docs/how-to/deploy.md").read_text()
    for group, rights in given().items():
        (needs,) = re.findall(rf"^\| {group} \|[^|]*\|[^|]*\|([^|]*)\|", page, re.MULTILINE)
        said = {need for need, words in WORDS.items() if re.search(words, needs)}
        assert said | ({Need.TIERS} if Need.SOURCES in said else set()) == rights, group
