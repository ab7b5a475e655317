"""Where the collectors of one backup meet, so that their cuts are one point.

Each opens its session and sits down in the run's round; when all sit, they cut. The first tier's collector leads: it
pauses the application before the cuts, where that is configured, sees after them that the pause still holds, and lets
the application go on.

A cut is lost where a collector comes again after it sat down (its worker died, its source failed), where a tier does
not come in time, and where the pause did not cover every cut. Cut again alone, that tier would be seconds later than
the others, so the round is lost as a whole: every collector gives up (CutLost), what was collected counts no more, and
all tiers are collected again in the next round, under a new pause. The last round may not be lost: then the run fails
or, where that is set, goes on and the backup says why its tiers may not be of one point.

Seats and rounds lie in the run ledger, and so do the marks that collectors wait for. A pause that nobody ended is ended
by whoever loses its round, by the next round, or when the run ends. Where a collector has failed for good, nobody waits
on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

from strata.catalog.ledger import Claim, Ledger
from strata.errors import RunFailed
from strata.model.tier import Tier
from strata.planning.rounds import Rounds, Torn

_GO: Final = "go"
_LOST: Final = "lost"
_CALLED: Final = "called"
_PAUSED, _ENDING, _RESUMED = "paused ", "ending ", "resumed "
"""Each with the number of its round."""

HELP_SECONDS: Final = 3.0
"""A tier that nobody sat down for after so long is called for: free processes come within one."""
_LOOK_SECONDS: Final = 0.003
_ROUND_SECONDS: Final = 1.0
"""How often a collector that reads looks whether its round still counts."""


class CutLost(Exception):
    """The cuts of this round are not one point: all tiers are collected again in the next."""


class Pause(Protocol):
    """Pauses the application while the cuts are taken."""

    @property
    def seconds(self) -> float:
        """How long pausing may take, and how long it may last."""
        ...

    def begin(self, run_id: str) -> None:
        """Pause; raises where that fails or takes too long, and then nothing stays paused."""
        ...

    def holds(self, run_id: str) -> bool:
        """Whether the application is still paused, as far as that can be seen."""
        ...

    def end(self, run_id: str) -> None:
        """Go on; may be called twice."""
        ...


@dataclass(frozen=True)
class Meeting:
    """The meeting of one run's tiers; `seconds` bounds each wait. Without a claim nobody waits for a lost cut."""

    ledger: Ledger
    run_id: str
    tiers: tuple[Tier, ...]
    seconds: float
    pause: Pause | None = None
    check: Callable[[], None] = lambda: None
    """Raises where waiting on makes no sense: the run has ended."""
    claim: Claim | None = None
    rounds: Rounds = field(default_factory=Rounds)
    call: Callable[[Iterable[Tier]], None] = lambda _: None
    """Asks for tiers that nobody sat down for within HELP_SECONDS."""

    @contextmanager
    def cutting(self, tier: Tier) -> Iterator[Sitting]:
        """Enter when the tier may cut, leave when it has cut (or failed to)."""
        sitting = Sitting(self, tier)
        sitting.sit()
        if not sitting.comes_again:
            sitting.await_others()
        with sitting.covered():
            yield sitting

    def arrive(self, tier: Tier) -> None:
        """Where nobody waits for long: say that this tier is ready, or never will be."""
        if self.claim is None:
            self.ledger.mark(self.run_id, f"1 {tier}")

    def give_up_round(self, number: int, why: str) -> str:
        """Lose a round: CutLost, or in the last one RunFailed; where such backups are wanted, the reason comes back."""
        if number < self.rounds.most:
            self.ledger.mark(self.run_id, f"{number} {_LOST}")  # who waits looks at the marks
            self.ledger.lose(self.run_id, number)
            raise CutLost(why)
        if self.rounds.torn is Torn.FAIL:
            raise RunFailed(
                f"the tiers could not be cut together in {self.rounds.most} rounds: {why}",
                hint="Give the collecting workers a free process for each tier (-c 3) or the URLs of all tiers, or set "
                "STRATA_TORN=tell.",
            )
        return why


