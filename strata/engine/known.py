"""What a collector knows of earlier backups: the parent's records without their values, and chunks that are stored.

Both are read from the spool, where `BaselineBuilder` laid them out. What fits in memory is looked up as rows pass
by, so that what has not changed is not even spooled; what does not fit is left to the merge, which compares range by
range and needs no such memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from strata.content.blocks import decode_block
from strata.content.chunks import KNOWN_CHUNK_SCHEMA
from strata.content.fingerprint import Hashes, halves
from strata.content.index import LISTED_SCHEMA
from strata.engine.spool import Held, Spool
from strata.engine.timestamps import OldByTimestamp
from strata.model.layer import LayerRef, ObjectKind
from strata.model.ticket import Baselined, KnownChunks
from strata.model.tier import Tier
from strata.sources.port import Reading

HELD_ROWS: Final = 6_000_000
"""Rows of a baseline that are held in memory: 16 bytes each, and 16 more where marks are asked for."""


class KnownState:
    """The parent's view of one tier; implements Baseline."""

    def __init__(
        self,
        spool: Spool,
        run_id: str,
        ticket: Baselined,
        reading: Reading,
        hash_keys: Callable[[str, pa.Array], Hashes],
        timestamps: Sequence[str] = (),
    ) -> None:
        self._spool, self._run_id, self._ticket = spool, run_id, ticket
        self.reading = reading
        self._hash_keys, self._timestamps = hash_keys, timestamps

    @property
    def cut(self) -> dict[str, Any]:
        found: dict[str, Any] = self._about["cut"]
        return found

    @property
    def description(self) -> dict[str, Any]:
        found: dict[str, Any] = self._about["description"]
        return found

    @cached_property
    def old(self) -> OldByTimestamp | None:
        """What tells records that call themselves older than the parent's cut; None where that is not asked."""
        if not self._timestamps or "first_ms" not in self.cut:
            return None
        return OldByTimestamp(self._timestamps, self.cut["first_ms"], self.description)

    def has(self, key_hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Whether the parent has a key of that hash."""
        hashes, _ = self._records
        at = np.minimum(np.searchsorted(hashes, key_hashes), max(len(hashes) - 1, 0))
        return np.asarray(hashes[at] == key_hashes) if len(hashes) else np.zeros(len(key_hashes), bool)

    def holds(self, key_hashes: Hashes, fingerprints: Hashes) -> npt.NDArray[np.bool_]:
        """Whether the parent surely has a record with that key hash and fingerprint (two halves); a no may be wrong."""
        hashes, prints = self._records
        at = np.searchsorted(hashes, key_hashes)
        at[at == len(hashes)] = 0
        if not len(hashes):
            return np.zeros(len(key_hashes), bool)
        found: npt.NDArray[np.bool_] = (hashes[at] == key_hashes) & (prints[at] == fingerprints[:, 0])
        return found

    def marks(self, namespace: str, keys: pa.Array) -> pa.FixedSizeBinaryArray:
        hashes, marks = self._marks
        wanted = self._hash_keys(namespace, keys)
        at = np.searchsorted(hashes, wanted)
        at[at == len(hashes)] = 0
        if not len(hashes):
            return pa.nulls(len(keys), pa.binary(16))
        places = pa.array(at, mask=hashes[at] != wanted)
        return marks.take(places)

    @cached_property
    def _about(self) -> Any:
        return self._spool.document(self._run_id, self._ticket.about, self._ticket.tier)

    @cached_property
    def _records(self) -> tuple[Hashes, Hashes]:
        """Key hashes in order, and half of each fingerprint."""
        hashes, prints = np.empty(self._held, np.uint64), np.empty(self._held, np.uint64)
        at = 0
        for rows in self._rows():
            end = at + rows.num_rows
            hashes[at:end] = rows["key_hash"].to_numpy()
            prints[at:end] = np.concatenate([halves(chunk)[:, 0] for chunk in rows["fingerprint"].chunks])
            at = end
        return hashes, prints

    @cached_property
    def _marks(self) -> tuple[Hashes, pa.FixedSizeBinaryArray]:
        """Key hashes in order, and the marks."""
        hashes, marks, at = np.empty(self._held, np.uint64), [pa.nulls(0, pa.binary(16))], 0
        for rows in self._rows():
            hashes[at : at + rows.num_rows] = rows["key_hash"].to_numpy()
            marks.append(pa.concat_arrays(rows["mark"].chunks))
            at += rows.num_rows
        return hashes, pa.concat_arrays(marks)

    @property
    def _held(self) -> int:
        """How many rows are held: all, or none."""
        return self._ticket.rows if self._ticket.rows <= HELD_ROWS else 0

    def _rows(self) -> Iterator[pa.Table]:
        if self._held:
            objects = spooled(ObjectKind.INDEX, self._ticket.objects, self._ticket.tier)
            yield from spooled_rows(self._spool, self._run_id, objects, LISTED_SCHEMA)


class ChunkShelf:
    """Chunks that the store holds: which of its layers has one."""

    def __init__(self, spool: Spool, run_id: str, ticket: KnownChunks | None) -> None:
        self._spool, self._run_id, self._ticket = spool, run_id, ticket

    def layer_of(self, chunk: bytes) -> LayerRef | None:
        """The layer that holds the chunk of this id, or None."""
        if self._ticket is None or not self._ticket.layers:
            return None
        heads, ids, layers = self._held
        wanted = int.from_bytes(chunk[:8], "big")
        at = int(np.searchsorted(heads, np.uint64(wanted)))
        while at < len(heads) and int(heads[at]) == wanted:
            if bytes(ids[at].tobytes()) == chunk:
                return self._ticket.layers[int(layers[at])]
            at += 1
        return None

    @cached_property
    def _held(self) -> tuple[Hashes, npt.NDArray[np.uint8], npt.NDArray[np.uint32]]:
        """Ids in order by their first 8 bytes, and the number of each one's layer: 44 bytes a chunk of about 1 MiB."""
        assert self._ticket is not None
        objects = spooled(ObjectKind.CHUNK_INDEX, self._ticket.objects)
        rows = list(spooled_rows(self._spool, self._run_id, objects, KNOWN_CHUNK_SCHEMA))
        table = pa.concat_tables([KNOWN_CHUNK_SCHEMA.empty_table(), *rows]).combine_chunks()
        ids = np.frombuffer(b"".join(table["id"].to_pylist()), np.uint8).reshape(-1, 32)
        heads = np.ascontiguousarray(ids[:, :8]).view(">u8").ravel().astype(np.uint64)
        order = np.argsort(heads, kind="stable")
        return heads[order], ids[order], table["layer"].to_numpy()[order]


def spooled(kind: ObjectKind, names: Sequence[str], tier: Tier | None = None) -> Iterator[tuple[str, Held]]:
    """Objects of one kind that are numbered as they stand, each with what it holds."""
    return ((name, Held(kind, number, tier)) for number, name in enumerate(names))


def spooled_rows(
    spool: Spool, run_id: str, objects: Iterable[tuple[str, Held]], schema: pa.Schema
) -> Iterator[pa.Table]:
    """The rows of spooled objects, block by block."""
    for name, held in objects:
        frame = spool.open_ranged(run_id, name, held)
        for number in range(len(frame.blocks)):
            yield decode_block(frame.read(number), schema)
