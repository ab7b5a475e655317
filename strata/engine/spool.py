"""The spool: sealed staging between stages, one folder for each run.

Every object in it is a frame under a key of that run and that name alone, so what lies in the spool is as unreadable
as what lies in a store, and is opened only where it was written. Names carry the attempt that wrote them, and a token
that no other attempt has: a stage done twice writes two sets, the ledger says which one counts, and the bytes of one
are never taken for the other's. What an object holds (kind, number, tier) is compared with what is expected of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple, Self

from strata.errors import IntegrityError
from strata.model.layer import ObjectKind
from strata.model.ticket import Unit
from strata.model.tier import Tier
from strata.seal.encryption import derive
from strata.seal.frame import Compression, Emit, Fetch, FrameKey, FrameReader, FrameWriter, Header
from strata.seal.keyring import Keyring
from strata.storage.port import FolderedStore, ObjectStore, ObjectWriter


class Held(NamedTuple):
    """What an object in the spool holds: its kind, its number, and the tier it is of, where it is of one."""

    kind: ObjectKind
    seq: int
    tier: Tier | None = None

    def owner(self, run_id: str) -> str:
        """What the object's header names: the run, and the tier."""
        return f"{run_id}-{self.tier}" if self.tier else run_id

    @classmethod
    def of(cls, unit: Unit) -> Held:
        """What a unit holds."""
        return cls(unit.kind, unit.seq, unit.tier)


class SpoolWriter:
    """One object on its way into the spool; leaving its context without `commit` leaves nothing."""

    def __init__(
        self,
        name: str,
        target: ObjectWriter,
        key: FrameKey,
        owner: str,
        held: Held,
        compression: Compression,
        heard: Emit | None = None,
    ) -> None:
        self.name = name
        self.size = 0
        self._target = target
        self._heard = heard
        self._frame = FrameWriter(key, held.kind, owner, held.seq, compression, self._write)

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


class SpoolReader(FrameReader):
    """An object of the spool; whatever is wrong with it, the error names it."""

    def __init__(self, name: str, fetch: Fetch, size: int, key_for: Callable[[Header], FrameKey]) -> None:
        self._name = name
        with _naming(name):
            super().__init__(fetch, size, key_for)

    def payload(self, number: int) -> bytes:
        with _naming(self._name):
            return super().payload(number)

    def read(self, number: int) -> bytes:
        with _naming(self._name):
            return super().read(number)


class Spool:
    """Frames in a store for staging."""

    def __init__(self, store: ObjectStore, keyring: Keyring) -> None:
        self._store = store
        self._keyring = keyring

    @property
    def url(self) -> str:
        """Where the spool is."""
        return self._store.url

    def begin(self, run_id: str, name: str, held: Held, compression: Compression) -> SpoolWriter:
        """Begin an object under the key of the run and the name."""
        return self.begin_sealed(name, self._key(run_id, name), held.owner(run_id), held, compression)

    def begin_sealed(
        self,
        name: str,
        key: FrameKey,
        owner: str,
        held: Held,
        compression: Compression,
        heard: Emit | None = None,
    ) -> SpoolWriter:
        """Begin an object under another key: one that will be stored as it is. `heard` is told its bytes."""
        return SpoolWriter(name, self._store.begin(name), key, owner, held, compression, heard)

    def get_sealed(self, name: str) -> bytes:
        """The bytes of an object as they lie in the spool."""
        return self._store.get(name)

    def open(self, run_id: str, name: str, held: Held) -> SpoolReader:
        """A reader over the whole object, in memory (objects are bounded); IntegrityError where it holds another."""
        data = memoryview(self._store.get(name))
        return self._reader(run_id, name, held, lambda offset, length: data[offset : offset + length], len(data))

    def open_ranged(self, run_id: str, name: str, held: Held) -> SpoolReader:
        """A reader that fetches each block when it is read."""
        return self._reader(
            run_id, name, held, lambda offset, length: self._store.get(name, offset, length), self._store.size(name)
        )

    def _reader(self, run_id: str, name: str, held: Held, fetch: Fetch, size: int) -> SpoolReader:
        def key_for(header: Header) -> FrameKey:
            if (header.kind, header.owner, header.seq) != (held.kind, held.owner(run_id), held.seq):
                raise IntegrityError(f"it is {header.kind} {header.seq} of {header.owner}, in the wrong place")
            return self._key(run_id, name)

        return SpoolReader(name, fetch, size, key_for)

    def _key(self, run_id: str, name: str) -> FrameKey:
        return FrameKey(derive(self._keyring.spool_key(run_id), b"spool object", name.encode()))

    def put_document(self, run_id: str, name: str, document: Any, tier: Tier | None = None) -> None:
        """Store a small JSON document, sealed."""
        data = json.dumps(document, separators=(",", ":")).encode()
        with self.begin(run_id, name, Held(ObjectKind.DOCUMENT, 0, tier), Compression.NONE) as writer:
            writer.add(data, len(data), 1)
            writer.commit()

    def document(self, run_id: str, name: str, tier: Tier | None = None) -> Any:
        """A document that was put."""
        return json.loads(self.open(run_id, name, Held(ObjectKind.DOCUMENT, 0, tier)).read(0))

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects that no stage will read again."""
        for name in names:
            self._store.delete(name)

    def sweep(self, run_id: str) -> None:
        """Remove everything a run left."""
        self._store.clear(run_id)

    def runs(self) -> dict[str, datetime]:
        """The runs that left anything, if only a folder, and when each last wrote.

        What lies beside their folders (a lease of this machine) is none.
        """
        if isinstance(self._store, FolderedStore):
            return self._store.folders()
        newest: dict[str, datetime] = {}
        for info in self._store.list():
            run_id, _, below = info.name.partition("/")
            if below:
                newest[run_id] = max(newest.get(run_id, info.modified), info.modified)
        return newest

    def names(self, run_id: str) -> list[str]:
        """What a run left."""
        return [info.name for info in self._store.list(f"{run_id}/")]


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Adds the object's name to an IntegrityError."""
    try:
        yield
    except IntegrityError as error:
        if name in error.sentence:
            raise
        raise IntegrityError(
            f"{name} in the spool is damaged: {error.sentence}",
            hint="Nothing of it was stored. Start the run again; look at the disk or the bucket of the spool.",
        ) from None
