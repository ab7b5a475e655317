"""Where the collectors of one backup meet, so that their cuts are taken together.

Each opens its session and arrives; when all have (or the bounded wait is over) they cut. The first tier's collector
leads: it pauses the application before the cuts, where that is configured, and lets it go on when all have cut. Marks
lie in the run ledger, so a collector that comes again (its worker died) passes at once, and a pause that nobody
ended is ended when the run is. Where a collector has failed for good, nobody waits on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from strata.catalog.ledger import Ledger
from strata.errors import RunFailed
from strata.model.tier import Tier

_GO, _OVER = "go", "over"
_PAUSED, _RESUMED = "paused ", "resumed "
"""Each with a number: a pause may be begun again, where the one before failed or its process died."""

_LOOK_SECONDS: Final = 0.003


class Pause(Protocol):
    """Pauses the application while the cuts are taken."""

    @property
    def seconds(self) -> float:
        """How long pausing may take, and how long it may last."""
        ...

    def begin(self, run_id: str) -> None:
        """Pause; raises where that fails or takes too long, and then nothing stays paused."""
        ...

    def end(self, run_id: str) -> None:
        """Go on; may be called twice."""
        ...


@dataclass(frozen=True)
class Meeting:
    """The meeting of one run's tiers; `seconds` bounds each wait."""

    ledger: Ledger
    run_id: str
    tiers: tuple[Tier, ...]
    seconds: float
    pause: Pause | None = None
    check: Callable[[], None] = lambda: None
    """Raises where waiting on makes no sense: the run has ended."""

    @contextmanager
    def cutting(self, tier: Tier) -> Iterator[None]:
        """Enter when the tier may cut, leave when it has cut (or failed to)."""
        self.arrive(tier)
        self._wait({tier.value for tier in self.tiers}, self.seconds)
        leads = tier is self.tiers[0] and self.pause is not None
        try:
            if leads:
                self._begin_pause()
            elif self.pause is not None:
                self._wait({_GO}, self.seconds + self.pause.seconds)
            try:
                yield
            finally:
                self.ledger.mark(self.run_id, _cut(tier))
            if leads:
                self._wait({_cut(tier) for tier in self.tiers}, self.seconds)
        finally:
            if leads and _GO in self.ledger.marks(self.run_id):
                self.ledger.mark(self.run_id, _OVER)
                end_pause(self.ledger, self.run_id, self.pause)

    def arrive(self, tier: Tier) -> None:
        """Say that the others need not wait for this tier: it is ready, or it never will be."""
        self.ledger.mark(self.run_id, tier.value)

    def _begin_pause(self) -> None:
        marks = self.ledger.marks(self.run_id)
        if self.pause is not None and _OVER not in marks:
            number = len(_numbered(marks, _PAUSED))
            self.ledger.mark(self.run_id, f"{_PAUSED}{number}")
            try:
                self.pause.begin(self.run_id)
            except BaseException:
                self.ledger.mark(self.run_id, f"{_RESUMED}{number}")  # as it promises
                raise
        self.ledger.mark(self.run_id, _GO)

    def _wait(self, marks: Iterable[str], seconds: float) -> None:
        """Wait until all marks are set; no longer than so many seconds, nor for a run that fails."""
        wanted, deadline = frozenset(marks), time.monotonic() + seconds
        self.check()
        while not wanted <= self.ledger.marks(self.run_id) and time.monotonic() < deadline:
            self.check()
            if failure := self.ledger.failure(self.run_id):
                raise RunFailed(failure)
            time.sleep(_LOOK_SECONDS)


def end_pause(ledger: Ledger, run_id: str, pause: Pause | None) -> None:
    """End a pause that was begun and not ended; whoever ends the run sees to it too."""
    if pause is None:
        return
    marks = ledger.marks(run_id)
    going = _numbered(marks, _PAUSED) - _numbered(marks, _RESUMED)
    if going:
        pause.end(run_id)
        for number in going:
            ledger.mark(run_id, f"{_RESUMED}{number}")


def _numbered(marks: frozenset[str], kind: str) -> set[str]:
    return {mark.removeprefix(kind) for mark in marks if mark.startswith(kind)}


def _cut(tier: Tier) -> str:
    return f"cut {tier}"
