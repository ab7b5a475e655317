"""What a stage works on, as its message names it: a word that names nothing is refused, and the run is not told.

A run has its own reasons to fail; a message that somebody mistyped is none of them.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import TypeVar

from strata.model.layer import ObjectKind
from strata.model.tier import Tier
from tasks.stage import StageFailed

Word = TypeVar("Word", bound=StrEnum)


def one_of(kind: type[Word], word: str) -> Word:
    """The member of a closed list."""
    if word not in {one.value for one in kind}:
        raise _none_of(word, [one.value for one in kind])
    return kind(word)


def among(word: str, words: Collection[str]) -> str:
    """The word, which must be one of these."""
    if word not in words:
        raise _none_of(word, words)
    return word


def number_of(word: str, count: int) -> int:
    """The number of one of so many parts, from 0."""
    if not (word.isascii() and word.isdigit() and int(word) < count):
        raise StageFailed(f"{word!r} is no part of this run, whose {count} parts are numbered from 0")
    return int(word)


def labelled(label: str) -> str:
    """The label of a unit of a backup: tier, kind and number."""
    tier, _, rest = label.partition("/")
    kind, _, number = rest.partition("/")
    if not (tier in set(Tier) and kind in set(ObjectKind) and number.isascii() and number.isdigit()):
        raise StageFailed(f"{label!r} names no unit: a unit is named like hot/segment/3")
    return label


def _none_of(word: str, words: Collection[str]) -> StageFailed:
    return StageFailed(
        f"{word!r} is not one of {', '.join(map(repr, words)) or 'the units of this run, which has none'}"
    )
