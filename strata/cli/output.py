"""What a command shows: tables for people on stdout, or one JSON document; progress, notes and errors on stderr."""

from __future__ import annotations

import json
import math
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from strata.errors import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

Command = TypeVar("Command", bound=Callable[..., Any])

_PIPE_WIDTH: Final = 200
"""Columns where no terminal says how wide it is: nothing is cut off in a pipe."""

_UNITS: Final = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
_AGES: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


class Output:
    """Where a command's words go; `json` and `debug` are set by its options.

    Words are words: what stands in them is never taken as markup, and control characters are escaped. `styled` makes
    those that have a style.
    """

    def __init__(self) -> None:
        self.json = False
        self.debug = False
        self.looks = False
        """Whether the command only shows what is."""
        self.answer: Any = None
        """The document of --json; it is written when the command has ended, so that there is never more than one."""

    @cached_property
    def out(self) -> Console:
        """What was asked for."""
        return _console(stderr=False)

    @cached_property
    def err(self) -> Console:
        """Everything else."""
        return _console(stderr=True)

    @property
    def live(self) -> bool:
        """Whether a person watches: then progress is drawn in place."""
        return not self.json and self.out.is_terminal and self.err.is_terminal

    @property
    def colour(self) -> bool:
        """Whether the answer may be coloured."""
        return self.out.is_terminal and not self.out.no_color and self.out.color_system is not None

    def say(self, text: str | Text) -> None:
        """A line of the answer, left out where the answer is JSON."""
        if not self.json:
            self.out.print(text, soft_wrap=True)

    def note(self, text: str | Text) -> None:
        """A line beside the answer."""
        self.err.print(text, soft_wrap=True)

    def show(self, table: Table) -> None:
        """A table of the answer."""
        if not self.json:
            self.out.print(table)

    def write(self, lines: Iterable[str]) -> None:
        """Many lines of the answer at once."""
        sys.stdout.write("".join(f"{line}\n" for line in lines))

    def document(self, document: dict[str, Any]) -> None:
        """The answer as JSON, where that was asked for; what is said of it later stands in the same document."""
        self.answer = {**(self.answer or {}), **document}

    def failed(self, code: str, sentence: str, hint: str) -> None:
        """What went wrong, in the document."""
        self.document({"error": {"code": code, "sentence": sentence, "hint": hint}})

    def end(self) -> None:
        """Write the document, where one was asked for and there is one."""
        if self.json and self.answer is not None:
            plain = not sys.stdout.encoding.lower().startswith("utf")
            sys.stdout.write(json.dumps(self.answer, indent=2, default=str, ensure_ascii=plain) + "\n")
        self.answer = None

    def error(self, sentence: str, hint: str = "") -> None:
        """What went wrong, and what to do."""
        self.note(styled(("error: ", "bold red"), sentence))
        if hint:
            self.note(styled((f"hint: {hint}", "dim")))

    @staticmethod
    def traceback() -> None:
        """Where it went wrong."""
        traceback.print_exc(file=sys.stderr)


def styled(*parts: str | tuple[str, str]) -> Text:
    """Words of which some have a style: `styled("Backup ", (backup_id, "bold"), " is made.")`."""
    from rich.text import Text

    return Text.assemble(*(printable(one) if isinstance(one, str) else (printable(one[0]), one[1]) for one in parts))


class OneOf(click.Choice[str]):
    """One of some words; large letters are as good as small ones."""

    def __init__(self, words: Iterable[str]) -> None:
        super().__init__([str(word) for word in words], case_sensitive=False)


class Seconds(click.FloatRange):
    """A span to wait: a number above zero, and one that ends."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number, or a usage error."""
        try:
            number = float(super().convert(value, param, ctx))
        except click.BadParameter:
            number = math.nan
        if not 0 < number < math.inf:  # "nan" and "inf" are numbers to Python
            self.fail(f"{value!r} is not a number of seconds above zero.", param, ctx)
        return number


def refuse_waiting_options(*, local: bool, wait: bool, timeout: float | None) -> None:
    """A usage error where --local meets options that say how to wait for workers: it would not heed them."""
    if local and (timeout is not None or not wait):
        raise click.UsageError("--local works here until it is done; --no-wait and --timeout are for the workers.")


def common_options(command: Command) -> Command:
    """Add --json and --debug to a command, and hand it the Output as its first argument."""
    for name, said in (
        ("json", "One JSON document on stdout, and nothing else there."),
        ("debug", "Show the traceback of an error."),
    ):
        command = click.option(
            f"--{name}", is_flag=True, is_eager=True, expose_value=False, callback=_remember, help=said
        )(command)
    return click.pass_obj(command)  # type: ignore[return-value]


def plain_table(*columns: str, right: tuple[str, ...] = (), wrap: tuple[str, ...] = ()) -> Table:
    """A table without lines; the columns in `right` are numbers, only those in `wrap` may take several lines."""
    from strata.cli.tables import PlainTable

    return PlainTable(columns, right, wrap)


def facts(rows: Sequence[tuple[str, Any]]) -> Table:
    """A table of names and values."""
    from strata.cli.tables import facts_table

    return facts_table(rows)


def size(count: float) -> str:
    """Bytes in words: `31.4 MiB`."""
    for unit, name in _UNITS:
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count:.0f} B"


def ratio(logical: int, stored: int) -> str:
    """How much smaller the stored bytes are: `3.2x`."""
    return f"{logical / stored:.1f}x" if stored else "-"


def seconds(value: float) -> str:
    """A span in words: `0.42 s`, `12.3 s`, `3 min 05 s`."""
    if value >= 60:  # noqa: PLR2004 - a minute
        minutes, rest = divmod(round(value), 60)
        return f"{minutes} min {rest:02d} s"
    return f"{value:.1f} s" if value >= 10 else f"{value:.2f} s"  # noqa: PLR2004 - three figures are enough


def age(moment: datetime) -> str:
    """How long ago: `3 min`."""
    passed = (datetime.now(UTC) - moment).total_seconds()
    for unit, name in _AGES:
        if passed >= unit:
            return f"{int(passed // unit)} {name}"
    return "now"


def local_time(moment: datetime) -> str:
    """A moment on the clock of whoever looks: `23 Nov 22:45`, with the year where it is not this one."""
    here = moment.astimezone()
    return f"{here:%d %b %H:%M}" if here.year == datetime.now().astimezone().year else f"{here:%d %b %Y %H:%M}"


def _console(*, stderr: bool) -> Console:
    from strata.cli.tables import PlainConsole

    console = PlainConsole(stderr=stderr)
    return console if console.is_terminal else PlainConsole(stderr=stderr, width=_PIPE_WIDTH)


def _remember(ctx: click.Context, parameter: click.Parameter, value: bool) -> bool:  # noqa: FBT001 - click's signature
    if value:
        setattr(ctx.ensure_object(Output), str(parameter.name), True)
    return value
