"""Backups that go without a word: a store rolled back, emptied, or pruned by nobody we know."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import redis

from tests.cli.conftest import Command

UNSOUND, BROKEN, DAMAGED = 17, 12, 8


@pytest.fixture
def backups(strata: Command, configured: Path, hot_url: str) -> list[str]:
    """A FULL, a copy of the store as it was then, and an INCREMENTAL."""
    made = []
    for kind in ("full", "incremental"):
        with redis.Redis.from_url(hot_url) as client:
            client.set("position:1", kind)
        said = strata("backup", kind, "--local", "--json")
        assert said.code == 0, said.err
        made.append(said.document["backup_id"])
        if kind == "full":
            shutil.copytree(configured / "backups", configured / "older")
    return made


def roll_back(folder: Path) -> None:
    """The store as it was after the first backup."""
    shutil.rmtree(folder / "backups")
    shutil.copytree(folder / "older", folder / "backups")


def forget_cache(folder: Path) -> None:
    """A machine that never listed this store."""
    shutil.rmtree(folder / "home", ignore_errors=True)


def forget_ledger(hot_url: str, folder: Path) -> None:
    """A ledger that is new."""
    text = (folder / "strata.toml").read_text()
    (folder / "strata.toml").write_text("".join(line for line in text.splitlines(True) if "result_url" not in line))
    assert hot_url


@pytest.mark.parametrize("known_by", ["cache", "ledger"])
def test_a_store_that_was_rolled_back_is_red(
    strata: Command, configured: Path, backups: list[str], hot_url: str, known_by: str
) -> None:
    """By what this machine or the ledger knew, the backup that is gone is named by every command that should."""
    assert strata("list").code == 0
    if known_by == "cache":
        forget_ledger(hot_url, configured)
    else:
        forget_cache(configured)
    roll_back(configured)
    listed = strata("list", "--json")
    assert listed.code == UNSOUND
    assert listed.document["disappeared"] == [{"store": "local", "backup_id": backups[1]}]
    assert f"disappeared: {backups[1]}" in strata("list").out
    status = strata("status", "--json")
    assert status.code == BROKEN
    (line,) = [line for line in status.document["lines"] if line["rule"] == "nothing disappears"]
    assert not line["holds"]
    assert backups[1] in line["finding"]
    doctor = strata("doctor", "--json")
    assert doctor.code == 13
    (local,) = [part for part in doctor.document["parts"] if part["part"] == "LOCAL"]
    assert [one["check"] for one in local["findings"] if one["verdict"] == "failed"] == ["backups"]
    prune = strata("prune", "--dry-run", "--local", "--json")
    assert prune.code == UNSOUND
    assert "disappeared" in prune.document["plan"]["stores"][0]["frozen"][0]
    latest = strata("show", "latest")
    assert latest.code == DAMAGED
    assert "the latest backup has disappeared" in latest.err
    planned = strata("backup", "full", "--dry-run", "--json")
    assert any("disappeared from LOCAL" in reason for reason in planned.document["reasons"])


def test_a_store_that_was_emptied_is_no_new_one(strata: Command, configured: Path, backups: list[str]) -> None:
    """The next backup is made, says in its reasons what is gone, and stays red until a person settles it."""
    strata("list")
    shutil.rmtree(configured / "backups")
    made = strata("backup", "incremental", "--local", "--json")
    assert made.code in {0, 14}, made.err
    assert any("2 backups disappeared from LOCAL" in reason for reason in made.document["reasons"])
    assert strata("list").code == UNSOUND
    refused = strata("stores", "settle", "local")
    assert (refused.code, strata("list").code) == (11, UNSOUND)
    settled = strata("stores", "settle", "local", "--yes", "--json")
    assert settled.document["settled"] == sorted(backups)
    assert strata("list").code == 0
    forget_cache(configured)
    assert strata("list").code == 0
    assert strata("stores", "settle", "local", "--yes").code == 0


def test_without_cache_and_ledger_nothing_is_missed(
    strata: Command, configured: Path, backups: list[str], hot_url: str
) -> None:
    """On a new machine a store is what it is: it lists, and restores."""
    forget_cache(configured)
    forget_ledger(hot_url, configured)
    roll_back(configured)
    listed = strata("list", "--json")
    assert listed.code == 0
    assert [one["backup_id"] for one in listed.document["backups"]] == backups[:1]
    assert strata("restore", "latest", "--local", "--yes").code == 0


def test_what_a_prune_removed_did_not_disappear(
    strata: Command, configured: Path, backups: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither for the machine that pruned, nor for one that only knows what the store and the ledger say."""
    strata("list")
    assert strata("backup", "full", "--fresh", "--local").code == 0
    monkeypatch.setenv("STRATA_PRUNE_GRACE_HOURS", "0")
    monkeypatch.setenv("STRATA_RETENTION_DAYS", "full=0;incremental=0")
    shutil.copytree(configured / "home", configured / "another")
    for _ in range(2):
        assert strata("prune", "--local", "--yes").code == 0
    left = [one["backup_id"] for one in strata("list", "--json").document["backups"]]
    assert backups[0] not in left
    assert strata("list").code == 0
    monkeypatch.setenv("HOME", str(configured / "another"))
    assert strata("list").code == 0


