"""`strata doctor`: tries every part of the configuration, and says what is safe there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from strata.cli.output import Output, common_options, plain_table

if TYPE_CHECKING:
    from strata.engine.doctor import Examined

UNSOUND: Final = 13
"""The exit code where a part does not work."""
_STYLES: Final = {"safe": "green", "weaker": "yellow", "failed": "bold red"}


@click.command("doctor")
@common_options
def doctor_command(output: Output) -> int:
    """Try every part of the configuration: stores, spool, keyring, ledger, broker, workers, beat, clocks and tiers.

    What it writes lies below doctor/ in each store, and one object in the bucket of COLD; it is removed again. Ends
    with 13 where a part does not work; a part that promises less than it might is shown, and is no failure.
    """
    from strata.cli.doctor_parts import parts_of
    from strata.engine.doctor import Verdict, examine
    from strata.settings import load_settings
    from strata.wiring import Wiring

    wiring = Wiring(load_settings())
    examined = examine(list(parts_of(wiring)), wiring.clock)
    unsound = any(one.verdict is Verdict.FAILED for one in examined)
    _show(output, examined)
    output.document({"sound": not unsound, "parts": [_document(one) for one in examined]})
    return UNSOUND if unsound else 0


def _show(output: Output, examined: list[Examined]) -> None:
    from rich.text import Text

    table = plain_table("part", "", "what was found", wrap=("what was found",))
    for one in examined:
        bad = [found for found in one.findings if found.verdict != "safe"]
        good = ", ".join(found.said for found in one.findings if found.verdict == "safe")
        said = Text()
        said.append(f"{one.place}\n", "dim")
        for found in bad:
            said.append(f"{found.said}. {found.hint}".strip() + "\n", _STYLES[found.verdict])
        said.append(good)
        said.rstrip()
        table.add_row(one.part, Text(one.verdict, _STYLES[one.verdict]), said)
    output.show(table)


def _document(one: Examined) -> dict[str, Any]:
    return {
        "part": one.part,
        "place": one.place,
        "verdict": one.verdict,
        "findings": [
            {"check": found.check, "verdict": found.verdict, "said": found.said, "hint": found.hint}
            for found in one.findings
        ],
    }
