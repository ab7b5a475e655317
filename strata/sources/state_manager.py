"""A tier read and written through the application's own state manager, where Strata has no URL of the tier's service.

It is the slow way: every key is asked for. 30,000 keys of a Redis on the same machine took 5.9 s through a sync object,
14.0 s through an async one and 0.4 s by RedisHot (one run each); setting them took 1.0 s in batches, 14.2 s one by one
and 0.1 s by RedisHot. Without `create_snapshot` there is no common moment either: each value is of one moment between
`cut` and the end of `read`. Values are JSON (encoding `json`: compact, keys sorted), expiries are not known, and a
record's namespace is empty.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa

from strata.errors import SourceError
from strata.model.identity import Identity
from strata.model.record import PARTS, STATE_MANAGER, Encoding, LargeValue, SourceItem
from strata.model.scope import EVERYTHING, Scope
from strata.model.tier import Tier
from strata.sources.glob import matcher
from strata.sources.port import ALL_KEYS, AfterCut, ApplyCounts, Baseline, KnownKeys, Permit, RestoreMode
from strata.sources.redis_columns import Columns
from strata.sources.state_calls import AT_A_TIME, Calls, Methods, open_object

_NAMESPACE: Final = ""
_SET_ROWS: Final = 1000
"""Keys in one `batch_set_state`, and in one look at what a restore has to remove."""


class StateManager(Protocol):
    """What the object that STRATA_STATE_MANAGER names must have; each method may be async.

    Besides: `set_state(key, value)` will do in place of `batch_set_state`; `create_snapshot()` gives a mapping of all
    keys to their values at one moment; `delete_state(key)` or `delete(key)` removes one, which exact restores need;
    `category_of(key)` says what is passed as the category.
    """

    def get_keys_by_pattern(self, pattern: str) -> Iterable[str] | Awaitable[Iterable[str]]:
        """The keys that match a glob; `*` is every key."""
        ...

    def get_state(self, key: str) -> Any:
        """The value of a key; None where there is none (any more)."""
        ...

    def batch_set_state(self, items: Mapping[str, tuple[Any, Any]]) -> Any:
        """Set each key to its (value, category); where a number is returned it is that of the keys set."""
        ...


class StateManagerSource:
    """Implements StateSource for one tier by the object that `name` (package.module:object) leads to.

    It answers for the keys that match `patterns`. `beside` are the tiers that are read from their own service: what
    they hold and the object lists too, under those patterns, is in a backup twice.
    """

    def __init__(
        self, name: str, tier: Tier, patterns: tuple[str, ...] = EVERYTHING, beside: Sequence[Tier] = ()
    ) -> None:
        self.tier = tier
        self._name, self._patterns, self._beside = name, patterns, tuple(beside)

    def __repr__(self) -> str:
        return f"StateManagerSource({self._name}, {self.tier})"

    def identity(self) -> Identity:
        """The object's name: it says nothing else of itself."""
        return Identity(part=self.tier, address=self._name, words="the state manager")

    @contextmanager
    def connect(self) -> Iterator[StateManagerSession]:
        """Open a session for reading; the object is imported, and made, when it is first needed."""
        with self._opened() as (calls, methods):
            yield StateManagerSession(self.tier, calls, methods, self._own, self._cut, self._description)

    def check(self, description: dict[str, Any]) -> None:
        """Raise unless the backup's records came through a state manager, and there is one to take them."""
        self._check(description)
        with self._opened():
            pass

    @contextmanager
    def apply(
        self, description: dict[str, Any], mode: RestoreMode, permit: Permit
    ) -> Iterator[StateManagerApplication]:
        """Begin a restore; what was set stays set."""
        self._check(description)
        with self._opened() as (calls, methods):
            yield StateManagerApplication(self.tier, calls, methods, self._own, mode, permit)

    @contextmanager
    def _opened(self) -> Iterator[tuple[Calls, Methods]]:
        with Calls(self.tier.label) as calls:
            methods = open_object(self._name, calls)
            try:
                yield calls, methods
            finally:
                if methods.close is not None:
                    calls.one(methods.close)

    def _check(self, description: dict[str, Any]) -> None:
        if description.get("source") != STATE_MANAGER:
            raise SourceError(
                f"{self.tier.label} of the backup was read from its own service, not through a state manager",
                hint=f"Set STRATA_{self.tier.upper()}_URL for this restore.",
            )

    def _own(self, scope: Scope) -> Callable[[bytes], bool]:
        mine, covered = matcher(Scope(self._patterns)), matcher(scope)
        return lambda key: mine(key) and covered(key)

    @property
    def _cut(self) -> dict[str, Any]:
        twice = [tier.value for tier in self._beside] if self._patterns == EVERYTHING else []
        return {"keys_also_read_from": twice} if twice else {}

    @property
    def _description(self) -> dict[str, Any]:
        parts = [[] if pattern == "*" else [pattern] for pattern in self._patterns]
        return {"source": STATE_MANAGER, "object": self._name, "keys": list(self._patterns), PARTS: parts}


