"""The app that `celery -A workers` finds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_a_wrong_setting_is_one_sentence_and_an_exit_code() -> None:
    """No traceback: the setting is named, and the code is that of the command line."""
    said = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "workers", "report"],
        env={**os.environ, "STRATA_ZSTD_LEVEL": "best"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert said.returncode == 2, said.stderr
    assert "STRATA_ZSTD_LEVEL" in said.stderr
    assert "Traceback" not in said.stderr


def test_a_worker_whose_ledger_lies_in_a_database_of_hot_does_not_start(hot_url: str, folder: Path) -> None:
    """The sentence and the exit code of the setting, before anything is taken from a queue."""
    names = ("HOT_URL", "BROKER_URL", "RESULT_URL")
    said = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "workers", "worker", "--concurrency=1", "--pool=prefork"],
        env={**os.environ, **{f"STRATA_{name}": hot_url for name in names}, "STRATA_LOCAL_URL": folder.as_uri()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert said.returncode == 2, said.stderr
    assert "a database of HOT (Redis) holds the broker and the ledger" in said.stderr
    assert "Traceback" not in said.stderr
