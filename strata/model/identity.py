"""What a process works on, by what the servers say of themselves: never by the spelling of a URL."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pydantic import Field

from strata.model.layer import Document
from strata.model.tier import StorageTier, Tier

KEYRING: Final = "keyring"
LEDGER: Final = "ledger"
RETENTION: Final = "retention"

SYSTEM: Final = "system identifier"
"""What PostgreSQL calls the id that a cluster and all copies of its data folder have."""
STARTED: Final = "started"
"""When a server began to run, by its own clock; a server that is started again says another moment."""


class Identity(Document):
    """One part (a tier, a store, the keyring, the ledger) as a process sees it; holds neither URL nor secret."""

    part: str
    """A Tier, a StorageTier, KEYRING, LEDGER or RETENTION."""
    server: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """What the server says of itself that no other one says, by name; what a role may not ask is left out."""
    place: str = ""
    """Which part of the server: the database's name or number, the bucket and its prefix."""
    address: str = ""
    """How it is reached, without user and password: what counts where the servers say nothing comparable."""
    asked: str = ""
    """When the server said this, by its own clock, written as STARTED is."""
    listening: str = ""
    """The server's own end of the connection."""
    words: str = ""
    """What it is, for a person: `Redis 7.2.4`."""

    @property
    def label(self) -> str:
        """The part as messages call it."""
        if self.part in set(Tier):
            return Tier(self.part).label
        return f"the {self.part.upper()} store" if self.part in set(StorageTier) else f"the {self.part}"

    @property
    def target(self) -> str:
        """Where it is, for a table: `127.0.0.1:6379, database 0 (Redis 7.2.4)`."""
        where = ", ".join(filter(None, (self.address, self.place)))
        return f"{where} ({self.words})" if where and self.words else where or self.words

    def __str__(self) -> str:
        """`Redis 7.2.4 at 127.0.0.1:6379, 0 (run id 3fa2...)`."""
        at = f"{self.words} at {self.address}" if self.words and self.address else self.words or self.address
        where = ", ".join(filter(None, (at, self.place)))
        told = ", ".join(f"{name} {' '.join(values)}" for name, values in self.server.items())
        return f"{where} ({told})" if where and told else where or told


class Identities(Document):
    """The parts that a process saw; what it could not reach is not among them."""

    parts: tuple[Identity, ...] = ()
    tiers: tuple[Tier, ...] = ()
    """The tiers that are configured there, whether they were reached or not; none where it only sends."""

    def of(self, part: str) -> Identity | None:
        """That part, if it was seen."""
        return next((one for one in self.parts if one.part == part), None)

    def with_parts(self, parts: Iterable[Identity]) -> Identities:
        """These, and further ones that were not seen yet."""
        known = {one.part for one in self.parts}
        return self.model_copy(update={"parts": (*self.parts, *(one for one in parts if one.part not in known))})


NOTHING_SEEN: Final = Identities()
