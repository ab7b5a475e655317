"""Direct collection beside the state manager's, on the same state: what reading the tiers themselves is worth."""

from __future__ import annotations

import json
import random
import secrets
import time
from typing import Any, Final

from bench import data
from bench.key_by_key import StateManager
from bench.limits import Section
from bench.peers import timed
from bench.stack import Bench
from strata.engine.manager import BackupManager
from strata.engine.parallel import in_parallel
from strata.model.backup_type import BackupType
from strata.model.tier import Tier

_SIZES: Final = (100, 1_000, 10_000)
_TURNS: Final = 3


def direct(bench: Bench) -> Section:
    """Each size of state read both ways, by turns, best of three."""
    manager, found = bench.wiring.local_manager, dict[int, dict[str, float]]()
    for keys in _SIZES:
        _write(bench, keys)
        with StateManager(bench) as state:
            if len(state.collect()) != keys or _collect(manager)[1] != keys:
                raise SystemExit(f"of {keys:,} keys not all were read")
            turns = [(timed(state.collect), _collect(manager)[0]) for _ in range(_TURNS)]
        slow, quick = (min(seconds) for seconds in zip(*turns, strict=True))
        found[keys] = {"key_by_key": slow, "direct": quick}
    largest = found[_SIZES[-1]]
    said = [
        f"{keys:6,} keys: direct {one['direct'] * 1000:,.0f} ms, key by key {one['key_by_key'] * 1000:,.0f} ms, "
        f"{1 - one['direct'] / one['key_by_key']:.1%} less"
        for keys, one in found.items()
    ]
    return Section(
        {"10,000 keys, direct / key by key, time": largest["direct"] / largest["key_by_key"]},
        {"seconds": {str(keys): one for keys, one in found.items()}},
        said,
    )


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
        records.append(manager.collect(run_id, Tier(tier)).records)

    began = time.perf_counter()
    in_parallel(collect, [part.tier for part in plan.included], len(Tier))
    seconds = time.perf_counter() - began
    manager.abandon(run_id, "measured")
    return seconds, sum(records)
