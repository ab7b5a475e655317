"""Marks: what a listing says of an object's version, and when an equal mark is believed.

A mark is the XXH3-128 of the ETag, the size and the time of the last change as the listing shows them. A storage class
is not part of it: where a rule of the bucket moves an object to an archive, nothing of it has changed, and what was
read before it went there is still true. (The record keeps the class it was read with.)

An object is believed to be as the parent of a backup holds it where its mark is the parent's, and its last change lies
before the parent's cut by more than `_SKEW`. Services tell the time of a change in whole seconds, and nodes of a
service differ in what time it is, so an object that was changed about when the parent was read may be changed again
without looking so: with the same size and the same ETag, which only a change of its metadata alone can have (an
ETag belongs to the content, an MD5 nearly everywhere). Such an object is read again, once: the next parent's cut is
later. What this cannot see is a change that the service dates back by more than `_SKEW` and gives the ETag and the
size there were: a full reading tests for it.

An object without an ETag has no mark, and is always read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_128_digest

from strata.model.record import MARKED_SCHEMA
from strata.sources.port import Baseline, Reading
from strata.sources.s3_bucket import Entry, Piece

_SKEW: Final = timedelta(seconds=5)
_PLACE: Final = ("bucket", "prefix", "endpoint")
_MARK: Final = MARKED_SCHEMA.field("mark").type


def mark_of(entry: Entry) -> bytes | None:
    """The mark of a listed object, 16 bytes; None where the listing tells no versions apart."""
    if not entry.etag:
        return None
    modified = entry.modified.astimezone(UTC).isoformat(timespec="milliseconds")
    return xxh3_128_digest(f"{entry.etag}\n{entry.size}\n{modified}".encode())


def mark_read(entry: Entry, piece: Piece) -> bytes | None:
    """The mark for what was read: the listed object's where it is that one, otherwise none; it is read again then.

    Answers to a GET tell whole seconds where some listings tell milliseconds, so none is formed from an answer.
    """
    listed = entry.etag.strip('"'), entry.size, entry.modified.replace(microsecond=0)
    return mark_of(entry) if listed == (piece.etag.strip('"'), piece.size, piece.modified) else None


def is_as_listed(entry: Entry, piece: Piece) -> bool:
    """Whether an answer to a GET is of the object that was listed: its content, and no later change of the rest."""
    same = (piece.size, piece.etag.strip('"') or entry.etag.strip('"')) == (entry.size, entry.etag.strip('"'))
    return same and piece.modified <= entry.modified


@dataclass(frozen=True)
class Known:
    """What the parent of a backup tells about the objects of a listing."""

    baseline: Baseline
    trusted: datetime
    """Changes before this moment are told apart by their marks."""

    @property
    def reading(self) -> Reading:
        """How much is to be read."""
        return self.baseline.reading

    def same(self, entries: Sequence[Entry]) -> npt.NDArray[np.bool_]:
        """For each object whether the parent holds it as it is."""
        keys = pa.array([entry.key.encode() for entry in entries], pa.large_binary())
        marks = pa.array([mark_of(entry) for entry in entries], _MARK)
        equal = pc.equal(self.baseline.marks("", keys), marks).fill_null(False)
        old = np.array([entry.modified < self.trusted for entry in entries], bool)
        both: npt.NDArray[np.bool_] = equal.to_numpy(zero_copy_only=False) & old
        return both


def known_from(baseline: Baseline | None, place: dict[str, Any]) -> Known | None:
    """What a baseline tells about the objects of this place; None where it is of another, or does not say when."""
    if baseline is None or any(baseline.description.get(name) != place[name] for name in _PLACE):
        return None
    time = baseline.cut.get("time")
    return Known(baseline, datetime.fromisoformat(time) - _SKEW) if time else None