Own = Callable[[Scope], Callable[[bytes], bool]]


class StateManagerSession:
    """Implements Session."""

    def __init__(
        self, tier: Tier, calls: Calls, methods: Methods, own: Own, cut: dict[str, Any], description: dict[str, Any]
    ) -> None:
        self._tier, self._calls, self._methods, self._own = tier, calls, methods, own
        self._cut, self._description = cut, description
        self._snapshot: Mapping[Any, Any] | None = None
        self._read_at: float | None = None

    def cut(self, scope: Scope = ALL_KEYS) -> dict[str, Any]:  # noqa: ARG002
        """Take the snapshot, where the object can; what it gives is kept until it is read."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        if self._methods.create_snapshot is None:
            return {"time": now, "method": "keys one by one", **self._cut}
        snapshot = self._calls.one(self._methods.create_snapshot)
        if not isinstance(snapshot, Mapping):
            raise SourceError(
                f"{self._tier.label}: create_snapshot of the state manager gave a {type(snapshot).__name__} in place "
                "of a mapping"
            )
        self._snapshot = snapshot
        return {"time": now, "method": "snapshot", "keys": len(snapshot), **self._cut}

    def describe(self) -> dict[str, Any]:
        return self._description

    def read(self, scope: Scope, baseline: Baseline | None = None) -> Iterator[SourceItem]:  # noqa: ARG002
        rows = Columns(_NAMESPACE, Encoding.JSON)
        for keys, values in self._pairs(scope):
            rows.add(keys, values, [-1] * len(keys))
            if rows.full:
                yield rows.take()
        if not rows.empty:
            yield rows.take()
        self._read_at = time.monotonic()

    def after_cut(self) -> AfterCut:
        return AfterCut() if self._snapshot is not None else AfterCut(self._read_at)

    def _pairs(self, scope: Scope) -> Iterator[tuple[list[bytes], list[bytes]]]:
        """Keys and values of the scope, a few at a time."""
        own = self._own(scope)
        if self._snapshot is not None:
            for name, value in self._snapshot.items():
                if own(key := encoded_key(self._tier, name)):
                    yield [key], [encoded(self._tier, value)]
            return
        for names in listed(self._tier, self._calls, self._methods, scope, own, AT_A_TIME):
            values = self._calls.each(self._methods.get_state, [(name,) for name in names])
            there = [(name, value) for name, value in zip(names, values, strict=True) if value is not None]
            keys = [encoded_key(self._tier, name) for name, _ in there]
            yield keys, [encoded(self._tier, value) for _, value in there]


class StateManagerApplication:
    """Implements Application: sets what it is given at once, and removes at the end what the backup does not hold."""

    def __init__(self, tier: Tier, calls: Calls, methods: Methods, own: Own, mode: RestoreMode, permit: Permit) -> None:
        self._tier, self._calls, self._methods, self._own, self._mode = tier, calls, methods, own, mode
        self._permit = permit
        self._counts = ApplyCounts()

    def write(self, batch: pa.RecordBatch) -> None:
        columns = [batch.column(name).to_pylist() for name in ("encoding", "key", "value")]
        for start in range(0, batch.num_rows, _SET_ROWS):
            self._write(*(column[start : start + _SET_ROWS] for column in columns))

    def write_large(self, value: LargeValue) -> None:
        whole = b"".join(value.parts)
        if len(whole) != value.size:
            raise SourceError(f"{self._tier.label}: a value has {len(whole):,} bytes in place of {value.size:,}")
        self._write([value.encoding], [value.key], [whole])

    def finish(self, known: KnownKeys, scope: Scope) -> ApplyCounts:
        if self._mode is RestoreMode.EXACT:
            left = set[str]()
            own = self._own(scope)
            for names in listed(self._tier, self._calls, self._methods, scope, own, _SET_ROWS):
                keys = pa.array([encoded_key(self._tier, name) for name in names], pa.large_binary())
                strange = [names[at] for at in np.flatnonzero(~known(_NAMESPACE, keys))]
                left |= self._remove(strange)
            if left:
                self._counts.notes.append(
                    f"{len(left):,} keys that the backup does not hold were left: the state manager has no delete_state"
                )
        return self._counts

    def _write(self, encodings: list[str], keys: list[bytes], values: list[bytes]) -> None:
        if other := set(encodings) - {Encoding.JSON.value}:
            raise SourceError(
                f"{self._tier.label}: a state manager takes JSON, and cannot take records with the encoding "
                f"{min(other)}"
            )
        names = [key.decode("utf-8", "surrogateescape") for key in keys]
        self._set(dict(zip(names, map(self._decoded, values), strict=True)))
        self._counts.written += len(keys)
        self._counts.bytes += sum(map(len, values))

    def _set(self, items: dict[str, Any]) -> None:
        if self._methods.batch_set_state is None:
            assert self._methods.set_state is not None
            answers = self._calls.each(self._methods.set_state, list(items.items()), self._permit)
            done = sum(answer is not False for answer in answers)
        else:
            pairs = zip(items.values(), self._categories(list(items)), strict=True)
            named = dict(zip(items, pairs, strict=True))
            (answer,) = self._calls.each(self._methods.batch_set_state, [(named,)], self._permit)
            told = isinstance(answer, int) and answer is not True
            done = int(answer) if told else len(items)
        if done != len(items):
            raise SourceError(
                f"{self._tier.label}: the state manager set {done:,} of {len(items):,} keys",
                hint="The restore is not complete; run it again.",
            )

    def _categories(self, names: list[str]) -> list[Any]:
        """What is passed as the category: what `category_of` says, else the tier's own StateCategory, else None."""
        if self._methods.category_of is not None:
            return self._calls.each(self._methods.category_of, [(name,) for name in names])
        return [getattr(self._methods.categories, self._tier.name, None)] * len(names)

    def _remove(self, names: list[str]) -> set[str]:
        """Remove keys; those that had to be left."""
        if self._methods.delete is None:
            return set(names)
        answers = self._calls.each(self._methods.delete, [(name,) for name in names], self._permit)
        unsure = [(name,) for name, answer in zip(names, answers, strict=True) if answer is False]
        there = sum(value is not None for value in self._calls.each(self._methods.get_state, unsure))
        if there:
            raise SourceError(
                f"{self._tier.label}: the state manager removed {len(names) - there:,} of {len(names):,} keys",
                hint="The restore is not complete; run it again.",
            )
        self._counts.removed += len(names)
        return set()

    def _decoded(self, value: bytes) -> Any:
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            raise SourceError(f"{self._tier.label}: a value of the backup is not JSON") from None


