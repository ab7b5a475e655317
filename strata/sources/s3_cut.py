"""COLD's cut: a listing, and its objects as they were listed, whatever became of them since."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from strata.errors import SourceError, SourceUnavailable
from strata.model.record import LARGE_VALUE
from strata.model.scope import Scope
from strata.model.tier import Tier
from strata.sources.in_flight import InFlight
from strata.sources.port import AfterCut
from strata.sources.s3_bucket import Bucket, Changed, Entry, Gone, Page, Piece
from strata.sources.s3_listing import Listing, listings, pages

PART: Final = 8 << 20
"""Bytes of one ranged read."""
_PAGES: Final = 100
"""Pages listed in the cut, at most: 100,000 objects, some 50 MB of memory."""
_TIER: Final = Tier.COLD.label


@dataclass(frozen=True)
class Cut:
    """What was listed in a cut: all of the scope, or its first pages where there was no time for more."""

    scope: Scope
    pages: list[Page]
    rest: deque[Listing] = field(default_factory=deque)


def cut_of(bucket: Bucket, scope: Scope, seconds: float) -> Cut:
    """List the scope for as long as a cut may take: at least one page, so that an unreachable bucket is noticed."""
    rest, found, over = deque(listings(scope)), list[Page](), time.monotonic() + seconds
    while rest and (not found or (len(found) < _PAGES and time.monotonic() < over)):
        page = bucket.page(rest.popleft())
        if page.following:
            rest.appendleft(page.following)
        found.append(page)
    if not found:  # a scope without any pattern
        bucket.page(limit=1)
    return Cut(scope, found, rest)


class AtCut:
    """Reads what a cut listed, and counts what could not be had as it was."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._may_have_versions = True
        self.after = AfterCut()

    def pages(self, cut: Cut, flight: InFlight) -> Iterator[Page]:
        """The pages of the cut, and those that there was no time for; an object that changed by then is counted."""
        yield from cut.pages
        moment = cut.pages[0].time if cut.pages else None
        for page in pages(self._bucket, cut.rest, flight):
            newer = sum(entry.modified > moment for entry in page.entries) if moment else 0
            self._count(changed=newer)
            yield page

    def anew(self, entry: Entry) -> tuple[Piece, str | None] | None:
        """An object that is not as it was listed, or its first part, and its version where it is the one listed.

        None where it is gone.
        """
        if (version := self._version_of(entry)) and (piece := self._of_version(entry, version)):
            return piece, version
        piece = self._as_it_is(entry.key)
        self._count(changed=int(piece is not None), gone=int(piece is None))
        return (piece, None) if piece else None

    def _count(self, *, changed: int = 0, gone: int = 0) -> None:
        self.after = AfterCut(time.monotonic(), self.after.changed + changed, self.after.gone + gone)

    def _version_of(self, entry: Entry) -> str | None:
        """The version that was listed; None where there are no versions, or they are not for us to see."""
        if not self._may_have_versions:
            return None
        try:
            return self._bucket.version_of(entry)
        except SourceUnavailable:
            raise
        except SourceError:
            self._may_have_versions = False
            return None

    def _of_version(self, entry: Entry, version: str) -> Piece | None:
        try:
            if entry.size <= LARGE_VALUE:
                return self._bucket.whole(entry.key, LARGE_VALUE, version)
            return self._bucket.part(entry.key, 0, PART, version=version)
        except SourceUnavailable:
            raise
        except (SourceError, Gone, Changed):  # removed since, or versions are not for us to read
            return None

    def _as_it_is(self, key: str) -> Piece | None:
        try:
            try:
                return self._bucket.part(key, 0, PART)
            except Changed:
                return self._bucket.whole(key, LARGE_VALUE)  # it is empty, which no range can express
        except Gone:
            if self._bucket.holds(key):
                raise SourceError(f"{_TIER} lists an object that it does not give") from None
            return None
        except Changed:
            raise changed() from None


def changed() -> SourceUnavailable:
    """The error for a large object of which two states would be mixed."""
    return SourceUnavailable(
        f"{_TIER} changed a large object while it was read",
        hint="A retry may help; in a bucket that keeps versions this does not happen.",
    )
