"""Keyrings cut out of the whole one: what each worker group needs, for its owner's eyes, over nothing that is there."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from strata.errors import KeyringError
from strata.seal.keyring import FileKeyring, Purpose
from strata.seal.keyring_cuts import CUTS, plan_cuts, write_anew, write_new
from workers.queues import GROUPS


@pytest.fixture
def whole(folder: Path) -> Path:
    """A whole keyring, which nothing may change."""
    path = folder / "keyring.json"
    FileKeyring.create(path, datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC))
    return path


def test_each_worker_group_has_a_cut() -> None:
    """No group of workers.queues is without a keyring of its own, and there is none besides."""
    assert set(CUTS) == set(GROUPS)


def test_a_cut_holds_the_keys_of_its_group_and_no_other(whole: Path) -> None:
    """The keys are those of the whole keyring, for exactly the purposes of the group."""
    write_new(plan_cuts(whole, whole.parent / "cuts"))
    ids = FileKeyring.load(whole).ids_by_purpose
    for group, purposes in CUTS.items():
        cut = FileKeyring.load(whole.parent / "cuts" / f"keyring-{group}.json")
        assert cut.ids_by_purpose == {purpose: ids[purpose] for purpose in purposes}


def test_collectors_cannot_open_a_backup_and_nobody_but_three_can_sign() -> None:
    """What the cuts are for."""
    assert {group for group, purposes in CUTS.items() if Purpose.WRAP not in purposes} == {"collect"}
    assert {group for group, purposes in CUTS.items() if Purpose.SIGN in purposes} == {"control", "store", "emergency"}


def test_older_keys_are_cut_out_too(whole: Path) -> None:
    """A group opens what was sealed before the keyring got a newer key."""
    document = json.loads(whole.read_text())
    newer = FileKeyring.create(whole.parent / "newer.json", datetime.now(UTC)).ids_by_purpose["spool"]
    document["keys"] += json.loads((whole.parent / "newer.json").read_text())["keys"]
    whole.write_text(json.dumps(document))
    write_new(plan_cuts(whole, whole.parent / "cuts"))
    held = FileKeyring.load(whole.parent / "cuts" / "keyring-collect.json").ids_by_purpose["spool"]
    assert held[-1:] == newer
    assert len(held) == 2


def test_cuts_are_readable_by_their_owner_alone(whole: Path) -> None:
    """Written new or anew, mode 0600; a new folder 0700."""
    folder = whole.parent / "cuts"
    cuts = plan_cuts(whole, folder)
    write_new(cuts)
    cuts[0].path.chmod(0o644)
    write_anew(cuts)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(list(folder.iterdir())) == len(CUTS)


def test_one_file_that_is_there_stops_all_before_anything_is_written(whole: Path) -> None:
    """Nothing is overwritten without a word, and no half set is left."""
    folder = whole.parent / "cuts"
    folder.mkdir()
    (folder / "keyring-store.json").write_text("mine")
    with pytest.raises(KeyringError, match=r"keyring-store\.json already, and nothing was written") as caught:
        write_new(plan_cuts(whole, folder))
    assert "--replace" in caught.value.hint
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"keyring-store.json": "mine"}


def test_the_whole_keyring_is_never_replaced_by_a_cut(whole: Path) -> None:
    """A whole keyring that has a cut's name is left as it is."""
    named = whole.rename(whole.with_name("keyring-collect.json"))
    with pytest.raises(KeyringError, match="take the place of the keyring"):
        plan_cuts(named, named.parent)


def test_a_cut_cannot_be_cut_again(whole: Path) -> None:
    """What lacks a key cannot give it to others."""
    write_new(plan_cuts(whole, whole.parent / "cuts"))
    with pytest.raises(KeyringError, match="holds no key to sign with"):
        plan_cuts(whole.parent / "cuts" / "keyring-seal.json", whole.parent / "more")


@pytest.mark.parametrize("write", [write_new, write_anew])
def test_a_folder_that_cannot_be_one_is_named(whole: Path, write: object) -> None:
    """A file in the folder's place gives one sentence."""
    assert callable(write)
    with pytest.raises(KeyringError, match="cannot be written"):
        write(plan_cuts(whole, whole / "inside"))


def test_the_plan_shows_no_secret(whole: Path) -> None:
    """A cut's repr names its file, not its keys."""
    secrets = [entry["secret"] for entry in json.loads(whole.read_text())["keys"]]
    assert not any(secret in repr(plan_cuts(whole, whole.parent)) for secret in secrets)
