"""COLD read as records: listings walked in order, with the requests for their objects running ahead of the reader.

With a baseline, objects that its marks show to be as they were are named and not read (s3_marks says when). Memory is
bounded by `threads` times 8 MiB of bodies under way, two batches and some pages of names. Objects over `LARGE_VALUE`
are read by ranges of 8 MiB that are tied to the ETag of the listing, so that their parts belong together.

The cut is the listing, taken in the cut as far as its bounds allow; the objects are read later. So each answer is
compared with what was listed:

- an object that changed since, or is gone, is read in the version that was listed, where the bucket keeps versions and
  lets us see them. Only such an object costs further requests;
- without versions it is read as it is now, or left out where it is gone, and counted;
- a large one that changes after its first part was handed over is read to its end in the version that was begun, or,
  without versions, the reading fails as SourceUnavailable, because parts of it are already out of hand.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NoReturn

import pyarrow as pa

from strata.errors import SourceError, SourceUnavailable
from strata.model.record import LARGE_VALUE, PARTS, Claimed, Encoding, LargeValue, SourceItem, Unchanged
from strata.model.scope import Scope
from strata.model.tier import Tier
from strata.s3client import Translated
from strata.sources.glob import matcher
from strata.sources.in_flight import Call, InFlight
from strata.sources.port import ALL_KEYS, AfterCut, Baseline, Reading
from strata.sources.s3_bucket import Archived, Bucket, Changed, Entry, Gone, Page, Piece
from strata.sources.s3_cut import PART, AtCut, Cut, changed, cut_of
from strata.sources.s3_marks import Known, is_as_listed, known_from, mark_read
from strata.sources.s3_object import cold_failure
from strata.sources.s3_rows import Rows

_RUN: Final = 8000
"""From how many names on a run of unchanged objects is told; short runs would chop the blocks of a backup."""
_RUNS_AHEAD: Final = 2
_TIER: Final = Tier.COLD.label


class ColdSession:
    """A connection to COLD for reading: what is there is what the cut listed."""

    def __init__(self, bucket: Bucket, host: str, threads: int, cut_seconds: float) -> None:
        self._bucket = bucket
        self._host = host
        self._threads = threads
        self._cut_seconds = cut_seconds
        self._reads = ExitStack()
        self._cut: Cut | None = None
        self._at_cut = AtCut(bucket)

    def cut(self, scope: Scope = ALL_KEYS) -> dict[str, Any]:
        """List what is there, for as long as a cut may take; what is listed later is told in `after_cut`."""
        self._cut = cut_of(self._bucket, scope, self._cut_seconds)
        moment = self._cut.pages[0].time if self._cut.pages else None
        return {"method": "listing", "time": moment.isoformat() if moment else None}

    def describe(self) -> dict[str, Any]:
        return {**self._place, "versioned": self._versioned(), PARTS: [_steps(self._bucket.prefix)]}

    def read(self, scope: Scope, baseline: Baseline | None = None) -> Iterator[SourceItem]:
        flight = self._reads.enter_context(closing(InFlight(self._threads, self._threads * PART)))
        with closing(flight):
            cut, self._cut, self._at_cut = self._cut, None, AtCut(self._bucket)
            if cut is None or cut.scope != scope:
                cut = cut_of(self._bucket, scope, self._cut_seconds)
            yield from _Walk(self._bucket, cut, self._at_cut, known_from(baseline, self._place), flight).items()

    def after_cut(self) -> AfterCut:
        return self._at_cut.after

    def close(self) -> None:
        """End every reading that is still open."""
        self._reads.close()

    @property
    def _place(self) -> dict[str, Any]:
        return {"bucket": self._bucket.name, "prefix": self._bucket.prefix, "endpoint": self._host}

    def _versioned(self) -> bool | None:
        try:
            with Translated(cold_failure("say whether it keeps versions")):
                return self._bucket.client.get_bucket_versioning(Bucket=self._bucket.name).get("Status") == "Enabled"
        except SourceUnavailable:
            raise
        except SourceError:
            return None  # many may read objects and not this; some services do not know the question


@dataclass
class _Found:
    """A listed object and its requests under way, in the order of its bytes."""

    entry: Entry
    is_claimed: bool
    """Whether the baseline holds it as it is listed, and it is read to test that."""
    calls: deque[Call[Piece]] = field(default_factory=deque)
    dropped: bool = False
    version: str | None = None
    """The one that was listed, where it is read by that."""


class _Walk:
    """One walk over the listings of a scope."""

    def __init__(self, bucket: Bucket, cut: Cut, at_cut: AtCut, known: Known | None, flight: InFlight) -> None:
        self._bucket = bucket
        self._cut = at_cut
        self._known = known
        self._flight = flight
        self._archived = 0
        self._found: deque[_Found | Unchanged] = deque()
        self._runs = 0
        self._listed = self._sorted_out(at_cut.pages(cut, flight), matcher(cut.scope))
        self._requests = self._started()

    def items(self) -> Iterator[SourceItem]:
        rows, claimed = Rows(), Rows()
        while found := self._next():
            if isinstance(found, Unchanged):
                yield found
            elif first := self._first(found):
                mark = mark_read(found.entry, first)  # none where it is not what was listed: nothing was claimed of it
                claims = found.is_claimed and mark is not None
                if first.size <= LARGE_VALUE:
                    (claimed if claims else rows).add(found.entry.key, first, mark)
                else:
                    yield from self._large(found, first, mark, claims=claims)
                yield from _batches(rows, claimed, lambda waiting: waiting.are_enough)
        yield from _batches(rows, claimed, lambda waiting: bool(waiting.keys))

    def _sorted_out(self, listed: Iterator[Page], covers: Callable[[bytes], bool]) -> Iterator[_Found | Unchanged]:
        """The objects of the scope that are to be read, and runs of those that are not."""
        unchanged: list[bytes] = []
        for page in listed:
            entries = [entry for entry in page.entries if covers(entry.key.encode())]
            same = self._known.same(entries) if self._known else [False] * len(entries)
            for entry, is_same in zip(entries, same, strict=True):
                if is_same and (entry.is_archived or self._names_only):
                    unchanged.append(entry.key.encode())
                else:
                    self._archived += entry.is_archived
                    yield _Found(entry, is_claimed=bool(is_same))
            if len(unchanged) >= _RUN:
                yield _unchanged(unchanged)
                unchanged = []
        if unchanged:
            yield _unchanged(unchanged)

    @property
    def _names_only(self) -> bool:
        return self._known is not None and self._known.reading is Reading.CHANGES

    def _started(self) -> Iterator[None]:
        """Start one request each time it is asked, or take up a run of unchanged objects; in the listings' order."""
        for found in self._listed:
            self._found.append(found)
            if isinstance(found, Unchanged):
                self._runs += 1
                yield
                continue
            for start in range(0, max(found.entry.size, 1), PART):
                if found.dropped:
                    break
                found.calls.append(self._start(found.entry, start))
                yield

    def _start(self, entry: Entry, start: int) -> Call[Piece]:
        if entry.size <= LARGE_VALUE:
            return self._flight.start(entry.size, self._bucket.whole, entry.key, LARGE_VALUE)
        length = min(PART, entry.size - start)
        return self._flight.start(length, self._bucket.part, entry.key, start, PART, entry.etag)

    def _run_ahead(self) -> None:
        exhausted = object()
        while self._flight.has_room and self._runs < _RUNS_AHEAD and next(self._requests, exhausted) is not exhausted:
            pass

    def _next(self) -> _Found | Unchanged | None:
        self._run_ahead()
        found = self._found.popleft() if self._found else None
        self._runs -= isinstance(found, Unchanged)
        return found

    def _first(self, found: _Found) -> Piece | None:
        """The object, or its first part; None where it is gone."""
        try:
            piece = self._flight.take(found.calls.popleft())
            if is_as_listed(found.entry, piece):
                return piece
        except (Gone, Changed):
            pass
        except Archived:
            self._refuse_archived()
        return self._anew(found)

    def _anew(self, found: _Found) -> Piece | None:
        """The object anew: as it was listed, or as it is now, or None where it is gone."""
        self._drop(found)
        try:
            began = self._cut.anew(found.entry)
        except Archived:
            self._refuse_archived()
        if began is None:
            return None
        piece, found.version = began
        return piece

    def _large(self, found: _Found, first: Piece, mark: bytes | None, *, claims: bool) -> Iterator[SourceItem]:
        key = found.entry.key
        more = (
            # it was begun anew: nothing runs ahead
            partial(self._bucket.part, key, length=PART, etag=first.etag, version=found.version)
            if found.dropped
            else partial(self._part_ahead, found)
        )
        value = LargeValue(
            namespace="",
            key=key.encode(),
            encoding=Encoding.S3_OBJECT,
            size=first.size,
            parts=self._parts(key, first, more),
            modified_at=first.modified,
            attrs=first.attrs,
            mark=mark,
        )
        try:
            yield Claimed(value) if claims else value
        finally:
            self._drop(found)

    def _parts(self, key: str, first: Piece, more: Callable[[int], Piece]) -> Iterator[bytes]:
        yield first.data
        sent = len(first.data)
        while sent < first.size:
            try:
                piece = more(sent)
            except (Gone, Changed):
                piece = self._begun_version(key, sent, first)
            yield piece.data
            sent += len(piece.data)

    def _part_ahead(self, found: _Found, _: int) -> Piece:
        if found.dropped:
            raise SourceError(f"{_TIER} was read on before a large value was read to its end")
        self._run_ahead()
        while not found.calls:
            next(self._requests)  # its own parts come first, however many runs wait
        return self._flight.take(found.calls.popleft())

    def _begun_version(self, key: str, start: int, first: Piece) -> Piece:
        if first.version is None or first.version == "null":
            raise changed() from None
        try:
            return self._bucket.part(key, start, PART, version=first.version)
        except (Gone, Changed):
            raise changed() from None

    def _drop(self, found: _Found) -> None:
        found.dropped = True
        while found.calls:
            self._flight.drop(found.calls.popleft())

    def _refuse_archived(self) -> NoReturn:
        for _ in self._listed:
            pass  # walks the rest of the listing, which counts
        raise SourceError(
            f"{_TIER} holds {max(self._archived, 1)} archived objects, which cannot be read",
            hint="Bring them back first (S3 RestoreObject), or leave them out of the prefix or the scope.",
        ) from None


def _steps(prefix: str) -> list[str]:
    """A prefix as a path: a shorter one that covers it is the beginning of its path."""
    return re.findall(r"[^/]*/|[^/]+", prefix)


def _batches(rows: Rows, claimed: Rows, are_ready: Callable[[Rows], bool]) -> Iterator[SourceItem]:
    if are_ready(rows):
        yield rows.batch()
    if are_ready(claimed):
        yield Claimed(claimed.batch())


def _unchanged(keys: list[bytes]) -> Unchanged:
    return Unchanged("", pa.array(keys, pa.large_binary()))
