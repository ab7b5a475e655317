"""Every command on every kind of output: narrow terminals, full, closed and poor ones, readers that go away."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
import redis

from strata.cli.columns import in_columns
from strata.cli.main import main
from strata.cli.main import strata as group
from strata.cli.output import facts, plain_table
from strata.cli.streams import AnswerLost
from strata.cli.tables import PlainConsole
from tests.cli.conftest import Command

BACKUP = re.compile(r"\d{8}-\d{6}-[a-z]+-[0-9a-f]{6}")
LOST = "the answer could not be written to standard output"
SPECIAL = {"strata stack up": ("--folder", "/dev/null/stack")}
"""What a command is called with where what its parameters say would do too much."""


def commands(command: click.Command = group, name: str = "strata") -> Iterator[tuple[str, click.Command]]:
    """Every command there is, also those that came after this test."""
    if not isinstance(command, click.Group):
        yield name, command
        return
    context = click.Context(command)
    for word in command.list_commands(context):
        found = command.get_command(context, word)
        assert found
        yield from commands(found, f"{name} {word}")


def arguments(name: str, command: click.Command) -> tuple[str, ...]:
    """A call of the command that its parameters allow and that can be made again: here, unasked, of the latest."""
    words = tuple(name.split()[1:])
    if name in SPECIAL:
        return words + SPECIAL[name]
    for parameter in command.params:
        value = parameter.type.choices[0] if isinstance(parameter.type, click.Choice) else "latest"
        if isinstance(parameter, click.Argument):
            words += (value,)
        elif parameter.required or {"--local", "--yes", "--replace"} & set(parameter.opts):
            assert isinstance(parameter, click.Option)
            words += (parameter.opts[0],) if parameter.is_flag else (parameter.opts[0], value)
    return words


CALLS = [
    *(arguments(name, command) for name, command in commands()),
    ("verify", "--all"),
    ("backup", "full", "--dry-run"),
]
_codes: dict[tuple[str, ...], int] = {}


@dataclass(frozen=True)
class Seen:
    """What a call left: its exit code, what arrived of its answer, and what it said beside."""

    code: int
    out: bytes
    err: str


Call = Callable[..., Seen]
"""`call(stdout, *arguments)`."""


@pytest.fixture
def call(configured: Path, hot_url: str, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Calls a command in this process with a standard output of the test's; there is one backup."""
    with redis.Redis.from_url(hot_url) as hot:
        hot.mset({f"position:{number}": f"{number} €" for number in range(20)})

    def run(out: io.TextIOWrapper, *words: str) -> Seen:
        err = io.TextIOWrapper(io.BytesIO(), out.encoding)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", out if out.isatty() else err)
            code = main(words)
        said = out.buffer.getvalue() if isinstance(out.buffer, io.BytesIO) else b""
        assert isinstance(err.buffer, io.BytesIO)
        return Seen(code, said, err.buffer.getvalue().decode())

    made = run(memory("utf-8"), "backup", "full", "--local")
    assert made.code == 0, made.err
    return run


def memory(encoding: str) -> io.TextIOWrapper:
    """An output that keeps what it gets."""
    return io.TextIOWrapper(io.BytesIO(), encoding)


def full() -> io.TextIOWrapper:
    """A file on a disk without room."""
    return open("/dev/full", "w", encoding="utf-8")


