"""Whose a store is: the document at its root that says so."""

from __future__ import annotations

import secrets
from datetime import datetime

from strata.model.layer import Document

STORE_DOCUMENT = "store.json"


class StoreIdentity(Document):
    """What a store says of itself; it stays the same when the whole store is moved."""

    format: int
    store_id: str
    installation: str
    """The one that writes into it."""
    created_at: datetime
    formerly: tuple[str, ...] = ()
    """Installations that it belonged to before: their backups in it count as this one's."""

    @property
    def installations(self) -> frozenset[str]:
        """Every installation whose backups in this store count as its owner's."""
        return frozenset({self.installation, *self.formerly})


def new_store_id() -> str:
    """An id that no other store has."""
    return secrets.token_hex(16)


def new_installation() -> str:
    """An id that no other installation has."""
    return f"i-{secrets.token_hex(8)}"
