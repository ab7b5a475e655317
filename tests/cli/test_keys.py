"""`strata keys`: the whole keyring, and those cut out of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command, Said


@pytest.fixture
def keyring(unset: Path, monkeypatch: pytest.MonkeyPatch, strata: Command) -> Path:
    """A whole keyring that the settings name."""
    path = unset / "keyring.json"
    monkeypatch.setenv("STRATA_KEYRING_FILE", str(path))
    assert strata("keys", "init").code == 0
    return path


def words(said: Said) -> str:
    """What was said of a mistake, on one line."""
    return " ".join(said.err.split())


def test_cuts_are_written_beside_the_keyring_and_named(keyring: Path, strata: Command) -> None:
    """Without a folder they lie beside the keyring; the document names each file and what its keys are for."""
    said = strata("keys", "cut", "--json")
    assert said.code == 0
    collect = next(one for one in said.document["cuts"] if one["group"] == "collect")
    assert collect == {
        "group": "collect",
        "keyring_file": str(keyring.parent / "keyring-collect.json"),
        "purposes": ["spool", "fingerprint"],
    }
    assert not any(entry["secret"] in said.out + said.err for entry in json.loads(keyring.read_text())["keys"])


def test_cuts_that_are_there_are_replaced_only_where_asked(keyring: Path, strata: Command) -> None:
    """A second cut is refused with exit code 3, and made with --replace."""
    assert strata("keys", "cut", "cuts").code == 0
    kept = (keyring.parent / "cuts" / "keyring-seal.json").read_bytes()
    refused = strata("keys", "cut", "cuts")
    assert refused.code == 3
    assert "already, and nothing was written" in words(refused)
    assert strata("keys", "cut", "cuts", "--replace").code == 0
    assert (keyring.parent / "cuts" / "keyring-seal.json").read_bytes() == kept


def test_a_keyring_that_cannot_be_cut_is_told_in_a_sentence(keyring: Path, strata: Command) -> None:
    """Open to others, no keyring, or not there: exit code 3, and no file is made."""
    keyring.chmod(0o640)
    assert "readable by others (mode 0640)" in words(strata("keys", "cut", "cuts"))
    keyring.chmod(0o600)
    keyring.write_text("{}")
    assert "is not a Strata keyring" in words(strata("keys", "cut", "cuts"))
    keyring.unlink()
    said = strata("keys", "cut", "cuts")
    assert said.code == 3
    assert "there is no keyring at" in words(said)
    assert not (keyring.parent / "cuts").exists()
