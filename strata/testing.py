"""Small real doubles for tests: a source in memory, a clock that is set, stores and a source that fail on purpose.

Each does what its port promises; the failing ones break exactly one promise, and only for the objects named.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from strata.errors import ObjectNotFound, SourceError, SourceUnavailable, StorageError, StoreUnavailable
from strata.model.identity import Identity
from strata.model.record import LARGE_VALUE, SOURCE_SCHEMA, Claimed, Encoding, LargeValue, SourceItem, Unchanged
from strata.model.scope import Scope
from strata.model.tier import Tier
from strata.sources.glob import matcher
from strata.sources.port import (
    ALL_KEYS,
    AfterCut,
    Application,
    ApplyCounts,
    Baseline,
    KnownKeys,
    Permit,
    Reading,
    RestoreMode,
    Session,
    StateSource,
)
from strata.storage.port import Buffer, ObjectInfo, ObjectStore
from strata.storage.wrapped import WrappedStore

_PART: Final = 1 << 16


def always() -> None:
    """Implements Permit: the writer may always write."""


class SettableClock:
    """A clock that stands still until it is moved."""

    def __init__(self, moment: datetime = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)) -> None:
        self._moment = moment
        self._elapsed = 0.0

    def now(self) -> datetime:
        return self._moment

    def monotonic(self) -> float:
        return self._elapsed

    def advance(self, span: timedelta) -> None:
        """Let time pass."""
        self._moment += span
        self._elapsed += span.total_seconds()


@dataclass(frozen=True)
class MemoryRecord:
    """What a record holds besides its key; moments are whole milliseconds."""

    value: bytes
    encoding: Encoding = Encoding.JSON
    expires_at: datetime | None = None
    modified_at: datetime | None = None
    attrs: str | None = None


Key = tuple[str, bytes]
"""Namespace and key."""


class MemorySource:
    """Implements StateSource over `records`, which a test fills and looks at.

    `stale` is read before the records: keys that are in both were read twice, as SCAN does. Values over
    `stream_above` bytes come as LargeValue. After `dies_after` items a read ends with SourceUnavailable.
    """

    def __init__(
        self,
        tier: Tier,
        records: Mapping[Key, MemoryRecord] | None = None,
        *,
        stale: Mapping[Key, MemoryRecord] | None = None,
        batch_rows: int = 100,
        stream_above: int = 2 * LARGE_VALUE,
        dies_after: int | None = None,
    ) -> None:
        self.tier = tier
        self.records = dict(records or {})
        self.stale = dict(stale or {})
        self.dies_after = dies_after
        self._batch_rows, self._stream_above = batch_rows, stream_above

    def identity(self) -> Identity:
        return Identity(part=self.tier, server={"object": (f"{id(self.records):x}",)}, words="memory")

    @contextmanager
    def connect(self) -> Iterator[MemorySession]:
        yield MemorySession(self)

    def check(self, description: dict[str, Any]) -> None:
        if description.get("tier") != self.tier.value:
            raise SourceError(f"{self.tier.label} is not the tier of the backup")

    @contextmanager
    def apply(self, description: dict[str, Any], mode: RestoreMode, permit: Permit) -> Iterator[MemoryApplication]:
        self.check(description)
        yield MemoryApplication(self.records, mode, permit)

    def items(self, scope: Scope) -> Iterator[SourceItem]:
        """The records of the scope as the port has them."""
        covered = matcher(scope)
        for records in (self.stale, self.records):
            rows = [(*key, record) for key, record in records.items() if covered(key[1])]
            small = [row for row in rows if len(row[2].value) <= self._stream_above]
            for start in range(0, len(small), self._batch_rows):
                yield _batch(small[start : start + self._batch_rows])
            for namespace, name, record in rows:
                if len(record.value) > self._stream_above:
                    yield _streamed(namespace, name, record)


@dataclass(frozen=True)
class MemorySession:
    """Implements Session."""

    source: MemorySource

    def cut(self, scope: Scope = ALL_KEYS) -> dict[str, Any]:  # noqa: ARG002
        return {"records": len(self.source.records)}

    def describe(self) -> dict[str, Any]:
        return {"tier": self.source.tier.value}

    def read(self, scope: Scope, baseline: Baseline | None = None) -> Iterator[SourceItem]:  # noqa: ARG002
        for number, item in enumerate(self.source.items(scope)):
            if number == self.source.dies_after:
                raise SourceUnavailable(f"{self.source.tier.label} stopped answering half way")
            yield item

    def after_cut(self) -> AfterCut:
        return AfterCut()


class MemoryApplication:
    """Implements Application; what was written takes effect in `finish`."""

    def __init__(self, records: dict[Key, MemoryRecord], mode: RestoreMode, permit: Permit) -> None:
        self._records, self._mode, self._permit = records, mode, permit
        self._written: dict[Key, MemoryRecord] = {}
        self._rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        for row in batch.select(SOURCE_SCHEMA.names).to_pylist():
            if row["value"] is None:
                raise SourceError("a record without a value was to be written")
            record = MemoryRecord(
                row["value"], Encoding(row["encoding"]), row["expires_at"], row["modified_at"], row["attrs"]
            )
            self._write(row["namespace"], row["key"], record)

    def write_large(self, value: LargeValue) -> None:
        whole = b"".join(value.parts)
        if len(whole) != value.size:
            raise SourceError(f"a value has {len(whole)} bytes in place of {value.size}")
        record = MemoryRecord(whole, value.encoding, value.expires_at, value.modified_at, value.attrs)
        self._write(value.namespace, value.key, record)

    def finish(self, known: KnownKeys, scope: Scope) -> ApplyCounts:
        covered = matcher(scope)
        removed = [
            key
            for key in self._records
            if self._mode is RestoreMode.EXACT
            and covered(key[1])
            and not known(key[0], pa.array([key[1]], pa.large_binary()))[0]
        ]
        self._permit()
        for key in removed:
            del self._records[key]
        self._records.update(self._written)
        size = sum(len(record.value) for record in self._written.values())
        return ApplyCounts(written=self._rows, removed=len(removed), bytes=size)

    def _write(self, namespace: str, key: bytes, record: MemoryRecord) -> None:
        self._rows += 1
        self._written[namespace, key] = record


def _batch(rows: Sequence[tuple[str, bytes, MemoryRecord]]) -> pa.RecordBatch:
    namespaces, keys, records = zip(*rows, strict=True)
    columns: list[Iterable[Any]] = [
        namespaces,
        keys,
        [record.value for record in records],
        [record.encoding.value for record in records],
        [record.expires_at for record in records],
        [record.modified_at for record in records],
        [record.attrs for record in records],
    ]
    arrays = [
        pa.array(column, pa.string()).dictionary_encode()
        if pa.types.is_dictionary(field.type)
        else pa.array(column, field.type)
        for column, field in zip(columns, SOURCE_SCHEMA, strict=True)
    ]
    return pa.record_batch(arrays, SOURCE_SCHEMA)


def _streamed(namespace: str, key: bytes, record: MemoryRecord) -> LargeValue:
    value = record.value
    parts = (value[start : start + _PART] for start in range(0, len(value), _PART))
    return LargeValue(
        namespace, key, record.encoding, len(value), parts, record.expires_at, record.modified_at, record.attrs
    )


class OverlookingSource:
    """Implements StateSource by another, and is wrong: it calls these keys unchanged whatever became of them."""

    def __init__(self, inner: StateSource, overlooked: frozenset[bytes]) -> None:
        self.tier = inner.tier
        self.inner, self._overlooked = inner, overlooked

    def identity(self) -> Identity:
        return self.inner.identity()

    @contextmanager
    def connect(self) -> Iterator[OverlookingSession]:
        with self.inner.connect() as session:
            yield OverlookingSession(session, self._overlooked)

    def check(self, description: dict[str, Any]) -> None:
        self.inner.check(description)

    def apply(
        self, description: dict[str, Any], mode: RestoreMode, permit: Permit
    ) -> AbstractContextManager[Application]:
        return self.inner.apply(description, mode, permit)


@dataclass(frozen=True)
class OverlookingSession:
    """Implements Session."""

    inner: Session
    overlooked: frozenset[bytes]

    def cut(self, scope: Scope = ALL_KEYS) -> dict[str, Any]:
        return self.inner.cut(scope)

    def describe(self) -> dict[str, Any]:
        return self.inner.describe()

    def read(self, scope: Scope, baseline: Baseline | None = None) -> Iterator[SourceItem]:
        for item in self.inner.read(scope):
            if baseline is None or not isinstance(item, pa.RecordBatch):
                yield item
                continue
            wrong = pa.array([key in self.overlooked for key in item["key"].to_pylist()], pa.bool_())
            yield item.filter(pc.invert(wrong))
            claimed = item.filter(wrong)
            if baseline.reading is Reading.EVERYTHING:
                yield Claimed(claimed)
            elif claimed.num_rows:
                yield Unchanged(claimed["namespace"][0].as_py(), claimed["key"])

    def after_cut(self) -> AfterCut:
        return self.inner.after_cut()


class Moment(Enum):
    """When a FlakyStore fails: before it did anything, or after it did what was asked."""

    BEFORE = "before"
    AFTER = "after"


class FlakyStore(WrappedStore):
    """Fails the operations numbered in `fails` (counted from 0 over all verbs) by `error`; answers all others."""

    def __init__(
        self,
        inner: ObjectStore,
        fails: Iterable[int],
        moment: Moment = Moment.BEFORE,
        error: type[StorageError] = StoreUnavailable,
    ) -> None:
        super().__init__(inner)
        self.operations = 0
        self.fails, self.moment, self._error = frozenset(fails), moment, error

    def put(self, name: str, parts: Sequence[Buffer]) -> None:
        with self._answering():
            super().put(name, parts)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        with self._answering():
            return super().get(name, offset, length)

    def size(self, name: str) -> int:
        with self._answering():
            return super().size(name)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        with self._answering():
            return iter(list(super().list(prefix)))

    def delete(self, name: str) -> None:
        with self._answering():
            super().delete(name)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        number, self.operations = self.operations, self.operations + 1
        if number in self.fails and self.moment is Moment.BEFORE:
            raise self._error(f"{self.url} does not answer")
        try:
            yield
        finally:  # a refusal is an answer too
            if number in self.fails and self.moment is Moment.AFTER:
                raise self._error(f"{self.url} did not answer in time")


class TornStore(WrappedStore):
    """Keeps only the first half of objects whose name matches `pattern`, and says that all went well."""

    def __init__(self, inner: ObjectStore, pattern: str) -> None:
        super().__init__(inner)
        self._pattern = pattern

    def put(self, name: str, parts: Sequence[Buffer]) -> None:
        whole = b"".join(parts)
        super().put(name, [whole[: len(whole) // 2] if fnmatchcase(name, self._pattern) else whole])


class Lie(Enum):
    """What a LyingStore does to an object that it took."""

    FLIPS = "flips one bit of it"
    SWAPS = "gives the bytes of another object"
    LOSES = "has never heard of it"


class LyingStore(WrappedStore):
    """Takes every object, and lies about those whose name matches `pattern` when it is asked for them."""

    def __init__(self, inner: ObjectStore, pattern: str, lie: Lie) -> None:
        super().__init__(inner)
        self._pattern, self._lie = pattern, lie

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        if not fnmatchcase(name, self._pattern):
            return super().get(name, offset, length)
        match self._lie:
            case Lie.LOSES:
                raise ObjectNotFound(f"{self.url} does not hold {name}")
            case Lie.SWAPS:
                other = min(info.name for info in self.inner.list() if info.name != name)
                return super().get(other, offset, length)
        data = bytearray(super().get(name))
        data[len(data) // 2] ^= 1
        return bytes(data[offset:] if length is None else data[offset : offset + length])
