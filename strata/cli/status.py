"""`strata status`: whether the promises about backups hold, in one screen and by the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from strata.cli.doubts import doubt_documents
from strata.cli.output import Output, common_options, plain_table, styled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strata.catalog.shelf import Gone
    from strata.catalog.unreadable import Unreadable
    from strata.model.policy import PolicyLine, PolicyReport
    from strata.planning.unfinished import Told
    from strata.store_wiring import StoreWiring


BROKEN: Final = 12
"""The exit code where a promise does not hold, for whoever watches."""


@click.command("status")
@common_options
def status_command(output: Output) -> int:
    """Say whether there are backups as promised: how old, how many copies, where, how sound. Exit code 12 if not.

    For each type the age of the last good backup against its promised interval (STRATA_PROMISED), or where nothing is
    promised of it the age alone; whether the newest backups hold what they should; then the rule of copies
    (STRATA_COPY_RULE): so many copies, on so many kinds of media, offsite, immutable, and without errors. Last whether
    the stores are as we left them: backups that disappeared, manifests that cannot be read, prunes that are frozen.
    """
    from strata.catalog.restore_notes import told_by
    from strata.model.policy import PolicyReport
    from strata.planning.missing import missing_copies, placement_line
    from strata.planning.policy import report
    from strata.planning.unfinished import unfinished, unfinished_line
    from strata.settings import load_settings
    from strata.store_wiring import StoreWiring

    wiring = StoreWiring(load_settings(), tell=output.note)
    view = wiring.catalogue.view()
    now, strategy, judged = wiring.clock.now(), wiring.strategy, view.judgement
    retention, moves = wiring.retention.decide(judged, now), strategy.moves(judged, now)
    lines = report(judged, strategy, wiring.promises, now).lines
    missing = placement_line(missing_copies(judged, strategy.place, retention, moves), now)
    told, silent_ledger = _marked(wiring)
    half = unfinished([*told, *told_by(note for shelf in view.shelves for note in shelf.notes)])
    locked = [one.backup_id for one in view.entries if not wiring.keyring.opens(one.sealed_by)]
    sound = soundness(view.unreadable, view.gone, retention.frozen, locked)
    found = PolicyReport(lines=(*lines, missing, unfinished_line(half, silent_ledger), *sound))
    silent = {tier.value: reason for tier, reason in view.silent.items()}
    holds = found.holds and not silent
    doubts = {one.backup_id: doubt_documents(judged.doubts(one)) for one in judged.in_doubt}
    output.document({"holds": holds, "silent": silent, "doubts": doubts, **found.model_dump(mode="json")})
    if not output.json:
        _show(output, found, silent)
    if not holds:
        output.error("What was promised about backups does not hold.", "What to do is told beside each ✗.")
    return 0 if holds else BROKEN


def _marked(wiring: StoreWiring) -> tuple[list[Told], str]:
    """What the ledger tells of restores, and why it does not."""
    from strata.catalog.restore_marks import marked
    from strata.errors import BrokerUnavailable

    try:
        ledger = wiring.shared_ledger
    except BrokerUnavailable as error:
        return [], error.sentence
    if ledger is None and wiring.settings.result_url is not None:
        return [], "the ledger (Redis) does not answer"
    return marked(ledger, wiring.keyring)


def soundness(
    unreadable: Sequence[Unreadable], gone: Sequence[Gone], frozen: Sequence[str], locked: Sequence[str]
) -> tuple[PolicyLine, PolicyLine, PolicyLine]:
    """Whether the stores are as we left them, and whether a prune can remove anything."""
    from strata.planning.soundness import gone_line, prune_line, readable_line

    bad = [one for one in unreadable if not one.keyless]
    keyless = [*(one.name for one in unreadable if one.keyless), *locked]
    stopped = {one.store for one in unreadable if one.store} | {one.store for one in gone}
    waiting = [f"nothing is removed from {tier.upper()}" for tier in sorted(stopped)]
    return (
        gone_line([one.backup_id for one in gone], sorted({one.store for one in gone})),
        readable_line([one.name for one in bad], keyless),
        prune_line([*frozen, *waiting]),
    )


def _show(output: Output, found: PolicyReport, silent: dict[str, str]) -> None:
    from rich.text import Text

    for tier, reason in silent.items():
        output.say(styled((f"{tier.upper()} does not answer", "bold red"), f": {reason}"))
    table = plain_table("", "promise", "what is", "what to do", wrap=("what is", "what to do"))
    for line in found.lines:
        mark = Text("✗", "red") if not line.holds else Text("✓", "green") if line.possible else Text("-", "dim")
        table.add_row(mark, line.rule, line.finding, line.advice)
    output.show(table)
