"""The command itself: which commands there are, and how whatever goes wrong is told.

Exit codes are those of strata.errors; 1 for an unforeseen error, 2 for a command that is not understood, 130 after
Ctrl-C. A module is imported when its command is called, so that `strata --help` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

import click

from strata import __version__
from strata.cli.output import Output
from strata.cli.streams import AnswerLost, Streams
from strata.errors import Refused, StrataError

_COMMANDS: Final = {
    "backup": ("strata.cli.backup", "Make a backup."),
    "list": ("strata.cli.listing", "Show the backups of all stores."),
    "show": ("strata.cli.showing", "Show everything that is known of a backup."),
    "stats": ("strata.cli.statistics", "Count what the stores hold."),
    "verify": ("strata.cli.verify", "Read a backup back from its store and prove it whole."),
    "restore": ("strata.cli.restore", "Bring a backup back."),
    "export": ("strata.cli.export", "Write a backup's state out, in the clear."),
    "copy": ("strata.cli.copy", "Take a backup to a further store."),
    "pin": ("strata.cli.keeping", "Keep a backup until it is unpinned."),
    "unpin": ("strata.cli.keeping", "Let a pinned backup go the way of the others."),
    "hold": ("strata.cli.keeping", "Put a backup under legal hold."),
    "release": ("strata.cli.keeping", "Lift a legal hold."),
    "accept": ("strata.cli.keeping", "Say that a backup in doubt is right as it is."),
    "prune": ("strata.cli.prune", "Remove backups that need not be kept."),
    "status": ("strata.cli.status", "Say whether there are backups as promised."),
    "settle": ("strata.cli.settle", "Say that what an unfinished restore left is as it should be."),
    "runs": ("strata.cli.runs", "Show backups and restores on their way, done and failed."),
    "catalogue": ("strata.cli.catalogue", "What this machine keeps of the stores' catalogues."),
    "keys": ("strata.cli.keys", "The keys that backups are sealed with."),
    "stores": ("strata.cli.stores", "The stores where backups rest."),
    "doctor": ("strata.cli.doctor", "Try every part of the configuration, and say what is safe there."),
    "stack": ("strata.cli.stack", "A whole stack on this machine, for trying out."),
}
"""Each command's module, and what `strata --help` says of it."""

_LOOKING: Final = ("list", "show", "stats", "verify", "export", "status", "runs", "doctor")
"""Commands that only show: when nobody reads on, nothing has happened that somebody should hear of."""

INTERRUPTED: Final = 130
_BROKEN_PIPE: Final = 141
_UNASKED: Final = "Say --yes to do it unasked."


class Commands(click.Group):
    """Imports a command's module when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The commands, in the order in which one meets them."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of that name."""
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(_COMMANDS[cmd_name][0]), f"{cmd_name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List them without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, said) for name, (_, said) in _COMMANDS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="strata", message="%(prog)s %(version)s")
@click.pass_context
def strata(context: click.Context) -> None:
    """Back up Redis, PostgreSQL and S3 together, as one recovery point, and bring them back.

    To try it out: `strata stack up`, then `strata backup full`, `strata list`, `strata restore latest`.

    Every command takes --json (one JSON document on stdout) and --debug (tracebacks).
    """
    context.ensure_object(Output).looks = context.invoked_subcommand in _LOOKING


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code. Whatever goes wrong becomes one readable line."""
    with Streams() as streams:
        output = Output()
        code = _run(output, sys.argv[1:] if arguments is None else arguments)
        output.end()
        return _told(output, streams.lost, code)


def _run(output: Output, arguments: Sequence[str]) -> int:
    try:
        code = strata.main(arguments, prog_name="strata", standalone_mode=False, obj=output)
    except click.ClickException as error:
        return _misused(output, error, arguments)
    except (click.Abort, KeyboardInterrupt) as stopped:
        if isinstance(stopped.__context__, EOFError):  # Ctrl-D, or a terminal that has gone
            output.note("")
            return _tell(output, Refused.code, "the question was not answered", _UNASKED, Refused.exit_code)
        output.note("Stopped.")
        code = INTERRUPTED
    except AnswerLost:  # told when everything has ended
        return 0
    except StrataError as error:
        return _tell(output, error.code, error.sentence, error.hint, error.exit_code)
    except Exception as error:  # noqa: BLE001 - the last line between an error and a person
        sentence = f"stopped at an unforeseen {type(error).__name__}"
        return _tell(output, "unforeseen", sentence, "Run it again with --debug to see where.", 1)
    if code == INTERRUPTED:
        output.failed("interrupted", "stopped by Ctrl-C", "`strata runs` shows what goes on.")
    return code if isinstance(code, int) else 0


def _misused(output: Output, error: click.ClickException, arguments: Sequence[str]) -> int:
    """A command that is not understood: perhaps --json was not read yet when that was found."""
    error.show()
    output.json = output.json or "--json" in arguments
    command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "strata"
    output.failed("usage", error.format_message(), f"`{command} --help` says what it takes.")
    return error.exit_code


def _tell(output: Output, code: str, sentence: str, hint: str, exit_code: int) -> int:
    if output.debug:
        output.traceback()
    output.error(sentence, hint)
    output.failed(code, sentence, hint)
    return exit_code


def _told(output: Output, fault: OSError | None, code: int) -> int:
    """The exit code: the command's own where that says that something is wrong, else whether its answer arrived."""
    if fault is None:
        return code
    lost = AnswerLost.by(fault)
    if not isinstance(fault, BrokenPipeError):
        output.error(lost.sentence, lost.hint)
        return code or lost.exit_code
    if not output.looks:  # who reads a list has seen enough; who made a backup should hear of it
        output.note(f"{lost.sentence}. {lost.hint}")
    return code or _BROKEN_PIPE


if __name__ == "__main__":
    sys.exit(main())