def test_a_damaged_manifest_is_red(strata: Command, configured: Path, backups: list[str]) -> None:
    """It is a line of status, and an exit code of list and prune."""
    (configured / "backups" / "manifests" / f"{backups[1]}.json").write_text("{}")
    assert strata("list").code == UNSOUND
    assert strata("prune", "--dry-run", "--local").code == UNSOUND
    lines = {line["rule"]: line for line in strata("status", "--json").document["lines"]}
    assert not lines["every manifest can be read"]["holds"]
    assert lines["prunes can remove"]["finding"] == "nothing is removed from LOCAL"


def test_a_store_is_adopted_by_a_persons_word(
    strata: Command, configured: Path, backups: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused, shown and asked; then the store and its backups are this installation's."""
    monkeypatch.setenv("STRATA_INSTALLATION", "second")
    refused = strata("backup", "full", "--local")
    assert refused.code == 7
    assert "this one is second" in refused.err
    assert "none of the backups is of this installation" in strata("show", "latest").err
    assert strata("prune", "--dry-run", "--local").code == 7
    assert strata("stores", "adopt", "local").code == 11
    adopted = strata("stores", "adopt", "local", "--yes", "--json")
    assert adopted.document["installation"] == "second"
    assert strata("show", "latest", "--json").document["backup_id"] == backups[1]
    assert strata("backup", "incremental", "--local").code == 0
    monkeypatch.setenv("STRATA_INSTALLATION", "third")
    assert strata("backup", "full", "--local").code == 7


def test_a_lost_identity_is_written_anew_by_a_persons_word(
    strata: Command, configured: Path, backups: list[str]
) -> None:
    """A store whose store.json is lost or torn is not written into until somebody says whose it is."""
    (configured / "backups" / "store.json").write_text("")
    assert strata("backup", "full", "--local").code == DAMAGED
    (configured / "backups" / "store.json").unlink()
    assert strata("backup", "full", "--local").code == 7
    assert strata("show", "latest", "--json").document["backup_id"] == backups[1]
    adopted = strata("stores", "adopt", "local", "--yes")
    assert adopted.code == 0
    assert all(command in adopted.err for command in ("strata verify", "strata accept", "strata stores settle local"))
    assert strata("backup", "incremental", "--local").code == 0
    assert strata("list").code == 0


def test_the_doctor_names_what_is_not_ours(strata: Command, configured: Path, backups: list[str]) -> None:
    """Files of other people and links are named, and are no failure."""
    assert backups
    (configured / "backups" / "manifests" / "shopping.txt").write_text("milk")
    (configured / "backups" / "history").mkdir(exist_ok=True)
    (configured / "backups" / "history" / "more").symlink_to(configured)
    (local,) = [part for part in strata("doctor", "--json").document["parts"] if part["part"] == "LOCAL"]
    (names,) = [one for one in local["findings"] if one["check"] == "names"]
    assert names["verdict"] == "weaker"
    assert "history/more, manifests/shopping.txt" in names["said"]


def test_what_the_keyring_cannot_open_is_named(strata: Command, configured: Path, backups: list[str]) -> None:
    """Manifests whose wrapping key is gone can be listed, and nobody can restore them: that is told in time."""
    file = configured / "keyring.json"
    document = json.loads(file.read_text())
    for key in document["keys"]:
        if key["purpose"] == "wrap":
            key["id"] = "w-another"
    file.write_text(json.dumps(document))
    listed = strata("list", "--json")
    assert listed.code == UNSOUND
    assert sorted(listed.document["without_key"]) == sorted(backups)
    assert "no key: the keyring does not hold" in strata("list").out
    lines = {line["rule"]: line for line in strata("status", "--json").document["lines"]}
    assert "2 backups cannot be opened with this keyring" in lines["every manifest can be read"]["finding"]


def test_a_rebuild_of_the_cache_forgets_no_disappearance(
    strata: Command, configured: Path, backups: list[str], hot_url: str
) -> None:
    """Only a person's word settles it."""
    assert strata("list").code == 0
    forget_ledger(hot_url, configured)
    roll_back(configured)
    said = strata("catalogue", "rebuild")
    assert "Backups disappeared from LOCAL" in said.err
    assert strata("list", "--json").document["disappeared"] == [{"store": "local", "backup_id": backups[1]}]
