"""Follows a run in the ledger until it ends, and shows it: in place on a terminal, line by line elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self, TypeVar

import click

from strata.catalog.ledger import Ledger
from strata.cli.lost import run_lost
from strata.cli.output import Output, seconds
from strata.cli.progress import Line, LineState, Sight, Watch
from strata.cli.thawing import waits
from strata.errors import BrokerUnavailable, HalfRestored, LeaseHeld, RunFailed, SchemaMismatch, StrataError
from strata.model.run import Run, RunState, Stage

if TYPE_CHECKING:
    from rich.console import RenderableType

    from strata.engine.manager import BackupManager

Outcome = TypeVar("Outcome")

UNTAKEN_SECONDS: Final = 20.0
"""A run that no worker took for so long is worth a word."""

_LOOK_SECONDS: Final = 0.1
_LONGEST_LOOK: Final = 2.0
_SILENCE_SECONDS: Final = 30.0
_INTERRUPTED: Final = 130
_BAR: Final = 20
_WIDE: Final = 90
"""Columns of the screen from which on there is room for bars beside the words."""
_GOES_ON: Final = "goes on. See how it stands: strata runs"
_UNCONFIRMED: Final = "is not confirmed, so nothing will be done."
_HINTS: Final = {
    HalfRestored.code: "`strata status` says what ends it: that restore again, or `strata settle`.",
    LeaseHeld.code: "`strata runs` shows what is going on.",
    SchemaMismatch.code: "Let the application's migrations create what is named, then restore again.",
}
"""The ledger keeps no hint of an error; these are worth one."""
_MARKS: Final = {LineState.WAITING: ("·", "dim"), LineState.WORKING: ("▸", "yellow"), LineState.DONE: ("✓", "green")}


class StillRunning(StrataError):
    """A run has not ended within --timeout; it goes on."""

    code = "still-running"
    exit_code = 10


class Screen(Protocol):
    """Where a run is shown."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, sight: Sight | None) -> None:
        """Show how the run stands now."""
        ...


class LiveScreen:
    """Draws the stages in place; what was drawn last stays."""

    def __init__(self, output: Output, title: str, before: str) -> None:
        from rich.live import Live

        self._title, self._before, self._began = title, before, time.monotonic()
        self._sight: Sight | None = None
        self._live = Live(console=output.err, get_renderable=self._draw, refresh_per_second=10)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def show(self, sight: Sight | None) -> None:
        self._sight = sight

    def _draw(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        elapsed = seconds(time.monotonic() - self._began)
        title = Text.assemble((self._title, "bold"), (f"  {elapsed}", "dim"))
        if self._sight is None:
            return Group(title, Text(f"  {self._before}", "dim"))
        return Group(title, _stage_table(self._sight.lines(), bars=self._live.console.width >= _WIDE))


class PlainScreen:
    """Writes a line when a stage ends, and when a run begins to wait."""

    def __init__(self, output: Output, title: str) -> None:
        self._output, self._title = output, title
        self._seen: set[str] = set()

    def __enter__(self) -> Self:
        self._output.note(self._title)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, sight: Sight | None) -> None:
        if sight and (waiting := waits(sight.run)) and waiting not in self._seen:
            self._seen.add(waiting)
            self._output.note(f"{waiting[0].upper()}{waiting[1:]}.")
        for line in sight.lines() if sight else ():
            if line.state is LineState.DONE and line.name not in self._seen:
                self._seen.add(line.name)
                took = f" ({seconds(line.seconds)})" if line.seconds is not None else ""
                self._output.note(f"{line.name}: {line.detail or 'done'}{took}")


def follow(
    output: Output, ledger: Ledger, run_id: str, title: str, timeout: float | None, known: Run | None = None
) -> Run:
    """Wait until the workers have ended a run, and return it DONE; `known` is the run where it was seen before.

    RunFailed or the refusal's own error where it ended otherwise; BrokerUnavailable or StillRunning after `timeout`;
    RunLost where the ledger knows it no more. Ctrl-C ends the waiting, not the run.
    """
    return done(_followed(output, ledger, run_id, title, timeout, lambda run: run.state.final, known=known))


def planned(output: Output, ledger: Ledger, run_id: str, timeout: float | None) -> Run:
    """Wait until the workers have entered the plan of a run, and return it PLANNED; errors as of `follow`."""
    title = f"The workers plan {run_id}"
    run = _followed(output, ledger, run_id, title, timeout, lambda run: run.state is not RunState.RUNNING, _UNCONFIRMED)
    return run if run.state is RunState.PLANNED else done(run)


def _followed(
    output: Output,
    ledger: Ledger,
    run_id: str,
    title: str,
    timeout: float | None,
    there: Callable[[Run], bool],
    goes_on: str = _GOES_ON,
    known: Run | None = None,
) -> Run:
    began, told = time.monotonic(), False

    def over(sight: Sight | None) -> bool:
        nonlocal told, known
        waited = time.monotonic() - began
        if sight is None and known is not None:
            raise run_lost(known)
        known = sight.run if sight else None
        if sight is None and waited > UNTAKEN_SECONDS and not told:
            told = True
            output.note(f"No worker has taken it for {UNTAKEN_SECONDS:.0f} s. Are workers running? {_LOOK_AT_WORKERS}")
        if timeout is not None and waited > timeout:
            raise _too_late(sight, run_id, timeout)
        return sight is not None and there(sight.run)

    try:
        sight = _watch(output, ledger, run_id, title, over)
    except KeyboardInterrupt:
        output.note(f"\nYou stopped waiting; {run_id} {goes_on}")
        raise click.exceptions.Exit(_INTERRUPTED) from None
    assert sight is not None, "only a run that is there is over"
    return sight.run


