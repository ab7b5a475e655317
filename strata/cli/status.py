"""`strata status`: whether the promises about backups hold, in one screen and by the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from strata.cli.output import Output, common_options, plain_table
from strata.errors import StrataError

if TYPE_CHECKING:
    from strata.model.policy import PolicyReport


class PolicyBroken(StrataError):
    """A promise about backups does not hold."""

    code = "policy-broken"
    exit_code = 12


@click.command("status")
@common_options
def status_command(output: Output) -> None:
    """Say whether there are backups as promised: how old, how many copies, where, how sound. Exit code 12 if not.

    For each type the age of the last good backup against its promised interval (STRATA_PROMISED), then the rule of
    copies (STRATA_COPY_RULE): so many copies, on so many kinds of media, offsite, immutable, and without errors.
    """
    from strata.planning.policy import report
    from strata.settings import load_settings
    from strata.store_wiring import StoreWiring

    wiring = StoreWiring(load_settings(), tell=output.note)
    view = wiring.catalogue.view()
    found = report(view.entries, wiring.strategy, wiring.promises, wiring.clock.now())
    silent = {tier.value: reason for tier, reason in view.silent.items()}
    output.document({"holds": found.holds and not silent, "silent": silent, **found.model_dump(mode="json")})
    if not output.json:
        _show(output, found, silent)
    broken = [line.rule for line in found.lines if line.possible and not line.holds]
    if silent or broken:
        what = "; ".join([*(f"{tier.upper()} does not answer" for tier in silent), *broken])
        raise PolicyBroken(f"what was promised about backups does not hold: {what}", hint="The table says what to do.")


def _show(output: Output, found: PolicyReport, silent: dict[str, str]) -> None:
    from rich.text import Text

    for tier, reason in silent.items():
        output.say(f"[bold red]{tier.upper()} does not answer[/]: {reason}")
    table = plain_table("", "promise", "what is", "what to do", wrap=("what is", "what to do"))
    for line in found.lines:
        mark = Text("✓", "green") if line.holds else Text("✗", "red") if line.possible else Text("-", "dim")
        table.add_row(mark, line.rule, line.finding, line.advice)
    output.show(table)
