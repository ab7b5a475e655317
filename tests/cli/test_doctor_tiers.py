"""`strata doctor` on tiers, ledger and broker; and the same looks before a backup reads anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import redis

from strata.engine.doctor_missing import NEEDS
from tests.cli.conftest import Command
from workers.local_stack.servers import free_port


def part(document: Any, name: str) -> Any:
    """One part of what the doctor said."""
    return next(one for one in document["parts"] if one["part"] == name)


def said(document: Any, name: str, check: str) -> tuple[str, str]:
    """The verdict and the sentence of one finding."""
    found = next(one for one in part(document, name)["findings"] if one["check"] == check)
    return found["verdict"], found["said"]


@pytest.fixture
def one_store(unset: Path, monkeypatch: pytest.MonkeyPatch, strata: Command) -> Path:
    """A LOCAL store, a spool and a keyring."""
    monkeypatch.setenv("STRATA_LOCAL_URL", (unset / "local").as_uri())
    monkeypatch.setenv("STRATA_SPOOL_URL", (unset / "spool").as_uri())
    monkeypatch.setenv("STRATA_KEYRING_FILE", str(unset / "keyring.json"))
    assert strata("keys", "init").code == 0
    return unset


@pytest.fixture
def hot_as(hot_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """HOT through a user of its own, with these rights."""
    admin: Any = redis.Redis.from_url(hot_url)
    delay = admin.config_get("repl-diskless-sync-delay")
    admin.config_set("repl-diskless-sync-delay", 0)

    def use(*rights: str) -> None:
        admin.execute_command("ACL", "SETUSER", "doctor", "reset", "on", ">secret", "~*", "&*", *rights)
        port = urlsplit(hot_url).port
        monkeypatch.setenv("STRATA_HOT_URL", f"redis://doctor:secret@127.0.0.1:{port}/0")

    yield use
    admin.execute_command("ACL", "DELUSER", "doctor")
    admin.config_set("repl-diskless-sync-delay", delay["repl-diskless-sync-delay"])
    admin.close()


def test_with_nothing_configured_the_doctor_lists_what_is_missing(unset: Path, strata: Command) -> None:
    """Every need at once, with the setting that meets it; not the first of them alone."""
    found = strata("doctor", "--json")
    assert found.code == 13
    assert unset.exists()
    assert [one["check"] for one in part(found.document, "settings")["findings"]] == [need.check for need in NEEDS]
    shown = strata("doctor").out
    for name in ("STRATA_LOCAL_URL", "STRATA_HOT_URL", "STRATA_SPOOL_URL", "STRATA_BROKER_URL", "STRATA_RESULT_URL"):
        assert name in shown


@pytest.mark.usefixtures("one_store")
def test_the_doctor_asks_what_the_user_of_hot_may_do(hot_url: str, hot_as: Any, strata: Command) -> None:
    """A user without PSYNC is read key by key, one without SET takes no restore; nothing is set and nothing forks."""
    with redis.Redis.from_url(hot_url) as admin:
        before = admin.info("stats")["total_forks"]
        hot_as("+@all")
        found = strata("doctor", "--json").document
        assert said(found, "HOT", "one moment") == ("safe", "can be read at one moment")
        assert said(found, "HOT", "restore") == ("safe", "takes writes")
        hot_as("+@read", "+@connection", "+info", "+config|get")
        found = strata("doctor", "--json").document
        verdict, sentence = said(found, "HOT", "one moment")
        assert verdict == "weaker"
        assert "psync" in sentence
        assert said(found, "HOT", "restore")[0] == "weaker"
        assert admin.dbsize() == 0
        assert admin.info("stats")["total_forks"] == before


@pytest.mark.usefixtures("one_store")
def test_what_hot_method_sync_needs_is_no_lesser_promise(
    hot_as: Any, monkeypatch: pytest.MonkeyPatch, strata: Command
) -> None:
    """Where only the stream is to be read, a user who may not have it fails."""
    hot_as("+@read", "+@connection", "+info", "+config|get")
    monkeypatch.setenv("STRATA_HOT_METHOD", "sync")
    found = strata("doctor", "--json")
    assert found.code == 13
    assert said(found.document, "HOT", "one moment")[0] == "failed"


@pytest.mark.usefixtures("one_store")
def test_a_role_that_only_reads_cannot_restore(warm_url: str, monkeypatch: pytest.MonkeyPatch, strata: Command) -> None:
    """The tables are named, and reading them is safe; a role that may not read is not."""
    with psycopg.connect(warm_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE trades (id int PRIMARY KEY); CREATE ROLE looker LOGIN PASSWORD 'looker'")
        try:
            parts = urlsplit(warm_url)
            monkeypatch.setenv("STRATA_WARM_URL", f"postgresql://looker:looker@127.0.0.1:{parts.port}{parts.path}")
            assert part(strata("doctor", "--json").document, "WARM")["verdict"] == "failed"
            connection.execute("GRANT SELECT ON trades TO looker")
            verdict, sentence = said(strata("doctor", "--json").document, "WARM", "restore")
            assert verdict == "weaker"
            assert "public.trades (INSERT, UPDATE, DELETE)" in sentence
        finally:
            connection.execute("DROP OWNED BY looker; DROP ROLE looker; DROP TABLE trades")


@pytest.mark.usefixtures("one_store")
def test_an_evicting_ledger_fails(hot_url: str, monkeypatch: pytest.MonkeyPatch, strata: Command) -> None:
    """Leases and runs that may be removed while they are needed keep no two runs apart; the broker's likewise."""
    monkeypatch.setenv("STRATA_RESULT_URL", hot_url.replace("/0", "/3"))
    monkeypatch.setenv("STRATA_BROKER_URL", hot_url.replace("/0", "/4"))
    with redis.Redis.from_url(hot_url) as admin:
        admin.config_set("maxmemory", 1 << 30)
        admin.config_set("maxmemory-policy", "allkeys-lru")
        try:
            found = strata("doctor", "--json")
        finally:
            admin.config_set("maxmemory", 0)
            admin.config_set("maxmemory-policy", "noeviction")
    assert found.code == 13
    for name in ("ledger", "broker"):
        verdict, sentence = said(found.document, name, "eviction")
        assert verdict == "failed"
        assert "allkeys-lru" in sentence
    assert said(found.document, "workers", "workers") == ("failed", "no worker answers")
    assert said(found.document, "beat", "beat")[0] == "failed"