def closed() -> io.TextIOWrapper:
    """What a command finds in the place of an output that is closed."""
    return open(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")


def unread() -> io.TextIOWrapper:
    """A pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    return open(writer, "w", encoding="utf-8")


def at_a_terminal(call: Call, columns: int, words: tuple[str, ...]) -> tuple[int, str]:
    """The exit code, and all that a terminal of that width was sent."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    pieces: list[bytes] = []

    def read() -> None:
        with contextlib.suppress(OSError):  # how a terminal says that it is closed
            while piece := os.read(ours, 65536):
                pieces.append(piece)

    reader = threading.Thread(target=read)
    reader.start()
    with open(theirs, "w", encoding="utf-8") as terminal:
        seen = call(terminal, *words)
    reader.join()
    os.close(ours)
    return seen.code, b"".join(pieces).decode()


def usual(call: Call, words: tuple[str, ...]) -> int:
    """The exit code of a call whose output is fit; it is the same for every backup of these tests."""
    if words not in _codes:
        _codes[words] = call(memory("utf-8"), *words).code
    return _codes[words]


def faultless(seen: str) -> bool:
    """Whether nothing was said that nobody foresaw."""
    return "Traceback" not in seen and "unforeseen" not in seen


@pytest.mark.parametrize("columns", [80, 60])
def test_narrow_terminal_is_told_everything(call: Call, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """No command cuts anything off in a narrow terminal, least of all the id of a backup."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm-256color")
    for words in CALLS:
        code, shown = at_a_terminal(call, columns, words)
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
        assert code == usual(call, words), (words, shown)
        assert faultless(shown), (words, shown)
        assert "…" not in plain, (words, shown)
        if words[0] in {"list", "show", "pin", "restore"}:
            assert BACKUP.search(plain), (words, shown)


@pytest.mark.parametrize("output", [full, closed])
def test_answer_that_cannot_be_written_is_told(call: Call, output: Callable[[], io.TextIOWrapper]) -> None:
    """The command does all it does, says on standard error that its answer is lost, and ends with 18 or its own."""
    for words in CALLS if output is closed else [(*one, "--json") for one in CALLS]:
        with output() as out:
            seen = call(out, *words)
        assert faultless(seen.err), (words, seen)
        assert seen.code == (usual(call, words) or AnswerLost.exit_code), (words, seen)
        assert LOST in seen.err or (seen.code not in {0, AnswerLost.exit_code} and "--json" not in words), (words, seen)


def test_reader_that_went_away_is_no_fault(call: Call) -> None:
    """Piped to `head`, a command ends with 141 or with its own code, and what it was to do is done."""
    for words in CALLS:
        with unread() as out:
            seen = call(out, *words)
        assert faultless(seen.err), (words, seen)
        assert seen.code == (usual(call, words) or 141), (words, seen)
    made = call(memory("utf-8"), "backup", "full", "--local", "--json")
    with unread() as out:
        seen = call(out, "backup", "full", "--local", "--json")
    backups = json.loads(call(memory("utf-8"), "list", "--json").out)["backups"]
    assert backups[1]["backup_id"] == json.loads(made.out)["backup_id"]
    assert "What the command did is done" in seen.err


def test_terminal_of_ascii_is_enough(call: Call) -> None:
    """Where there is nothing but ASCII, every command says all it says, and JSON is JSON."""
    for words in CALLS:
        seen = call(memory("ascii"), *words)
        assert (seen.code, faultless(seen.err)) == (usual(call, words), True), (words, seen)
        document = call(memory("ascii"), *words, "--json")
        assert isinstance(json.loads(document.out), dict), (words, document)


def test_misuse_is_a_document_too(call: Call) -> None:
    """With --json a command that is not understood says so as other errors do, and exits with 2."""
    for words in [*CALLS, ("backup", "nonsense"), ("verify",), ("bakcup",)]:
        seen = call(memory("utf-8"), *words, "--bogus", "--json")
        assert seen.code == 2, (words, seen)
        assert json.loads(seen.out)["error"]["code"] == "usage", (words, seen)
        assert json.loads(seen.out)["error"]["sentence"], (words, seen)


def test_words_of_a_choice_may_be_written_large() -> None:
    """FULL is `full`: no option and no argument minds capitals."""
    choices = [
        parameter.type
        for _, command in commands()
        for parameter in command.params
        if isinstance(parameter.type, click.Choice)
    ]
    assert choices
    for choice in choices:
        for word in choice.choices:
            assert choice.convert(str(word).upper(), None, None) == word


@pytest.mark.parametrize("ends", ["1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_streams_that_are_closed_go_to_nobody_else(configured: Path, ends: str) -> None:
    """No file that a command opens gets the number of a stream that is closed, and the words meant for it."""
    script = f'"$0" -c "import sys; from strata.cli.main import main; sys.exit(main())" keys init {ends}'
    (configured / "keyring.json").unlink()
    done = subprocess.run(["/bin/bash", "-c", script, sys.executable], capture_output=True, text=True, check=False)
    assert done.returncode == (AnswerLost.exit_code if "1>&-" in ends else 0), done.stderr
    assert faultless(done.stderr)
    assert json.loads((configured / "keyring.json").read_text())


def test_names_that_look_like_markup_are_shown_as_they_are(strata: Command, call: Call, configured: Path) -> None:
    """Brackets and control characters of others are neither styles nor commands to a terminal."""
    strata("pin", "latest", "--reason", "[/x] \x1b[2J[bold]")
    shown = strata("show", "latest").out
    assert "[/x] \\x1b[2J[bold]" in shown
    assert "\x1b" not in shown


def test_no_command_writes_markup() -> None:
    """What commands say is never markup, so none is written; `styled` is there for that."""
    for file in Path("strata/cli").glob("*.py"):
        assert not re.search(r"\[/?(bold|dim|red|green|yellow|/)\b[^\]\n]*\][^\n]*\[/", file.read_text()), file


@pytest.mark.parametrize("width", [200, 80, 60, 40])
def test_tables_keep_within_the_screen(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    """A table that does not fit becomes blocks of lines: no word is lost, and no line is too long."""
    table = plain_table("backup", "state", "objects", "why", right=("objects",), wrap=("why",))
    table.add_row("20261201-155222-incremental-d1ced3", "in doubt", "12,345", "half of the records are gone")
    names = facts([("table a_schema_with_a_name.and_a_table_with_a_long_one", "key (id)"), ("cut", "x" * 150)])
    console = PlainConsole(stderr=False, width=width)
    console.print(table)
    console.print(names)
    shown = capsys.readouterr().out
    assert all(len(line) <= width for line in shown.splitlines())
    for word in ("20261201-155222-incremental-d1ced3", "in doubt", "12,345", "records"):
        assert word in shown
    assert shown.count("x") >= 150


@pytest.mark.parametrize("width", [200, 30, 12, 1])
def test_columns_without_room_go_on_below(width: int) -> None:
    """All columns of many rows are shown, in as many lines as the screen needs."""
    rows = [("one-name", "12", "some state"), ("two-names", "3", "")]
    lines = in_columns(("id", "number", "state"), rows, ("number",), (4, 4), width, colour=False)
    assert " ".join(" ".join(lines).split()) == "id number state one-name 12 some state two-names 3"
    assert all(line.strip() and len(line) <= max(width, 14) for one in lines for line in one.split("\n"))
