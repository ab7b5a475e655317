"""The main job, end to end, on real servers: `make demo`.

Starts the local stack, lets a small simulation of the bot write its state over the three tiers, backs it up through
the workers, wipes the tiers, restores, and compares every record. The exit code says whether all was equal.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import boto3
import click
import redis
from botocore.config import Config
from rich.console import Console
from rich.table import Table

from strata.engine.recorder import stage_seconds
from strata.errors import Refused, StrataError
from strata.model.manifest import BackupMetadata
from strata.model.run import Run
from strata.settings import Settings
from strata.wiring import Wiring
from workers.flower_defaults import USER
from workers.local_stack.bot import BotState, differences
from workers.local_stack.stack import LocalStack, default_folder

_MARK: Final = "strata:demo"


@dataclass(frozen=True)
class Outcome:
    """What the demo found."""

    backup: BackupMetadata
    restore_seconds: dict[str, float]
    compared: int
    different: dict[str, int]


class Demo:
    """One run of the demo on one stack."""

    def __init__(self, stack: LocalStack, console: Console) -> None:
        self._stack, self._console = stack, console
        self._settings = stack.settings()
        self._bot = bot_of(self._settings)

    def run(self) -> Outcome:
        """Write, back up, wipe, restore, compare."""
        self._claim()
        counts = self._bot.write()
        counts["hot"] += 1  # the demo's own mark
        self._say(
            f"The bot wrote {sum(counts.values()):,} records: {counts}".replace("'", "")
            .replace("{", "")
            .replace("}", "")
        )
        before = self._bot.read()
        self._strata("backup", "full")
        self._bot.wipe()
        left = len(self._bot.hot.keys("*"))
        self._say(f"Disaster: Redis flushed ({left} keys left), the table dropped, every object deleted.")
        self._strata("restore", "latest", "--yes")
        after = self._bot.read()
        wiring = Wiring(self._settings)
        return Outcome(
            backup=wiring.catalogue.resolve("latest").manifest,
            restore_seconds=stage_seconds(wiring.ledger.rows(_last_restore(wiring).run_id)),
            compared=len(before),
            different=differences(before, after),
        )

    def _claim(self) -> None:
        """Only a stack that holds nothing, or an earlier demo's state, may be wiped."""
        names = self._bot.hot.dbsize()
        if names and not self._bot.hot.exists(_MARK):
            raise Refused(
                f"the stack in {self._stack.folder} holds state that is not the demo's, which the demo would wipe",
                hint="Name another folder: make demo FOLDER=/tmp/strata-demo",
            )
        self._bot.wipe()
        create_table(self._settings)
        self._bot.hot.set(_MARK, "so that the next demo knows it may wipe this stack")

    def _strata(self, *arguments: str) -> None:
        self._say(f"$ strata {' '.join(arguments)}")
        command = Path(sysconfig.get_path("scripts"), "strata")
        environment = self._stack.environment()
        done = subprocess.run([str(command), *arguments], env=environment, check=False)
        if done.returncode:
            raise SystemExit(done.returncode)

    def _say(self, sentence: str) -> None:
        self._console.print(f"\n[bold]{sentence}[/bold]", highlight=False)


def bot_of(settings: Settings) -> BotState:
    """The bot's own clients for the state of a stack."""
    assert settings.hot_url
    assert settings.warm_url
    assert settings.cold_url
    assert settings.cold_secret_access_key
    place = urlsplit(settings.cold_url)
    client = boto3.client(
        "s3",
        endpoint_url=settings.cold_endpoint,
        aws_access_key_id=settings.cold_access_key_id,
        aws_secret_access_key=settings.cold_secret_access_key.get_secret_value(),
        region_name="us-east-1",
        config=Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    hot = redis.Redis.from_url(settings.hot_url.get_secret_value())
    return BotState(hot, settings.warm_url.get_secret_value(), client, place.netloc, place.path.lstrip("/"))


def create_table(settings: Settings) -> None:
    """The bot's table, where it is not there."""
    import psycopg

    from workers.local_stack.parts import TABLE

    assert settings.warm_url
    with psycopg.connect(settings.warm_url.get_secret_value()) as connection:
        connection.execute(TABLE)


def show(console: Console, outcome: Outcome) -> None:
    """The closing table."""
    backup = outcome.backup
    table = Table(title="What came back", title_justify="left")
    for column, side in (
        ("tier", "left"),
        ("records", "right"),
        ("bytes", "right"),
        ("stored", "right"),
        ("ratio", "right"),
    ):
        table.add_column(column, justify=side)  # type: ignore[arg-type]
    for content in backup.tiers:
        logical, stored = content.logical_bytes, content.stacked_bytes
        table.add_row(
            content.tier.label, f"{content.records:,}", _size(logical), _size(stored), f"{logical / max(stored, 1):.1f}"
        )
    ratio = backup.logical_bytes / max(backup.stacked_bytes, 1)
    table.add_row(
        "[bold]all", f"{backup.records:,}", _size(backup.logical_bytes), _size(backup.stacked_bytes), f"{ratio:.1f}"
    )
    console.print(table)
    seconds = Table(title="Seconds", title_justify="left", show_header=False)
    for title, stages in (("backup", backup.seconds), ("restore", outcome.restore_seconds)):
        seconds.add_row(title, "  ".join(f"{name} {value:.2f}" for name, value in stages.items()))
    console.print(seconds)


def _size(count: int) -> str:
    return f"{count / 1e6:,.2f} MB"


def _last_restore(wiring: Wiring) -> Run:
    return next(run for run in wiring.ledger.runs(10) if run.kind == "restore")


def go_on(console: Console, stack: LocalStack) -> None:
    """What to type next, in a shell that has neither the command nor the stack's settings yet."""
    console.print("Go on: . .venv/bin/activate", highlight=False)
    where = ""
    if stack.folder != default_folder():
        where = f" --folder {stack.folder}"
        console.print(f"       export STRATA_CONFIG={stack.layout.settings_file}", highlight=False)
    said = f"       strata list | strata show latest | strata verify latest | strata stack down{where}"
    console.print(said, highlight=False)


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), default=None, help="The stack's folder (default .strata).")
@click.option("--down", is_flag=True, help="End the stack afterwards.")
def main(folder: Path | None, **options: Any) -> None:
    """Back up three real tiers, wipe them, restore them, compare every record."""
    console = Console(soft_wrap=True)
    stack = LocalStack(folder or default_folder())
    try:
        began = time.monotonic()
        console.print("Starting Redis, PostgreSQL, S3, the workers, beat and Flower ...")
        stack.up()
        console.print(f"... ready after {time.monotonic() - began:.1f} s, in {stack.folder}")
        outcome = Demo(stack, console).run()
        show(console, outcome)
        equal = not any(outcome.different.values())
        if equal:
            console.print(f"[bold green]All {outcome.compared:,} records are equal, byte for byte.[/bold green]")
        else:
            console.print(f"[bold red]NOT EQUAL[/bold red] of {outcome.compared:,} records: {outcome.different}")
        if not options["down"]:
            console.print(f"Flower shows the runs at {stack.status().part('flower').address}", highlight=False)
            console.print(f"Its user is {USER}, its password {stack.flower_password()}", highlight=False)
            go_on(console, stack)
    except StrataError as error:
        console.print(f"[bold red]error:[/bold red] {error.sentence}\n{error.hint}", highlight=False)
        sys.exit(error.exit_code)
    finally:
        if options["down"]:
            stack.down()
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
