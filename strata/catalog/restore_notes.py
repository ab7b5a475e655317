"""What the stores know of restores that overwrite tiers, so that it outlives the ledger: notes of one subject.

A note has the restore's and the backup's ids, the tier, and marks of the target: keyed hashes of what it says of
itself, because where state lies is not told in the clear.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, Protocol

from strata.catalog.notes import Note, NoteKind
from strata.errors import KeyringError
from strata.model.identity import Identity
from strata.model.plan import RestorePlan
from strata.model.tier import Tier
from strata.planning.unfinished import Step, Told, unfinished

SUBJECT: Final = "restores"
"""The subject of these notes, which is no backup's and no layer's id."""

KINDS: Final = {
    Step.BEGUN: NoteKind.OVERWRITING,
    Step.DONE: NoteKind.OVERWRITTEN,
    Step.SETTLED: NoteKind.SETTLED,
}
_STEPS: Final = {kind: step for step, kind in KINDS.items()}
_MARK_BYTES: Final = 16


class Secrets(Protocol):
    """What marks are made with."""

    def fingerprint_key(self, key_id: str | None = None) -> Any:
        """The key of that id, or the current one."""
        ...


def marks_of(identity: Identity, secrets: Secrets, key_id: str | None = None) -> frozenset[str]:
    """Marks of a target: by its address and by what its server says, since either may change and mean the same."""
    key = secrets.fingerprint_key(key_id)
    server = ";".join(f"{name}={','.join(values)}" for name, values in sorted(identity.server.items()))
    told = [f"{identity.part}|{identity.place}|{how}" for how in (identity.address, server) if how]
    return frozenset(
        f"{key.key_id}:{hmac.digest(key.secret, one.encode(), 'sha256')[:_MARK_BYTES].hex()}" for one in told
    )


def targets_of(plan: RestorePlan, tier: Tier, secrets: Secrets) -> frozenset[str]:
    """Marks of the tier as the restore's plan saw it: by its name alone where nobody can look at it."""
    seen = plan.confirmed.of(tier)
    return marks_of(seen, secrets) if seen else frozenset({f"{secrets.fingerprint_key().key_id}:{tier}"})


def marks_by_all_keys(identity: Identity, secrets: Secrets, told: Iterable[Told]) -> frozenset[str]:
    """The marks of a target under each key that these were made with."""
    keys = {mark.partition(":")[0] for one in told for mark in one.targets}
    found = frozenset[str]()
    for key_id in keys:
        with suppress(KeyringError):
            found |= marks_of(identity, secrets, key_id)
    return found


def body_of(told: Told) -> dict[str, Any]:
    """What stands in the note of a step."""
    tier = told.tier.value if told.tier else None
    ids = {"restore": told.restore_id, "backup": told.backup_id, "ends": sorted(told.ends)}
    return {**ids, "tier": tier, "targets": sorted(told.targets), "exact": told.exact}


def told_by(notes: Iterable[Note]) -> Iterator[Told]:
    """The steps that notes tell of."""
    for note in notes:
        if note.subject == SUBJECT and note.kind in _STEPS:
            body, tier = note.body, note.body.get("tier")
            yield Told(
                step=_STEPS[note.kind],
                restore_id=str(body.get("restore", "")),
                at=note.at,
                backup_id=str(body.get("backup", "")),
                tier=Tier(tier) if tier in list(Tier) else None,
                targets=frozenset(map(str, body.get("targets", ()))),
                exact=body.get("exact") is not False,
                ends=frozenset(map(str, body.get("ends", ()))),
            )


def past(notes: Mapping[str, Note], before: datetime) -> tuple[list[str], list[str]]:
    """The names of notes that say nothing any more: of beginnings from before then that were ended, and of their ends.

    The ends go after the beginnings, so that none looks unfinished that was ended.
    """
    steps = {name: step for name, note in notes.items() for step in told_by([note])}
    counts = {one.restore_id for one in unfinished(steps.values())}
    counts |= {one.restore_id for one in steps.values() if one.step is Step.BEGUN and one.at >= before}
    over = {name: one for name, one in steps.items() if one.at < before and not counts & {one.restore_id, *one.ends}}
    begun = [name for name, one in over.items() if one.step is Step.BEGUN]
    return begun, [name for name in over if name not in begun]
