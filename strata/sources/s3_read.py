"""COLD read as records: a listing walked in order, with the requests for its objects running ahead of the reader.

Memory is bounded by `threads` times 8 MiB of bodies under way, and one batch. Objects over `LARGE_VALUE` are read by
ranges of 8 MiB that are tied to the ETag of the listing, so that their parts belong together:

- an object that went since it was listed is left out; one that changed before its first part was handed over is read
  anew as it is now;
- one that changes later is read to its end in the version that was begun, where the bucket keeps versions; otherwise
  the reading fails as SourceUnavailable, because parts of it are already out of hand.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NoReturn

import pyarrow as pa

from strata.errors import SourceError, SourceUnavailable
from strata.model.record import LARGE_VALUE, SOURCE_SCHEMA, Encoding, LargeValue, SourceItem, constant_column
from strata.model.scope import Scope
from strata.model.tier import Tier
from strata.s3client import Translated
from strata.sources.glob import matcher
from strata.sources.in_flight import Call, InFlight
from strata.sources.port import ALL_KEYS, Baseline
from strata.sources.s3_bucket import Archived, Bucket, Changed, Entry, Gone, Piece
from strata.sources.s3_object import cold_failure

PART: Final = 8 << 20
"""Bytes of one ranged read."""
_BATCH_BYTES: Final = 4 << 20
_BATCH_ROWS: Final = 1000
_ARCHIVE_CLASSES: Final = {"GLACIER", "DEEP_ARCHIVE"}
_TIER: Final = Tier.COLD.label


class ColdSession:
    """A connection to COLD for reading. Objects are read as they are at their turn: the cut is a listing's time."""

    def __init__(self, bucket: Bucket, host: str, threads: int) -> None:
        self._bucket = bucket
        self._host = host
        self._threads = threads
        self._reads = ExitStack()

    def cut(self, scope: Scope = ALL_KEYS) -> dict[str, Any]:  # noqa: ARG002
        time = self._bucket.page(limit=1).time
        return {"method": "listing", "time": time.isoformat() if time else None}

    def describe(self) -> dict[str, Any]:
        name = self._bucket.name
        return {"bucket": name, "prefix": self._bucket.prefix, "endpoint": self._host, "versioned": self._versioned()}

    def read(self, scope: Scope, baseline: Baseline | None = None) -> Iterator[SourceItem]:  # noqa: ARG002
        flight = self._reads.enter_context(closing(InFlight(self._threads, self._threads * PART)))
        with closing(flight):
            yield from _Reading(self._bucket, matcher(scope), flight).items()

    def close(self) -> None:
        """End every reading that is still open."""
        self._reads.close()

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
    calls: deque[Call[Piece]] = field(default_factory=deque)
    dropped: bool = False


@dataclass
class _Rows:
    """Small objects on their way into a record batch."""

    keys: list[bytes] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    bytes: int = 0

    def add(self, key: str, piece: Piece) -> None:
        self.keys.append(key.encode())
        self.pieces.append(piece)
        self.bytes += len(piece.data)

    @property
    def are_enough(self) -> bool:
        return self.bytes >= _BATCH_BYTES or len(self.keys) >= _BATCH_ROWS

    def batch(self) -> pa.RecordBatch:
        """The rows so far, which are forgotten."""
        count = len(self.keys)
        columns = [
            constant_column("", count),
            pa.array(self.keys, pa.large_binary()),
            pa.array([piece.data for piece in self.pieces], pa.large_binary()),
            constant_column(Encoding.S3_OBJECT, count),
            pa.nulls(count, SOURCE_SCHEMA.field("expires_at").type),
            pa.array([piece.modified for piece in self.pieces], SOURCE_SCHEMA.field("modified_at").type),
            pa.array([piece.attrs for piece in self.pieces], pa.string()),
        ]
        self.keys, self.pieces, self.bytes = [], [], 0
        return pa.RecordBatch.from_arrays(columns, schema=SOURCE_SCHEMA)


