"""`strata verify`: of one backup, of everything that lies in the stores, and of a share of it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis

from strata.seal.keyring import FileKeyring
from tests.cli.conftest import Command, Said


@pytest.fixture
def backed_up(configured: Path, strata: Command, hot_url: str) -> Path:
    """A FULL and an INCREMENTAL of HOT in LOCAL."""
    with redis.Redis.from_url(hot_url) as hot:
        hot.mset({f"key:{number}": "value" for number in range(50)})
        assert strata("backup", "full", "--local").code == 0
        hot.set("key:1", "changed")
    assert strata("backup", "incremental", "--local").code == 0
    return configured


def files(folder: Path, pattern: str) -> list[Path]:
    return sorted((folder / "backups").glob(pattern))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def test_everything_is_read_and_noted(backed_up: Path, strata: Command) -> None:
    """Each layer once, with a table of the stores; nothing that was noted is needed twice."""
    found = strata("verify", "--all", "--json")
    assert found.code == 0, found.err
    (local,) = found.document["stores"]
    assert (local["layers"], local["left"], local["damages"]) == (2, 0, [])
    assert local["bytes"] == sum(
        path.stat().st_size for path in files(backed_up, "layers/*/*") if path.name != "layer.json"
    )
    assert len(files(backed_up, "notes/*/*-verified.json")) == 2
    shown = strata("verify", "--all")
    assert shown.code == 0
    assert "local" in shown.out


def test_a_share_goes_on_where_the_last_one_stopped(backed_up: Path, strata: Command) -> None:
    """One layer at least: the one that was not read for the longest time."""
    read = []
    for _ in range(2):
        assert strata("verify", "--share", "0.5%").code == 0
        read.append({path.parent.name for path in files(backed_up, "notes/*/*-verified.json")})
    assert [len(names) for names in read] == [1, 2]


@pytest.mark.parametrize("everything", ["--all", "--share=100%"])
def test_all_damage_is_named(backed_up: Path, strata: Command, everything: str) -> None:
    """Several layers and a manifest: exit code 8, each by name, and `status` says so from then on."""
    segments, (manifest, _) = files(backed_up, "layers/*/*.seg"), files(backed_up, "manifests/*.json")
    for path in segments:
        flip(path)
    found = strata("verify", everything, "--json")
    assert found.code == 8
    for path in segments:
        assert path.name in found.document["error"]["sentence"]
    assert "is damaged" in strata("status").out
    flip(manifest)
    assert manifest.name in strata("verify", everything, "--json").document["error"]["sentence"]


def test_a_store_that_does_not_answer_is_told_and_hides_no_other(
    backed_up: Path, strata: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LOCAL is read to its end; the command ends with the code of a store that is not there."""
    monkeypatch.setenv("STRATA_NETWORK_URL", (backed_up / "not-mounted").as_uri())
    found = strata("verify", "--all")
    assert (found.code, "NETWORK" in found.err) == (7, True)
    assert len(files(backed_up, "notes/*/*-verified.json")) == 2
    assert strata("verify", "--all", "--store", "local").code == 0


WRONG: dict[str, tuple[str, ...]] = {
    "nothing": (),
    "two": ("latest", "--all"),
    "both": ("--all", "--share", "5%"),
    "type": ("--all", "--type", "full"),
    "none": ("--share", "0%"),
    "more": ("--share", "101%"),
    "word": ("--share", "half"),
}


@pytest.mark.parametrize("arguments", WRONG.values(), ids=WRONG)
def test_a_usage_error_says_what_to_write(configured: Path, strata: Command, arguments: tuple[str, ...]) -> None:
    """Exit code 2, and nothing is read."""
    found: Said = strata("verify", *arguments)
    assert found.code == 2
    assert not (configured / "backups").exists()


def test_an_empty_store_is_whole(configured: Path, strata: Command) -> None:
    """Nothing to read is nothing wrong."""
    assert strata("verify", "--all").code == 0
    assert strata("verify", "--share", "5%").code == 0


def test_a_keyring_of_others_verifies_nothing_and_says_so(
    backed_up: Path, strata: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be checked is not found whole: exit code 3, and how many manifests were passed over."""
    FileKeyring.create(backed_up / "another.json", datetime.now(UTC))
    monkeypatch.setenv("STRATA_KEYRING_FILE", str(backed_up / "another.json"))
    for everything in ("--all", "--share=5%"):
        found = strata("verify", everything, "--json")
        assert found.code == 3, found.err
        assert "2 manifests were passed over" in found.document["error"]["sentence"]


@pytest.mark.parametrize("words", ["list", "stores list", "verify --all", "show latest", "restore latest --local"])
def test_a_store_that_is_a_file_is_no_empty_store(configured: Path, strata: Command, words: str) -> None:
    """A wrong address is told with exit code 7: it is not said that there are no backups yet."""
    (configured / "backups").touch()
    found = strata(*words.split())
    assert found.code == 7, found.out
    assert "Not a directory" in " ".join((found.out + found.err).split())
