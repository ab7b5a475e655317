"""Backups and restores through real workers, as a person would do them in a fresh folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from strata.cli.doubts import IN_DOUBT
from strata.settings import Settings
from strata.wiring import Wiring
from tests.cli.conftest import Command
from workers.local_stack.stack import LocalStack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """All worker groups; beat and Flower have nothing to do here."""
    stack = LocalStack(tmp_path_factory.mktemp("workers") / ".strata")
    stack.up(beat=False, flower=False)
    yield stack
    stack.wipe()


@pytest.fixture
def settings(stack: LocalStack, unset: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The stack's settings, found because its folder is the working folder."""
    monkeypatch.chdir(stack.folder.parent)
    return stack.settings()


def test_backup_and_restore_through_the_workers(strata: Command, settings: Settings) -> None:
    """Two tiers are backed up, lost and brought back; every count is right, and `runs` knows of both runs."""
    assert settings.hot_url
    assert settings.warm_url
    hot = redis.Redis.from_url(settings.hot_url.get_secret_value())
    hot.mset({f"order:{number}": number for number in range(200)})
    with psycopg.connect(settings.warm_url.get_secret_value()) as connection:
        connection.execute("INSERT INTO state_warm (key, data) SELECT 'k' || n, '{}' FROM generate_series(1, 100) AS n")

    made = strata("backup", "full", "--json", "--timeout", "60")
    assert made.code == IN_DOUBT, made.err  # COLD is empty
    assert [doubt["tier"] for doubt in made.document["doubts"]] == ["cold"]
    assert made.document["records"] == 300
    assert "collect hot: 200 records" in made.err
    hot.flushdb()
    with psycopg.connect(settings.warm_url.get_secret_value()) as connection:
        connection.execute("DELETE FROM state_warm")

    restored = strata("restore", "latest", "--yes", "--json", "--timeout", "60")
    assert restored.code == 0, restored.err
    assert {tier["tier"]: tier["written"] for tier in restored.document["tiers"]} == {
        "hot": 200,
        "warm": 100,
        "cold": 0,
    }
    assert hot.dbsize() == 200

    runs = strata("runs", "--json").document
    assert [(run["kind"], run["state"]) for run in runs["runs"]] == [("restore", "DONE"), ("backup", "DONE")]
    assert runs["lease"] is None


def test_second_run_is_refused_while_one_holds_the_lease(strata: Command, settings: Settings) -> None:
    """The refusal of a worker reaches whoever waits, with the exit code of its error."""
    lease = Wiring(settings).lease
    fence = lease.acquire("a-run", "somebody")
    try:
        said = strata("backup", "full", "--json", "--timeout", "60")
        assert said.code == 4
        assert said.document["error"]["code"] == "lease-held"
        assert "a-run" in said.document["error"]["sentence"]
        assert "a-run" in strata("runs").out
    finally:
        lease.release(fence)


def test_run_that_is_not_waited_for_is_named(strata: Command, settings: Settings) -> None:
    """--no-wait prints the id by which the run is found again."""
    said = strata("backup", "full", "--no-wait", "--json")
    assert said.code == 0
    assert "-full-" in said.document["run_id"]


def test_status_shows_every_process(strata: Command, settings: Settings) -> None:
    """`stack status` lists servers and workers, all running; `up` finds nothing to do."""
    said = strata("stack", "status", "--json").document
    assert {process["name"] for process in said["processes"]} >= {"broker", "hot", "postgres", "s3", "worker-seal"}
    assert all(process["running"] for process in said["processes"])
    assert "up already" in strata("stack", "up").out


def test_wipe_asks_before_it_removes_anything(strata: Command, settings: Settings, stack: LocalStack) -> None:
    """Without a terminal and without --yes nothing is ended or removed."""
    assert strata("stack", "down", "--wipe").code == 11
    assert stack.status().up
