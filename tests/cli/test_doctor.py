"""`strata doctor` and `strata stores`: what works, what is safe there, and how a share is set up."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from strata.s3client import S3Access, make_client
from tests.cli.conftest import Command
from workers.local_stack.servers import S3Server, free_port


@pytest.fixture
def places(unset: Path, monkeypatch: pytest.MonkeyPatch, s3_server: S3Server, strata: Command) -> Path:
    """LOCAL, NETWORK (not set up), CLOUD on rclone, a spool and a keyring."""
    bucket = f"doctor-{os.urandom(4).hex()}"
    make_client(S3Access(s3_server.endpoint, s3_server.access_key, s3_server.secret_key), 1).create_bucket(
        Bucket=bucket
    )
    (unset / "share").mkdir()
    values = {
        "LOCAL_URL": (unset / "local").as_uri(),
        "NETWORK_URL": (unset / "share").as_uri(),
        "CLOUD_URL": f"s3://{bucket}/backups",
        "CLOUD_ENDPOINT": s3_server.endpoint,
        "CLOUD_ACCESS_KEY_ID": s3_server.access_key,
        "CLOUD_SECRET_ACCESS_KEY": s3_server.secret_key,
        "SPOOL_URL": (unset / "spool").as_uri(),
        "KEYRING_FILE": str(unset / "keyring.json"),
    }
    for name, value in values.items():
        monkeypatch.setenv(f"STRATA_{name}", value)
    assert strata("keys", "init").code == 0
    return unset


def verdicts(document: Any) -> dict[str, str]:
    return {part["part"]: part["verdict"] for part in document["parts"]}


def test_a_share_is_set_up_once_and_by_intention(places: Path, strata: Command) -> None:
    """A folder where nothing is mounted is refused, unless it is meant; then the store answers."""
    refused = strata("stores", "init", "network", "--json")
    assert (refused.code, refused.document["error"]["code"]) == (7, "store-not-mounted")
    assert "nothing is mounted at" in refused.err
    listed = strata("stores", "list", "--json")
    assert listed.code == 7
    assert {one["tier"]: one["answers"] for one in listed.document["stores"]} == {
        "local": True, "network": False, "cloud": True,
    }  # fmt: skip
    assert strata("stores", "init", "network", "--any-folder").code == 0
    assert strata("stores", "list").code == 0
    again = strata("stores", "init", "network", "--any-folder", "--json")
    assert again.document["error"]["code"] == "object-exists"
    assert [path.name for path in (places / "share").iterdir()] == ["strata-store.json"]


def test_the_doctor_says_what_is_safe(places: Path, strata: Command) -> None:
    """Folders are safe, rclone promises less, nothing is left behind, and the exit code is 0."""
    strata("stores", "init", "network", "--any-folder")
    said = strata("doctor", "--json")
    assert said.code == 0
    assert said.document["sound"] is True
    assert verdicts(said.document) == {
        "settings": "weaker", "LOCAL": "safe", "NETWORK": "safe", "CLOUD": "weaker", "spool": "safe",
        "keyring": "safe", "TLS": "safe",
    }  # fmt: skip
    assert not [path for path in places.rglob("*") if path.is_file() and "doctor" in path.parts]
    shown = strata("doctor")
    assert "it knows no conditional put" in shown.out
    assert "GiB free of" in shown.out


def test_what_does_not_work_ends_with_13(places: Path, monkeypatch: pytest.MonkeyPatch, strata: Command) -> None:
    """Each part that fails says why, and hides no other; no secret is shown."""
    monkeypatch.setenv("STRATA_CLOUD_SECRET_ACCESS_KEY", "hunter2hunter2")
    monkeypatch.setenv("STRATA_RESULT_URL", f"redis://:hunter2@127.0.0.1:{free_port()}/0")
    monkeypatch.setenv("STRATA_HOT_URL", f"redis://:hunter2@127.0.0.1:{free_port()}/0")
    (places / "keyring.json").chmod(0o644)
    said = strata("doctor", "--json")
    assert said.code == 13
    assert verdicts(said.document) == {
        "settings": "weaker", "LOCAL": "safe", "NETWORK": "failed", "CLOUD": "failed", "spool": "safe",
        "keyring": "failed", "ledger": "failed", "TLS": "safe", "HOT": "failed",
    }  # fmt: skip
    assert "hunter2" not in said.out + said.err
    shown = strata("doctor")
    assert shown.code == 13
    assert "hunter2" not in shown.out + shown.err


def test_the_doctor_reads_the_tiers(
    places: Path, monkeypatch: pytest.MonkeyPatch, strata: Command, hot_url: str, warm_url: str
) -> None:
    """Tiers that can be read and written are safe; one whose tables are not there is not."""
    strata("stores", "init", "network", "--any-folder")
    monkeypatch.setenv("STRATA_HOT_URL", hot_url)
    monkeypatch.setenv("STRATA_WARM_URL", warm_url)
    monkeypatch.setenv("STRATA_WARM_TABLES", "state_warm")
    said = strata("doctor", "--json")
    assert said.code == 13
    assert verdicts(said.document)["HOT"] == "weaker"  # its stream begins after 5 s, as Redis has it
    assert verdicts(said.document)["WARM"] == "failed"
