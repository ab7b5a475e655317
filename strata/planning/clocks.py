"""Finds clocks that lie: a lie may make a backup look old, and what is removed for it does not come back.

- A backup made later than now (by more than `TOLERANCE`): either that clock was ahead or this one is behind. Nothing
  at all is removed.
- A jump backwards: in the order of generations, which no clock upsets, a backup has an earlier time than one before
  it. While the latest backup is such a one nobody can tell which of the clocks is right, and nothing at all is removed.
  Once later backups are right again, only those of the jump are kept, and no keep rule counts them.

Pinning settles a lie: a pinned (or held) backup is kept whatever its time says, so it is asked no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from strata.model.copies import CatalogueEntry
from strata.planning.goodness import rank

TOLERANCE: Final = timedelta(minutes=5)
"""By how much clocks may differ."""

_NAMED: Final = 3


@dataclass(frozen=True)
class Clocks:
    """What is wrong with the clocks: all of removal is frozen, or only some backups are."""

    frozen: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    uncounted: frozenset[str] = frozenset()
    """Backups whose time is not to be trusted: kept, and counted by no rule."""

    @classmethod
    def of(cls, entries: Sequence[CatalogueEntry], now: datetime) -> Clocks:
        """What the backups' times and generations tell."""
        ordered = sorted(entries, key=rank)
        asked = [entry for entry in ordered if not _settled(entry)]
        ahead = [entry for entry in ordered if entry.created_at > now + TOLERANCE]
        behind = _behind(ordered)
        lying = frozenset(entry.backup_id for entry in (*ahead, *behind))
        ahead, behind = ([one for one in found if not _settled(one)] for found in (ahead, behind))
        frozen: list[str] = []
        notices: list[str] = []
        if ahead:
            frozen.append(
                f"nothing is removed because {_named(ahead)} made later than now ({now:%Y-%m-%d %H:%M} UTC): set this"
                " machine's clock right if it is behind; if it is right, `strata pin` what was made by a wrong clock"
            )
        if behind:
            what = f"{_named(behind)} made after backups that have a later time"
            pin = "`strata pin` the backups whose time is wrong"
            if behind[-1] is asked[-1]:
                frozen.append(f"nothing is removed because {what}: see that the clock is right, then {pin}")
            else:
                notices.append(f"{what}, so a clock was wrong: they are kept; {pin} to settle it")
        return cls(tuple(frozen), tuple(notices), lying)


def _settled(entry: CatalogueEntry) -> bool:
    return entry.pinned or entry.legal_hold


def _behind(ordered: Iterable[CatalogueEntry]) -> list[CatalogueEntry]:
    """Those with an earlier time than one before them; what is settled makes no other one look wrong."""
    found: list[CatalogueEntry] = []
    latest: datetime | None = None
    for entry in ordered:
        if latest is not None and entry.created_at < latest - TOLERANCE:
            found.append(entry)
        elif not _settled(entry):
            latest = max(latest or entry.created_at, entry.created_at)
    return found


def _named(entries: Sequence[CatalogueEntry]) -> str:
    names = [f"{entry.backup_id} ({entry.created_at:%Y-%m-%d %H:%M})" for entry in entries[:_NAMED]]
    more = f" and {len(entries) - _NAMED} more" if len(entries) > _NAMED else ""
    return f"{', '.join(names)}{more} {'was' if len(entries) == 1 else 'were'}"
