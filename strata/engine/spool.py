"""The spool: sealed staging between stages, one folder for each run.

Every object in it is a frame under a key of that run alone, so what lies in the spool is as unreadable as what lies
in a store. Names carry the attempt that wrote them: a stage done twice writes two sets, and the ledger says which
one counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Self

from strata.errors import IntegrityError
from strata.model.layer import ObjectKind
from strata.seal.frame import Compression, Emit, Fetch, FrameKey, FrameReader, FrameWriter, Header
from strata.seal.keyring import Keyring
from strata.storage.port import ObjectStore, ObjectWriter


class SpoolWriter:
    """One object on its way into the spool; leaving its context without `commit` leaves nothing."""

    def __init__(
        self,
        name: str,
        target: ObjectWriter,
        key: FrameKey,
        owner: str,
        unit: tuple[ObjectKind, int],
        compression: Compression,
        heard: Emit | None = None,
    ) -> None:
        self.name = name
        self.size = 0
        self._target = target
        self._heard = heard
        self._frame = FrameWriter(key, unit[0], owner, unit[1], compression, self._write)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._target.abort()

    @property
    def block_count(self) -> int:
        """Blocks added so far: the number the next one will have."""
        return self._frame.block_count

    def add(self, payload: bytes | memoryview, raw_length: int, rows: int, first: bytes = b"") -> None:
        """Append a block, compressed as the object says."""
        self._frame.add(payload, raw_length, rows, first)

    def go_on(self) -> None:
        """Say that another block follows: the payload of the one before is not needed any more."""
        self._frame.go_on()

    def commit(self) -> None:
        """Finish the object and make it appear."""
        self._frame.finish()
        self._target.commit()

    def abort(self) -> None:
        """Leave nothing."""
        self._target.abort()

    def _write(self, part: bytes | memoryview) -> None:
        self.size += len(part)
        if self._heard is not None:
            self._heard(part)
        self._target.write(part)


class Spool:
    """Frames in a store for staging."""

    def __init__(self, store: ObjectStore, keyring: Keyring) -> None:
        self._store = store
        self._keyring = keyring

    @property
    def url(self) -> str:
        """Where the spool is."""
        return self._store.url

    def begin(self, run_id: str, name: str, unit: tuple[ObjectKind, int], compression: Compression) -> SpoolWriter:
        """Begin an object under the run's key; `unit` is what it holds and its number."""
        return self.begin_sealed(name, FrameKey(self._keyring.spool_key(run_id)), run_id, unit, compression)

    def begin_sealed(
        self,
        name: str,
        key: FrameKey,
        owner: str,
        unit: tuple[ObjectKind, int],
        compression: Compression,
        heard: Emit | None = None,
    ) -> SpoolWriter:
        """Begin an object under another key: one that will be stored as it is. `heard` is told its bytes."""
        return SpoolWriter(name, self._store.begin(name), key, owner, unit, compression, heard)

    def get_sealed(self, name: str) -> bytes:
        """The bytes of an object as they lie in the spool."""
        return self._store.get(name)

    def open(self, run_id: str, name: str) -> FrameReader:
        """A reader over the whole object, in memory (objects are bounded)."""
        data = memoryview(self._store.get(name))
        return self._reader(run_id, name, lambda offset, length: data[offset : offset + length], len(data))

    def open_ranged(self, run_id: str, name: str) -> FrameReader:
        """A reader that fetches each block when it is read."""
        return self._reader(
            run_id, name, lambda offset, length: self._store.get(name, offset, length), self._store.size(name)
        )

    def _reader(self, run_id: str, name: str, fetch: Fetch, size: int) -> FrameReader:
        def key_for(header: Header) -> FrameKey:
            if header.owner != run_id:
                raise IntegrityError(f"it belongs to {header.owner}")
            return FrameKey(self._keyring.spool_key(run_id))

        try:
            return FrameReader(fetch, size, key_for)
        except IntegrityError as error:
            raise IntegrityError(f"{name} in the spool is damaged: {error.sentence}") from None

    def put_document(self, run_id: str, name: str, document: Any) -> None:
        """Store a small JSON document, sealed."""
        data = json.dumps(document, separators=(",", ":")).encode()
        with self.begin(run_id, name, (ObjectKind.DOCUMENT, 0), Compression.NONE) as writer:
            writer.add(data, len(data), 1)
            writer.commit()

    def document(self, run_id: str, name: str) -> Any:
        """A document that was put."""
        return json.loads(self.open(run_id, name).read(0))

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects that no stage will read again."""
        for name in names:
            self._store.delete(name)

    def sweep(self, run_id: str) -> None:
        """Remove everything a run left."""
        self._store.clear(run_id)

    def runs(self) -> set[str]:
        """The runs that left anything; what lies beside their folders (a lease of this machine) is none."""
        return {info.name.partition("/")[0] for info in self._store.list() if "/" in info.name}

    def names(self, run_id: str) -> list[str]:
        """What a run left."""
        return [info.name for info in self._store.list(f"{run_id}/")]

    def newest(self, run_id: str) -> datetime | None:
        """When a run last wrote here."""
        return max((info.modified for info in self._store.list(f"{run_id}/")), default=None)
