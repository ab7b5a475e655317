"""What is told of a backup that may be incomplete: after it is made, in the list, and when it is accepted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from strata.cli.output import Output
from strata.model.backup_type import RULES, BackupType, Manner
from strata.model.coverage import Doubt
from strata.model.run import Stage

if TYPE_CHECKING:
    from strata.catalog.ledger import Ledger
    from strata.store_wiring import StoreWiring

IN_DOUBT: Final = 14
"""The exit code of `strata backup` where the backup is made, but may be incomplete."""


def doubts_of(wiring: StoreWiring, ledger: Ledger, kind: BackupType, backup_id: str) -> tuple[Doubt, ...]:
    """What a backup that was just made may lack, by the backups of every store, as `status` and `accept` see it.

    Its own store's alone, as the run ended, tell it while another store does not answer; and after a stubborn one,
    because whoever makes it cannot wait for a store that hangs.
    """
    if RULES[kind].manner is Manner.STUBBORN:
        return doubts_recorded(ledger, backup_id)
    view = wiring.catalogue.view()
    entry = view.entry(backup_id)
    found = view.judgement.doubts(entry) if entry else ()
    if entry and not view.silent:
        return found
    told = {(doubt.kind, doubt.tier) for doubt in found}
    recorded = doubts_recorded(ledger, backup_id)
    return (*found, *(doubt for doubt in recorded if (doubt.kind, doubt.tier) not in told))


def doubts_recorded(ledger: Ledger, backup_id: str) -> tuple[Doubt, ...]:
    """What the run itself said when it ended."""
    from strata.engine.manager import Recorded

    result = ledger.result(backup_id, Stage.RECORD, "")
    return Recorded.model_validate_json(result).doubts if result else ()


def tell_doubts(output: Output, backup_id: str, doubts: Sequence[Doubt]) -> int:
    """Say what a backup may lack, and what to do; the exit code that says that there was something to say."""
    for doubt in doubts:
        output.error(f"{backup_id} may be incomplete: {doubt.sentence}.")
    if not doubts:
        return 0
    output.note(
        "Look at the tier, and back up again. Until then the last complete backups stay, and nothing is pruned."
        f" If the backup is right as it is: strata accept {backup_id}"
    )
    return IN_DOUBT


def doubt_documents(doubts: Sequence[Doubt]) -> list[dict[str, Any]]:
    """The doubts with --json."""
    return [doubt.model_dump(mode="json") for doubt in doubts]
