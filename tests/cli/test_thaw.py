"""`strata restore --store archive` in this process: the plan, the waiting, and every record back."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import redis

from strata.cli.thawing import span
from tests.cli.conftest import Command
from tests.glacier import Glacier

RECORDS = 300


@pytest.fixture
def glacier(moto_endpoint: str, moto_bucket: str) -> Glacier:
    """An empty archive."""
    return Glacier(moto_endpoint, moto_bucket)


@pytest.fixture
def hot(hot_url: str) -> redis.Redis:
    """HOT itself."""
    return redis.Redis.from_url(hot_url)


@pytest.fixture
def archived(strata: Command, configured: Path, hot: redis.Redis, glacier: Glacier) -> str:
    """A backup that is in the archive only, made before HOT lost everything."""
    archive = {
        "archive_url": f"s3://{glacier.bucket}/strata",
        "archive_endpoint": glacier.endpoint,
        "archive_access_key_id": "test",
        "archive_secret_access_key": "test",
        "thaw_look_seconds": 0.2,
    }
    with (configured / "strata.toml").open("a") as file:
        file.writelines(f"{name} = {json.dumps(value)}\n" for name, value in archive.items())
    hot.mset({f"position:{number}": f"{number} EUR" for number in range(RECORDS)})
    said = strata("backup", "full", "--local", "--json")
    assert said.code == 0, said.err
    glacier.archive(configured / "backups", "strata/")
    for path in (configured / "backups" / "manifests").iterdir():
        path.unlink()
    hot.flushdb()
    made: str = said.document["backup_id"]
    return made


def test_a_dry_run_tells_hours_and_cost_and_asks_for_nothing(
    strata: Command, archived: str, glacier: Glacier, hot: redis.Redis
) -> None:
    """For the eye and as JSON; another speed has another price."""
    said = strata("restore", archived, "--store", "archive", "--dry-run")
    assert said.code == 0
    assert "must be thawed" in said.err
    assert "5-12 h" in said.err
    assert f"s3://{glacier.bucket}/strata" in said.err
    document = strata("restore", "latest", "--store", "archive", "--dry-run", "--json", "--speed", "expedited").document
    assert document["backup_id"] == archived
    assert document["thaw"]["objects"] == 1
    assert document["thaw"]["cost_usd"] == pytest.approx(0.01, abs=0.001)
    assert document["thaw"]["parts"][0]["speed"] == "expedited"
    assert glacier.asked() == set()
    assert hot.dbsize() == 0


def test_nobody_pays_unasked(strata: Command, archived: str, glacier: Glacier) -> None:
    """Without a terminal to ask at nothing is asked for, not even for a rehearsal, which writes nothing."""
    for arguments in (["--mode", "exact"], ["--mode", "rehearse"]):
        assert strata("restore", archived, "--store", "archive", "--local", *arguments).code == 11
    assert glacier.asked() == set()


def test_this_process_waits_for_the_thaw_and_says_so(
    strata: Command, archived: str, glacier: Glacier, hot: redis.Redis
) -> None:
    """A line says what is waited for and until about when; then every record is there."""
    released = threading.Event()

    def finish() -> None:
        while not glacier.asked() and not released.is_set():
            released.wait(0.05)
        released.wait(0.6)
        for name in glacier.asked():
            glacier.finish(name)

    with glacier.holding():
        helper = threading.Thread(target=finish)
        helper.start()
        try:
            said = strata("restore", archived, "--store", "archive", "--local", "--yes")
        finally:
            released.set()
            helper.join()
    assert said.code == 0, said.err
    assert "Waits for a thaw: " in said.err
    assert ", until about " in said.err
    assert "thaw: " in said.err
    assert hot.dbsize() == RECORDS
    assert hot.get("position:7") == b"7 EUR"


def test_an_archive_without_the_setting_is_named(strata: Command, configured: Path) -> None:
    """The sentence says that there is no such store, and how one is set."""
    said = strata("restore", "latest", "--store", "archive", "--dry-run")
    assert said.code == 2
    assert "there is no ARCHIVE store" in said.err
    assert "STRATA_ARCHIVE_URL" in said.err


@pytest.mark.parametrize(("hours", "words"), [((1 / 60, 5 / 60), "1-5 min"), ((5, 12), "5-12 h"), ((48, 48), "48 h")])
def test_spans_in_words(hours: tuple[float, float], words: str) -> None:
    """Minutes where it is less than an hour."""
    assert span(*hours) == words
