"""What a person's own process sees of what it asks the workers to do."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from strata.cli.output import Output
from strata.model.identity import Identities, Identity

if TYPE_CHECKING:
    from strata.wiring import Wiring

IN_HASTE: Final = 2.0
"""Seconds for a look where the work itself does not wait for what is down."""


def look_around(
    output: Output, wiring: Wiring, without: Collection[str] = (), seconds: float | None = None
) -> Identities:
    """All that answers, to be compared by the workers; what is configured here and does not is named."""
    from strata.engine.looks import LOOK_SECONDS

    looks = wiring.looks
    seen = looks.reachable(wiring.clock, seconds or LOOK_SECONDS, without=tuple(without))
    unseen = [part for part in looks.parts if part not in without and seen.of(part) is None]
    if unseen:
        names = ", ".join(Identity(part=part).label for part in unseen)
        output.note(f"Not seen from here, so the workers' own is taken whichever it is: {names}.")
    return seen
