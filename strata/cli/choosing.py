"""Options that choose stores and moments, shared by the commands that read catalogues."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from strata.cli.output import OneOf, Output
from strata.model.backup_type import BackupType
from strata.model.tier import StorageTier

if TYPE_CHECKING:
    from strata.catalog.catalogue import Found
    from strata.store_wiring import StoreWiring

Command = TypeVar("Command", bound=Callable[..., Any])

LATEST: Final = "latest"

_SPAN: Final = re.compile(r"(\d{1,6})(min|h|d|w)")
_UNITS: Final = {"min": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


class StoreChoice(OneOf):
    """One of the four storage tiers."""

    def __init__(self) -> None:
        super().__init__(StorageTier)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The storage tier, or a usage error."""
        return StorageTier(super().convert(value, param, ctx))


class Moment(click.ParamType):  # type: ignore[type-arg] # generic from click 8.3 on
    """A moment: `2026-11-25`, `2026-11-25T14:30` (this machine's time zone, unless one is given), or `7d` ago."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The moment, or a usage error."""
        if isinstance(value, datetime):
            return value
        if span := _SPAN.fullmatch(value):
            return datetime.now(UTC) - int(span[1]) * _UNITS[span[2]]
        try:
            return datetime.fromisoformat(value).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither a moment like 2026-11-25T14:30 nor an age like 36h or 7d.", param, ctx)


def store_option(command: Command) -> Command:
    """Add --store to a command."""
    return click.option(
        "--store", type=StoreChoice(), metavar="TIER", help="Only this store: local, network, cloud or archive."
    )(command)


def type_option(command: Command) -> Command:
    """Add --type to a command that takes `latest`."""
    return click.option("--type", "kind", type=OneOf(BackupType), help="With `latest`: the latest of this type.")(
        command
    )


def find(output: Output, wiring: StoreWiring, reference: str, kind: str | None, store: StorageTier | None) -> Found:
    """The backup that a command was given, and a word on newer ones and on stores that cannot give it."""
    if kind is not None and reference != LATEST:
        raise click.UsageError("--type chooses what `latest` means; it goes with no other ID.")
    found = wiring.catalogue.resolve(reference, BackupType(kind) if kind else None, store)
    tell_unable(output, found, wiring.catalogue.silent_stores)
    return found


def tell_silent(output: Output, silent: dict[StorageTier, str]) -> None:
    """Say which stores did not answer."""
    for tier, reason in silent.items():
        output.note(f"{tier.upper()} does not answer, so what lies there is not known: {reason}")


def tell_unable(output: Output, found: Found, silent: dict[StorageTier, str]) -> None:
    """Say which stores cannot give a backup that was found, though they may hold it."""
    tell_silent(output, silent)
    for sentence in found.passed:
        output.note(sentence)
    for tier, reason in found.unable.items():
        output.note(f"{tier.upper()} holds it too, but not so that it can be read: {reason}")
