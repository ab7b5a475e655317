"""A share that may not be mounted: known by a marker that lies on it."""

from __future__ import annotations

import json
import os
import secrets
from datetime import datetime
from pathlib import Path
from typing import Final

from strata.errors import ObjectExists, StorageError, StoreNotMounted, StoreUnavailable
from strata.storage.beneath import FileNotRegular, file

MARKER: Final = "strata-store.json"
_LARGEST: Final = 65_536
_NEXT: Final = "Mount it; a share that is used for the first time is set up by `strata stores init network`."


class Share:
    """The share below a folder. It is there where its marker is, with the store id that was seen first.

    Once seen, asking again costs one stat.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._seen: tuple[int, int] | None = None
        self._store_id = ""

    def require(self) -> str:
        """The store id on the share; StoreNotMounted where there is none, or another than before."""
        try:
            status = os.stat(self._root / MARKER, follow_symlinks=False)
            if (status.st_dev, status.st_ino) != self._seen:
                self._look((status.st_dev, status.st_ino))
        except (FileNotFoundError, NotADirectoryError):
            raise StoreNotMounted(
                f"{self._root.as_uri()} has no {MARKER}: the share is not mounted there", hint=_NEXT
            ) from None
        except OSError as error:
            raise StoreUnavailable(
                f"{self._root.as_uri()} does not answer: {error.strerror}", hint="Check the mount and its server."
            ) from None
        return self._store_id

    def set_up(self, now: datetime) -> str:
        """Mark the share as a store, once; the new store id. ObjectExists where it is one.

        The folder must be there: one that is missing is a share that is not mounted.
        """
        store_id = secrets.token_hex(16)
        document = {"kind": "strata store", "store_id": store_id, "set_up_at": now.isoformat(timespec="seconds")}
        try:
            if os.path.lexists(self._root / MARKER):
                raise ObjectExists(
                    f"{self._root.as_uri()} is set up already",
                    hint="Nothing is to be done; `strata stores list` shows it.",
                )
            self._write(json.dumps(document).encode() + b"\n")
        except FileExistsError:
            raise ObjectExists(f"{self._root.as_uri()} was set up by somebody else just now") from None
        except OSError as error:
            raise StorageError(
                f"{self._root.as_uri()} cannot be set up: {error.strerror}",
                hint="The folder must exist, on the share, and be writable by this user.",
            ) from None
        return store_id

    def _write(self, document: bytes) -> None:
        descriptor = os.open(self._root / MARKER, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            os.write(descriptor, document)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _look(self, place: tuple[int, int]) -> None:
        try:
            with file(self._root, MARKER) as descriptor:
                store_id = str(json.loads(os.read(descriptor, _LARGEST))["store_id"])
        except (ValueError, KeyError, TypeError, FileNotRegular):
            raise StoreNotMounted(
                f"the {MARKER} of {self._root.as_uri()} is damaged",
                hint="Remove it, and set the share up again: `strata stores init network`.",
            ) from None
        if self._store_id not in {"", store_id}:
            raise StoreNotMounted(
                f"{self._root.as_uri()} is another share than before: its store id is {store_id}, not {self._store_id}",
                hint="Mount the right share, or start the workers again if this is the right one.",
            )
        self._store_id, self._seen = store_id, place


def is_mounted(folder: Path) -> bool:
    """Whether the folder lies on something that is mounted, and not on the machine's own root file system."""
    return any(os.path.ismount(place) for place in (folder, *folder.parents) if place != Path(folder.anchor))
