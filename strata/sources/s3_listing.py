"""What must be listed to see every object of a scope, and nothing that is not of it where its names tell."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from strata.model.scope import Scope
from strata.sources.in_flight import Call, InFlight

if TYPE_CHECKING:
    from strata.sources.s3_bucket import Bucket, Page

_SPECIAL: Final = re.compile(r"[*?\[\\]")


@dataclass(frozen=True)
class Listing:
    """Objects whose names below the prefix begin with `start`, or the one that is called so; and where to go on."""

    start: str = ""
    is_name: bool = False
    following: str | None = None
    """The token of the next page."""


def listings(scope: Scope) -> list[Listing]:
    """The listings that together show each object of the scope once: a pattern's is what stands before its first glob.

    An exact name takes one request for one object, `order:*` the pages of what begins with `order:`, and `*` all.
    """
    if scope.is_everything:
        return [Listing()]
    starts = {pattern[: special.start()] for pattern in scope.patterns if (special := _SPECIAL.search(pattern))}
    widest = [start for start in sorted(starts) if not _is_below(start, starts - {start})]
    names = {pattern for pattern in scope.patterns if not _SPECIAL.search(pattern) and not _is_below(pattern, starts)}
    return [*(Listing(start) for start in widest), *(Listing(name, is_name=True) for name in sorted(names))]


def _is_below(name: str, starts: set[str]) -> bool:
    return any(name.startswith(start) for start in starts)


def pages(bucket: Bucket, waiting: deque[Listing], flight: InFlight) -> Iterator[Page]:
    """The pages of these listings, one after the other; the next is asked for while one is worked on.

    They hold objects of the scope that the listings are of, and others.
    """
    asked: Call[Page] | None = flight.start(0, bucket.page, waiting.popleft()) if waiting else None
    while asked:
        page = flight.take(asked)
        if page.following:
            waiting.appendleft(page.following)
        asked = flight.start(0, bucket.page, waiting.popleft()) if waiting else None
        yield page