@dataclass
class Sitting:
    """One tier's collector at the meeting; `torn` says why its cut may not be of one point with the others'."""

    meeting: Meeting
    tier: Tier
    number: int = 1
    comes_again: bool = False
    torn: list[str] = field(default_factory=list)
    _looked: float = field(default_factory=time.monotonic)

    def sit(self) -> None:
        """Take the seat in the current round; where the tier sat in it already, its cut is lost."""
        meeting = self.meeting
        if meeting.claim is not None:
            seat = meeting.ledger.sit(meeting.claim)
            self.number, self.comes_again = seat.round, seat.taken
            if self._leads:  # an earlier leader may have died in its pause
                end_pause(meeting.ledger, meeting.run_id, meeting.pause)
        if self.comes_again:
            self._lose(f"{self.tier.label} was collected again after it was ready to be cut")
        self._mark(self.tier.value)

    def await_others(self) -> None:
        """Wait until all tiers sit in this round; those for which nobody comes are called for once."""
        deadline, tiers = time.monotonic() + self.meeting.seconds, [tier.value for tier in self.meeting.tiers]
        if self.meeting.claim is not None and self.meeting.seconds > HELP_SECONDS:
            self.meeting.call(map(Tier, sorted(self._missing(tiers, HELP_SECONDS))))
        if late := self._missing(tiers, deadline - time.monotonic()):
            names = " and ".join(Tier(name).label for name in sorted(late))
            self._lose(f"{names} was not ready to be cut within {self.meeting.seconds:g} s")

    @contextmanager
    def covered(self) -> Iterator[None]:
        """The time in which the tier cuts: within the pause, where there is one and the tier does not come again."""
        if self.meeting.pause is None or self.comes_again:
            yield
        elif self._leads:
            with self._leading(self.meeting.pause):
                yield
        else:
            with self._led(self.meeting.pause):
                yield

    def go_on(self) -> None:
        """Called while the tier is read: CutLost where its round counts no more."""
        if self.meeting.claim is not None and time.monotonic() - self._looked > _ROUND_SECONDS:
            self._looked = time.monotonic()
            if self.meeting.ledger.round(self.meeting.run_id) != self.number:
                raise CutLost(f"the cut of {self.tier.label} is taken again, with all others")

    @property
    def _leads(self) -> bool:
        return self.tier is self.meeting.tiers[0]

    @contextmanager
    def _leading(self, pause: Pause) -> Iterator[None]:
        """Pause the application, and see that the pause covers all cuts."""
        meeting, ended = self.meeting, self._ended()
        meeting.ledger.mark(meeting.run_id, f"{_PAUSED}{self.number}")
        try:
            pause.begin(meeting.run_id)
        except BaseException:
            meeting.ledger.mark(meeting.run_id, f"{_RESUMED}{self.number}")  # as it promises
            raise
        over = time.monotonic() + pause.seconds
        try:
            self._mark(_GO)
            try:
                yield
            finally:
                self._mark(_cut(self.tier))
            if self._missing(map(_cut, meeting.tiers), over - time.monotonic()) or time.monotonic() > over:
                self._lose(f"the cuts took longer than the pause of {pause.seconds:g} s")
            if not pause.holds(meeting.run_id) or self._ended() != ended:
                self._lose("the pause was over before all tiers were cut")
        finally:
            meeting.ledger.mark(meeting.run_id, f"{_ENDING}{self.number}")
            pause.end(meeting.run_id)  # whatever others did: `begin` may have been the last that was done
            meeting.ledger.mark(meeting.run_id, f"{_RESUMED}{self.number}")

    @contextmanager
    def _led(self, pause: Pause) -> Iterator[None]:
        """Cut once the leader says that the application is paused."""
        if self._missing((_GO,), self.meeting.seconds + pause.seconds):
            self._lose("the pause did not begin in time")
        try:
            yield
        finally:
            self._mark(_cut(self.tier))

    def _ended(self) -> set[str]:
        """Rounds whose leader ended the pause; one that stood still for long ends that of a later round too."""
        return _numbered(self.meeting.ledger.marks(self.meeting.run_id), _ENDING)

    def _lose(self, why: str) -> None:
        if self.meeting.claim is not None:
            self.torn.append(self.meeting.give_up_round(self.number, why))

    def _mark(self, mark: str) -> None:
        self.meeting.ledger.mark(self.meeting.run_id, f"{self.number} {mark}")

    def _missing(self, marks: Iterable[str], seconds: float) -> set[str]:
        """Wait until all marks are set; those that are not within so many seconds. No wait for a run that fails."""
        meeting, wanted, deadline = self.meeting, frozenset(marks), time.monotonic() + seconds
        meeting.check()
        while missing := wanted - (there := self._marks()):
            if _LOST in there:
                raise CutLost(f"the cut of {self.tier.label} is taken again, with all others")
            if time.monotonic() >= deadline:
                break
            meeting.check()
            if failure := meeting.ledger.failure(meeting.run_id):
                raise RunFailed(f"{self.tier.label} was not collected because the backup fails: {failure}")
            time.sleep(_LOOK_SECONDS)
        return set(missing)

    def _marks(self) -> frozenset[str]:
        return frozenset(_numbered(self.meeting.ledger.marks(self.meeting.run_id), f"{self.number} "))


def call_round(ledger: Ledger, run_id: str) -> None:
    """Say that all tiers are sent for, in the current round: who comes by an earlier call would wait in vain."""
    ledger.mark(run_id, f"{ledger.round(run_id)} {_CALLED}")


def is_called(ledger: Ledger, run_id: str) -> bool:
    """Whether the collectors of the current round are sent for; those of the first are, by the start of the run."""
    number = ledger.round(run_id)
    return number == 1 or f"{number} {_CALLED}" in ledger.marks(run_id)


def pause_left(ledger: Ledger, run_id: str) -> bool:
    """Whether a pause was begun and not ended."""
    return bool(_going(ledger.marks(run_id)))


def end_pause(ledger: Ledger, run_id: str, pause: Pause | None) -> None:
    """End a pause that was begun and not ended; whoever ends the run sees to it too."""
    if pause is None:
        return
    if going := _going(ledger.marks(run_id)):
        pause.end(run_id)
        for number in going:
            ledger.mark(run_id, f"{_RESUMED}{number}")


def _going(marks: frozenset[str]) -> set[str]:
    return _numbered(marks, _PAUSED) - _numbered(marks, _RESUMED)


def _numbered(marks: frozenset[str], kind: str) -> set[str]:
    return {mark.removeprefix(kind) for mark in marks if mark.startswith(kind)}


def _cut(tier: Tier) -> str:
    return f"cut {tier}"
