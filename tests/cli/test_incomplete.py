"""Backups that may be incomplete, through the command, with a real Redis and a real PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from tests.cli.conftest import Command, Said

IN_DOUBT = 14


@pytest.fixture
def hot(hot_url: str) -> redis.Redis:
    """HOT itself, with 20 keys."""
    client = redis.Redis.from_url(hot_url)
    client.mset({f"position:{number}": "1" for number in range(10)} | {f"other:{number}": "1" for number in range(10)})
    return client


@pytest.fixture
def warm(warm_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[psycopg.Connection]:
    """WARM itself, configured, with 20 rows."""
    monkeypatch.setenv("STRATA_WARM_URL", warm_url)
    monkeypatch.setenv("STRATA_WARM_TABLES", "*")
    with psycopg.connect(warm_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE t (id text PRIMARY KEY)")
        connection.execute("INSERT INTO t SELECT 'position:' || n FROM generate_series(1, 20) n")
        yield connection
        connection.execute("DROP TABLE t")


def made(strata: Command, kind: str = "full", *options: str, code: int = 0) -> str:
    """The id of a backup made now."""
    said = strata("backup", kind, "--local", "--json", *options)
    assert said.code == code, said.err
    backup_id: str = said.document["backup_id"]
    return backup_id


def words(said: Said) -> str:
    """What was said beside the answer, on one line."""
    return " ".join(said.err.split())


def listed(strata: Command, backup_id: str) -> dict[str, object]:
    """What the list says of a backup."""
    found: dict[str, object] = next(
        one for one in strata("list", "--json").document["backups"] if one["backup_id"] == backup_id
    )
    return found


@pytest.mark.usefixtures("configured", "hot", "warm")
def test_a_full_without_a_tier_is_told_everywhere_until_it_is_accepted(
    strata: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the plan, at the backup (exit code 14), in the list, by `show` and `status`; prune is frozen."""
    whole = made(strata)
    monkeypatch.delenv("STRATA_WARM_URL")
    missing = "WARM (PostgreSQL) is missing; the last full backup held it"
    assert f"will be in doubt: {missing}" in words(strata("backup", "full", "--local", "--dry-run"))
    said = strata("backup", "full", "--local")
    assert said.code == IN_DOUBT
    assert missing in words(said)
    partial = strata("list", "--json").document["backups"][0]["backup_id"]
    assert f"strata accept {partial}" in words(said)
    assert [doubt["sentence"] for doubt in listed(strata, partial)["doubts"]] == [missing]  # type: ignore[attr-defined]
    assert "in doubt" in next(line for line in strata("list").out.splitlines() if partial in line)
    assert [one["backup_id"] for one in strata("list", "--status", "doubtful", "--json").document["backups"]] == [
        partial
    ]
    assert strata("show", partial, "--json").document["doubts"][0]["kind"] == "missing"
    status = strata("status", "--json")
    assert status.code == 12
    assert list(status.document["doubts"]) == [partial]
    assert "is in doubt" in strata("prune", "--local", "--dry-run").out
    latest = strata("show", "latest", "--json")
    assert latest.document["backup_id"] == whole
    assert f"{partial} is newer and is not taken because it is in doubt" in words(latest)

    accepted = strata("accept", partial, "--reason", "WARM was given up", "--json")
    assert (accepted.code, accepted.document["noted"]) == (0, ["local"])
    assert listed(strata, partial)["doubts"] == []
    assert "is in doubt" not in strata("prune", "--local", "--dry-run").out
    assert strata("show", "latest", "--json").document["backup_id"] == partial
    assert made(strata) != partial
    assert "accepted already" in strata("accept", partial).out


