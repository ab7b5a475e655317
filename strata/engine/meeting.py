"""Where the collectors of one backup meet, so that their cuts are taken together.

Each opens its session and arrives; when all have (or the bounded wait is over) they cut. The first tier's collector
leads: it pauses the application before the cuts, where that is configured, and lets it go on when all have cut. Marks
lie in the run ledger, so a collector that comes again (its worker died) passes at once, and a pause that nobody
ended is ended when the run is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from strata.catalog.ledger import Ledger
from strata.model.tier import Tier

_PAUSED, _GO, _RESUMED = "paused", "go", "resumed"
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
            if leads:
                end_pause(self.ledger, self.run_id, self.pause)

    def arrive(self, tier: Tier) -> None:
        """Say that the others need not wait for this tier: it is ready, or it never will be."""
        self.ledger.mark(self.run_id, tier.value)

    def _begin_pause(self) -> None:
        if self.pause is not None and _RESUMED not in self.ledger.marks(self.run_id):
            self.ledger.mark(self.run_id, _PAUSED)
            self.pause.begin(self.run_id)
        self.ledger.mark(self.run_id, _GO)

    def _wait(self, marks: Iterable[str], seconds: float) -> None:
        """Wait until all marks are set; no longer than so many seconds."""
        wanted, deadline = frozenset(marks), time.monotonic() + seconds
        self.check()
        while not wanted <= self.ledger.marks(self.run_id) and time.monotonic() < deadline:
            self.check()
            time.sleep(_LOOK_SECONDS)


def end_pause(ledger: Ledger, run_id: str, pause: Pause | None) -> None:
    """End a pause that was begun and not ended; whoever ends the run sees to it too."""
    marks = ledger.marks(run_id) if pause is not None else frozenset()
    if pause is not None and _PAUSED in marks and _RESUMED not in marks:
        pause.end(run_id)
        ledger.mark(run_id, _RESUMED)


def _cut(tier: Tier) -> str:
    return f"cut {tier}"
