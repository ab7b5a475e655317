"""A source without one key: a backup does not hold it, and a restore leaves it alone.

The key that pauses the application is there while the cuts are taken: in a backup it would be a change every time, and
a restore would pause the application anew. One that is there when a restore ends was set by somebody who means it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from strata.model.identity import Identity
from strata.model.record import Claimed, LargeValue, SourceItem, Unchanged
from strata.model.scope import Scope
from strata.model.tier import Tier
from strata.sources.port import (
    ALL_KEYS,
    AfterCut,
    Application,
    ApplyCounts,
    Baseline,
    Examinable,
    KnownKeys,
    Permit,
    RestoreMode,
    Right,
    Session,
    StateSource,
)


@dataclass
class HiddenKey:
    """Implements StateSource by another, without one key of one namespace."""

    tier: Tier
    inner: StateSource
    namespace: str
    key: bytes

    def identity(self) -> Identity:
        return self.inner.identity()

    @contextmanager
    def connect(self) -> Iterator[Session]:
        with self.inner.connect() as session:
            yield _Session(session, self)

    def greet(self) -> None:
        if isinstance(self.inner, Examinable):
            self.inner.greet()

    def rights(self) -> Iterable[Right]:
        return self.inner.rights() if isinstance(self.inner, Examinable) else ()

    def check(self, description: dict[str, Any]) -> None:
        self.inner.check(description)

    @contextmanager
    def apply(self, description: dict[str, Any], mode: RestoreMode, permit: Permit) -> Iterator[Application]:
        with self.inner.apply(description, mode, permit) as application:
            yield _Application(application, self)

    def among(self, namespace: str, keys: pa.Array) -> npt.NDArray[np.bool_]:
        """Which of these keys is the one."""
        found: npt.NDArray[np.bool_] = pc.equal(keys, pa.scalar(self.key, keys.type)).to_numpy(zero_copy_only=False)
        return found & (namespace == self.namespace)

    def without(self, item: SourceItem) -> SourceItem | None:
        """What is left of an item; None where nothing is."""
        match item:
            case Claimed():
                inner = self.without(item.item)
                return Claimed(inner) if isinstance(inner, pa.RecordBatch | LargeValue) else None
            case Unchanged():
                hidden = self.among(item.namespace, item.keys)
                return Unchanged(item.namespace, item.keys.filter(pa.array(~hidden))) if hidden.any() else item
            case LargeValue():
                if (item.namespace, item.key) != (self.namespace, self.key):
                    return item
                for _ in item.parts:  # the source goes on behind it
                    continue
                return None
        return self._batch(item)

    def _batch(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        hidden = pc.equal(batch["key"], pa.scalar(self.key, pa.large_binary()))
        if not pc.any(hidden).as_py():
            return batch
        hidden = pc.and_(hidden, pc.equal(batch["namespace"].cast(pa.string()), self.namespace))
        return batch.filter(pc.invert(hidden))


@dataclass(frozen=True)
class _Session:
    """Implements Session."""

    inner: Session
    hiding: HiddenKey

    def cut(self, scope: Scope = ALL_KEYS) -> dict[str, Any]:
        return self.inner.cut(scope)

    def describe(self) -> dict[str, Any]:
        return self.inner.describe()

    def read(self, scope: Scope, baseline: Baseline | None = None) -> Iterator[SourceItem]:
        for item in self.inner.read(scope, baseline):
            left = self.hiding.without(item)
            if left is not None:
                yield left

    def after_cut(self) -> AfterCut:
        return self.inner.after_cut()


@dataclass(frozen=True)
class _Application:
    """Implements Application."""

    inner: Application
    hiding: HiddenKey

    def write(self, batch: pa.RecordBatch) -> None:
        self.inner.write(batch)

    def write_large(self, value: LargeValue) -> None:
        self.inner.write_large(value)

    def finish(self, known: KnownKeys, scope: Scope) -> ApplyCounts:
        return self.inner.finish(
            lambda namespace, keys: known(namespace, keys) | self.hiding.among(namespace, keys), scope
        )
