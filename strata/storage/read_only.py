"""A store that is only looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from strata.errors import StorageError
from strata.storage.port import Buffer, ObjectWriter, checked_name
from strata.storage.wrapped import WrappedStore


class ReadOnlyStore(WrappedStore):
    """Reads from another store, and refuses to change anything there."""

    def put(self, name: str, parts: Sequence[Buffer]) -> None:  # noqa: ARG002
        self._refuse("write", checked_name(name))

    def begin(self, name: str) -> ObjectWriter:
        self._refuse("write", checked_name(name))

    def delete(self, name: str) -> None:
        self._refuse("delete", checked_name(name))

    def clear(self, folder: str) -> None:
        self._refuse("delete", checked_name(folder))

    def _refuse(self, verb: str, name: str) -> NoReturn:
        raise StorageError(f"{self.url} is open for reading only: it does not {verb} {name}")
