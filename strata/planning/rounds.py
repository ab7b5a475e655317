"""What becomes of a backup whose tiers could not be cut together."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Torn(StrEnum):
    """What is done when the last round is lost too."""

    FAIL = "fail"
    """The backup fails."""
    TELL = "tell"
    """It is recorded, and says which tiers may be of another moment, and why."""


@dataclass(frozen=True)
class Rounds:
    """How often all tiers are cut, and what follows when they never were together."""

    most: int = 5
    torn: Torn = Torn.FAIL
