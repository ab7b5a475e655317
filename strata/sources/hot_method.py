"""The ways in which HOT can be read, as the settings name them."""

from __future__ import annotations

from enum import StrEnum


class HotMethod(StrEnum):
    """Which way is wanted."""

    AUTO = "auto"
    """The replication stream where all keys are read, the server gives it, and it begins at once; else SCAN."""
    SYNC = "sync"
    """The replication stream, whatever it takes; an error where the server does not give it."""
    SCAN = "scan"
    """Key by key: no fork in the server, and no moment common to all keys."""
