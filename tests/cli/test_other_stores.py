"""Backups that go to a share, to buckets and to an append-only folder: made, proved and brought back from there."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from strata.s3client import S3Access, make_client
from strata.storage.attributes import set_immutable
from tests.cli.conftest import Command
from workers.local_stack.servers import S3Server

RECORDS = 200


@pytest.fixture
def hot(hot_url: str, configured: Path) -> redis.Redis:
    """HOT with some state, and no store yet."""
    text = (configured / "strata.toml").read_text()
    (configured / "strata.toml").write_text("".join(line for line in text.splitlines(True) if "local_url" not in line))
    client = redis.Redis.from_url(hot_url)
    client.mset({f"position:{number}": f"{number} EUR" for number in range(RECORDS)})
    return client


def there_and_back(strata: Command, hot: redis.Redis) -> None:
    """A full backup, a change, an increment, all lost, all back."""
    assert strata("backup", "full", "--local").code == 0
    hot.set("position:7", "changed")
    made = strata("backup", "incremental", "--local", "--json")
    assert made.code == 0, made.err
    assert made.document["type"] == "incremental"
    assert strata("verify", "latest").code == 0
    hot.flushdb()
    restored = strata("restore", "latest", "--local", "--yes")
    assert restored.code == 0, restored.err
    assert hot.dbsize() == RECORDS
    assert hot.get("position:7") == b"changed"


def test_backups_rest_on_a_share(
    strata: Command, hot: redis.Redis, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They go there and come back; while it is not mounted nothing is written, and none is taken for missing."""
    share = folder / "share"
    share.mkdir()
    monkeypatch.setenv("STRATA_NETWORK_URL", share.as_uri())
    assert strata("backup", "full", "--local").code == 7
    assert list(share.iterdir()) == []
    assert strata("stores", "init", "network", "--any-folder").code == 0
    there_and_back(strata, hot)
    share.rename(folder / "elsewhere")
    share.mkdir()
    for command in (("list",), ("verify", "latest"), ("backup", "full", "--local")):
        said = strata(*command)
        assert said.code == 7
        assert "the share is not mounted there" in said.err
    assert list(share.iterdir()) == []


def test_backups_rest_in_a_bucket_without_conditions(
    strata: Command, hot: redis.Redis, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that knows no conditional put is enough for one deployment; a bandwidth does not change the result."""
    access = S3Access(s3_server.endpoint, s3_server.access_key, s3_server.secret_key)
    make_client(access, 1).create_bucket(Bucket="other-stores")
    for name, value in {
        "URL": "s3://other-stores/backups",
        "ENDPOINT": s3_server.endpoint,
        "ACCESS_KEY_ID": s3_server.access_key,
        "SECRET_ACCESS_KEY": s3_server.secret_key,
        "BANDWIDTH": "100000000",
    }.items():
        monkeypatch.setenv(f"STRATA_CLOUD_{name}", value)
    there_and_back(strata, hot)


def test_backups_rest_in_an_append_only_folder(
    strata: Command, hot: redis.Redis, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Immutable files are in nobody's way."""
    monkeypatch.setenv("STRATA_LOCAL_URL", (folder / "frozen").as_uri())
    monkeypatch.setenv("STRATA_LOCAL_APPEND_ONLY", "true")
    there_and_back(strata, hot)
    for path in (folder / "frozen").rglob("*"):
        if path.is_file():
            set_immutable(path, False)
