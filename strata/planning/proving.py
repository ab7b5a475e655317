"""Which layers are to be read back and proved next: those that were not read for the longest time.

A layer is due when half of the time has passed within which everything is to be proved, so that a beat that stood still
for days breaks no promise. Those on which the promises rest (the last good backup of each type, in every store that can
be read at once) come before the others; among these the one that was not read for the longest time is first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from strata.model.tier import StorageTier

if TYPE_CHECKING:
    from fractions import Fraction

_NEVER: Final = datetime.min.replace(tzinfo=UTC)


class LayerRead(NamedTuple):
    """A layer of a store, and when it was last read back there whole."""

    storage_tier: StorageTier
    layer_id: str
    backup_id: str
    """A backup of the store that names it: the newest of which it is more than a lender, where there is one."""
    whole: bool
    """Whether all of it is read; of one that only lends chunks, these are."""
    bytes: int
    looked_at: datetime | None
    """When its last reading began, or damage was last found; None where neither ever was."""
    demanded: bool = False
    """Whether a promise rests on it."""

    @property
    def moment(self) -> datetime:
        """The same; long ago where it was never read."""
        return self.looked_at or _NEVER


@dataclass(frozen=True)
class Budget:
    """How much is read at a time: no further layer is begun once so many seconds or bytes went. None is no limit."""

    seconds: float | None = None
    bytes: int | None = None

    def at_most(self, seconds: float) -> Budget:
        """The same, and no longer than this."""
        return Budget(seconds if self.seconds is None else min(self.seconds, seconds), self.bytes)

    def allows(self, seconds: float, size: int) -> bool:
        """Whether another layer may be begun after these."""
        return (self.seconds is None or seconds < self.seconds) and (self.bytes is None or size < self.bytes)


UNBOUNDED: Final = Budget()


def oldest_first(layers: Iterable[LayerRead]) -> list[LayerRead]:
    """All of them, the longest unread first."""
    return sorted(layers, key=lambda one: (one.moment, one.storage_tier, one.layer_id))


def due(layers: Iterable[LayerRead], now: datetime, within: timedelta) -> list[LayerRead]:
    """Those that are to be read again, in their order: a promise first, then the longest unread."""
    since = now - within / 2
    return sorted(oldest_first(one for one in layers if one.moment <= since), key=lambda one: not one.demanded)


def share(layers: Sequence[LayerRead], percent: Fraction) -> list[LayerRead]:
    """The longest unread ones that make up that share of all bytes, one at least where there is any."""
    wanted = sum(one.bytes for one in layers) * percent / 100
    chosen: list[LayerRead] = []
    size = 0
    for one in oldest_first(layers):
        if chosen and size >= wanted:
            break
        chosen.append(one)
        size += one.bytes
    return chosen
