"""Backups made, shown, proved and brought back in this process, with a real Redis as HOT."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
import redis

from strata.cli.restore import address
from strata.model.tier import Tier
from strata.settings import load_settings
from strata.sources.port import RestoreMode
from tests.cli.conftest import Command

RECORDS = 500


@pytest.fixture
def backup_id(strata: Command, configured: Path, hot: redis.Redis) -> str:
    """A backup of RECORDS keys."""
    hot.mset({f"position:{number}": f"{number} EUR" for number in range(RECORDS)})
    said = strata("backup", "full", "--local", "--json")
    assert said.code == 0, said.err
    made: str = said.document["backup_id"]
    return made


@pytest.fixture
def hot(hot_url: str) -> redis.Redis:
    """HOT itself."""
    return redis.Redis.from_url(hot_url)


def test_keys_init_makes_a_keyring_once(strata: Command, unset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first call names the file and its keys and warns; the second leaves the file alone."""
    monkeypatch.setenv("STRATA_KEYRING_FILE", str(unset / "keyring.json"))
    said = strata("keys", "init", "--json")
    assert said.document["keyring_file"] == str(unset / "keyring.json")
    assert {key["purpose"] for key in said.document["keys"]} == {"wrap", "sign", "spool", "fingerprint"}
    assert "keep a copy" in said.err
    assert strata("keys", "init").code == 3


def test_backup_tells_stages_beside_and_numbers_as_answer(strata: Command, configured: Path, hot: redis.Redis) -> None:
    """Progress is on stderr; the summary on stdout names the backup, its records and what was left out."""
    hot.set("a", "b")
    said = strata("backup", "full", "--local")
    assert said.code == 0
    assert "collect hot: 1 records" in said.err
    assert "record: done" in said.err
    assert "HOT (Redis)" in said.out
    assert "left out: STRATA_WARM_URL is not set" in said.out


def test_list_shows_backups_newest_first_and_unreadable_ones(strata: Command, backup_id: str, configured: Path) -> None:
    """A manifest that cannot be read hides no other, and is named."""
    (configured / "backups" / "manifests" / "broken.json").write_text("{}")
    said = strata("list", "--json").document
    assert [backup["backup_id"] for backup in said["backups"]] == [backup_id]
    assert said["backups"][0]["records"] == RECORDS
    assert said["unreadable"][0]["name"] == "manifests/broken.json"
    shown = strata("list").out
    assert backup_id in shown
    assert "broken.json" in shown


def test_show_tells_everything_of_a_backup(strata: Command, backup_id: str) -> None:
    """Cut, source, layers and whether its key is held; a unique beginning of the id is enough."""
    said = strata("show", backup_id[:-3], "--json").document
    assert said["backup_id"] == backup_id
    assert said["key_held"] is True
    assert said["sources"]["hot"]["databases"] == [0]
    shown = strata("show", "latest").out
    assert "the keyring holds it" in shown
    assert f"{backup_id}-hot" in shown


def test_unknown_backup_is_told_by_its_own_exit_code(strata: Command, backup_id: str) -> None:
    """An id that nothing answers to is 5, whatever was asked of it."""
    for command in ("show", "verify", "restore"):
        assert strata(command, "nope").code == 5


def test_verify_counts_what_it_read(strata: Command, backup_id: str) -> None:
    """A whole backup is said to be whole, in numbers."""
    said = strata("verify", "latest", "--json").document
    assert said["whole"] is True
    assert said["records"] == RECORDS
    assert "is whole" in strata("verify", backup_id).out


def test_verify_names_every_damaged_object(strata: Command, backup_id: str, configured: Path) -> None:
    """One flipped byte and one missing object are both named; exit code 8."""
    first, second = sorted((configured / "backups" / "layers").rglob("*.*"))[:2]
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 1
    first.chmod(0o600)
    first.write_bytes(data)
    second.unlink()
    said = strata("verify", "latest", "--json")
    assert said.code == 8
    assert "its bytes are not those that were written" in said.document["error"]["sentence"]
    for damaged in (first, second):
        assert str(damaged.relative_to(configured / "backups")) in said.document["error"]["sentence"]


def test_restore_without_terminal_and_yes_writes_nothing(strata: Command, backup_id: str, hot: redis.Redis) -> None:
    """Where nobody can be asked the plan is shown, and the answer is no."""
    hot.flushdb()
    said = strata("restore", "latest", "--local")
    assert said.code == 11
    assert "REMOVED" in said.err
    assert hot.dbsize() == 0


def test_exact_restore_brings_back_and_removes(strata: Command, backup_id: str, hot: redis.Redis) -> None:
    """Lost and changed records come back, and what was not in the backup goes; the counts are exact."""
    hot.delete("position:1")
    hot.set("position:2", "changed")
    hot.set("stranger", "x")
    said = strata("restore", backup_id, "--local", "--yes", "--json")
    assert said.code == 0, said.err
    assert said.document["tiers"][0]["removed"] == 1
    assert hot.get("position:2") == b"2 EUR"
    assert hot.dbsize() == RECORDS


