"""DataCollector: reads one tier into sealed raw segments."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from queue import Empty, Queue
from typing import Any, Final

from strata.content.chunks import Chunker
from strata.content.fingerprint import Fingerprinter
from strata.engine.ahead import ahead
from strata.engine.assembly import TierAssembly
from strata.engine.known import ChunkShelf, KnownState
from strata.engine.meeting import Meeting, Sitting
from strata.engine.runner import Attempt
from strata.engine.spool import Spool
from strata.errors import SettingError, SourceError
from strata.memory import give_back_freed_memory
from strata.model.backup_type import RULES, Manner
from strata.model.plan import BackupPlan, TierPlan
from strata.model.ticket import Baselined, Collected, KnownChunks
from strata.model.tier import Tier
from strata.seal.encryption import derive
from strata.seal.keyring import Keyring
from strata.sources.port import AfterCut, Reading, Session, StateSource

PATIENCE: Final = 10.0
"""Seconds that a stubborn backup waits for a tier."""


class DataCollector:
    """Reads tiers through their sources; `sure` raises before one that the run was not started for is read."""

    def __init__(
        self,
        sources: Mapping[Tier, StateSource],
        spool: Spool,
        keyring: Keyring,
        patience: float = PATIENCE,
        timestamps: Sequence[str] = (),
        sure: Callable[[BackupPlan, Tier], None] = lambda _plan, _tier: None,
    ) -> None:
        self._sources = sources
        self._spool = spool
        self._keyring = keyring
        self._patience, self._timestamps, self._sure = patience, timestamps, sure

    def collect(
        self,
        plan: BackupPlan,
        tier: Tier,
        baseline: Baselined | None,
        chunks: KnownChunks | None,
        meeting: Meeting,
        attempt: Attempt,
    ) -> Collected:
        """Read the tier's scope; a tier that cannot be read raises SourceError, it never counts as empty.

        A stubborn backup goes on without such a tier, and without one that takes too long: its ticket says why.
        """
        work = partial(self._collect, plan, tier, baseline, chunks, meeting)
        if RULES[plan.backup_type].manner is Manner.STUBBORN:
            return _stubbornly(work, tier, self._patience, attempt)
        return work(attempt)

    def _collect(
        self,
        plan: BackupPlan,
        tier: Tier,
        baseline: Baselined | None,
        chunks: KnownChunks | None,
        meeting: Meeting,
        attempt: Attempt,
    ) -> Collected:
        secret, run_id = self._keyring.fingerprint_key(plan.fingerprint_key_id).secret, plan.backup_id
        fingerprinter = Fingerprinter(secret)
        reading = Reading.EVERYTHING if plan.tier(tier).thorough else Reading.CHANGES
        known = (
            KnownState(self._spool, run_id, baseline, reading, fingerprinter.hash_keys, self._timestamps)
            if baseline
            else None
        )
        assembly = TierAssembly(
            tier,
            plan.layer_id(tier),
            plan.segment_bytes,
            self._spool,
            fingerprinter,
            Chunker(derive(secret, b"chunk")),
            ChunkShelf(self._spool, run_id, chunks),
            known,
            attempt,
        )
        meeting = replace(meeting, check=attempt.check)  # of this try alone, which may be given up
        with naming_tier(tier), self._session(plan, tier, meeting) as session:
            taken = _cut(session, plan.tier(tier), meeting)
            try:
                with ahead(session.read(plan.tier(tier).scope, known)) as items:
                    for item in items:
                        taken.sitting.go_on()
                        assembly.add(item)
                return assembly.finish(taken.told(session.after_cut()), session.describe())
            finally:
                assembly.abort()
                give_back_freed_memory(assembly.logical_bytes)

    @property
    def readable(self) -> Collection[Tier]:
        """The tiers that this process has an address of."""
        return self._sources.keys()

    @contextmanager
    def _session(self, plan: BackupPlan, tier: Tier, meeting: Meeting) -> Iterator[Session]:
        """An open session; where it cannot be opened, the other tiers need not wait for this one."""
        with ExitStack() as stack:
            try:
                self._sure(plan, tier)
                session = stack.enter_context(self._source(plan, tier).connect())
            except BaseException:
                meeting.arrive(tier)
                raise
            yield session

    def _source(self, plan: BackupPlan, tier: Tier) -> StateSource:
        """What the tier is read from: itself, or the document that the run was handed."""
        if plan.override:
            from strata.engine.handed import handed_source  # with all that reads documents

            return handed_source(self._spool, plan.backup_id, plan.override, tier)
        return source_of(self._sources, tier)


@dataclass(frozen=True)
class _Cut:
    """A cut that was taken, between two moments of the clock that all workers share, the last one just before `at`."""

    sitting: Sitting
    said: dict[str, Any]
    first_ms: float
    last_ms: float
    at: float

    def told(self, after: AfterCut) -> dict[str, Any]:
        """What the manifest says: the source's words, between which moments all that was read is, and the doubts."""
        last_ms = self.last_ms + max(0.0, ((after.until or self.at) - self.at) * 1000)
        moments = {"first_ms": round(self.first_ms, 3), "last_ms": round(last_ms, 3)}
        doubts = {"changed_after": after.changed, "gone_after": after.gone, "torn": "; ".join(self.sitting.torn)}
        return {**self.said, **moments, **{name: value for name, value in doubts.items() if value}}


def _cut(session: Session, tier: TierPlan, meeting: Meeting) -> _Cut:
    """Take the tier's cut together with the others'."""
    with meeting.cutting(tier.tier) as sitting:
        first = meeting.ledger.clock_ms()
        said = session.cut(tier.scope)
        last, at = meeting.ledger.clock_ms(), time.monotonic()
    return _Cut(sitting, said, first, last, at)


def _stubbornly(work: Callable[[Attempt], Collected], tier: Tier, patience: float, attempt: Attempt) -> Collected:
    """The ticket, or one that says why there is nothing: the tier failed, or took longer than so many seconds."""
    inner, done = attempt.sibling(), Queue[Collected | BaseException]()

    def run() -> None:
        try:
            done.put(work(inner))
        except BaseException as error:  # noqa: BLE001 - raised or told below
            done.put(error)

    threading.Thread(target=run, name=f"collect {tier}", daemon=True).start()
    try:
        outcome = done.get(timeout=patience)
    except Empty:
        inner.lose()  # whatever it still does ends at its next report
        return _missing(tier, f"{tier.label} was not read within {patience:g} s")
    if isinstance(outcome, SourceError | SettingError):
        return _missing(tier, f"{tier.label} could not be read ({outcome.code})", outcome.sentence)
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def _missing(tier: Tier, why: str, sentence: str = "") -> Collected:
    return Collected(
        tier=tier,
        objects=(),
        index_parts=(),
        description="",
        cut={},
        records=0,
        logical_bytes=0,
        missing=why,
        failure=sentence or why,
    )


@contextmanager
def naming_tier(tier: Tier) -> Iterator[None]:
    """Adds the tier to a SourceError that does not name it."""
    try:
        yield
    except SourceError as error:
        if tier.label in error.sentence:
            raise
        raise type(error)(f"{tier.label}: {error.sentence}", hint=error.hint) from None


def source_of(sources: Mapping[Tier, StateSource], tier: Tier) -> StateSource:
    """The source of a tier; SettingError where this worker has none."""
    if tier not in sources:
        raise SettingError(
            f"{tier.label} has no URL here",
            hint=f"Set STRATA_{tier.upper()}_URL for the workers that read and restore it.",
        )
    return sources[tier]
