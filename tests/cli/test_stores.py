"""Commands over several stores, and on a machine that has nothing but one store's URL and the keyring."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import redis

from strata.s3client import S3Access, make_client
from tests.cli.conftest import Command
from workers.local_stack.servers import S3Server, free_port

RECORDS = 300


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    """A new, empty bucket."""
    name = f"stores-{os.urandom(4).hex()}"
    make_client(S3Access(s3_server.endpoint, s3_server.access_key, s3_server.secret_key), 1).create_bucket(Bucket=name)
    return name


@pytest.fixture
def two_stores(configured: Path, s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a LOCAL store and a CLOUD one."""
    for name, value in {
        "CLOUD_URL": f"s3://{bucket}/backups",
        "CLOUD_ENDPOINT": s3_server.endpoint,
        "CLOUD_ACCESS_KEY_ID": s3_server.access_key,
        "CLOUD_SECRET_ACCESS_KEY": s3_server.secret_key,
    }.items():
        monkeypatch.setenv(f"STRATA_{name}", value)
    return configured


def copied(folder: Path, s3_server: S3Server, bucket: str) -> None:
    """Put a byte-identical copy of all of LOCAL into CLOUD."""
    client = make_client(S3Access(s3_server.endpoint, s3_server.access_key, s3_server.secret_key), 1)
    root = folder / "backups"
    for path in root.rglob("*.*"):
        name = path.relative_to(root).as_posix()
        client.put_object(Bucket=bucket, Key=f"backups/{name}", Body=path.read_bytes())


@pytest.fixture
def backup_id(strata: Command, two_stores: Path, hot: redis.Redis, s3_server: S3Server, bucket: str) -> str:
    """A backup that lies in LOCAL and in CLOUD."""
    hot.mset({f"position:{number}": f"{number} EUR" for number in range(RECORDS)})
    made = strata("backup", "full", "--local", "--json")
    assert made.code == 0, made.err
    copied(two_stores, s3_server, bucket)
    found: str = made.document["backup_id"]
    return found


@pytest.fixture
def hot(hot_url: str) -> redis.Redis:
    """HOT itself."""
    return redis.Redis.from_url(hot_url)


def test_list_says_which_stores_hold_a_backup(strata: Command, backup_id: str) -> None:
    """One line, the stores' letters, and no line wider than a hundred characters."""
    (backup,) = strata("list", "--json").document["backups"]
    assert [copy["storage_tier"] for copy in backup["copies"]] == ["local", "cloud"]
    said = strata("list")
    (line,) = [line for line in said.out.splitlines() if line.startswith(backup_id)]
    assert line.split()[-1] == "L-C-"
    assert len(line) <= 100
    assert backup["ratio"] == round(backup["logical_bytes"] / backup["stored_bytes"], 2)
    assert f" {backup['ratio']:.1f}x " in line


