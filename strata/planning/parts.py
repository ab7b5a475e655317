"""Which parts of a tier one backup holds and another does not: tables, databases, prefixes, patterns of keys.

A part is a path: what it names covers all that lies below it. The whole bucket is the empty path, and covers each
prefix; a table covers itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from strata.model.coverage import Expected, Parts, SourceKind
from strata.model.tier import Tier

Path = tuple[str, ...]

_NOUNS: Final = {Tier.HOT: "database", Tier.WARM: "table", Tier.COLD: "prefix"}


def uncovered(before: Iterable[Path], now: Iterable[Path]) -> list[Path]:
    """The parts of before that no part of now covers."""
    there = set(now)
    return [path for path in before if not any(path[:length] in there for length in range(len(path) + 1))]


def lost(before: Parts, now: Parts) -> int:
    """How many parts were held before and are not now.

    Marks that were made with different keys cannot be compared: then their number is. Before a tier is read
    nothing is told of its parts.
    """
    if before == now or not now.key:
        return 0
    if before.key != now.key:
        return max(len(before.marks) - len(now.marks), 0)
    return len(uncovered(map(_path, before.marks), map(_path, now.marks)))


def sentence(one: Expected, source: SourceKind, count: int) -> str:
    """What is told of so many lost parts of a tier."""
    held, noun = len(one.parts.marks), _NOUNS[one.tier] if source is SourceKind.LIVE else "pattern of keys"
    if one.tier is Tier.COLD and source is SourceKind.LIVE:
        return f"{one.tier.label} does not cover the prefix that earlier backups covered"
    if held == 1:
        return f"{one.tier.label} lacks the {noun} that earlier backups held"
    return f"{one.tier.label} lacks {count:,} of the {held:,} {_plural(noun)} that earlier backups held"


def names_lost(tier: Tier, before: Iterable[Iterable[str]], now: Iterable[Iterable[str]]) -> list[str]:
    """The names of the parts that were held before and are not now, as the descriptions of both tell them."""
    return [_name(tier, path) for path in uncovered(map(tuple, before), map(tuple, now))]


def _name(tier: Tier, path: Path) -> str:
    if not path:
        return "everything"
    return "".join(path) if tier is Tier.COLD else path[-1]


def _path(mark: str) -> Path:
    return tuple(mark.split("/")) if mark else ()


def _plural(noun: str) -> str:
    return noun.replace("pattern", "patterns") if noun.startswith("pattern") else f"{noun}s"
