"""Reads the documents of a store: none of ours is large, so whatever lies there costs no more than a bounded read."""

from __future__ import annotations

from typing import Final, Protocol

from strata.errors import IntegrityError

DOCUMENT_BYTES: Final = 1 << 26
"""More than any document has: a manifest of 128 layers in each tier has 300 KiB."""


class ReadableStore(Protocol):
    """The verbs of a store that reading a document needs."""

    @property
    def url(self) -> str: ...

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes: ...


def document(store: ReadableStore, name: str, most: int = DOCUMENT_BYTES) -> bytes:
    """The bytes of a document; IntegrityError where it is larger than one can be."""
    data = store.get(name, 0, most + 1)
    if len(data) > most:
        raise IntegrityError(
            f"{name} in {store.url} is larger than {most:,} bytes, as no document of ours is",
            hint="It is not one of Strata's; look who put it there.",
        )
    return data
