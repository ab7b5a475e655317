"""What commands import: a small one spends most of its time on that, so each takes only what it uses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LOOKED = (
    "import sys; from strata.cli.main import main; main(sys.argv[1:]); print('\\n'.join(sys.modules), file=sys.stderr)"
)
"""Runs a command, and says what was imported for it."""

NEEDLESS = {
    "list": ("strata.engine", "strata.sources.port", "pyarrow", "psycopg", "boto3"),
    "status": ("strata.engine", "strata.sources.port", "pyarrow", "psycopg", "boto3"),
    "backup incremental --local": (
        *("psycopg", "boto3", "celery", "strata.engine.handed", "strata.engine.upkeep", "strata.engine.pruner"),
        *("strata.engine.store_prover", "strata.engine.thawer", "strata.engine.thaw_runs", "strata.engine.pause"),
    ),
}
"""By command: what it has no use for where only HOT is configured."""


@pytest.mark.parametrize("command", NEEDLESS)
def test_a_command_imports_no_more_than_it_uses(configured: Path, command: str) -> None:
    """Neither clients of tiers that are not configured, nor the parts of other commands."""
    assert configured.exists()
    said = subprocess.run([sys.executable, "-c", LOOKED, *command.split()], capture_output=True, text=True, check=True)
    imported = said.stderr.splitlines()
    assert "strata.settings" in imported
    assert [name for name in NEEDLESS[command] if name in imported] == []
