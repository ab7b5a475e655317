"""Direct collection beside the state manager's, on the same state: what reading the tiers themselves is worth."""

from __future__ import annotations

import json
import random
import secrets
import time
from dataclasses import asdict, dataclass
from typing import Any, Final

from bench import data
from bench.key_by_key import StateManager
from bench.limits import Section
from bench.link import ROUND_TRIP_SECONDS, linked
from bench.stack import Bench
from strata.engine.manager import BackupManager
from strata.engine.parallel import in_parallel
from strata.model.backup_type import BackupType
from strata.model.tier import Tier
from strata.settings import Settings
from strata.wiring import Wiring

_SIZES: Final = (100, 1_000, 10_000)
_TURNS: Final = 3
_LINK: Final = f"over a link of {ROUND_TRIP_SECONDS * 1000:g} ms"
_HERE: Final = "10,000 keys on one machine, direct / key by key"
_OVER: Final = "10,000 keys over a link, direct / key by key"


def direct(bench: Bench) -> Section:
    """Each size of state read both ways, by turns: on this machine, best of three, and over a link, once."""
    here, over = dict[int, Read](), dict[int, Read]()
    with linked(bench.settings) as settings:
        far = Wiring(settings, clock=bench.wiring.clock)
        for keys in _SIZES:
            _write(bench, keys)
            turns = [_read_both(bench.settings, bench.wiring.local_manager, keys) for _ in range(_TURNS)]
            here[keys] = Read(min(one.key_by_key for one in turns), min(one.direct for one in turns))
            _collect(far.local_manager)
            over[keys] = _read_both(settings, far.local_manager, keys)
    places = ("here", here), (_LINK, over)
    said = [f"{keys:6,} keys, {where}: {found[keys]}" for keys in _SIZES for where, found in places]
    return Section(
        {_HERE: here[_SIZES[-1]].ratio, _OVER: over[_SIZES[-1]].ratio},
        {"seconds": {str(keys): [asdict(here[keys]), asdict(over[keys])] for keys in _SIZES}},
        said,
    )


@dataclass(frozen=True)
class Read:
    """Seconds of reading the same state both ways."""

    key_by_key: float
    direct: float

    @property
    def ratio(self) -> float:
        """Direct in units of key by key."""
        return self.direct / self.key_by_key

    def __str__(self) -> str:
        direct, slow = self.direct * 1000, self.key_by_key * 1000
        return f"direct {direct:,.0f} ms, key by key {slow:,.0f} ms, {1 - self.ratio:.1%} less"


def _read_both(settings: Settings, manager: BackupManager, keys: int) -> Read:
    with StateManager(settings) as state:
        began = time.perf_counter()
        found = len(state.collect())
        slow = time.perf_counter() - began
    quick, records = _collect(manager)
    if found != keys or records != keys:
        raise SystemExit(f"of {keys:,} keys not all were read")
    return Read(slow, quick)


def shares(keys: int) -> tuple[int, int, int]:
    """Keys of HOT, WARM and COLD, in the proportions of the data set, where objects are few and large."""
    whole = data.HOT_KEYS + data.WARM_ROWS + data.COLD_OBJECTS
    cold = max(round(keys * data.COLD_OBJECTS / whole), 1)
    hot = round(keys * data.HOT_KEYS / whole)
    return hot, keys - hot - cold, cold


def _write(bench: Bench, keys: int) -> None:
    """A state of so many keys, all of them JSON."""
    bench.empty()
    hot, warm, cold = shares(keys)
    source = random.Random(3)
    # Numbers that do not end in 00 or 50, which put_hot writes as other types than strings.
    numbers = [number for number in range(2 * hot) if number % 50][:hot]
    data.put_hot(bench.bot.hot, source, ((data.hot_name(source, number), number) for number in numbers))
    data.fill_warm(bench.warm_url, warm)
    for number in range(cold):
        body = json.dumps({"model": number, "weights": [source.random() for _ in range(500)]}).encode()
        bench.bot.s3.put_object(Bucket=bench.bot.bucket, Key=f"{bench.bot.prefix}ml_model:{number}", Body=body)


def _collect(manager: BackupManager) -> tuple[float, int]:
    """Seconds and records of collecting the three tiers side by side, sealed and spooled, in this process."""
    run_id = f"bench-{secrets.token_hex(6)}"
    plan = manager.start(BackupType.FULL, run_id, fresh=True)
    records: list[int] = []

    def collect(tier: Any) -> None:
        collected = manager.collect(run_id, Tier(tier))
        records.append(collected.records if collected else 0)

    began = time.perf_counter()
    in_parallel(collect, [part.tier for part in plan.included], len(Tier))
    seconds = time.perf_counter() - began
    manager.abandon(run_id, "measured")
    return seconds, sum(records)
