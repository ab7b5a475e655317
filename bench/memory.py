"""How much memory processes had."""

from __future__ import annotations

import re
from pathlib import Path


def peak_mb(pid: int | str) -> float:
    """The most memory a process (or `self`) ever had since its program began; rusage would count its parent's too."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1000 if found else 0.0


def children(pid: int) -> list[int]:
    """The processes that a process began."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