def test_overlay_restore_leaves_strangers_alone(strata: Command, backup_id: str, hot: redis.Redis) -> None:
    """OVERLAY writes the backup's records and removes nothing."""
    hot.flushdb()
    hot.set("stranger", "x")
    assert strata("restore", "latest", "--local", "--yes", "--mode", "overlay", "--tier", "hot").code == 0
    assert hot.dbsize() == RECORDS + 1


def test_rehearsal_asks_nothing_and_writes_nothing(strata: Command, backup_id: str, hot: redis.Redis) -> None:
    """REHEARSE proves the backup and the target only."""
    hot.flushdb()
    said = strata("restore", "latest", "--local", "--mode", "rehearse")
    assert said.code == 0
    assert "no target refused it. Nothing is changed." in " ".join(said.out.split())
    assert hot.dbsize() == 0


def test_what_could_not_come_back_into_an_empty_database_is_told(
    strata: Command, backup_id: str, warm_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function that a default calls is named at the backup, `show` and the restore; in the clear only counted."""
    monkeypatch.setenv("STRATA_WARM_URL", warm_url)
    monkeypatch.setenv("STRATA_WARM_TABLES", "*")
    with psycopg.connect(warm_url, autocommit=True) as connection:
        connection.execute("CREATE FUNCTION secret_code() RETURNS text LANGUAGE sql AS $$ SELECT 'k' $$")
        connection.execute("CREATE TABLE t (id int PRIMARY KEY, v text DEFAULT secret_code())")
        connection.execute("INSERT INTO t VALUES (1)")
    made = strata("backup", "full", "--local")
    needs = "default value for public.t.v needs function public.secret_code()"
    assert f"WARM (PostgreSQL), not in the backup: {needs}" in " ".join(made.err.split())
    shown = strata("show", "latest", "--json").document
    assert shown["sources"]["warm"]["not_held"] == [needs]
    assert "secret_code" not in str(shown["reasons"])
    assert "it needs 1 thing that is not in the backup" in str(shown["reasons"])
    assert needs in " ".join(strata("restore", "latest", "--dry-run", "--tier", "warm").err.split())
    with psycopg.connect(warm_url, autocommit=True) as connection:
        connection.execute("DROP TABLE t")
        connection.execute("DROP FUNCTION secret_code")
    refused = strata("restore", "latest", "--local", "--yes")
    assert refused.code != 0
    assert "function public.secret_code() does not exist" in " ".join(refused.err.split())


def test_a_tier_named_twice_is_restored_once(strata: Command, backup_id: str, hot: redis.Redis) -> None:
    """`--tier hot --tier hot` restores HOT, and does not get into its own way."""
    hot.flushdb()
    said = strata("restore", "latest", "--local", "--yes", "--tier", "hot", "--tier", "hot", "--json")
    assert said.code == 0, said.err
    assert [tier["tier"] for tier in said.document["tiers"]] == ["hot"]
    assert hot.dbsize() == RECORDS


@pytest.mark.parametrize("option", [["--no-wait"], ["--timeout", "5"]])
def test_an_option_that_would_not_be_heeded_is_refused(strata: Command, configured: Path, option: list[str]) -> None:
    """--local has nobody to wait for: it says so before it does anything."""
    for command in (["backup", "full"], ["restore", "latest", "--yes"]):
        said = strata(*command, "--local", *option)
        assert said.code == 2
        assert "are for the workers" in said.err
    assert not (configured / "backups").exists()


def test_another_keyring_is_told_by_the_exit_code_of_keyrings(
    strata: Command, backup_id: str, configured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a keyring that did not make the backups, `latest` is 3 and not damage: the stored bytes are fine."""
    monkeypatch.setenv("STRATA_KEYRING_FILE", str(configured / "other.json"))
    assert strata("keys", "init").code == 0
    for command in (["verify"], ["show"], ["restore", "--local", "--yes"]):
        said = strata(*command, "latest")
        assert said.code == 3
        assert "Bring back the keyring" in said.err


def test_modes_are_those_of_the_engine() -> None:
    """The command knows the modes without importing the engine; they are the same."""
    from strata.cli.restore import _EFFECTS

    assert list(_EFFECTS) == [mode.value for mode in RestoreMode]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:pa55word@host:6379/0,3", "host:6379/0,3"),
        ("redis://user:pa55word@host:6379/0", "host:6379/0"),
        ("redis://:pa/55word@host:6379/0", "as STRATA_HOT_URL says"),
        ("redis://host/0?password=pa55word", "host/0"),
    ],
)
def test_addresses_hold_no_password(unset: Path, monkeypatch: pytest.MonkeyPatch, url: str, shown: str) -> None:
    """What is shown before a restore never holds a password, nor a piece of one."""
    monkeypatch.setenv("STRATA_HOT_URL", url)
    assert address(load_settings(), Tier.HOT) == shown


def test_a_folder_that_is_not_there_is_no_empty_store(strata: Command, configured: Path) -> None:
    """A word mistyped in a URL is told as such, where a store that is there and empty is not."""
    said = strata("list")
    assert f"{(configured / 'backups').as_uri()} is not there" in said.err
    assert "STRATA_LOCAL_URL" in said.err
    (configured / "backups").mkdir()
    assert "is not there" not in strata("list").err
