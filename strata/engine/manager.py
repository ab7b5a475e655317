"""BackupManager: the stages as a worker calls them, each behind the ledger's guard.

Every method may be called again with the same arguments, by anybody, at any time: it gives the same result.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from strata.catalog.lease import Lease
from strata.catalog.ledger import Ledger
from strata.catalog.owner import Owner
from strata.clock import Clock
from strata.engine.admission import known_run, who
from strata.engine.baseline import BaselineBuilder
from strata.engine.collector import DataCollector
from strata.engine.copier import Copied, Copier, CopyMade
from strata.engine.creator import BackupCreator
from strata.engine.depot import Depot, Depots
from strata.engine.failures import FailureLog
from strata.engine.helpers import helped
from strata.engine.layers import LayerReader
from strata.engine.looks import Looks
from strata.engine.meeting import CutLost, end_pause, is_called, pause_left
from strata.engine.planner import BackupOptions, BackupPlanner, decided
from strata.engine.recorder import Recorder, stage_seconds
from strata.engine.restore_plans import start_restore
from strata.engine.restore_store import RestoreStores, RestoreWish
from strata.engine.restorer import Applied, Restored
from strata.engine.runner import Attempt, StageRunner
from strata.engine.spool import Spool
from strata.engine.timekeeping import moment
from strata.engine.unfinished import UnfinishedRestores
from strata.errors import LeaseHeld, RunFailed, StrataError
from strata.model.backup_type import RULES, BackupType, Manner
from strata.model.coverage import Doubt
from strata.model.identity import KEYRING, LEDGER, NOTHING_SEEN, Identities
from strata.model.layer import Document
from strata.model.plan import BackupPlan, CopyPlan, RestorePlan
from strata.model.run import Run, RunKind, RunState, Stage
from strata.model.thaw import ThawSpeed
from strata.model.ticket import Baselined, Collected, Compressed, KnownChunks, Merged, Sealed, Stored, Verified
from strata.model.tier import StorageTier, Tier
from strata.planning.restore import earlier
from strata.seal.keyring import Keyring
from strata.sources.port import RestoreMode

CHUNKS: Final = "chunks"
"""The unit of the baseline stage that lists stored chunks; the others are tiers."""


class Recorded(Document):
    """A backup exists."""

    backup_id: str
    doubts: tuple[Doubt, ...] = ()
    """What it may lack, by the backups of its store."""


class BackupManager:
    """Plans runs, does their stages, and ends them."""

    def __init__(
        self,
        runner: StageRunner,
        collector: DataCollector,
        depots: Depots,
        spool: Spool,
        keyring: Keyring,
        clock: Clock,
        options: BackupOptions,
        restore_stores: RestoreStores | None = None,
        looks: Looks | None = None,
        owner: Owner | None = None,
        shared: Ledger | None = None,
        pause_is_left: Callable[[str], None] | None = None,
    ) -> None:
        self._pause_is_left = pause_is_left  # told of a run whose pause is to be ended by another worker
        self.runner, self.depots, self.clock = runner, depots, clock
        self.restore_stores = restore_stores or RestoreStores(depots, {})
        self.looks = looks or Looks({})
        self.owner = owner or Owner({depot.tier: depot.store for depot in depots}, keyring)
        self.planner = BackupPlanner(depots, keyring, clock, options, self.owner)
        self._collector, self._copier = collector, Copier(depots, clock, self.owner.remember)
        nearest, check = depots.nearest, self.owner.check
        self._failures = FailureLog(nearest.store, keyring, clock, self.owner.owning(nearest.tier))
        self.unfinished = UnfinishedRestores(nearest.tier, nearest.book, keyring, self.looks, clock, check, shared)
        self.spool, self._keyring, self._options = spool, keyring, options

    @property
    def ledger(self) -> Ledger:
        """The run ledger."""
        return self.runner.ledger

    @property
    def lease(self) -> Lease:
        """The lease."""
        return self.runner.lease

    def known(self, run_id: str, kind: RunKind, handed: str = "") -> Run | None:
        """The run of that id, or None for a new one; SettingError where the id cannot be that of such a run."""
        return known_run(self.ledger, self.spool, run_id, kind, handed)

    # --- a backup -------------------------------------------------------------------------------------------------

    def start(
        self,
        backup_type: BackupType,
        run_id: str,
        *,
        fresh: bool = False,
        override: str = "",
        confirmed: Identities = NOTHING_SEEN,
        again: Callable[[StrataError], bool] = lambda _: False,
    ) -> BackupPlan:
        """Take the lease, plan, and enter the run; a refusal is entered too, with its reason.

        `fresh` builds on nothing that is there. A stubborn type takes no lease, and harms none that is held. `override`
        names a document in the spool (engine/handed.py) that is read in place of the live tiers. `confirmed` is what
        the sender saw. `again` says of an error that the start will be tried again: then the run is not entered.
        """
        if (known := self.known(run_id, RunKind.BACKUP, override)) is not None:
            return self._plan_of(known)
        fence = None
        try:
            self.looks.compare(run_id, confirmed, LEDGER, KEYRING)
            self.looks.compare_tiers(confirmed, () if override else Tier)
            if RULES[backup_type].manner is Manner.ORDERLY:
                fence = self.lease.acquire(run_id, who())
            plan = decided(self.planner, self.spool, backup_type, run_id, override, fresh=fresh).model_copy(
                update={"confirmed": confirmed}
            )
            self.looks.compare(run_id, confirmed, plan.storage_tier)
            plan = self.owner.settle(self.unfinished.admit(plan)).model_copy(update={"confirmed": confirmed})
            self.depot(plan)  # while it can be refused still: it asks the store which one it is
        except StrataError as error:
            if again(error):
                if fence is not None:
                    self.lease.release(fence)
                raise
            self.refuse(run_id, RunKind.BACKUP, fence, error)
            raise
        return self._plan_of(self.begin(run_id, RunKind.BACKUP, plan.model_dump_json(), fence))

    def plan(self, run_id: str) -> BackupPlan:
        """The plan of a backup under way."""
        return self._plan_of(self._run(run_id))

    def depot(self, plan: BackupPlan) -> Depot:
        """The depot a backup goes to."""
        return self.depots.planned(plan.backup_id, plan.storage_tier, plan.store_url, plan.store_id)

    def baseline_units(self, plan: BackupPlan) -> list[str]:
        """What is to be laid out before tiers are collected: those that have a parent, and the chunks stored so far."""
        if RULES[plan.backup_type].manner is Manner.STUBBORN:
            return []  # nothing that takes time
        return [*(part.tier for part in plan.included if part.parent), *([CHUNKS] if plan.knows_chunks else [])]

    def baseline(self, run_id: str, unit: str) -> Document:
        """Lay out in the spool what is known of earlier backups: of one tier, or of chunks."""
        plan = self.plan(run_id)
        baselines = self._baselines(plan)
        if unit == CHUNKS:
            return self.runner.run(run_id, Stage.BASELINE, unit, KnownChunks, partial(baselines.chunks, plan))
        return self.runner.run(
            run_id, Stage.BASELINE, unit, Baselined, lambda attempt: baselines.lay_out(plan, Tier(unit), attempt)
        )

    def collect(self, run_id: str, tier: Tier) -> Collected | None:
        """Read one tier into the spool; None where its cut was lost, and all tiers are to be collected again."""
        plan = self.plan(run_id)
        if not is_called(self.ledger, run_id):
            return None
        known, chunks = self._baselined(plan).get(tier), self._chunks(plan)

        def work(attempt: Attempt) -> Collected:
            meeting = self._options.meeting(plan, self.ledger, attempt)
            with helped(meeting, self._collector.readable, partial(self.collect, run_id)) as meeting:
                return self._collector.collect(plan, tier, known, chunks, meeting, attempt)

        try:
            return self.runner.run(run_id, Stage.COLLECT, tier, Collected, work)
        except CutLost:
            return None

    def is_collected(self, run_id: str) -> bool:
        """Whether every tier is collected, all in one round: nothing can undo that any more."""
        results = self.ledger.results(run_id, Stage.COLLECT)
        return all(part.tier in results for part in self.plan(run_id).included)

    def merge(self, run_id: str) -> Merged:
        """Bring the tiers together, once all are collected."""
        plan = self.plan(run_id)

        def work(attempt: Attempt) -> Merged:
            return self._creator(plan).merge(plan, self._collected(plan), self._baselined(plan), attempt)

        merged = self.runner.run(run_id, Stage.MERGE, "", Merged, work)
        self.spool.delete(name for part in self._collected(plan) for name in part.index_parts)
        return merged

    def compress(self, run_id: str, label: str) -> Compressed:
        """Compress one unit; its raw bytes leave the spool."""
        plan, merged = self.plan(run_id), self._merged(run_id)
        spooled = merged.find(label)
        work = partial(self._creator(plan).compress, plan, merged, spooled)
        compressed = self.runner.run(run_id, Stage.COMPRESS, label, Compressed, work)
        self.spool.delete([spooled.name])
        return compressed

    def encrypt(self, run_id: str, label: str) -> Sealed:
        """Encrypt one unit; its compressed bytes leave the spool."""
        plan = self.plan(run_id)
        compressed = Compressed.model_validate_json(self.result(run_id, Stage.COMPRESS, label))
        work = partial(self._creator(plan).encrypt, plan, compressed)
        sealed = self.runner.run(run_id, Stage.ENCRYPT, label, Sealed, work)
        self.spool.delete([compressed.name])
        return sealed

    def store(self, run_id: str, label: str) -> Stored:
        """Put one unit into the store; it leaves the spool."""
        creator = self._creator(self.plan(run_id))
        sealed = Sealed.model_validate_json(self.result(run_id, Stage.ENCRYPT, label))
        stored = self.runner.run(run_id, Stage.STORE, label, Stored, lambda _: creator.store(sealed))
        self.spool.delete([sealed.name])
        return stored

    def verify(self, run_id: str) -> Verified:
        """Read everything back from the store and prove it."""
        plan = self.plan(run_id)

        def work(attempt: Attempt) -> Verified:
            recorder = self._recorder(plan)
            recorder.prove_inherited(attempt)
            return self._creator(plan).verify(plan, recorder.merged, recorder.stored, attempt)

        return self.runner.run(run_id, Stage.VERIFY, "", Verified, work)

    def record(self, run_id: str) -> Recorded:
        """Write the manifest, last of all: now the backup exists. Then end the run and tidy."""
        recorded = self.runner.run(run_id, Stage.RECORD, "", Recorded, lambda attempt: self._commit(run_id, attempt))
        self.close(run_id, RunState.DONE)
        return recorded

    # --- a restore ------------------------------------------------------------------------------------------------

    def start_restore(
        self,
        reference: str,
        run_id: str,
        mode: RestoreMode,
        tiers: tuple[Tier, ...],
        storage_tier: StorageTier | None = None,
        speed: ThawSpeed | None = None,
        confirmed: Identities = NOTHING_SEEN,
        again: Callable[[StrataError], bool] = lambda _: False,
    ) -> RestorePlan:
        """Plan a restore (engine/restore_plans.py) that need not be confirmed by anybody, and begin it."""
        wish = RestoreWish(run_id, reference, mode, tiers, storage_tier, speed)
        return start_restore(self, wish, confirmed, again)

    def restore_plan(self, run_id: str) -> RestorePlan:
        """The plan of a restore under way."""
        return self.plan_of(self._run(run_id))

    def check(self, run_id: str) -> Verified:
        """Prove the backup and the targets, before anything is written."""
        plan = self.restore_plan(run_id)
        restorer = self.restore_stores.read_by(plan).restorer
        return self.runner.run(run_id, Stage.CHECK, "", Verified, lambda attempt: restorer.check(plan, attempt))

    def apply(self, run_id: str, tier: Tier) -> Applied:
        """Write one tier back."""
        plan = self.restore_plan(run_id)
        self.result(run_id, Stage.CHECK, "")
        if tier not in plan.tiers:
            raise RunFailed(f"{run_id} does not restore {tier.label}: its plan does not name it")
        for one in earlier(plan.tiers, tier):
            self.result(run_id, Stage.APPLY, one)
        restorer = self.restore_stores.read_by(plan).restorer

        def work(attempt: Attempt) -> Applied:
            permit = self.unfinished.permit(plan, tier, attempt.check)
            return restorer.apply(plan, tier, attempt, permit).with_note(permit.told)

        return self.runner.run(run_id, Stage.APPLY, tier, Applied, work)

    def finish(self, run_id: str) -> Restored:
        """Sum up a restore whose every tier was written, and end it."""
        plan = self.restore_plan(run_id)

        def work(_: Attempt) -> Restored:
            tiers = [Applied.model_validate_json(self.result(run_id, Stage.APPLY, tier)) for tier in plan.tiers]
            self.unfinished.done(plan, [one.tier for one in tiers if one.whole])
            return Restored(backup_id=plan.backup_id, tiers=tuple(tiers))

        restored = self.runner.run(run_id, Stage.FINISH, "", Restored, work)
        self.close(run_id, RunState.DONE)
        return restored

    # --- a copy ---------------------------------------------------------------------------------------------------

    def start_copy(
        self,
        backup_id: str,
        run_id: str,
        target: StorageTier,
        source: StorageTier | None = None,
        confirmed: Identities = NOTHING_SEEN,
    ) -> CopyPlan:
        """Plan a copy to another store and enter the run; it needs no lease, for it changes nothing that is there."""
        if (known := self.known(run_id, RunKind.COPY)) is not None:
            return self._copy_plan_of(known)
        try:
            self.looks.compare_tiers(confirmed)
            self.looks.compare(run_id, confirmed, LEDGER, KEYRING, target, *([source] if source else []))
            self.owner.claim_new(self.depots.of(target).tier, self.clock.now())
            self._copier.announce(backup_id, target, source)
            plan = self._copier.plan(run_id, backup_id, target, source).model_copy(update={"confirmed": confirmed})
            self.looks.compare(run_id, confirmed, plan.source)
        except StrataError as error:
            self.refuse(run_id, RunKind.COPY, None, error)
            raise
        return self._copy_plan_of(self.begin(run_id, RunKind.COPY, plan.model_dump_json(), None))

    def copy_plan(self, run_id: str) -> CopyPlan:
        """The plan of a copy under way."""
        return self._copy_plan_of(self._run(run_id))

    def copy(self, run_id: str, number: int) -> Copied:
        """Bring one part of a copy to its target."""
        plan = self.copy_plan(run_id)
        part = plan.parts[number]
        return self.runner.run(run_id, Stage.COPY, f"{number}", Copied, partial(self._copier.copy, plan, part))

    def finish_copy(self, run_id: str) -> CopyMade:
        """Write the manifest of a copy whose every part is there, and end the run."""
        plan = self.copy_plan(run_id)

        def work(_: Attempt) -> CopyMade:
            parts = [self.result(run_id, Stage.COPY, f"{part.number}") for part in plan.parts]
            return self._copier.finish(plan, [Copied.model_validate_json(part) for part in parts])

        made = self.runner.run(run_id, Stage.COMMIT, "", CopyMade, work)
        self.close(run_id, RunState.DONE)
        return made

    # --- any run --------------------------------------------------------------------------------------------------

    def abandon(self, run_id: str, reason: str = "") -> None:
        """End a run as FAILED with its reason, give the lease back, sweep the spool; nothing if it has ended."""
        run = self.ledger.run(run_id)
        if run is None:
            return
        noted = self.ledger.failure(run_id)
        code = self.ledger.failure_code(run_id) if noted else ""
        self.close(run_id, RunState.FAILED, noted or reason or "a stage failed", code)

    def close(self, run_id: str, state: RunState, reason: str = "", code: str = "") -> None:
        """End a run, give its lease back and tidy after it."""
        ended = self.ledger.end(run_id, state, reason, code)
        run = self._run(run_id)
        if run.state.final and run.fence is not None:
            self.lease.release(run.fence)
        if ended and state is RunState.FAILED:
            self._failures.keep(run)  # before what may fail: the tiers are not this worker's to enter
        if run.state.final:
            try:
                self.spool.sweep(run_id)
            finally:
                self._have_pause_ended(run_id)

    def end_pause(self, run_id: str) -> bool:
        """End a pause that a collector of the run left; False where none was left. Needs the rights of a collector."""
        left = pause_left(self.ledger, run_id)
        end_pause(self.ledger, run_id, self._options.pause)
        return left

    def _have_pause_ended(self, run_id: str) -> None:
        if self._pause_is_left is None:
            self.end_pause(run_id)
        elif pause_left(self.ledger, run_id):
            self._pause_is_left(run_id)

    def _baselined(self, plan: BackupPlan) -> dict[Tier, Baselined]:
        wanted = [part.tier for part in plan.included if part.parent]
        results = {tier: self.result(plan.backup_id, Stage.BASELINE, tier) for tier in wanted}
        return {tier: Baselined.model_validate_json(result) for tier, result in results.items()}

    def _chunks(self, plan: BackupPlan) -> KnownChunks | None:
        if CHUNKS not in self.baseline_units(plan):
            return None
        return KnownChunks.model_validate_json(self.result(plan.backup_id, Stage.BASELINE, CHUNKS))

    def _plan_of(self, run: Run) -> BackupPlan:
        plan = BackupPlan.model_validate_json(run.plan or self._raise_ended(run))
        self.depot(plan)  # raises where this worker's store is not the run's
        return plan

    def _creator(self, plan: BackupPlan) -> BackupCreator:
        return BackupCreator(self.spool, self.depot(plan).store, self._keyring, self.clock)

    def _baselines(self, plan: BackupPlan) -> BaselineBuilder:
        depot = self.depot(plan)
        reader = LayerReader(depot.store, self._keyring)
        return BaselineBuilder(self.spool, reader, depot.metadata, self._keyring, depot.damage)

    def _recorder(self, plan: BackupPlan) -> Recorder:
        run_id = plan.backup_id
        chunks = partial(self._chunks, plan)
        creator = self._creator(plan)
        return Recorder(plan, self.depot(plan), creator, self.owner, self._merged(run_id), self._stored(run_id), chunks)

    def _commit(self, run_id: str, attempt: Attempt) -> Recorded:
        plan = self.plan(run_id)
        self.result(run_id, Stage.VERIFY, "")
        seconds = stage_seconds(self.ledger.rows(run_id))
        doubts = self._recorder(plan).commit(self._collected(plan), seconds, attempt)
        return Recorded(backup_id=run_id, doubts=doubts)

    def _collected(self, plan: BackupPlan) -> list[Collected]:
        results = self.ledger.results(plan.backup_id, Stage.COLLECT)
        missing = [part.tier.label for part in plan.included if part.tier not in results]
        if missing:
            raise RunFailed(f"{plan.backup_id}: {' and '.join(missing)} was not collected")
        collected = [Collected.model_validate_json(results[part.tier]) for part in plan.included]
        if all(part.missing for part in collected):
            raise RunFailed(f"no tier could be read: {'; '.join(part.failure for part in collected)}")
        return collected

    def _merged(self, run_id: str) -> Merged:
        return Merged.model_validate_json(self.result(run_id, Stage.MERGE, ""))

    def _stored(self, run_id: str) -> list[Stored]:
        return [Stored.model_validate_json(result) for result in self.ledger.results(run_id, Stage.STORE).values()]

    def result(self, run_id: str, stage: Stage, unit: str) -> str:
        """What a unit of a stage left; RunFailed where it is not done."""
        result = self.ledger.result(run_id, stage, unit)
        if result is None:
            raise RunFailed(f"{run_id}: {f'{stage} {unit}'.strip()} is not done, so the next stage cannot begin")
        return result

    def _run(self, run_id: str) -> Run:
        run = self.ledger.run(run_id)
        if run is None:
            raise RunFailed(f"no run {run_id} is known")
        return run

    def begin(
        self, run_id: str, kind: RunKind, plan: str, fence: int | None, state: RunState = RunState.RUNNING
    ) -> Run:
        """Enter a run; where another delivery of the same start was quicker, its run counts."""
        try:
            self._enter(run_id, kind, state, plan, fence)
        except RunFailed:
            if fence is not None and self._run(run_id).fence != fence:
                self.lease.release(fence)
        return self._run(run_id)

    def _enter(
        self,
        run_id: str,
        kind: RunKind,
        state: RunState,
        plan: str,
        fence: int | None,
        reason: str = "",
        code: str = "",
    ) -> None:
        now = moment(self.ledger)  # its silence is told by that clock
        entered = {"reason": reason, "code": code, "created_at": now, "updated_at": now, "plan": plan, "fence": fence}
        self.ledger.create(Run.model_validate({"run_id": run_id, "kind": kind, "state": state, **entered}))

    def refuse(self, run_id: str, kind: RunKind, fence: int | None, error: StrataError) -> None:
        """Enter a run that cannot begin, with the reason."""
        if fence is not None:
            self.lease.release(fence)
        with suppress(RunFailed):  # known by now: another delivery of the same start was quicker
            self._enter(run_id, kind, RunState.REFUSED, "", None, error.sentence, error.code)
            if kind is RunKind.BACKUP and not isinstance(
                error, LeaseHeld
            ):  # while another run goes on, none is missing
                self._failures.keep(self._run(run_id))

    def plan_of(self, run: Run) -> RestorePlan:
        """The plan of a restore; RunFailed where it was refused."""
        return RestorePlan.model_validate_json(run.plan or self._raise_ended(run))

    def _copy_plan_of(self, run: Run) -> CopyPlan:
        return CopyPlan.model_validate_json(run.plan or self._raise_ended(run))

    @staticmethod
    def _raise_ended(run: Run) -> str:
        raise RunFailed(run.reason or f"the run {run.run_id} has ended")
