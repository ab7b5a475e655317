"""Remembers which tiers a restore has begun to overwrite, until it is done: in the nearest store, and in the ledger.

A tier is overwritten where one of the two remembers it. Where neither does, it is not, unless there is no ledger at
all: then a person restores on the day of need, and the store may be the last one there is. Nor is it refused where the
store is another installation's: no backup of this one's state goes there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from strata.catalog.ledger import Ledger
from strata.catalog.notes import NoteBook
from strata.catalog.restore_marks import mark_begun, mark_ended, marked
from strata.catalog.restore_notes import KINDS, SUBJECT, Secrets, body_of, marks_by_all_keys, targets_of, told_by
from strata.clock import Clock
from strata.engine.looks import Looks
from strata.errors import BackupNotFound, HalfRestored, StorageError, StoreForeign, StrataError
from strata.model.backup_type import RULES, Manner
from strata.model.plan import BackupPlan, RestorePlan, TierPlan
from strata.model.tier import StorageTier, Tier
from strata.planning.completeness import half_restored
from strata.planning.unfinished import Step, Told, advice, in_doubt, leaves_nothing_of, sentences, unfinished, unknown
from strata.sources.port import Permit, RestoreMode


class NotingPermit:
    """A permit that notes something when it is first asked; the requests of the note ask it too, and note nothing.

    `told` is what came of the note and a person should know.
    """

    def __init__(self, permit: Permit, note: Callable[[], str]) -> None:
        self.told = ""
        self._permit, self._note = permit, note
        self._noting = self._noted = False
        self._once = threading.RLock()

    def __call__(self) -> None:
        self._permit()
        if self._noted:
            return
        with self._once:  # others wait for the note; the thread that writes it comes by again
            if not self._noted and not self._noting:
                self._noting = True
                try:
                    self.told = self._note()
                    self._noted = True
                finally:
                    self._noting = False
        self._permit()


@dataclass(frozen=True)
class UnfinishedRestores:
    """The notes of one store on restores, and the marks of the ledger that all workers share, if there is one.

    `check` raises where this installation must not write into a store.
    """

    store: StorageTier
    book: NoteBook
    keyring: Secrets
    looks: Looks
    clock: Clock
    check: Callable[[StorageTier], object]
    shared: Ledger | None = None

    def permit(self, plan: RestorePlan, tier: Tier, permit: Permit) -> NotingPermit:
        """The same permit; when it is first asked and given, it is remembered that the tier is being overwritten.

        StorageError where nothing remembers it.
        """
        return NotingPermit(permit, lambda: self._begin(plan, tier))

    def done(self, plan: RestorePlan, whole: Collection[Tier]) -> None:
        """Note that every tier of a restore is what the backup held; `whole` are those of which it covers every key."""
        told, _ = marked(self.shared, self.keyring)
        with suppress(StorageError):
            told += self._noted()
        left = unfinished(told)
        begun = {one.tier: one.targets for one in left if one.restore_id == plan.restore_id}
        for tier in plan.tiers if begun else ():
            step = replace(self._step(Step.DONE, plan, tier), targets=begun.get(tier, frozenset()))
            ends = {one.restore_id for one in left if leaves_nothing_of(step, one, whole=tier in whole)}
            self._note(replace(step, ends=frozenset(ends)))
            mark_ended(self.shared, ends, [tier])

    def settle(self, restore_id: str) -> list[Tier]:
        """Note that what a restore left is as it should be; the tiers that it had begun."""
        told, _ = marked(self.shared, self.keyring)
        found = [one for one in unfinished([*told, *self._noted()]) if one.restore_id == restore_id]
        if not found:
            raise BackupNotFound(f"no restore {restore_id} is unfinished", hint="`strata status` names those that are.")
        settled = Told(Step.SETTLED, restore_id, self.clock.now(), found[0].backup_id)
        self.book.add(KINDS[Step.SETTLED], SUBJECT, settled.at, body_of(settled))
        tiers = [tier for tier in Tier if any(one.tier is tier for one in found)]
        mark_ended(self.shared, {restore_id}, tiers)
        return tiers

    def admit(self, plan: BackupPlan) -> BackupPlan:
        """As `judged`, of a backup that begins: what only the ledger remembers is noted, because the ledger forgets."""
        if unfinished(told := marked(self.shared, self.keyring)[0]):
            with suppress(StrataError):
                noted = self._noted()
                known = {(one.restore_id, one.tier) for one in noted}
                for one in unfinished([*noted, *told]):
                    if (one.restore_id, one.tier) not in known:
                        self._note(one)
        return self.judged(plan)

    def judged(self, plan: BackupPlan) -> BackupPlan:
        """The plan of a backup, which is in doubt where a tier that it reads is half restored, or may be.

        HalfRestored for a type that is not stubborn. State that was handed over is not what a restore left.
        """
        if plan.override:
            return plan
        told, silent = self._asked(plan)
        found = self._of({part.tier for part in plan.included}, told)
        if found and RULES[plan.backup_type].manner is Manner.ORDERLY:
            raise HalfRestored(
                f"no {plan.backup_type} backup is made of tiers that are half restored: {'; '.join(sentences(found))}",
                hint=advice(found),
            )
        return _doubted(plan, found, silent)

    def _asked(self, plan: BackupPlan) -> tuple[list[Told], str]:
        """What is told of restores, and why that may not be all."""
        told, silent = marked(self.shared, self.keyring)
        try:
            return [*told, *self._noted()], silent
        except StorageError as error:
            if plan.storage_tier is self.store:  # nor would the backup go there
                raise
            return told, "; ".join(filter(None, (error.sentence, silent)))

    def _of(self, tiers: Iterable[Tier], told: Iterable[Told]) -> list[Told]:
        """What is unfinished in the tiers as they are configured here; of one that cannot be asked, all that is."""
        found = [one for one in unfinished(told) if one.tier in set(tiers)]
        here: dict[Tier, frozenset[str] | None] = {}
        for tier in {one.tier for one in found if one.tier is not None}:
            here[tier] = None
            with suppress(StrataError):
                (identity,) = self.looks.see((tier,)).parts
                here[tier] = marks_by_all_keys(identity, self.keyring, found)
        return [one for one in found if one.tier is None or (marks := here[one.tier]) is None or marks & one.targets]

    def _noted(self) -> list[Told]:
        return list(told_by(self.book.of(SUBJECT)))

    def _begin(self, plan: RestorePlan, tier: Tier) -> str:
        """Remember that a tier is about to be overwritten; what a person should know of how."""
        told = self._step(Step.BEGUN, plan, tier)
        unmarked = mark_begun(self.shared, plan.restore_id, tier, told.at)
        untold = self._note(told)
        if not (unmarked and untold):
            return ""
        nobody = f"{self.store.upper()} takes no note ({untold.sentence}), and {unmarked}"
        if self.shared is None or isinstance(untold, StoreForeign):  # another's store gets no backup of ours either
            return f"if this restore does not end, nothing remembers that the tier is half restored: {nobody}"
        raise StorageError(
            f"{tier.label} is not overwritten because nothing would remember that it is half restored if the restore "
            f"did not end: {nobody}",
            hint=f"See that {self.store.upper()} is writable and says whose it is (`strata stores list`), or restore "
            "through the workers: the ledger knows their runs.",
        )

    def _step(self, step: Step, plan: RestorePlan, tier: Tier) -> Told:
        exact = RestoreMode(plan.mode) is RestoreMode.EXACT
        targets = targets_of(plan, tier, self.keyring)
        return Told(step, plan.restore_id, self.clock.now(), plan.backup_id, tier, targets, exact)

    def _note(self, told: Told) -> StrataError | None:
        """Write a note; why the store did not take it, if so."""
        try:
            self.check(self.store)
            self.book.add(KINDS[told.step], SUBJECT, told.at, body_of(told))
        except StrataError as error:
            return error
        return None


def _doubted(plan: BackupPlan, found: Sequence[Told], silent: str) -> BackupPlan:
    """The plan with its doubts about tiers that are half restored, or of which nobody knows."""

    def part(tier: TierPlan) -> TierPlan:
        ours = [one for one in found if one.tier is tier.tier]
        half = in_doubt(tier.tier, ours) if ours else unknown(tier.tier, silent) if silent else ""
        return tier.model_copy(update={"half": half if tier in plan.included else ""})

    tiers = tuple(part(tier) for tier in plan.tiers)
    doubts = half_restored(tiers)
    return plan.model_copy(update={"tiers": tiers, "doubts": (*plan.doubts, *doubts)}) if doubts else plan
