"""What is remembered of the stores outside them, beside the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class StoreMemory(Protocol):
    """What an installation remembers of itself and of its stores."""

    def installation(self) -> str | None:
        """The id of this installation, or None where none is known yet."""
        ...

    def name(self, installation: str) -> str | None:
        """Remember the id of this installation, once; the one that is remembered, if anything is."""
        ...

    def remember(self, url: str, backup_id: str, generation: int) -> None:
        """Remember that a store holds a backup; the newest few of each store are kept."""
        ...

    def forget(self, url: str, backups: Sequence[str]) -> None:
        """Remember no longer that a store holds these backups."""
        ...

    def recall(self, url: str) -> Mapping[str, int]:
        """The backups that a store is remembered to hold, with their generations."""
        ...


class NoMemory:
    """Implements StoreMemory where there is no ledger: the stores alone say whose they are."""

    def installation(self) -> str | None:
        return None

    def name(self, installation: str) -> str | None:  # noqa: ARG002
        return None

    def remember(self, url: str, backup_id: str, generation: int) -> None:
        """Nothing is kept."""

    def forget(self, url: str, backups: Sequence[str]) -> None:
        """Nothing is kept."""

    def recall(self, url: str) -> Mapping[str, int]:  # noqa: ARG002
        return {}
