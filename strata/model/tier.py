"""The tiers where state lives, and the storage tiers where backups rest."""

from __future__ import annotations

from enum import StrEnum


class Tier(StrEnum):
    """Where state lives."""

    HOT = "hot"
    WARM = "warm"
    COLD = "cold"

    @property
    def service(self) -> str:
        """The service that holds the tier, as a person calls it."""
        return {"hot": "Redis", "warm": "PostgreSQL", "cold": "S3"}[self.value]

    @property
    def label(self) -> str:
        """How messages call the tier: `HOT (Redis)`."""
        return f"{self.value.upper()} ({self.service})"


class StorageTier(StrEnum):
    """Where backups rest."""

    LOCAL = "local"
    NETWORK = "network"
    CLOUD = "cloud"
    ARCHIVE = "archive"

    @property
    def medium(self) -> str:
        """The kind of media a copy there lies on."""
        return {"local": "disk", "network": "share", "cloud": "object storage", "archive": "archive"}[self.value]

    @property
    def offsite(self) -> bool:
        """Whether it is elsewhere than the machines that are backed up."""
        return self in {StorageTier.CLOUD, StorageTier.ARCHIVE}
