"""Remembers, in the nearest store, which tiers a restore has begun to overwrite, until it is done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace

from strata.catalog.notes import NoteBook
from strata.catalog.restore_notes import KINDS, SUBJECT, Secrets, body_of, marks_by_all_keys, marks_of, told_by
from strata.clock import Clock
from strata.engine.looks import Looks
from strata.errors import BackupNotFound, HalfRestored, SettingError, StorageError, StrataError
from strata.model.backup_type import RULES, Manner
from strata.model.plan import BackupPlan, RestorePlan
from strata.model.tier import StorageTier, Tier
from strata.planning.unfinished import Step, Told, advice, leaves_nothing_of, sentences, unfinished
from strata.sources.port import Permit, RestoreMode


class _NotingPermit:
    """A permit that notes something when it is first asked; the requests of the note ask it too, and note nothing."""

    def __init__(self, permit: Permit, note: Callable[[], None]) -> None:
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
                    self._note()
                    self._noted = True
                finally:
                    self._noting = False
        self._permit()


@dataclass(frozen=True)
class UnfinishedRestores:
    """The notes of one store on restores; `writes` says whether this installation may write there.

    Where the store takes no note the restore goes on all the same: it may be the last one there is.
    """

    store: StorageTier
    book: NoteBook
    keyring: Secrets
    looks: Looks
    clock: Clock
    writes: Callable[[], bool]

    def permit(self, plan: RestorePlan, tier: Tier, permit: Permit) -> Permit:
        """The same permit, which notes that the tier is being overwritten when it is first asked and given."""
        return _NotingPermit(permit, lambda: self._note(self._step(Step.BEGUN, plan, tier)))

    def done(self, plan: RestorePlan, whole: Collection[Tier]) -> None:
        """Note that every tier of a restore is what the backup held; `whole` are those of which it covers every key."""
        with suppress(StorageError):
            left = unfinished(self._told())
            begun = {one.tier: one.targets for one in left if one.restore_id == plan.restore_id}
            for tier in plan.tiers if begun else ():
                step = replace(self._step(Step.DONE, plan, tier), targets=begun.get(tier, frozenset()))
                ends = {one.restore_id for one in left if leaves_nothing_of(step, one, whole=tier in whole)}
                self._note(replace(step, ends=frozenset(ends)))

    def settle(self, restore_id: str) -> list[Tier]:
        """Note that what a restore left is as it should be; the tiers that it had begun."""
        found = [one for one in unfinished(self._told()) if one.restore_id == restore_id]
        if not found:
            raise BackupNotFound(f"no restore {restore_id} is unfinished", hint="`strata status` names those that are.")
        told = Told(Step.SETTLED, restore_id, self.clock.now(), found[0].backup_id)
        self.book.add(KINDS[Step.SETTLED], SUBJECT, told.at, body_of(told))
        return [tier for tier in Tier if any(one.tier is tier for one in found)]

    def judged(self, plan: BackupPlan) -> BackupPlan:
        """The plan of a backup, with the doubt among its reasons where a tier it reads is half restored.

        HalfRestored for a type that is not stubborn. State that was handed over is not what a restore left.
        """
        if plan.override:
            return plan
        try:
            found = self._of({part.tier for part in plan.included})
        except StorageError as error:
            if plan.storage_tier is self.store:  # nor would the backup go there
                raise
            unknown = f"whether a restore was left unfinished is not known: {error.sentence}"
            return plan.model_copy(update={"reasons": (*plan.reasons, unknown)})
        if not found:
            return plan
        if RULES[plan.backup_type].manner is Manner.ORDERLY:
            raise HalfRestored(
                f"no {plan.backup_type} backup is made of tiers that are half restored: {'; '.join(sentences(found))}",
                hint=advice(found),
            )
        return plan.model_copy(
            update={"reasons": (*plan.reasons, *(f"half restored: {one}" for one in sentences(found)))}
        )

    def _of(self, tiers: Iterable[Tier]) -> list[Told]:
        """What is unfinished in the tiers as they are configured here; of one that cannot be asked, all that is."""
        found = [one for one in unfinished(self._told()) if one.tier in set(tiers)]
        here: dict[Tier, frozenset[str] | None] = {}
        for tier in {one.tier for one in found if one.tier is not None}:
            here[tier] = None
            with suppress(StrataError):
                (identity,) = self.looks.see((tier,)).parts
                here[tier] = marks_by_all_keys(identity, self.keyring, found)
        return [one for one in found if one.tier is None or (marks := here[one.tier]) is None or marks & one.targets]

    def _told(self) -> list[Told]:
        return list(told_by(self.book.of(SUBJECT)))

    def _step(self, step: Step, plan: RestorePlan, tier: Tier) -> Told:
        exact = RestoreMode(plan.mode) is RestoreMode.EXACT
        return Told(step, plan.restore_id, self.clock.now(), plan.backup_id, tier, exact=exact)

    def _note(self, told: Told) -> None:
        with suppress(StrataError):
            if self.writes():
                if told.tier and not told.targets:
                    told = replace(told, targets=self._marks(told.tier))
                self.book.add(KINDS[told.step], SUBJECT, told.at, body_of(told))

    def _marks(self, tier: Tier) -> frozenset[str]:
        try:
            (identity,) = self.looks.see((tier,)).parts
        except SettingError:  # a tier that nobody looks at: a double, or a source of somebody's own
            return frozenset({f"{self.keyring.fingerprint_key().key_id}:{tier}"})
        return marks_of(identity, self.keyring)
