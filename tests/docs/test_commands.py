"""docs/commands.md names every command with every option, and every exit code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

import strata.errors
from strata.cli.main import strata as cli
from strata.errors import StrataError

_PAGE = Path("docs/commands.md").read_text()
_ROWS = re.findall(r"^\| `(strata [\w ]+)` \| .* \| (.*) \|$", _PAGE, re.MULTILINE)


def _commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found
            yield from _commands(found, f"{name} {child}")
    else:
        yield name, command


def test_every_command_and_option_is_documented() -> None:
    """No command and no option is missing, and none is invented."""
    documented = {name: set(re.findall(r"`(--[\w-]+)`", options)) for name, options in _ROWS}
    real = {
        name: {
            option
            for parameter in command.params
            if isinstance(parameter, click.Option)
            for option in (*parameter.opts, *parameter.secondary_opts)
            if option.startswith("--") and option != "--help"
        }
        for name, command in _commands(cli, "strata")
    }
    assert documented == real


def test_every_exit_code_is_documented() -> None:
    """What a script may branch on is written down."""
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", _PAGE, re.MULTILINE)}
    kinds = [kind for kind in vars(strata.errors).values() if isinstance(kind, type) and issubclass(kind, StrataError)]
    assert {kind.exit_code for kind in kinds} <= codes