def listed(
    tier: Tier, calls: Calls, methods: Methods, scope: Scope, own: Callable[[bytes], bool], page: int
) -> Iterator[list[str]]:
    """The keys the object lists for the scope, of those it answers for; what several patterns match comes again."""
    for pattern in EVERYTHING if scope.is_everything else scope.patterns:
        names = calls.one(methods.get_keys_by_pattern, pattern)
        if isinstance(names, str | bytes) or not isinstance(names, Iterable):
            raise SourceError(
                f"{tier.label}: get_keys_by_pattern of the state manager gave a {type(names).__name__} in place of keys"
            )
        mine = [name for name in names if own(encoded_key(tier, name))]
        yield from (mine[start : start + page] for start in range(0, len(mine), page))


def encoded_key(tier: Tier, name: Any) -> bytes:
    """A key's bytes; undecodable bytes that a client kept as surrogates become what they were."""
    if not isinstance(name, str):
        raise SourceError(
            f"{tier.label}: the state manager lists a key that is a {type(name).__name__}, and keys are str",
            hint="A Redis client gives str with decode_responses=True.",
        )
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise SourceError(f"{tier.label}: the state manager lists a key that no encoding can hold") from None


def encoded(tier: Tier, value: Any) -> bytes:
    """A value as compact JSON with sorted keys; SourceError names the type that would not come back as it was."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
        if json.loads(text) == value:
            return text.encode()
    except (TypeError, ValueError, RecursionError):
        pass
    raise SourceError(
        f"{tier.label}: the state manager gave a value with {unfit(value)} in it, which JSON cannot express",
        hint="Values must be None, bool, int, float, str, list, or dict with str keys.",
    )


def unfit(value: Any) -> str:
    """What in a value JSON cannot express, in words: a type, never the value."""
    waiting, seen = [value], set[int]()
    while waiting:
        one = waiting.pop()
        if type(one) in {list, dict}:
            if id(one) in seen:
                continue
            seen.add(id(one))
        match one:
            case dict():
                strange = next((type(key).__name__ for key in one if not isinstance(key, str)), "")
                if strange:
                    return f"a dict with keys of type {strange}"
                waiting += [*one.values(), *one]
            case list():
                waiting += one
            case float() if one - one != 0:
                return "a float that is no number"
            case str() if not _encodable(one):
                return "a str that is half a surrogate pair"
            case None | bool() | int() | float() | str():
                pass
            case _:
                return f"a {type(one).__name__}"
    return "a value that holds itself, or is nested too deeply"


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