def tell_sent(output: Output, run_id: str) -> None:
    """Say that the workers were asked for a run nobody waits for here."""
    output.say(run_id)
    output.note("It was sent to the workers. See how it stands: strata runs")
    output.document({"run_id": run_id, "state": "SENT"})


def outcome(
    output: Output,
    ledger: Ledger,
    run_id: str,
    title: str,
    timeout: float | None,
    last: Stage,
    known: Run | None = None,
) -> str:
    """Follow a run to its end; what its last stage left, as JSON."""
    follow(output, ledger, run_id, title, timeout, known)
    result = ledger.result(run_id, last, "")
    if result is None:
        raise RunFailed(f"{run_id} ended, but left no counts")
    return result


def here(output: Output, manager: BackupManager, run_id: str, title: str, work: Callable[[], Outcome]) -> Outcome:
    """Do a whole run in this process, and show it meanwhile; Ctrl-C gives it up."""
    outcomes: list[Outcome] = []
    errors: list[BaseException] = []

    def worker() -> None:
        try:
            outcomes.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again below, where it is told
            errors.append(error)

    thread = threading.Thread(target=worker, name="run", daemon=True)
    thread.start()
    try:
        _watch(output, manager.ledger, run_id, title, lambda _: not thread.is_alive(), "making its plan ...")
    except KeyboardInterrupt:
        output.note("\nStopping ...")
        manager.abandon(run_id, "it was stopped by hand")
        output.note(
            f"{run_id} was given up. A backup that was not finished does not exist; a restore can be run again."
        )
        output.failed("interrupted", f"{run_id} was stopped by hand and given up", "")
        output.end()
        sys.stdout.flush()
        os._exit(_INTERRUPTED)  # its threads are deep in reading and writing: nothing of what they do counts any more
    if errors:
        raise errors[0]
    return outcomes[0]


def done(run: Run) -> Run:
    """The run, if it is DONE; else the error that says why not."""
    if run.state is RunState.DONE:
        return run
    if run.state is RunState.REFUSED:
        raise _class_of(run.code)(run.reason, hint=_HINTS.get(run.code, ""))
    more = "`strata runs` shows it; the workers' logs say more."
    raise RunFailed(f"{run.run_id} failed: {run.reason}", hint=_HINTS.get(run.code, more))


def _watch(
    output: Output,
    ledger: Ledger,
    run_id: str,
    title: str,
    over: Callable[[Sight | None], bool],
    before: str = "waiting for a worker to take it ...",
) -> Sight | None:
    """Look ten times a second (less often where looking takes long) until it is over."""
    watch, heard = Watch(ledger, run_id), time.monotonic()
    sight: Sight | None = None
    screen: Screen = LiveScreen(output, title, before) if output.live else PlainScreen(output, title)
    with screen:
        while True:
            began = time.monotonic()
            try:
                sight, heard = watch.look(), time.monotonic()
            except BrokerUnavailable:  # a restart of its Redis is no reason to stop waiting
                if time.monotonic() - heard > _SILENCE_SECONDS:
                    raise
            screen.show(sight)
            if over(sight):
                return _last_look(watch, screen, sight)
            time.sleep(min(max(_LOOK_SECONDS, 10 * (time.monotonic() - began)), _LONGEST_LOOK))


def _last_look(watch: Watch, screen: Screen, sight: Sight | None) -> Sight | None:
    last = watch.look() or sight
    screen.show(last)
    return last


_LOOK_AT_WORKERS: Final = "`strata doctor` asks them, `strata stack status` shows the local stack's. Still waiting."


def _too_late(sight: Sight | None, run_id: str, timeout: float) -> StrataError:
    if sight is None:
        return BrokerUnavailable(
            f"no worker has taken {run_id} within {timeout:g} s",
            hint="Are workers running? They will do it when they come; `strata runs` shows it then.",
        )
    return StillRunning(f"{run_id} has not ended within {timeout:g} s; it goes on", hint="See how: `strata runs`.")


def _class_of(code: str) -> type[StrataError]:
    """The error of a code; RunFailed where there is none."""
    waiting: list[type[StrataError]] = [StrataError]
    while waiting:
        kind = waiting.pop()
        if code and kind.code == code:
            return kind
        waiting += kind.__subclasses__()
    return RunFailed


def _stage_table(lines: list[Line], *, bars: bool) -> RenderableType:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(width=15, no_wrap=True)
    if bars:
        table.add_column(width=_BAR)
    table.add_column(width=8, justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for line in lines:
        mark, style = _MARKS[line.state]
        share = 1.0 if line.state is LineState.DONE else line.share
        pulse = line.state is LineState.WORKING and share is None
        bar = ProgressBar(total=1.0, completed=share or 0.0, width=_BAR, pulse=pulse)
        spent = seconds(line.seconds) if line.seconds is not None else ""
        name = Text.assemble((f"{mark} ", style), (line.name, "dim" if line.state is LineState.WAITING else ""))
        table.add_row(name, *([bar] if bars else []), Text(spent, "dim"), line.detail)
    return table
