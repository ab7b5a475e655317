"""What is not configured at all, and what cannot be done without it. Data only, and one function that reads it."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple

from strata.engine.doctor import Finding, Verdict


class Need(NamedTuple):
    """Settings of which one is enough, and what is said where none is there."""

    check: str
    settings: tuple[str, ...]
    verdict: Verdict
    said: str
    hint: str


NEEDS: Final = (
    Need(
        "store",
        ("local_url", "network_url", "cloud_url", "archive_url"),
        Verdict.FAILED,
        "no store is configured, so there is nowhere to keep a backup and nothing to restore from",
        "Set STRATA_LOCAL_URL, for example file:///var/lib/strata.",
    ),
    Need(
        "tier",
        ("hot_url", "warm_url", "cold_url", "state_manager"),
        Verdict.WEAKER,
        "no tier is configured, so nothing can be backed up from here or restored from here",
        "Set at least one of STRATA_HOT_URL, STRATA_WARM_URL and STRATA_COLD_URL.",
    ),
    Need(
        "spool",
        ("spool_url",),
        Verdict.WEAKER,
        "STRATA_SPOOL_URL is not set, so no backup can be made here",
        "Set it to a folder or a bucket that all workers share.",
    ),
    Need(
        "broker",
        ("broker_url",),
        Verdict.WEAKER,
        "STRATA_BROKER_URL is not set, so there are no workers and no schedule: only commands with --local work",
        "Set it to redis://... or amqp://...",
    ),
    Need(
        "ledger",
        ("result_url",),
        Verdict.WEAKER,
        "STRATA_RESULT_URL is not set, so runs are known to this machine alone",
        "Set it to a Redis that is not the one of HOT.",
    ),
)


def missing(configured: AbstractSet[str]) -> Iterator[Finding]:
    """A finding for each need that no setting meets; one that all is there, otherwise."""
    lacking = [need for need in NEEDS if not configured & set(need.settings)]
    for need in lacking:
        yield Finding(need.check, need.verdict, need.said, need.hint)
    if not lacking:
        yield Finding("settings", Verdict.SAFE, "stores, tiers, spool, broker and ledger are configured")
