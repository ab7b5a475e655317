"""Plans a thaw: how many objects of which class, how long it takes, what it costs.

Times are those AWS publishes: "Archive retrieval options", docs.aws.amazon.com/AmazonS3/latest/userguide/
restoring-objects-retrieval-options.html. Prices are AWS's list prices of us-east-1 (aws.amazon.com/s3/pricing), in USD;
a GB is 2**30 bytes there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from strata.model.thaw import Heat, ObjectState, ThawPart, ThawPlan, ThawSpeed

BATCH: Final = 1000
"""Objects asked for in one go; after each the run says how far it is."""

_HOURS: Final[dict[str, dict[ThawSpeed, tuple[float, float]]]] = {
    "GLACIER": {ThawSpeed.EXPEDITED: (1 / 60, 5 / 60), ThawSpeed.STANDARD: (3, 5), ThawSpeed.BULK: (5, 12)},
    "DEEP_ARCHIVE": {ThawSpeed.STANDARD: (12, 12), ThawSpeed.BULK: (48, 48)},
}
"""Hours from the request to the object, at least and at most, of each class that has to be thawed."""

ARCHIVE_CLASSES: Final = frozenset(_HOURS)
"""Classes whose objects cannot be read before they are thawed; GLACIER_IR is read at once."""

DEFAULT_PRICES: Final = (
    "GLACIER:expedited=0.03,10; GLACIER:standard=0.01,0.05; GLACIER:bulk=0,0; "
    "DEEP_ARCHIVE:standard=0.02,0.10; DEEP_ARCHIVE:bulk=0.0025,0.025; copy=0.023"
)

_EXPEDITED_BYTES: Final = 250_000_000
_GB: Final = 1 << 30
_DAYS_A_MONTH: Final = 30
_NUMBER: Final = r"(\d+(?:\.\d+)?)"
_ENTRY: Final = re.compile(rf"(GLACIER|DEEP_ARCHIVE):(bulk|standard|expedited)={_NUMBER},{_NUMBER}|copy={_NUMBER}")


@dataclass(frozen=True)
class Prices:
    """USD: by class and speed (per GB, per 1,000 requests), and of a temporary copy per GB and month."""

    retrieval: Mapping[tuple[str, ThawSpeed], tuple[float, float]]
    copy: float


def prices_of(text: str) -> Prices:
    """The table that a setting writes as `GLACIER:bulk=0,0; copy=0.023`: what it leaves out costs what AWS lists.

    ValueError where an entry cannot be read, or a class does not know the speed.
    """
    table = _read(DEFAULT_PRICES, Prices({}, 0.0))
    return _read(text, table)


def plan_thaw(store_url: str, states: Iterable[ObjectState], speed: ThawSpeed, days: int, prices: Prices) -> ThawPlan:
    """What has to be asked for so that all these objects can be read for so many days."""
    known = list(states)
    frozen = [state for state in known if state.heat is Heat.FROZEN]
    thawing = [state for state in known if state.heat is Heat.THAWING]
    readable = [state for state in known if state.heat.readable]
    classes = sorted({state.storage_class for state in frozen})
    parts = tuple(
        _part(name, [state for state in frozen if state.storage_class == name], speed, days, prices) for name in classes
    )
    hours = [part.most_hours for part in parts]
    hours += [_HOURS[name][speed_for(name, speed)][1] for name in {state.storage_class for state in thawing}]
    return ThawPlan(
        store_url=store_url,
        speed=speed,
        days=days,
        parts=parts,
        thawing=len(thawing),
        thawing_bytes=sum(state.size for state in thawing),
        readable=len(readable),
        readable_bytes=sum(state.size for state in readable),
        batches=-(-len(frozen) // BATCH),
        most_hours=max(hours, default=0.0),
        reasons=tuple(_reasons(frozen, thawing, speed)),
    )


def speed_for(storage_class: str, wanted: ThawSpeed) -> ThawSpeed:
    """The speed that a class is asked for: the one wanted, or the next slower it knows."""
    return wanted if wanted in _HOURS[storage_class] else ThawSpeed.STANDARD


def _part(name: str, states: list[ObjectState], wanted: ThawSpeed, days: int, prices: Prices) -> ThawPart:
    speed = speed_for(name, wanted)
    size = sum(state.size for state in states)
    per_gb, per_1000 = prices.retrieval[name, speed]
    least, most = _HOURS[name][speed]
    return ThawPart(
        storage_class=name,
        speed=speed,
        objects=len(states),
        bytes=size,
        least_hours=least,
        most_hours=most,
        retrieval_cost=size / _GB * per_gb,
        request_cost=len(states) / 1000 * per_1000,
        copy_cost=size / _GB * prices.copy * days / _DAYS_A_MONTH,
    )


def _reasons(frozen: list[ObjectState], thawing: list[ObjectState], speed: ThawSpeed) -> Iterable[str]:
    for name in sorted({state.storage_class for state in frozen}):
        if speed_for(name, speed) is not speed:
            yield f"{name} has no {speed} retrieval: {speed_for(name, speed)} is asked for"
    if thawing:
        yield f"{len(thawing)} objects were asked for earlier and are on their way"
    if speed is ThawSpeed.EXPEDITED and any(
        state.size > _EXPEDITED_BYTES and state.storage_class == "GLACIER" for state in frozen
    ):
        yield "objects over 250 MB may take longer than expedited retrieval promises"


def _read(text: str, table: Prices) -> Prices:
    retrieval, copy = dict(table.retrieval), table.copy
    for entry in filter(None, (part.strip() for part in text.split(";"))):
        name, speed, per_gb, per_1000, for_copy = _fields(entry)
        if for_copy is not None:
            copy = float(for_copy)
        else:
            retrieval[name, ThawSpeed(speed)] = float(per_gb), float(per_1000)
    return Prices(retrieval, copy)


def _fields(entry: str) -> tuple[Any, ...]:
    found = _ENTRY.fullmatch(entry)
    if found is None or (found[1] and ThawSpeed(found[2]) not in _HOURS[found[1]]):
        raise ValueError(
            f"{entry!r} is not of the form CLASS:speed=USD per GB,USD per 1,000 requests, nor copy=USD per GB and month"
        )
    return found.groups()
