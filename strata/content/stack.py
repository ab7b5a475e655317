"""A stack of layers seen as one: for each key the topmost layer that has a row for it decides (docs/format.md, 6).

Only indexes are read, range by range: what a stack holds, and which rows of its segments count no more, is known
before the first value is fetched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from strata.content.fingerprint import Hashes
from strata.content.index import INDEX_SCHEMA, LISTED_SCHEMA, SortedRows, last_of_each_key, ranges, together

Origin = npt.NDArray[np.int64]
"""For each row of a range, the number of its layer."""


def view(indexes: Sequence[SortedRows]) -> Iterator[pa.Table]:
    """What a stack (its layers' indexes, bottom first) holds: rows of LISTED_SCHEMA in order of key hash."""
    for rows, kept, _, _ in _resolved(indexes):
        live = kept[~rows["tombstone"].to_numpy()[kept]]
        yield rows.select(LISTED_SCHEMA.names).take(pa.array(live))


@dataclass
class Overtaken:
    """The rows of a stack that count no more, by layer and segment: key hashes, and keys where a hash is shared."""

    hashes: dict[tuple[int, int], Hashes] = field(default_factory=dict)
    keys: dict[tuple[int, int], set[tuple[str, bytes]]] = field(default_factory=dict)
    present: list[Hashes] = field(default_factory=list)
    """Key hashes of what the stack holds, in order."""
    records: int = 0

    @classmethod
    def of(cls, indexes: Sequence[SortedRows]) -> Overtaken:
        """Resolve a stack; memory: 8 bytes for each row that counts no more, and for each record that is there."""
        found = cls()
        lost: dict[tuple[int, int], list[Hashes]] = {}
        for rows, kept, overtaken, origin in _resolved(indexes):
            live = kept[~rows["tombstone"].to_numpy()[kept]]
            found.present.append(rows["key_hash"].to_numpy()[live])
            found.records += len(live)
            found._note(rows, kept, overtaken, origin, lost)
        found.hashes = {place: np.sort(np.concatenate(parts)) for place, parts in lost.items()}
        return found

    def _note(
        self,
        rows: pa.Table,
        kept: Hashes,
        overtaken: Hashes,
        origin: Origin,
        lost: dict[tuple[int, int], list[Hashes]],
    ) -> None:
        hashes, segments = rows["key_hash"].to_numpy(), rows["segment"].to_numpy().astype(np.int64)
        counting = dict(_by_place(origin, segments, kept))
        for where, here in _by_place(origin, segments, overtaken):
            # Of two keys with one hash in one segment one may count and the other not: then the hash says nothing.
            shared = np.isin(hashes[here], hashes[counting[where]]) if where in counting else np.zeros(len(here), bool)
            lost.setdefault(where, []).append(hashes[here[~shared]])
            for row in here[shared].tolist():
                self.keys.setdefault(where, set()).add((rows["namespace"][row].as_py(), rows["key"][row].as_py()))


def _by_place(origin: Origin, segments: Origin, rows: Hashes) -> Iterator[tuple[tuple[int, int], Hashes]]:
    """Row numbers by the layer and the segment that they are from."""
    if not len(rows):
        return
    places = origin[rows] << 32 | segments[rows]
    order = np.argsort(places, kind="stable")
    ordered = places[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    for start, stop in zip(starts, [*starts[1:], len(ordered)], strict=True):
        place = int(ordered[start])
        yield (place >> 32, place & 0xFFFF_FFFF), rows[order[start:stop]]


def _resolved(indexes: Sequence[SortedRows]) -> Iterator[tuple[pa.Table, Hashes, Hashes, Origin]]:
    """Range by range: all rows, those that decide (in order of key hash), the others, and each row's layer."""
    for low, high in ranges(*(index.rows for index in indexes)):
        rows, origin = together(indexes, INDEX_SCHEMA, low, high)
        kept, overtaken = last_of_each_key(rows, origin)
        yield rows, kept, overtaken, origin
