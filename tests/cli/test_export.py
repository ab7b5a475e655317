"""`strata export` and `strata backup --from-json`: out and in again, with a real Redis as HOT."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import psycopg
import pyarrow.parquet as pq
import pytest
import redis

from tests.cli.conftest import Command

RECORDS = 300


@pytest.fixture
def hot(hot_url: str) -> redis.Redis:
    """HOT itself."""
    return redis.Redis.from_url(hot_url)


@pytest.fixture
def backup_id(strata: Command, configured: Path, hot: redis.Redis) -> str:
    """A backup of RECORDS keys, of which one is not text."""
    hot.mset({f"position:{number}": json.dumps({"qty": number}) for number in range(RECORDS - 1)})
    hot.set(b"\xff\xfe", b"\x00\xff", pxat=4_000_000_000_000)
    said = strata("backup", "full", "--local", "--json")
    assert said.code == 0, said.err
    made: str = said.document["backup_id"]
    return made


def test_json_goes_to_standard_output(strata: Command, backup_id: str) -> None:
    """The document is all that is on stdout; beside it stands that it is not encrypted, and what was written."""
    said = strata("export", "latest", "--format", "json")
    assert said.code == 0, said.err
    assert said.document["backup_id"] == backup_id
    assert len(said.document["records"]) == RECORDS
    assert "NOT encrypted" in said.err
    assert f"{RECORDS} records of {backup_id}" in said.err


def test_an_export_comes_back_through_from_json(strata: Command, backup_id: str, hot: redis.Redis) -> None:
    """Exported, lost, handed over and restored: every key, value and expiry is what it was."""
    before = {key: (hot.dump(key), hot.pexpiretime(key)) for key in hot.scan_iter()}
    assert strata("export", backup_id, "--format", "json", "--output", "state.json").code == 0
    hot.flushdb()
    handed = strata("backup", "full", "--local", "--from-json", "state.json", "--json")
    assert handed.code == 0, handed.err
    assert handed.document["records"] == RECORDS
    assert strata("restore", handed.document["backup_id"], "--local", "--yes").code == 0
    assert {key: (hot.dump(key), hot.pexpiretime(key)) for key in hot.scan_iter()} == before


def test_a_file_is_written_once_for_its_owner(strata: Command, backup_id: str, configured: Path) -> None:
    """Mode 0600; a second export under the same name is refused before anything is read."""
    said = strata("export", "latest", "--format", "json", "--output", "state.json", "--json")
    assert said.document == {
        "backup_id": backup_id,
        "format": "json",
        "output": "state.json",
        "records": RECORDS,
        "bytes": said.document["bytes"],
        "tiers": {"hot": RECORDS},
    }
    assert stat.S_IMODE((configured / "state.json").stat().st_mode) == 0o600
    again = strata("export", "latest", "--format", "json", "--output", "state.json")
    assert again.code == 2
    assert "is there already" in again.err
    assert "Proving" not in again.err


def test_parquet_goes_to_a_file(strata: Command, backup_id: str, configured: Path) -> None:
    """One file with a row for each record; standard output is not for it."""
    assert strata("export", "latest", "--format", "parquet").code == 2
    assert strata("export", "latest", "--format", "parquet", "--output", "-").code == 2
    said = strata("export", "latest", "--format", "parquet", "--output", "state.parquet")
    assert said.code == 0, said.err
    assert "NOT encrypted" in said.err
    assert pq.read_table(configured / "state.parquet").num_rows == RECORDS


def test_json_counts_and_a_document_do_not_share_standard_output(strata: Command, backup_id: str) -> None:
    """--json needs --output."""
    said = strata("export", "latest", "--format", "json", "--json")
    assert said.code == 2
    assert said.document["error"]["code"] == "setting"


def test_a_tier_can_be_named(strata: Command, backup_id: str) -> None:
    """One that the backup does not hold is refused by name."""
    assert set(strata("export", "latest", "--format", "json", "--tier", "hot").document["tiers"]) == {"hot"}
    said = strata("export", "latest", "--format", "json", "--tier", "warm")
    assert said.code == 2
    assert "does not hold WARM" in said.err


def test_a_damaged_backup_is_not_exported(strata: Command, backup_id: str, configured: Path) -> None:
    """Every object is proved first: nothing is written of a backup that is not whole."""
    (segment,) = (configured / "backups").rglob("*.seg")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.chmod(0o600)
    segment.write_bytes(data)
    said = strata("export", "latest", "--format", "json", "--output", "state.json")
    assert said.code == 8
    assert segment.name in said.err
    assert not (configured / "state.json").exists()
    assert strata("export", "latest", "--format", "json").out == ""


def test_a_plain_mapping_is_backed_up(strata: Command, configured: Path, hot: redis.Redis) -> None:
    """Each member becomes a string of Redis; the live state is not looked at."""
    hot.set("live", "1")
    (configured / "state.json").write_text('{"position:1": {"qty": 1}, "mode": "live"}')
    said = strata("backup", "full", "--local", "--from-json", "state.json", "--json")
    assert said.code == 0, said.err
    assert said.document["records"] == 2
    assert strata("restore", "latest", "--local", "--yes").code == 0
    assert {key: hot.get(key) for key in hot.scan_iter()} == {b"position:1": b'{"qty":1}', b"mode": b'"live"'}


def test_a_bad_document_makes_no_backup(strata: Command, configured: Path) -> None:
    """One sentence with file and line, exit code 2, nothing in the spool, no run."""
    (configured / "state.json").write_text('{"a": 1,\n "b": secret}')
    for where in (["--local"], []):
        said = strata("backup", "full", "--from-json", "state.json", *where)
        assert said.code == 2
        assert "line 2 of state.json" in said.err
        assert "secret" not in said.err
    assert [path for path in (configured / "spool").rglob("*") if path.is_file()] == []
    assert strata("list", "--json").document["backups"] == []


def test_state_is_taken_out_of_the_spool_where_it_cannot_be_sent(strata: Command, configured: Path) -> None:
    """With no broker to send to nothing stays behind."""
    (configured / "state.json").write_text('{"a": 1}')
    said = strata("backup", "full", "--from-json", "state.json")
    assert said.code == 10
    assert [path for path in (configured / "spool").rglob("*") if path.is_file()] == []


def test_state_is_taken_out_of_the_spool_where_the_run_is_refused(strata: Command, configured: Path) -> None:
    """Another run holds the lease: this one ends, and its document with it."""
    from strata.settings import load_settings
    from strata.wiring import Wiring

    (configured / "state.json").write_text('{"a": 1}')
    lease = Wiring(load_settings()).lease
    fence = lease.acquire("a-run", "somebody")
    try:
        assert strata("backup", "full", "--local", "--from-json", "state.json").code == 4
    finally:
        lease.release(fence)
    assert [path for path in (configured / "spool").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(("trust", "planted"), [((), 0), (("--trust-structure",), 1)])
def test_a_statement_in_a_document_is_executed_only_where_the_option_says_so(
    strata: Command,
    configured: Path,
    warm_url: str,
    hot_url: str,
    monkeypatch: pytest.MonkeyPatch,
    trust: tuple[str, ...],
    planted: int,
) -> None:
    """A document that plants a table is backed up and restored; the table is there with --trust-structure alone."""
    monkeypatch.setenv("STRATA_WARM_URL", warm_url)
    monkeypatch.setenv("STRATA_WARM_TABLES", "*")
    with redis.Redis.from_url(hot_url) as client:
        client.set("a", "1")
    with psycopg.connect(warm_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (7)")
        assert strata("backup", "full", "--local").code == 0
        document = strata("export", "latest", "--format", "json", "--tier", "warm").document
        document["tiers"]["warm"]["source"]["tables"][0]["ddl_links"] = ["CREATE TABLE public.planted (id int)"]
        (configured / "state.json").write_text(json.dumps(document))
        connection.execute("DROP TABLE t")
        said = strata("backup", "full", "--local", "--from-json", "state.json", "--json", *trust)
        assert said.code == 0, said.err
        said = strata("restore", said.document["backup_id"], "--local", "--yes")
        assert said.code == 0, said.err
        assert connection.execute("SELECT id FROM t").fetchall() == [(7,)]
        count = connection.execute("SELECT count(*) FROM pg_class WHERE relname = 'planted'").fetchone()
        assert count == (planted,)


def test_the_option_needs_a_document(strata: Command, configured: Path) -> None:
    """--trust-structure without --from-json is refused in one sentence."""
    said = strata("backup", "full", "--local", "--trust-structure")
    assert said.code == 2
    assert "it needs --from-json" in said.err
