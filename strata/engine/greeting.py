"""Meeting every source before the first is read: what cannot be read is known within seconds, not after the slowest."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Final

from strata.clock import Clock
from strata.errors import StrataError
from strata.model.tier import Tier
from strata.sources.port import Examinable, StateSource

SECONDS: Final = 30.0
"""How long a source is waited for; what does not answer even then is told by whoever reads it."""


def unreadable(sources: Mapping[Tier, StateSource], clock: Clock, seconds: float = SECONDS) -> dict[Tier, StrataError]:
    """Why tiers cannot be read, for those that cannot, in their order; all are asked at the same time."""
    failed: dict[Tier, StrataError] = {}

    def ask(tier: Tier) -> None:
        try:
            greet(sources[tier])
        except StrataError as error:
            failed[tier] = error

    threads = [threading.Thread(target=ask, args=(tier,), name=f"greet {tier}", daemon=True) for tier in sources]
    for thread in threads:
        thread.start()
    end = clock.monotonic() + seconds
    for thread in threads:
        thread.join(max(end - clock.monotonic(), 0))
    return {tier: failed[tier] for tier in Tier if tier in failed}


def greet(source: StateSource) -> None:
    """Raise unless a source's records can be asked for."""
    if isinstance(source, Examinable):
        source.greet()
        return
    with source.connect():
        pass
