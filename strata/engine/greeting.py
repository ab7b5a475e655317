"""Meeting every source before the first is read: what cannot be read is known within seconds, not after the slowest."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from strata.clock import Clock
from strata.engine.parallel import answered
from strata.errors import StrataError
from strata.model.tier import Tier
from strata.sources.port import Examinable, StateSource

SECONDS: Final = 30.0
"""How long a source is waited for; what does not answer even then is told by whoever reads it."""


def unreadable(sources: Mapping[Tier, StateSource], clock: Clock, seconds: float = SECONDS) -> dict[Tier, StrataError]:
    """Why tiers cannot be read, for those that cannot, in their order; all are asked at the same time."""
    found = answered({tier: partial(_refusal, source) for tier, source in sources.items()}, clock, seconds)
    return {tier: error for tier in Tier if (error := found.get(tier)) is not None}


def _refusal(source: StateSource) -> StrataError | None:
    try:
        greet(source)
    except StrataError as error:
        return error
    return None


def greet(source: StateSource) -> None:
    """Raise unless a source's records can be asked for."""
    if isinstance(source, Examinable):
        source.greet()
        return
    with source.connect():
        pass
