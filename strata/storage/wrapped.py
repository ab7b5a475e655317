"""What the wrappers have in common: every verb handed on to the store behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from strata.storage.port import Buffer, GatheringWriter, ObjectInfo, ObjectStore, ObjectWriter, checked_name


class WrappedStore:
    """Implements ObjectStore by another; a wrapper changes some verbs of it.

    What is begun is gathered and handed on by `put`, so that a wrapper of `put` covers both.
    """

    def __init__(self, inner: ObjectStore) -> None:
        self.inner = inner

    @property
    def url(self) -> str:
        return self.inner.url

    def put(self, name: str, parts: Sequence[Buffer]) -> None:
        self.inner.put(name, parts)

    def begin(self, name: str) -> ObjectWriter:
        return GatheringWriter(self.put, checked_name(name))

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        return self.inner.get(name, offset, length)

    def size(self, name: str) -> int:
        return self.inner.size(name)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return self.inner.list(prefix)

    def delete(self, name: str) -> None:
        self.inner.delete(name)

    def clear(self, folder: str) -> None:
        self.inner.clear(folder)
