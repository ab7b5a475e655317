"""Catalogue entries for the tests of decisions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from hypothesis import strategies as st

from strata.model.backup_type import BackupType
from strata.model.copies import CatalogueEntry, Copy
from strata.model.coverage import Coverage, Parts, SourceKind
from strata.model.tier import StorageTier, Tier

NOW: Final = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def copy(tier: StorageTier = StorageTier.LOCAL, **facts: Any) -> Copy:
    """A copy that was verified now."""
    return Copy(**{"storage_tier": tier, "store_url": f"x://{tier}", "verified_at": NOW, **facts})


def entry(
    backup_id: str = "b1", kind: str = "full", age: timedelta = timedelta(), generation: int | None = None, **facts: Any
) -> CatalogueEntry:
    """A backup in LOCAL, made `age` ago, with one layer of its own; its generation is its time."""
    created = NOW - age
    return CatalogueEntry(
        **{
            "backup_id": backup_id,
            "backup_type": BackupType(kind),
            "generation": int(created.timestamp() * 1000) if generation is None else generation,
            "created_at": created,
            "recorded_at": created,
            "parent": None,
            "covers": (Coverage(Tier.HOT, SourceKind.LIVE, records=1),),
            "records": 1,
            "logical_bytes": 1,
            "added_bytes": 1,
            "stacked_bytes": 1,
            "layers": (f"{backup_id}-hot",),
            "copies": (copy(),),
            **facts,
        }
    )


def days(number: float) -> timedelta:
    """So many days."""
    return timedelta(days=number)


@st.composite
def _worth(draw: st.DrawFn) -> dict[str, Any]:
    """What a backup covers, and whether it was accepted."""
    tiers = draw(st.sets(st.sampled_from(Tier), min_size=1))
    source = draw(st.sampled_from([*[SourceKind.LIVE] * 5, SourceKind.HANDED, SourceKind.STATE_MANAGER]))
    records = st.sampled_from([100, 100, 100, 90, 30, 0, None])
    patterns = st.sampled_from([("*",), ("*",), ("*",), ("position:*",)])
    held = st.sampled_from([("a", "b"), ("a", "b"), ("a", "b"), ("a",), ("a", "b", "c"), ()])
    keys = st.sampled_from(["f-1", "f-1", "f-1", "f-2"])
    covers = tuple(
        Coverage(tier, source, draw(patterns), draw(records), parts=Parts(draw(keys), draw(held)))
        for tier in sorted(tiers)
    )
    return {"covers": covers, "accepted": draw(st.integers(0, 4)) == 0}


@st.composite
def catalogues(draw: st.DrawFn, *, lies: bool = False, doubts: bool = False) -> Sequence[CatalogueEntry]:
    """Backups of every kind and age that share layers and copies.

    `lies`: some clocks were wrong; `doubts`: some backups hold less than others, and some of them were accepted.
    """
    made = []
    hours = sorted(draw(st.lists(st.integers(0, 24 * 200), max_size=14)), reverse=True)
    for number, age in enumerate(hours):
        shift = draw(st.sampled_from([0, 0, 0, 24 * 30, -24 * 400])) if lies else 0
        stores = draw(st.sets(st.sampled_from(StorageTier), min_size=1))
        made.append(
            entry(
                f"b{number:02}",
                draw(st.sampled_from(["full", "incremental", "differential", "snapshot", "emergency"])),
                timedelta(hours=age - shift),
                generation=number,
                **(draw(_worth()) if doubts else {}),
                layers=(
                    f"b{number:02}-hot",
                    *draw(st.sets(st.sampled_from([f"b{n:02}-hot" for n in range(number + 1)]))),
                ),
                copies=tuple(
                    copy(
                        tier,
                        damaged=draw(st.booleans()) and draw(st.booleans()),
                        locked_until=draw(st.sampled_from([None, None, NOW + days(1), NOW - days(1)])),
                    )
                    for tier in sorted(stores)
                ),
                pinned=draw(st.integers(0, 5)) == 0,
                legal_hold=draw(st.integers(0, 5)) == 0,
                removal_marked_at=draw(st.sampled_from([None, NOW - days(3), NOW - timedelta(hours=3), NOW + days(9)])),
            )
        )
    return draw(st.permutations(made))
