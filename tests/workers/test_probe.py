"""The probe: a sentence and an exit code from the age of a file."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workers.probe import READY_SECONDS, heartbeat_file, main, touch


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def age(role: str, seconds: float) -> None:
    """Make the last sign of life that old."""
    os.utime(heartbeat_file(role), (time.time() - seconds,) * 2)


def test_process_that_never_gave_a_sign_is_not_alive(capsys: pytest.CaptureFixture[str]) -> None:
    """No file, no life: a worker that is still starting is not ready."""
    assert main(["seal"]) == 1
    assert "not given a sign of life yet" in capsys.readouterr().out


def test_fresh_sign_is_life_and_an_old_one_is_not() -> None:
    """The age decides, and the caller says how much of it is too much."""
    touch(heartbeat_file("seal"))
    assert main(["seal"]) == 0
    age("seal", READY_SECONDS + 5)
    assert main(["seal"]) == 1
    assert main(["seal", "300"]) == 0


def test_roles_do_not_speak_for_each_other() -> None:
    """A file of one role says nothing of another."""
    touch(heartbeat_file("seal"))
    assert main(["store"]) == 1


def test_question_without_sense_is_neither_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped probe must not look like a dead process."""
    assert main([]) == 2
    assert main(["seal", "soon"]) == 2
    assert "usage" in capsys.readouterr().err


def test_sign_is_never_written_through_a_link(tmp_path: Path) -> None:
    """Who may write to /tmp cannot make a worker touch another file."""
    other = tmp_path / "other"
    other.write_text("")
    os.utime(other, (0, 0))
    os.symlink(other, heartbeat_file("seal"))
    with pytest.raises(OSError, match="symbolic"):
        touch(heartbeat_file("seal"))
    assert other.stat().st_mtime == 0


def test_probe_imports_nothing_that_costs() -> None:
    """It is asked several times a minute in every pod: it stays within Python's own start."""
    code = "import sys, workers.probe; print(sorted(set(sys.modules) & {'celery', 'strata', 'argparse', 'pathlib'}))"
    # -S: what the environment's own start-up files import is not the probe's doing
    said = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