@pytest.mark.usefixtures("configured")
def test_a_tier_that_lost_its_records_is_told(strata: Command, hot: redis.Redis, warm: psycopg.Connection) -> None:
    """More than half of them, or all: the backup says so, and the next is not built on it."""
    whole = made(strata)
    warm.execute("DELETE FROM t WHERE id > 'position:16'")
    hot.flushdb()
    said = strata("backup", "incremental", "--local")
    assert said.code == IN_DOUBT
    assert "HOT (Redis) has no records; the backup before held 20" in words(said)
    hot.mset({f"position:{number}": "1" for number in range(10)})
    warm.execute("DELETE FROM t")
    warm.execute("INSERT INTO t VALUES ('position:1'), ('position:2')")
    again = strata("backup", "incremental", "--local", "--json")
    assert again.code == IN_DOUBT
    assert [doubt["kind"] for doubt in again.document["doubts"]] == ["fewer"]
    assert again.document["parent"] == whole


@pytest.mark.usefixtures("configured", "hot")
def test_a_table_that_is_not_backed_up_any_more_is_told_until_it_is_accepted(
    strata: Command, monkeypatch: pytest.MonkeyPatch, warm: psycopg.Connection, configured: Path
) -> None:
    """However few records it had: at the backup by its name, in list and status; prune is frozen. One more is no doubt.

    No name stands in the clear in the store, the ledger or the cache.
    """
    with psycopg.connect(warm.info.dsn, password=warm.info.password, autocommit=True) as beside:
        beside.execute("CREATE TABLE extra_orders (id int PRIMARY KEY)")
        try:
            whole = made(strata)
            monkeypatch.setenv("STRATA_WARM_TABLES", "t")
            said = strata("backup", "incremental", "--local")
        finally:
            beside.execute("DROP TABLE extra_orders")
    lacks = "WARM (PostgreSQL) lacks 1 of the 2 tables that earlier backups held"
    assert said.code == IN_DOUBT
    assert f"{lacks}: public.extra_orders." in words(said)
    narrow = strata("list", "--json").document["backups"][0]["backup_id"]
    assert [doubt["sentence"] for doubt in listed(strata, narrow)["doubts"]] == [lacks]  # type: ignore[attr-defined]
    assert lacks in words(strata("status", "--json")) or lacks in strata("status", "--json").out
    assert "is in doubt" in strata("prune", "--local", "--dry-run").out
    assert strata("show", "latest", "--json").document["backup_id"] == whole
    assert "public.extra_orders" in strata("show", narrow).out
    files = [path for path in configured.rglob("*") if path.is_file() and path.name != "strata.toml"]
    assert not [path for path in files if b"extra_orders" in path.read_bytes()]

    monkeypatch.setenv("STRATA_WARM_TABLES", "*")  # the table is gone: as if it had not been asked for
    made(strata, code=IN_DOUBT)
    assert "public.extra_orders" in words(strata("accept", narrow))
    made(strata)
    warm.execute("CREATE TABLE more (id int PRIMARY KEY)")
    try:
        made(strata)
    finally:
        warm.execute("DROP TABLE more")


@pytest.mark.usefixtures("configured", "hot")
def test_a_database_of_redis_that_is_not_backed_up_any_more_is_told(
    strata: Command, monkeypatch: pytest.MonkeyPatch, hot_url: str
) -> None:
    """Though it held nothing: the URL named it."""
    monkeypatch.setenv("STRATA_HOT_URL", f"{hot_url},7")
    made(strata)
    monkeypatch.setenv("STRATA_HOT_URL", hot_url)
    said = strata("backup", "full", "--local")
    assert said.code == IN_DOUBT
    assert "HOT (Redis) lacks 1 of the 2 databases that earlier backups held: 7." in words(said)


@pytest.mark.usefixtures("configured")
def test_an_empty_tier_is_never_made_and_verified_without_a_word(strata: Command, hot: redis.Redis) -> None:
    """0 records from the first day on are told, and settled once."""
    hot.flushdb()
    empty = made(strata, code=IN_DOUBT)
    assert strata("accept", empty).code == 0
    assert made(strata) != empty
    assert made(strata, "incremental") != empty


