"""What somebody sees who has a store and no keyring: as docs/what-a-backup-holds.md says."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from tests.cli.conftest import Command

SEALED = ("sealed-key", "sealed-value", "127.0.0.1", "sealed-nobody")
CLEAR = ("open-reason", "sealed-k*")


def test_only_what_is_documented_is_in_the_clear_in_a_store(
    strata: Command, configured: Path, hot_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys, values, addresses and reasons of failures are in no byte of a store; patterns and reasons of pins are."""
    with redis.Redis.from_url(hot_url) as hot:
        hot.mset({f"sealed-key:{number}": "sealed-value" for number in range(10)})
    monkeypatch.setenv("STRATA_PATTERNS", "snapshot=sealed-k*")
    assert strata("backup", "full", "--local").code == 0
    assert strata("backup", "snapshot", "--local").code == 0
    assert strata("pin", "latest", "--reason", "open-reason").code == 0
    monkeypatch.setenv("STRATA_HOT_URL", "redis://sealed-nobody:wrong@127.0.0.1:1/0")
    assert strata("backup", "full", "--local").code == 6
    files = {file: file.read_bytes() for file in (configured / "backups").rglob("*") if file.is_file()}
    assert {"manifests", "notes", "history", "layers"} <= {part for file in files for part in file.parts}
    for word in SEALED:
        assert not [file for file, held in files.items() if word.encode() in held], word
    for word in CLEAR:
        assert [file for file, held in files.items() if word.encode() in held], word
