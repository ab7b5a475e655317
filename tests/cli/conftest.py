"""The command in this process: arguments in; exit code, stdout and stderr out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from strata.cli.main import main
from strata.seal.keyring import FileKeyring
from workers.local_stack.servers import RedisServer


@dataclass(frozen=True)
class Said:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Its stdout, which is one JSON document."""
        return json.loads(self.out)


Command = Callable[..., Said]


@pytest.fixture
def strata(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command: `strata("backup", "full", "--json")`."""

    def run(*arguments: str) -> Said:
        capsys.readouterr()
        code = main(arguments)
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return run


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """An empty working folder and home, and no setting in the environment."""
    monkeypatch.setenv("HOME", str(folder / "home"))
    for name in [name for name in os.environ if name.startswith("STRATA_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def configured(unset: Path, monkeypatch: pytest.MonkeyPatch, hot_url: str, redis_server: RedisServer) -> Path:
    """A working folder whose settings name HOT, a ledger, a store, a spool and a keyring; nobody works."""
    FileKeyring.create(unset / "keyring.json", datetime.now(UTC))
    settings = {
        "hot_url": hot_url,
        "result_url": f"{redis_server.url.removesuffix('/0')}/1",
        "broker_url": "redis://127.0.0.1:1/0",
        "local_url": (unset / "backups").as_uri(),
        "spool_url": (unset / "spool").as_uri(),
        "keyring_file": str(unset / "keyring.json"),
    }
    file = unset / "strata.toml"
    file.touch(mode=0o600)
    file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
    return unset