@pytest.mark.usefixtures("one_store")
def test_passwords_that_are_wrong_are_told_by_every_part(
    hot_url: str, monkeypatch: pytest.MonkeyPatch, strata: Command
) -> None:
    """Broker and ledger refuse by name; nothing shows the password."""
    port = urlsplit(hot_url).port
    for name in ("BROKER", "RESULT"):
        monkeypatch.setenv(f"STRATA_{name}_URL", f"redis://:hunter2hunter2@127.0.0.1:{port}/5")
    found = strata("doctor", "--json")
    assert found.code == 13
    for name in ("broker", "ledger"):
        assert said(found.document, name, "answer")[0] == "failed"
        assert "refuses" in said(found.document, name, "answer")[1]
        setting = {"broker": "STRATA_BROKER_URL", "ledger": "STRATA_RESULT_URL"}[name]
        assert setting in part(found.document, name)["findings"][0]["hint"]
    assert "hunter2" not in found.out + found.err


@pytest.mark.usefixtures("one_store")
@pytest.mark.parametrize("how", ["--local", "--dry-run"])
def test_a_tier_that_cannot_be_read_is_told_before_any_is(
    how: str, hot_url: str, warm_url: str, monkeypatch: pytest.MonkeyPatch, strata: Command
) -> None:
    """A wrong password and a server that is not there are told together, before the first tier is read."""
    parts = urlsplit(warm_url)
    monkeypatch.setenv("STRATA_HOT_URL", hot_url)
    monkeypatch.setenv("STRATA_WARM_URL", f"postgresql://nobody:wrong@127.0.0.1:{parts.port}{parts.path}")
    monkeypatch.setenv("STRATA_COLD_URL", "s3://bucket/prefix")
    monkeypatch.setenv("STRATA_COLD_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("STRATA_COLD_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("STRATA_COLD_SECRET_ACCESS_KEY", "b")
    found = strata("backup", "full", how)
    assert found.code == 6
    assert "WARM (PostgreSQL)" in found.err
    assert "COLD (S3)" in found.err
    assert strata("list").out.count("full") == 0
