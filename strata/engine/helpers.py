"""Collects, in the process of a collector that waits, the tiers that no other process has taken.

The cuts of a backup wait for one another, so that fewer free processes than tiers would wait for ever. A claim keeps a
tier from being collected twice: whoever comes for it later finds it being done, or its result.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from strata.engine.meeting import CutLost, Meeting
from strata.errors import StrataError
from strata.model.tier import Tier


@contextmanager
def helped(meeting: Meeting, able: Collection[Tier], collect: Callable[[Tier], object]) -> Iterator[Meeting]:
    """The meeting, at which tiers that nobody comes for are collected here, as far as this process is `able` to."""
    threads: list[threading.Thread] = []

    def call(tiers: Iterable[Tier]) -> None:
        for tier in set(tiers) & set(able):
            threads.append(threading.Thread(target=_collect, args=(collect, tier), name=f"help {tier}", daemon=True))
            threads[-1].start()

    yield replace(meeting, call=call)
    for thread in threads:  # a process that ends would take them with it
        thread.join()


def _collect(collect: Callable[[Tier], object], tier: Tier) -> None:
    """What is wrong with a tier, or that somebody collects it, is told by its own task when that comes."""
    with suppress(StrataError, CutLost):
        collect(tier)
