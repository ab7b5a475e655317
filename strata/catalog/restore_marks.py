"""What the ledger knows of restores that overwrite tiers: it remembers them where the store took no note.

A mark on the run says which tier it began to overwrite, and when; the run's own end says whether it is done.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Final

from strata.catalog.ledger import Ledger
from strata.catalog.restore_notes import Secrets, targets_of
from strata.errors import BrokerUnavailable, StrataError
from strata.model.plan import RestorePlan
from strata.model.run import Run, RunState
from strata.model.tier import Tier
from strata.planning.unfinished import Step, Told

_BEGUN: Final = "overwriting"
_ENDED: Final = "ended"
_OVERLAY: Final = "overlay"


def mark_begun(ledger: Ledger | None, restore_id: str, tier: Tier, at: datetime) -> str:
    """Mark the run of a restore; why nobody will find the mark, or nothing."""
    if ledger is None:
        return "there is no ledger"
    try:
        if ledger.run(restore_id) is None:
            return "a restore in this process is not in the ledger"
        ledger.mark(restore_id, f"{_BEGUN} {tier} {at.isoformat()}")
    except StrataError as error:
        return error.sentence
    return ""


def marked(ledger: Ledger | None, secrets: Secrets) -> tuple[list[Told], str]:
    """What a ledger tells of restores, if there is one; and why it does not answer."""
    try:
        return list(_told_by(ledger, secrets)) if ledger else [], ""
    except BrokerUnavailable as error:
        return [], error.sentence


def mark_ended(ledger: Ledger | None, restore_ids: Iterable[str], tiers: Iterable[Tier]) -> None:
    """Mark the runs of restores that another one, or a person, ended in these tiers; of those the ledger knows."""
    with suppress(StrataError):
        for restore_id in restore_ids if ledger else ():
            if ledger and ledger.run(restore_id):
                for tier in tiers:
                    ledger.mark(restore_id, f"{_ENDED} {tier}")


def _told_by(ledger: Ledger, secrets: Secrets) -> Iterator[Told]:
    for run in ledger.restores():
        marks = [mark.split(" ") for mark in ledger.marks(run.run_id)]
        begun = {Tier(mark[1]): datetime.fromisoformat(mark[2]) for mark in marks if mark[0] == _BEGUN}
        ended = [Tier(mark[1]) for mark in marks if mark[0] == _ENDED]
        if begun:
            yield from _steps(run, begun, ended, secrets)


def _steps(run: Run, begun: Mapping[Tier, datetime], ended: Iterable[Tier], secrets: Secrets) -> Iterator[Told]:
    plan = RestorePlan.model_validate_json(run.plan)
    for tier, at in begun.items():
        targets = targets_of(plan, tier, secrets)
        yield Told(Step.BEGUN, run.run_id, at, plan.backup_id, tier, targets, exact=plan.mode != _OVERLAY)
    for tier in ended:
        yield Told(Step.DONE, "", run.updated_at, plan.backup_id, tier, ends=frozenset({run.run_id}))
    if run.state is RunState.DONE:
        yield Told(Step.DONE, run.run_id, run.updated_at, plan.backup_id)
