"""`strata stack`: the local stack, up and down."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from strata.cli.output import Output, common_options, facts, plain_table, seconds
from strata.errors import Refused

if TYPE_CHECKING:
    from workers.local_stack.layout import Status
    from workers.local_stack.stack import LocalStack

_folder = click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False), help="Where its data is; .strata where not given."
)


@click.group("stack")
def stack_command() -> None:
    """A whole stack on this machine, for trying out: Redis, PostgreSQL, S3, workers, beat and Flower.

    Real servers on free ports of 127.0.0.1, with all their data in one folder; no root and no docker.
    """


@stack_command.command("up")
@_folder
@common_options
def up(output: Output, folder: Path | None) -> None:
    """Start everything that is not running, and wait until it is ready."""
    stack = _stack(folder)
    if not stack.status().up:
        output.note(f"Starting Redis (twice), PostgreSQL, S3, the workers, beat and Flower in {stack.folder} ...")
    began = time.monotonic()
    started = stack.up()
    output.say(
        f"The stack is up, after {seconds(time.monotonic() - began)}." if started else "The stack is up already."
    )
    _show(output, stack)
    if not output.json:
        _next_steps(output, stack)


@stack_command.command("down")
@_folder
@click.option("--wipe", is_flag=True, help="Remove the folder too: data, backups and keyring.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common_options
def down(output: Output, folder: Path | None, *, wipe: bool, yes: bool) -> None:
    """End every process; the data stays unless --wipe is given."""
    stack = _stack(folder)
    if wipe and not yes and stack.folder.exists():
        _ask(f"Remove {stack.folder} with all its data, its backups and its keyring?")
    was_running = stack.down()
    if wipe:
        stack.wipe()
    ended = "The stack is down." if was_running else "The stack was not running."
    output.say(f"{ended} {stack.folder} was removed." if wipe else ended)
    output.document({"folder": str(stack.folder), "was_running": was_running, "wiped": wipe})


@stack_command.command("status")
@_folder
@common_options
def status(output: Output, folder: Path | None) -> None:
    """Show each process: its id, its address, and whether it is running at this moment."""
    stack = _stack(folder)
    if not stack.status().parts:
        output.say(f"The stack in {stack.folder} is down.")
    _show(output, stack)


def _stack(folder: Path | None) -> LocalStack:
    from strata.settings import load_settings
    from workers.local_stack.stack import LocalStack

    return LocalStack(folder or load_settings().stack_folder)


def _ask(question: str) -> None:
    if not sys.stdin.isatty():
        raise Refused("nobody can be asked here whether to remove the data", hint="Say --yes to do it unasked.")
    if not click.confirm(question, err=True):
        raise Refused("nothing was removed")


def _show(output: Output, stack: LocalStack) -> None:
    status = stack.status()
    output.document(_as_document(stack, status))
    if not status.parts or output.json:
        return
    from rich.text import Text

    table = plain_table("process", "pid", "address", "state", "log", right=("pid",), wrap=("log",))
    for part in status.parts:
        state, style = _state(running=part.running, ready=part.ready)
        again = f", restarted {part.restarts}x" if part.restarts else ""
        pid = str(part.process.pid) if part.process else ""
        table.add_row(part.name, pid, part.address, Text(state + again, style), _short(part.log, stack.folder))
    output.show(table)


def _state(*, running: bool, ready: bool) -> tuple[str, str]:
    if not running:
        return "not running", "red"
    return ("running", "green") if ready else ("starting", "yellow")


def _short(path: str, folder: Path) -> str:
    return str(Path(path).relative_to(folder)) if Path(path).is_relative_to(folder) else path


def _next_steps(output: Output, stack: LocalStack) -> None:
    from strata.settings import settings_file

    rows = [
        ("settings", str(stack.layout.settings_file)),
        ("keyring", str(stack.layout.keyring_file)),
        ("Flower", f"user strata, password {stack.flower_password()}"),
    ]
    output.say("")
    output.show(facts(rows))
    if settings_file().absolute() != stack.layout.settings_file:
        output.note(f"To use it: export STRATA_CONFIG={stack.layout.settings_file}")
    output.note("Next: strata backup full")


def _as_document(stack: LocalStack, status: Status) -> dict[str, Any]:
    return {
        "folder": str(stack.folder),
        "settings_file": str(stack.layout.settings_file),
        "state": status.phase.value,
        "processes": [
            {
                "name": part.name,
                "pid": part.process.pid if part.process else None,
                "address": part.address,
                "running": part.running,
                "ready": part.ready and part.running,
                "restarts": part.restarts,
                "log": part.log,
            }
            for part in status.parts
        ],
    }
