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

_NAMED: Final = 5

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


def with_names(wiring: StoreWiring, backup_id: str, doubts: Sequence[Doubt]) -> tuple[Doubt, ...]:
    """The doubts, those about parts with the names of these, where the keyring opens both backups."""
    return tuple(_with_names(wiring, backup_id, doubt) if doubt.against else doubt for doubt in doubts)


def _with_names(wiring: StoreWiring, backup_id: str, doubt: Doubt) -> Doubt:
    from strata.engine.details import open_details, parts_lost
    from strata.errors import StrataError

    try:
        found = [wiring.catalogue.found(one).manifest for one in (doubt.against, backup_id)]
        before, now = (open_details(wiring.keyring, one) for one in found)
    except StrataError:  # they are named in a backup that another key seals, or that no store gives now
        return doubt
    names = parts_lost(before, now, doubt.tier) if doubt.tier else []
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return doubt.model_copy(update={"sentence": f"{doubt.sentence}: {', '.join(names[:_NAMED])}{more}"})


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