@pytest.mark.usefixtures("configured", "hot")
def test_handed_over_state_is_not_the_last_good_one(strata: Command, configured: Path) -> None:
    """A document of one key: `latest` is the live backup, nothing is built on it, and the list says what it is."""
    live = made(strata)
    document = configured / "state.json"
    document.write_text(json.dumps({"position:1": {"qty": 1}}))
    handed = made(strata, "full", "--from-json", str(document))
    assert strata("show", handed, "--json").document["parent"] is None
    assert strata("show", "latest", "--json").document["backup_id"] == live
    assert "handed over" in next(line for line in strata("list").out.splitlines() if handed in line)
    assert strata("show", made(strata, "incremental"), "--json").document["parent"] == live
    assert "in no doubt" in strata("accept", handed).out


@pytest.mark.usefixtures("configured", "hot", "warm")
def test_a_restore_of_a_part_says_which_part(
    strata: Command, monkeypatch: pytest.MonkeyPatch, hot: redis.Redis
) -> None:
    """`latest` is whole; `--type` asks for another, whose plan names its type, its keys, and the tiers left out."""
    whole = made(strata)
    monkeypatch.delenv("STRATA_WARM_URL")
    strata("accept", made(strata, "snapshot", code=14))
    assert strata("restore", "latest", "--dry-run", "--json", "--tier", "hot").document["backup_id"] == whole
    said = strata("restore", "latest", "--type", "snapshot", "--dry-run", "--local")
    assert said.code == 0
    plan = words(said)
    assert "snapshot" in plan
    assert "only the keys position:*, order:*, portfolio*, performance*" in plan
    assert "all others are left alone" in plan
    assert "left out, it stays as it is: STRATA_WARM_URL is not set" in plan
    hot.set("other:new", "1")
    hot.set("position:new", "1")
    assert strata("restore", "latest", "--type", "snapshot", "--local", "--yes").code == 0
    assert (hot.exists("other:new"), hot.exists("position:new")) == (1, 0)


@pytest.mark.usefixtures("configured", "hot")
def test_what_cannot_be_accepted_is_said(strata: Command) -> None:
    """`latest` is no backup in doubt; a backup that is in none has nothing to accept; another does not exist."""
    backup_id = made(strata)
    assert "is in no doubt: there is nothing to accept" in strata("accept", backup_id).out
    assert strata("accept", "latest").code == 2
    assert strata("accept", "nothing").code == 5
    assert strata("show", backup_id, "--type", "full").code == 2
    none = strata("show", "latest", "--type", "snapshot")
    assert none.code == 5
    assert "there is no snapshot backup" in words(none)


@pytest.mark.usefixtures("configured", "hot")
def test_an_incremental_that_stores_everything_stays_an_incremental(strata: Command) -> None:
    """Where there is nothing to build on it is judged, kept and copied as what was asked for."""
    first = listed(strata, made(strata, "incremental"))
    assert (first["type"], first["parent"]) == ("incremental", None)
    differential = strata("show", made(strata, "differential"), "--json").document
    assert differential["parent"] == first["backup_id"]


@pytest.mark.usefixtures("configured")
def test_what_was_accepted_is_not_told_again_of_backups_in_another_store(
    strata: Command, configured: Path, monkeypatch: pytest.MonkeyPatch, hot: redis.Redis
) -> None:
    """The note on an INCREMENTAL lies in LOCAL, the FULLs in NETWORK: `backup` says what `status` and `accept` do."""
    network = configured / "network"
    network.mkdir()
    monkeypatch.setenv("STRATA_NETWORK_URL", network.as_uri())
    assert strata("stores", "init", "network", "--any-folder").code == 0
    made(strata)
    made(strata, "incremental")
    hot.delete(*(f"other:{number}" for number in range(10)), "position:1")
    fewer = made(strata, "incremental", code=IN_DOUBT)
    assert strata("accept", fewer).code == 0
    full = made(strata)
    assert "in no doubt" in strata("accept", full).out
    assert "is accepted already" in strata("accept", fewer).out
