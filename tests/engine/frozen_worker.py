"""A worker of its own process that applies one tier of a restore, and waits at a chosen point until a line comes.

    python -m tests.engine.frozen_worker RUN TIER POINT     settings come from the environment

It says `here` when it is there, and the outcome at its end. Claims run out sooner than usual.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from strata.catalog import redis_ledger
from strata.engine import hold, runner
from strata.errors import StrataError
from strata.model.identity import Identity
from strata.model.record import LargeValue
from strata.model.scope import Scope
from strata.model.tier import Tier
from strata.settings import load_settings
from strata.sources import postgres_write
from strata.sources.port import Application, ApplyCounts, KnownKeys, Permit, RestoreMode, StateSource
from strata.wiring import Wiring

SPANS: tuple[tuple[Any, str, float], ...] = (
    (redis_ledger, "CLAIM_SECONDS", 4),
    (hold, "CLAIM_SECONDS", 4),
    (hold, "SILENT_SECONDS", 2),
    (runner, "RENEW_SECONDS", 0.5),
    (postgres_write, "IDLE_SECONDS", 3),
)
"""The usual spans, shortened in proportion."""


@dataclass
class WaitingSource:
    """Implements StateSource by another; a restore into it stops once, at one point."""

    tier: Tier
    inner: StateSource
    point: str

    def identity(self) -> Identity:
        return self.inner.identity()

    def connect(self) -> Any:
        return self.inner.connect()

    def check(self, description: dict[str, Any]) -> None:
        self.inner.check(description)

    @contextmanager
    def apply(self, description: dict[str, Any], mode: RestoreMode, permit: Permit) -> Iterator[Application]:
        with self.inner.apply(description, mode, permit) as application:
            yield WaitingApplication(application, self.point)


@dataclass
class WaitingApplication:
    """Implements Application: half of a batch is written, then it waits; or just before it removes or finishes."""

    inner: Application
    point: str

    def write(self, batch: pa.RecordBatch) -> None:
        half = batch.num_rows // 2
        self.inner.write(batch.slice(0, half))
        self._wait("write")
        self.inner.write(batch.slice(half))

    def write_large(self, value: LargeValue) -> None:
        self.inner.write_large(replace(value, parts=self._halved(value.parts)))

    def _halved(self, parts: Iterable[bytes]) -> Iterator[bytes]:
        for part in parts:
            yield part[: len(part) // 2]
            self._wait("value")
            yield part[len(part) // 2 :]

    def finish(self, known: KnownKeys, scope: Scope) -> ApplyCounts:
        def asked(namespace: str, keys: pa.Array) -> npt.NDArray[np.bool_]:
            held = known(namespace, keys)
            self._wait("remove")
            return held

        self._wait("finish")
        return self.inner.finish(asked, scope)

    def _wait(self, point: str) -> None:
        if point == self.point:
            self.point = ""
            print("here", flush=True)  # noqa: T201
            sys.stdin.readline()


def main(run_id: str, tier: Tier, point: str) -> None:
    """Apply the tier."""
    for module, name, seconds in SPANS:
        setattr(module, name, seconds)
    wiring = Wiring(load_settings())
    wiring.sources[tier] = WaitingSource(tier, wiring.sources[tier], point)
    try:
        wiring.manager.apply(run_id, tier)
    except StrataError as error:
        print(f"{type(error).__name__}: {error.sentence}", flush=True)  # noqa: T201
    else:
        print("done", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], Tier(sys.argv[2]), sys.argv[3])
