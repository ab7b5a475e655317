"""What every source of state can do: read its tier as records, and take the records back.

A source is used in two phases, so that the cuts of the three tiers can be taken together: `connect` opens a session,
`cut` fixes the moment, `read` streams the records of that moment. Reading needs bounded memory: what a session holds
at a time depends on batch sizes, not on how much state there is.

Every failure is raised as `SourceUnavailable` (the tier does not answer, or stopped half way) or `SourceError`
(it answers, and a retry will not help), from None, with a sentence that names the tier and holds no key and no value.
A session never ends its stream early without an error: a dead tier is never an empty one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from strata.errors import SourceError
from strata.model.identity import Identity
from strata.model.record import STATE_MANAGER, LargeValue, SourceItem
from strata.model.scope import Scope
from strata.model.tier import Tier


class RestoreMode(StrEnum):
    """What a restore does to records of the scope that the backup does not hold."""

    EXACT = "exact"
    """The target becomes what the backup holds: records of the scope that are not in it are removed."""
    OVERLAY = "overlay"
    """Records of the backup are written; others are left alone."""
    REHEARSE = "rehearse"
    """Everything is proved and the targets are tried; nothing is kept."""


@dataclass
class ApplyCounts:
    """What a restore did to one tier, in records; exact."""

    written: int = 0
    unchanged: int = 0
    removed: int = 0
    expired: int = 0
    bytes: int = 0
    """Bytes of the values written."""
    notes: list[str] = field(default_factory=list)
    """Sentences for the operator about what could not be kept exactly."""


ALL_KEYS: Final = Scope()

Permit = Callable[[], None]
"""Called immediately before each lasting effect; LeaseLost where this writer was away for too long."""

KnownKeys = Callable[[str, pa.Array], npt.NDArray[np.bool_]]
"""`known(namespace, keys)` says for each key (large_binary array) whether the backup holds it."""


class Reading(StrEnum):
    """How much of a tier is read when there is a baseline to compare it with."""

    CHANGES = "changes"
    """What the source knows to be as the baseline has it is named (`Unchanged`), not read."""
    EVERYTHING = "everything"
    """All of it; what the source would have called unchanged comes as `Claimed`, so that its claim is tested."""


class Baseline(Protocol):
    """What the parent of a backup holds of one tier, as far as a source needs it to tell what changed since."""

    @property
    def reading(self) -> Reading:
        """How much is to be read."""
        ...

    @property
    def cut(self) -> dict[str, Any]:
        """What the parent's session said at its cut."""
        ...

    @property
    def description(self) -> dict[str, Any]:
        """What the parent's session said in `describe`."""
        ...

    def marks(self, namespace: str, keys: pa.Array) -> pa.FixedSizeBinaryArray:
        """The mark the baseline has for each key (large_binary); null where it has none, or not the key."""
        ...


@dataclass(frozen=True)
class AfterCut:
    """What of a stream is not of the moment of its cut."""

    until: float | None = None
    """By time.monotonic(), the last moment that anything of the stream is of; None where all is of the cut."""
    changed: int = 0
    """Records that changed after the cut and are held as they were read."""
    gone: int = 0
    """Records that were there at the cut, and were removed before they could be read."""


class Session(Protocol):
    """A connection to one tier for reading."""

    def cut(self, scope: Scope = ALL_KEYS) -> dict[str, Any]:
        """Fix the moment that `read` shows, and say where it is (time, position); JSON-able, no secrets, no state.

        `scope` is what will be read. A source that has several ways of reading chooses by it; another may be read
        all the same.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """What a restore must know of the source besides the records (server version, tables...); JSON-able.

        Valid after `cut`. Stored sealed.
        """
        ...

    def read(self, scope: Scope, baseline: Baseline | None = None) -> Iterator[SourceItem]:
        """The records of the scope, each at least once; batches of a few MiB and large values, in any order.

        With a baseline a source that can tell cheaply what changed since says so (`Reading`); one that cannot ignores
        it. Where the baseline is of another server, or its position means nothing there any more, all is read.
        """
        ...

    def after_cut(self) -> AfterCut:
        """What of the records is of a later moment than the cut; valid after `read`."""
        ...


@dataclass(frozen=True)
class Right:
    """Something that Strata may do with a tier, in a phrase; or a sentence that says why not, and what to do.

    `needed`: without it the tier cannot be backed up as it is set.
    """

    name: str
    granted: str
    lacking: str = ""
    hint: str = ""
    needed: bool = False


@runtime_checkable
class Examinable(Protocol):
    """A source that can say more of itself than that somebody takes its connections."""

    def greet(self) -> None:
        """Raise unless its records can be asked for now; reads none."""
        ...

    def rights(self) -> Iterable[Right]:
        """What of it Strata may do; changes nothing that stays."""
        ...


class Application(Protocol):
    """One restore into one tier. Leaving its context without `finish` takes back what can be taken back."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Write records (columns of `SOURCE_SCHEMA` at least, all with a value)."""
        ...

    def write_large(self, value: LargeValue) -> None:
        """Write one record whose value is streamed."""
        ...

    def finish(self, known: KnownKeys, scope: Scope) -> ApplyCounts:
        """In EXACT mode remove what `known` does not hold (within the scope); commit; say what was done."""
        ...


class StateSource(Protocol):
    """One tier's service."""

    tier: Tier

    def identity(self) -> Identity:
        """Which server this is, by what it says of itself, and which place on it; asked anew each time."""
        ...

    def connect(self) -> AbstractContextManager[Session]:
        """Open a session for reading."""
        ...

    def check(self, description: dict[str, Any]) -> None:
        """Raise unless records of a backup with this description can be written here.

        Whatever it tries it takes back, also where it fails or dies; it touches no record, and holds up others for
        seconds at most.
        """
        ...

    def apply(
        self, description: dict[str, Any], mode: RestoreMode, permit: Permit
    ) -> AbstractContextManager[Application]:
        """Begin a restore (EXACT or OVERLAY) of records that were read with this description.

        Nothing lasting is sent to the tier, and nothing of it sent again, without asking `permit` at that moment.
        """
        ...


def refuse_state_manager(tier: Tier, description: dict[str, Any]) -> None:
    """Raise where records came through a state manager: the tier's own service would not know what to do with them."""
    if description.get("source") == STATE_MANAGER:
        raise SourceError(
            f"{tier.label} of the backup was read through a state manager, and can only go back through one",
            hint=f"Set STRATA_STATE_MANAGER in place of STRATA_{tier.upper()}_URL for this restore.",
        )
