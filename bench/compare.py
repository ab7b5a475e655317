"""Compares two indexes as large as one likes, and says how quickly and in how much memory: `python -m bench.compare`.

The indexes are made while they are read, in the shape that collection and baselines leave in the spool: the baseline
in order of key hash, the current one in parts that each span all hashes. Nothing lies on disk, and making rows is
timed apart.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import click
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bench.limits import Section
from bench.memory import peak_mb
from strata.content.diff import Comparison
from strata.content.index import (
    INDEX_BLOCK_ROWS,
    LISTED_SCHEMA,
    NOWHERE,
    PART_SCHEMA,
    READ,
    UNREAD,
    SortedRows,
)
from strata.memory import keep_freed_memory
from strata.model.record import constant_column

Numbers = npt.NDArray[np.uint64]

_PART_ROWS: Final = 200_000
_BASELINE_BLOCK_ROWS: Final = 32_768
_SEGMENT_ROWS: Final = 80_000
"""As collectors and baselines leave them."""

_CHANGED, _GONE, _NEW = 100, 1_000, 500
"""One key of so many."""

_KEY: Final = np.frombuffer(b"position:order:/", np.uint8)
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)
_SPREAD: Final = np.uint64(20)


@dataclass
class Indexes:
    """A baseline and a current index of the same keys, but for those that are gone or new."""

    keys: int
    claim: int
    seconds: float = 0.0
    """Spent on making rows."""

    @property
    def baseline(self) -> SortedRows:
        """What the parent holds."""
        starts = np.arange(0, self.keys, _BASELINE_BLOCK_ROWS, dtype=np.uint64)
        return SortedRows(self.keys - self.keys // _NEW, self._hashes(starts), self._timed(self._baseline_block))

    @property
    def parts(self) -> list[SortedRows]:
        """What was read now: part i has every n-th key from the i-th on."""
        count = max(self.keys // _PART_ROWS, 1)
        return [self._part(number, count) for number in range(count)]

    def _part(self, number: int, count: int) -> SortedRows:
        mine = np.arange(number, self.keys, count, dtype=np.uint64)
        starts = mine[::INDEX_BLOCK_ROWS].copy()

        def read(block: int) -> pa.Table:
            stop = int(starts[block + 1]) if block + 1 < len(starts) else self.keys
            numbers = np.arange(int(starts[block]), stop, count, dtype=np.uint64)
            return self._part_block(numbers, numbers // np.uint64(count) + np.uint64(number * _PART_ROWS))

        return SortedRows(len(mine), self._hashes(starts), self._timed(read))

    def _baseline_block(self, block: int) -> pa.Table:
        start = block * _BASELINE_BLOCK_ROWS
        numbers = np.arange(start, min(start + _BASELINE_BLOCK_ROWS, self.keys), dtype=np.uint64)
        numbers = numbers[(numbers % np.uint64(_NEW) != 1) | (numbers == start)]  # a block begins where it says
        return pa.table(self._listed(numbers, self._prints(numbers)), LISTED_SCHEMA)

    def _part_block(self, numbers: Numbers, turns: Numbers) -> pa.Table:
        there = numbers % np.uint64(_GONE) != 2
        there[0] = True
        numbers, turns = numbers[there], turns[there]
        changed = numbers % np.uint64(_CHANGED) == 3
        unread = ~changed & (numbers % np.uint64(_NEW) != 1) if self.claim == UNREAD else np.zeros(len(numbers), bool)
        segments = np.where(unread, NOWHERE, turns // np.uint64(_SEGMENT_ROWS)).astype(np.uint32)
        rows = (turns % np.uint64(_SEGMENT_ROWS)).astype(np.uint32)
        claims = np.where(unread, UNREAD, READ).astype(np.uint8)
        prints = self._prints(numbers ^ (changed.astype(np.uint64) << np.uint64(60)))
        columns = [*self._listed(numbers, prints), *(pa.array(one) for one in (segments, rows, turns, claims))]
        return pa.table(columns, PART_SCHEMA)

    def _listed(self, numbers: Numbers, prints: pa.Array) -> list[Any]:
        rows = len(numbers)
        keys = np.empty((rows, 24), np.uint8)
        keys[:, :16], keys[:, 16:] = _KEY, numbers.view(np.uint8).reshape(rows, 8)
        offsets = np.arange(0, 24 * rows + 1, 24, dtype=np.int64)
        return [
            pa.array(self._hashes(numbers)),
            prints,
            constant_column("0", rows),
            pa.LargeBinaryArray.from_buffers(
                pa.large_binary(), rows, [None, pa.py_buffer(offsets), pa.py_buffer(keys)]
            ),
            pa.array(np.full(rows, 300, np.uint64)),
            pa.nulls(rows, pa.binary(16)),
        ]

    def _hashes(self, numbers: Numbers) -> Numbers:
        """In the order of the numbers, spread evenly, with gaps that look random."""
        stride = np.uint64((1 << 64) // self.keys)
        return numbers * stride + (numbers * _MIX >> _SPREAD) % stride

    @staticmethod
    def _prints(numbers: Numbers) -> pa.Array:
        halves = np.stack((numbers * _MIX, (numbers + np.uint64(1)) * _MIX), axis=1)
        return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(numbers), [None, pa.py_buffer(halves)])

    def _timed(self, read: Callable[[int], pa.Table]) -> Callable[[int], pa.Table]:
        def timed(block: int) -> pa.Table:
            began = time.perf_counter()
            table = read(block)
            self.seconds += time.perf_counter() - began
            return table

        return timed


def comparison(keys: int) -> Section:
    """The comparison in a process of its own: everything read again, and everything but changes claimed unchanged."""
    found = {claim: _in_process(keys, claim) for claim in ("read", "unread")}
    said = [
        f"{keys:,} keys, {claim}: {one['keys_per_second']:,.0f} keys/s ({one['seconds']:.1f} s, "
        f"{one['making_seconds']:.1f} s of it making rows), peak {one['peak_mb']:.0f} MB"
        for claim, one in found.items()
    ]
    return Section({"comparison of two indexes, peak MB": max(one["peak_mb"] for one in found.values())}, found, said)


def _in_process(keys: int, claim: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.compare", "--keys", str(keys), "--claim", claim]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@click.command()
@click.option("--keys", default=1_000_000, show_default=True)
@click.option("--claim", type=click.Choice(["read", "unread"]), default="read", show_default=True)
def main(keys: int, claim: str) -> None:
    """Compare; `read`: every record was read and spooled again; `unread`: the source named those that are unchanged."""
    keep_freed_memory()
    indexes = Indexes(keys, UNREAD if claim == "unread" else READ)
    compared = Comparison(indexes.parts, [indexes.baseline])
    before = peak_mb("self")
    began = time.perf_counter()
    for _ in compared.differences():
        pass
    seconds = time.perf_counter() - began
    answer = {
        "keys": keys,
        "seconds": seconds,
        "making_seconds": indexes.seconds,
        "keys_per_second": keys / (seconds - indexes.seconds),
        "peak_mb": peak_mb("self"),
        "peak_before_mb": before,
        "counts": vars(compared.counts),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
