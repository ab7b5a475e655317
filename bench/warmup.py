"""Touches memory and page cache before anything is timed.

A virtual machine gets its memory from the host when it is first touched, and that first touch costs 5 to 10 times as
much as a later one. Whoever is measured first would pay for it, and the ratio to whoever comes next would say nothing
of either. What is touched and freed here is what the servers, the peers, Strata and the page cache are given next.
For the same reason peers and Strata take turns, and the best of three counts for each.
"""

from __future__ import annotations

import mmap
import os
import re
import time
from pathlib import Path
from typing import Final

_NEEDED: Final = 8e9
"""Bytes that a run of scale 1 touches: state, dumps, repositories, backups, spool, processes."""

_BLOCK: Final = 64 << 20


def warm_up(folder: Path, scale: float) -> float:
    """Touch as much memory as the run will need, at most half of what is there; the seconds it took."""
    began = time.perf_counter()
    size = int(min(_NEEDED * scale + 1e9, _available() / 2))
    _touch(size * 3 // 4)
    _write(folder / "warm-up", size // 4)
    return time.perf_counter() - began


def _available() -> int:
    found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    return int(found[1]) * 1024 if found else 0


def _touch(size: int) -> None:
    with mmap.mmap(-1, max(size, mmap.PAGESIZE), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        for at in range(0, size, mmap.PAGESIZE):
            memory[at] = 1


def _write(path: Path, size: int) -> None:
    block = os.urandom(1 << 20) * (_BLOCK >> 20)
    try:
        with open(path, "wb") as file:
            file.writelines(block for _ in range(size // _BLOCK))
            file.flush()
            os.fsync(file.fileno())
    finally:
        path.unlink(missing_ok=True)