class _Reading:
    """One walk over the listing."""

    def __init__(self, bucket: Bucket, covers: Callable[[bytes], bool], flight: InFlight) -> None:
        self._bucket = bucket
        self._covers = covers
        self._flight = flight
        self._archived = 0
        self._found: deque[_Found] = deque()
        self._entries = self._listed()
        self._requests = self._started()

    def items(self) -> Iterator[SourceItem]:
        rows = _Rows()
        while found := self._next():
            first = self._first(found)
            if first and first.size <= LARGE_VALUE:
                rows.add(found.entry.key, first)
                if rows.are_enough:
                    yield rows.batch()
            elif first:
                try:
                    yield self._large(found, first)
                finally:
                    self._drop(found)
        if rows.keys:
            yield rows.batch()

    def _listed(self) -> Iterator[Entry]:
        """The objects of the scope; the next page is asked for while this one is worked on."""
        asked: Call[Any] | None = self._flight.start(0, self._bucket.page)
        while asked:
            page = self._flight.take(asked)
            asked = self._flight.start(0, self._bucket.page, page.following) if page.following else None
            for entry in page.entries:
                if self._covers(entry.key.encode()):
                    self._archived += entry.storage_class in _ARCHIVE_CLASSES
                    yield entry

    def _started(self) -> Iterator[None]:
        """Start one request each time it is asked; in the order of the listing."""
        for entry in self._entries:
            found = _Found(entry)
            self._found.append(found)
            for start in range(0, max(entry.size, 1), PART):
                if found.dropped:
                    break
                found.calls.append(self._start(entry, start))
                yield

    def _start(self, entry: Entry, start: int) -> Call[Piece]:
        if entry.size <= LARGE_VALUE:
            return self._flight.start(entry.size, self._bucket.whole, entry.key, LARGE_VALUE)
        length = min(PART, entry.size - start)
        return self._flight.start(length, self._bucket.part, entry.key, start, PART, entry.etag)

    def _run_ahead(self) -> None:
        exhausted = object()
        while self._flight.has_room and next(self._requests, exhausted) is not exhausted:
            pass

    def _next(self) -> _Found | None:
        self._run_ahead()
        return self._found.popleft() if self._found else None

    def _first(self, found: _Found) -> Piece | None:
        """The object, or its first part; None where it is gone."""
        entry = found.entry
        try:
            piece = self._flight.take(found.calls.popleft())
            if entry.size <= LARGE_VALUE or piece.size == entry.size:
                return piece
        except Gone:
            if not self._bucket.holds(entry.key):
                self._drop(found)
                return None
        except Changed:
            pass
        except Archived:
            self._refuse_archived()
        self._drop(found)
        return self._anew(entry.key)

    def _anew(self, key: str) -> Piece | None:
        """The object as it is now, or its first part; None where it is gone."""
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
            raise _changed() from None
        except Archived:
            self._refuse_archived()

    def _large(self, found: _Found, first: Piece) -> LargeValue:
        key = found.entry.key
        more = (
            partial(self._bucket.part, key, length=PART, etag=first.etag)  # it was begun anew: nothing runs ahead
            if found.dropped
            else partial(self._part_ahead, found)
        )
        return LargeValue(
            namespace="",
            key=key.encode(),
            encoding=Encoding.S3_OBJECT,
            size=first.size,
            parts=self._parts(key, first, more),
            modified_at=first.modified,
            attrs=first.attrs,
        )

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
        return self._flight.take(found.calls.popleft())

    def _begun_version(self, key: str, start: int, first: Piece) -> Piece:
        if first.version is None or first.version == "null":
            raise _changed() from None
        try:
            return self._bucket.part(key, start, PART, version=first.version)
        except (Gone, Changed):
            raise _changed() from None

    def _drop(self, found: _Found) -> None:
        found.dropped = True
        while found.calls:
            self._flight.drop(found.calls.popleft())

    def _refuse_archived(self) -> NoReturn:
        for _ in self._entries:
            pass  # walks the rest of the listing, which counts
        raise SourceError(
            f"{_TIER} holds {max(self._archived, 1)} archived objects, which cannot be read",
            hint="Bring them back first (S3 RestoreObject), or leave them out of the prefix or the scope.",
        ) from None


def _changed() -> SourceUnavailable:
    return SourceUnavailable(
        f"{_TIER} changed a large object while it was read",
        hint="A retry may help; in a bucket that keeps versions this does not happen.",
    )
