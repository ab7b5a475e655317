"""The app that `celery -A workers` finds."""

from __future__ import annotations

import os
import subprocess
import sys


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
