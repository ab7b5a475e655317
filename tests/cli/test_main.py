"""The command as a whole: help, errors, exit codes."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
import redis

import strata as package
from strata.cli import main as module
from strata.cli.main import strata as group
from tests.cli.conftest import Command

COMMANDS = (
    *("backup", "list", "show", "stats", "verify", "restore", "copy", "export"),
    *("pin", "unpin", "hold", "release", "prune", "status", "runs", "catalogue", "keys", "stores", "doctor", "stack"),
)


def test_help_imports_nothing_heavy() -> None:
    """`strata --help` answers at once: no client library, no Arrow, no rich is imported for it."""
    looked = (
        "import sys; from strata.cli.main import main; main(['--help']); print(sorted(sys.modules), file=sys.stderr)"
    )
    said = subprocess.run([sys.executable, "-c", looked], capture_output=True, text=True, check=True)
    assert all(command in said.stdout for command in COMMANDS)
    for heavy in ("pyarrow", "celery", "rich", "pydantic", "redis", "boto3"):
        assert f"'{heavy}'" not in said.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(strata: Command, command: str) -> None:
    """Each command says what it does."""
    said = strata(command, "--help")
    assert (said.code, said.err) == (0, "")
    assert "Usage: strata" in said.out


def test_every_command_that_prints_takes_json_and_debug() -> None:
    """--json and --debug are options of every command, not of some."""
    context = click.Context(group)
    found = [group.get_command(context, name) for name in COMMANDS]
    leaves = [
        leaf for one in found if one for leaf in (one.commands.values() if isinstance(one, click.Group) else [one])
    ]
    for leaf in leaves:
        assert {"json", "debug"} <= {parameter.name for parameter in leaf.params}, leaf.name


def test_version(strata: Command) -> None:
    """The version is the package's."""
    assert strata("--version").out == f"strata {package.__version__}\n"


def test_mistyped_command_is_a_usage_error(strata: Command) -> None:
    """What is not understood ends with 2."""
    said = strata("bakcup")
    assert said.code == 2
    assert "No such command" in said.err


def test_missing_setting_is_one_line_and_a_hint(strata: Command, unset: Path) -> None:
    """An error is one readable sentence, what to do, and its exit code; nothing is on stdout."""
    said = strata("list")
    assert said.code == 2
    assert said.out == ""
    error, hint = said.err.splitlines()
    assert error == "error: no store is configured"
    assert hint.startswith("hint: Set STRATA_LOCAL_URL")


def test_error_is_a_document_too_with_json(strata: Command, unset: Path) -> None:
    """With --json a program gets the error's code, sentence and hint on stdout."""
    said = strata("list", "--json")
    assert said.document["error"]["code"] == "setting"
    assert said.document["error"]["sentence"] == "no store is configured"
    assert said.document["error"]["hint"]


def test_traceback_is_shown_only_with_debug(strata: Command, unset: Path) -> None:
    """--debug shows where an error was raised."""
    assert "Traceback" not in strata("list").err
    assert "Traceback" in strata("list", "--debug").err


def test_unforeseen_error_tells_its_kind_and_not_its_message(strata: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody foresaw may hold anything in its message: only its kind is told, and the exit code is 1."""

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(module.strata, "main", fail)
    said = strata("list")
    assert said.code == 1
    assert "unforeseen ZeroDivisionError" in said.err
    assert "secret" not in said.err


def test_reader_that_goes_away_is_no_error(configured: Path) -> None:
    """`strata list | head -0` ends quietly."""
    listing = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; sys.stdin.read(); from strata.cli.main import main; sys.exit(main(['list']))",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert listing.stdin
    assert listing.stdout
    assert listing.stderr
    listing.stdout.close()
    listing.stdin.close()
    assert b"Traceback" not in listing.stderr.read()
    assert listing.wait() == 141


def test_broker_that_is_down_is_told_within_seconds(strata: Command, configured: Path) -> None:
    """Enqueueing never hangs."""
    began = time.monotonic()
    said = strata("backup", "full", "--json")
    assert time.monotonic() - began < 10
    assert said.code == 10
    assert said.document["error"]["code"] == "broker-unavailable"


def test_nothing_is_sent_where_the_ledger_does_not_answer(
    strata: Command, configured: Path, monkeypatch: pytest.MonkeyPatch, hot_url: str
) -> None:
    """A run that no worker could enter and nobody follow is not sent, and it is the ledger that is blamed."""
    monkeypatch.setenv("STRATA_BROKER_URL", hot_url)
    monkeypatch.setenv("STRATA_RESULT_URL", "redis://:wrong@" + hot_url.rpartition("@")[2])
    said = strata("backup", "full", "--no-wait")
    assert said.code == 10
    assert "the ledger (Redis) refuses" in said.err
    with redis.Redis.from_url(hot_url) as broker:
        assert broker.dbsize() == 0


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon"])
def test_timeout_that_would_never_or_always_pass_is_a_usage_error(
    strata: Command, configured: Path, seconds: str
) -> None:
    """--timeout takes a number of seconds above zero, before anything is sent."""
    said = strata("backup", "full", f"--timeout={seconds}")
    assert said.code == 2
    assert "--timeout" in said.err


def test_type_that_is_none_is_refused_at_once(strata: Command, configured: Path) -> None:
    """Nothing is sent for a type that is not there; those that are there are named."""
    said = strata("backup", "partial")
    assert said.code == 2
    assert "incremental" in said.err


def test_question_without_an_answer_is_a_refusal(
    strata: Command, configured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-D at a terminal is no yes and no Ctrl-C: exit code 11, and what was asked about is still there."""
    (configured / "stack").mkdir()
    ours, theirs = pty.openpty()
    os.write(ours, b"\x04")
    with os.fdopen(theirs) as terminal:
        monkeypatch.setattr("sys.stdin", terminal)
        asked = strata("stack", "down", "--wipe", "--folder", str(configured / "stack"))
    os.close(ours)
    assert asked.code == 11
    assert "not answered" in asked.err
    assert (configured / "stack").is_dir()