def test_show_says_what_kind_of_media_copies_lie_on_and_which_are_missing(
    strata: Command, backup_id: str, s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that the placement names is missing; not one in a store that does not answer, or was not asked."""
    document = strata("show", backup_id, "--json").document
    assert {copy["storage_tier"]: copy["medium"] for copy in document["copies"]} == {
        "local": "disk",
        "cloud": "object storage",
    }
    assert document["missing"] == []
    client = make_client(S3Access(s3_server.endpoint, s3_server.access_key, s3_server.secret_key), 1)
    client.delete_object(Bucket=bucket, Key=f"backups/manifests/{backup_id}.json")
    (missing,) = strata("show", backup_id, "--json").document["missing"]
    assert (missing["storage_tier"], missing["medium"]) == ("cloud", "object storage")
    assert missing["store_url"].startswith("s3://")
    (row,) = [line for line in strata("show", backup_id).out.splitlines() if line.startswith("CLOUD")]
    assert "object storage" in row
    assert row.split()[-1] == "missing"
    assert strata("show", backup_id, "--store", "local", "--json").document["missing"] == []
    monkeypatch.setenv("STRATA_CLOUD_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    assert strata("show", backup_id, "--json").document["missing"] == []


def test_a_silent_store_is_named_and_hides_nothing(
    strata: Command, backup_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other's backups are listed; `latest` is refused, a full id and --store are not."""
    monkeypatch.setenv("STRATA_CLOUD_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    said = strata("list")
    assert said.code == 0
    assert backup_id in said.out
    assert "CLOUD does not answer" in said.err
    assert strata("list", "--json").document["silent"]["cloud"]
    refused = strata("verify", "latest")
    assert refused.code == 7
    assert "--store local" in refused.err
    assert strata("verify", "latest", "--store", "local").code == 0
    assert strata("verify", backup_id).code == 0
    assert strata("list", "--store", "cloud").code == 7


def test_a_lost_store_leaves_the_copy(strata: Command, backup_id: str, two_stores: Path, hot: redis.Redis) -> None:
    """With LOCAL's manifests gone the backup is shown, proved and restored from CLOUD."""
    shutil.rmtree(two_stores / "backups")
    hot.flushdb()
    assert strata("verify", "latest", "--json").document["storage_tier"] == "cloud"
    done = strata("restore", "latest", "--local", "--yes")
    assert done.code == 0, done.err
    assert "s3://" in done.err
    assert hot.dbsize() == RECORDS


def test_a_copy_is_chosen_by_its_store(strata: Command, backup_id: str, two_stores: Path, hot: redis.Redis) -> None:
    """Damage of LOCAL's copy fails there and is noted; CLOUD's copy is whole, and is read first from then on."""
    segment = next((two_stores / "backups" / "layers").rglob("*.seg"))
    segment.chmod(0o600)
    segment.write_bytes(segment.read_bytes()[:-1] + b"x")
    assert strata("verify", backup_id, "--store", "local").code == 8
    (backup,) = strata("list", "--status", "damaged", "--json").document["backups"]
    assert [copy["damaged"] for copy in backup["copies"]] == [True, False]
    hot.flushdb()
    assert strata("restore", backup_id, "--local", "--yes", "--store", "local").code == 8
    assert hot.dbsize() == 0
    assert strata("restore", backup_id, "--local", "--yes").code == 0
    assert hot.dbsize() == RECORDS
    exported = strata("export", backup_id, "--format", "json", "--store", "cloud", "--output", "out.json")
    assert exported.code == 0, exported.err
    assert strata("list", "--status", "damaged").out.count("damaged") == 1


def test_verify_notes_what_it_found_and_show_tells_it(strata: Command, backup_id: str) -> None:
    """The copy's proof is as of now; pins and holds are told with their reasons, in every store."""
    assert strata("verify", backup_id, "--store", "cloud").code == 0
    assert strata("pin", backup_id, "--reason", "audit").code == 0
    assert strata("hold", backup_id, "--reason", "case 7").code == 0
    shown = strata("show", "latest", "--json").document
    assert (shown["pinned"], shown["legal_hold"]) == (True, True)
    assert [copy["storage_tier"] for copy in shown["copies"]] == ["local", "cloud"]
    kinds = {"verified", "pinned", "held"}
    notes = [(note["kind"], note["storage_tier"]) for note in shown["notes"] if note["kind"] in kinds]
    assert sorted(notes) == [
        ("held", "cloud"),
        ("held", "local"),
        ("pinned", "cloud"),
        ("pinned", "local"),
        ("verified", "cloud"),
    ]
    said = strata("show", backup_id).out
    assert "case 7" in said
    assert "copy in" in said
    assert "held, pinned" in strata("list").out
    assert strata("release", backup_id).code == 0
    assert strata("unpin", backup_id).code == 0
    assert "No backup is like that." in strata("list", "--status", "pinned").out


def test_filters_and_limit_narrow_the_list(strata: Command, backup_id: str) -> None:
    """Type, time and number; what is left out by the limit is counted."""
    second = strata("backup", "incremental", "--local", "--json").document["backup_id"]
    assert [one["backup_id"] for one in strata("list", "--type", "full", "--json").document["backups"]] == [backup_id]
    assert [one["backup_id"] for one in strata("list", "--limit", "1", "--json").document["backups"]] == [second]
    assert "1 older ones are not shown" in strata("list", "--limit", "1").err
    assert len(strata("list", "--since", "1h", "--json").document["backups"]) == 2
    assert strata("list", "--until", "2020-01-01", "--json").document["backups"] == []
    assert len(strata("list", "--store", "cloud", "--json").document["backups"]) == 1
    assert strata("list", "--since", "yesterday").code == 2


def test_stats_count_over_stores(strata: Command, backup_id: str) -> None:
    """Each copy takes its bytes in its store; over all the backup counts once."""
    found = strata("stats", "--json").document
    assert found["all"]["backups"] == 1
    assert found["stores"]["local"]["stored_bytes"] == found["stores"]["cloud"]["stored_bytes"] > 0
    assert found["all"]["stored_bytes"] == 2 * found["stores"]["local"]["stored_bytes"]
    assert found["types"]["full"]["ratio"] == found["all"]["ratio"]
    assert "in CLOUD" in strata("stats").out


def test_catalogue_is_kept_and_made_anew(strata: Command, backup_id: str, two_stores: Path) -> None:
    """`status` tells what is kept of each store, `rebuild` drops it and reads."""
    shutil.rmtree(two_stores / "home")  # what the backup before kept
    assert "Nothing is kept" in strata("catalogue", "status").out
    assert strata("list").code == 0
    stores = strata("catalogue", "status", "--json").document["stores"]
    assert [one["backups"] for one in stores] == [1, 1]
    assert strata("catalogue", "rebuild", "--json").document["read"] == {"local": 1, "cloud": 1}
    shutil.rmtree(two_stores / "home")
    assert backup_id in strata("list").out


def test_a_rebuild_that_could_not_read_a_store_says_so(
    strata: Command, backup_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What answers is read, and the exit code is that of a store that does not."""
    assert backup_id
    monkeypatch.setenv("STRATA_CLOUD_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    said = strata("catalogue", "rebuild", "--json")
    assert (said.code, said.document["read"], list(said.document["silent"])) == (7, {"local": 1}, ["cloud"])


def test_a_failed_run_outlives_the_ledger(strata: Command, two_stores: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no ledger to ask, `runs` and `list --status failed` tell of it from the stores, with its reason."""
    monkeypatch.setenv("STRATA_HOT_URL", f"redis://127.0.0.1:{free_port()}/0")
    assert strata("backup", "full", "--local").code == 6
    monkeypatch.setenv("STRATA_RESULT_URL", f"redis://127.0.0.1:{free_port()}/0")
    (run,) = strata("runs", "--json").document["runs"]
    assert (run["state"], run["code"]) == ("FAILED", "source-unavailable")
    assert "HOT" in run["reason"]
    said = strata("list", "--status", "failed")
    assert run["run_id"] in said.out
    assert "HOT" in said.out
    assert strata("list", "--status", "refused", "--json").document["runs"] == []
    assert "Only failed runs" in strata("runs").err


def test_one_stores_url_and_the_keyring_are_enough(
    strata: Command,
    backup_id: str,
    two_stores: Path,
    monkeypatch: pytest.MonkeyPatch,
    hot: redis.Redis,
    hot_url: str,
    bucket: str,
) -> None:
    """No Redis but the target, no spool, no other store, no cache: list, show, verify, stats and restore work."""
    (two_stores / "strata.toml").unlink()
    shutil.rmtree(two_stores / "backups")
    shutil.rmtree(two_stores / "spool", ignore_errors=True)
    monkeypatch.setenv("STRATA_KEYRING_FILE", str(two_stores / "keyring.json"))
    for command in (["list"], ["stats"], ["show", "latest"], ["verify", "latest"], ["runs"]):
        said = strata(*command)
        assert said.code == 0, said.err
    rehearsed = strata("restore", "latest", "--local", "--mode", "rehearse")
    assert rehearsed.code == 2
    assert "STRATA_HOT_URL is not set" in rehearsed.err
    hot.flushdb()
    monkeypatch.setenv("STRATA_HOT_URL", hot_url)
    done = strata("restore", "latest", "--local", "--yes", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["tiers"][0]["written"] == RECORDS
    assert hot.dbsize() == RECORDS


def test_a_dry_prune_shows_what_moves_by_age(
    strata: Command, backup_id: str, s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an ARCHIVE the reason is told; with one, what is copied there, and why the last good one stays."""
    monkeypatch.setenv("STRATA_ARCHIVE_AFTER_DAYS", "full=0")
    assert "By age: nothing moves to ARCHIVE because STRATA_ARCHIVE_URL is not set." in strata("prune", "--dry-run").out
    for name, value in {
        "URL": f"s3://{bucket}/archive",
        "ENDPOINT": s3_server.endpoint,
        "ACCESS_KEY_ID": s3_server.access_key,
        "SECRET_ACCESS_KEY": s3_server.secret_key,
    }.items():
        monkeypatch.setenv(f"STRATA_ARCHIVE_{name}", value)
    last = strata("backup", "full", "--local", "--json").document["backup_id"]
    moves = strata("prune", "--dry-run", "--json").document["moves"]
    (move,) = moves["copies"]
    assert (move["backup_id"], move["source"], move["target"]) == (backup_id, "local", "archive")
    assert moves["left"] == [{"name": last, "reason": "it is the last good full backup"}]
    assert (moves["releases"], moves["reasons"]) == ([], [])
    said = " ".join(strata("prune", "--dry-run").out.split())
    assert f"{backup_id} local is copied to ARCHIVE full backups move after 0 days" in said
    assert f"{last} stays where it is it is the last good full backup" in said
