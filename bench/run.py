"""Measures Strata beside the tools a user would run instead: `make bench`.

Ratios of one run are what counts: the machine is shared, and seconds differ from day to day.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from bench.compare import comparison
from bench.day_one import collections, first_full, memory, restoring, small
from bench.day_two import days
from bench.direct import direct
from bench.emergency import emergency
from bench.limits import LIMITS, Section, kept
from bench.listing import listing
from bench.prune import prune_plan
from bench.small_rows import small_rows
from bench.stack import measured_stack
from bench.upload import upload
from bench.warmup import warm_up

LARGE_SCALE: Final = 5.0
LARGE_KEYS: Final = 50_000_000
"""Keys that are compared from that scale on."""


class Findings:
    """What was found so far, shown as it is found."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.sections: dict[str, Section] = {}

    def measure(self, name: str, work: Callable[[], Section]) -> None:
        """Do one part of the bench, and show what it found."""
        self.say(f"[bold]{name}[/bold]")
        self.add(name, work())

    def add(self, name: str, section: Section) -> None:
        """Keep and show a section."""
        self.sections[name] = section
        for line in section.said:
            self.say(f"  {line}")

    def say(self, line: str) -> None:
        """Show a line."""
        self._console.print(line, highlight=False)

    @property
    def judged(self) -> dict[str, float]:
        """What is measured against a limit."""
        return {name: value for section in self.sections.values() for name, value in section.judged.items()}


def measure(scale: float, compared: int, folder: Path, found: Findings) -> None:
    """Everything, in one run."""
    found.say(f"memory touched for the first time: {warm_up(folder, scale):.1f} s")
    with measured_stack(folder) as bench:
        found.measure("small backups", lambda: small(bench))
        found.measure("direct collection", lambda: direct(bench))
        found.measure("small rows", lambda: small_rows(bench))
        found.measure("upload", lambda: upload(bench.settings, bench.bot.s3, bench.bot.bucket))
        found.say(f"[bold]data of scale {scale:g}[/bold]")
        bench.fill(scale)
        found.measure("collections", lambda: collections(bench))
        first, section = first_full(bench)
        found.add("first full", section)
        found.measure("days", lambda: days(bench, scale, first))
        found.measure("emergency", lambda: emergency(bench))
        found.measure("restore", lambda: restoring(bench, first))
        found.measure("memory", lambda: memory(bench))
    found.measure("comparison", lambda: comparison(compared))
    found.measure("listing", lambda: listing(folder))
    found.measure("prune plan", prune_plan)


def report(scale: float, found: Findings) -> dict[str, Any]:
    """The findings as a JSON document."""
    return {
        "scale": scale,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "load": os.getloadavg(),
        "judged": {
            name: {"measured": value, "limit": LIMITS[name], "kept": value <= LIMITS[name]}
            for name, value in found.judged.items()
        },
        "sections": {name: section.details for name, section in found.sections.items()},
    }


def show(console: Console, judged: dict[str, float]) -> None:
    """The closing table."""
    table = Table(title="What must be reached", title_justify="left")
    for column in ("", "measured", "limit", ""):
        table.add_column(column, justify="left" if not column else "right")
    for name, limit in LIMITS.items():
        if name not in judged:
            table.add_row(name, "-", _figure(limit), "left out")
            continue
        verdict = "[green]kept" if judged[name] <= limit else "[red]MISSED"
        table.add_row(name, _figure(judged[name]), f"<= {_figure(limit)}", verdict)
    console.print(table)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


@click.command()
@click.option(
    "--scale", default=1.0, show_default=True, help="1: 200k keys, 400k rows, 400 objects of 600 MB together."
)
@click.option(
    "--compared", type=int, help="Keys of the indexes that are compared (default: 2 million; 50 from scale 5)."
)
@click.option("--folder", type=click.Path(path_type=Path), help="Where the data goes (default: a temporary folder).")
@click.option(
    "--json", "target", type=click.Path(path_type=Path), default=Path("bench/out/result.json"), show_default=True
)
def main(scale: float, compared: int | None, folder: Path | None, target: Path) -> None:
    """Measure Strata beside redis-cli, pg_dump, boto3 and restic; the exit code says whether every limit was kept."""
    console = Console(soft_wrap=True)
    work = folder or Path(tempfile.mkdtemp(prefix="strata-bench-"))
    found = Findings(console)
    try:
        measure(scale, compared or (LARGE_KEYS if scale >= LARGE_SCALE else 2_000_000), work, found)
    finally:
        if folder is None:
            shutil.rmtree(work, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(report(scale, found), indent=2) + "\n")
    show(console, found.judged)
    console.print(f"written to {target}", highlight=False)
    sys.exit(0 if kept(found.judged) else 1)


if __name__ == "__main__":
    main()
