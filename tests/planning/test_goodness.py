"""The one judgement: what is in doubt, or was handed over, takes the place of no good backup."""

from __future__ import annotations

from time import process_time
from typing import Any, Final

from strata.model.backup_type import BackupType
from strata.model.copies import CatalogueEntry
from strata.model.coverage import Coverage, SourceKind
from strata.model.removal import RetentionPlan
from strata.model.tier import StorageTier, Tier
from strata.planning.goodness import Judgement
from strata.planning.policy import Promises, report
from strata.planning.retention import RetentionService
from strata.planning.tables import CopyRule
from strata.planning.tier_strategy import TierStrategy
from tests.planning.entries import NOW, copy, days, entry

ALL: Final = {"hot": 10, "warm": 10}
NO_WARM: Final = {"hot": 10}
ANY_COPIES: Final = CopyRule(1, 0, 0, 0, 0)


def made(
    name: str, age: float, kind: str = "full", *, source: SourceKind = SourceKind.LIVE, **facts: Any
) -> CatalogueEntry:
    """A backup made so many days ago; `holds` gives records by tier, `keys` the scope."""
    holds, patterns = facts.pop("holds", ALL), facts.pop("keys", ("*",))
    covers = tuple(Coverage(Tier(tier), source, patterns, count) for tier, count in holds.items())
    return entry(name, kind, days(age), covers=covers, **facts)


def decided(*backups: CatalogueEntry) -> RetentionPlan:
    """What retention says of these, where nothing is kept by its age."""
    return RetentionService(dict.fromkeys(BackupType, 0), tiers=frozenset({Tier.HOT, Tier.WARM})).decide(backups, NOW)


def why(plan: RetentionPlan, backup_id: str) -> tuple[str, ...]:
    """Why a backup stays, or goes."""
    return next(one.reasons for one in plan.decisions if one.backup_id == backup_id)


def status(*backups: CatalogueEntry) -> dict[str, tuple[bool, str]]:
    """Each rule of the state of the policy: whether it holds, and what is."""
    promises = Promises(copy_rule=ANY_COPIES, tiers=frozenset({Tier.HOT, Tier.WARM}))
    lines = report(backups, TierStrategy([StorageTier.LOCAL]), promises, NOW).lines
    return {line.rule: (line.holds, line.finding) for line in lines}


def latest(*backups: CatalogueEntry, kind: BackupType | None = None) -> list[str]:
    """What `latest` may mean."""
    return [one.backup_id for one in Judgement(backups).latest(kind)]


def test_a_full_without_a_tier_displaces_nothing() -> None:
    """The FULL that held everything stays, is the last good one and `latest`; nothing is pruned, and it is told."""
    backups = made("older", 3), made("whole", 2), made("partial", 0.1, holds=NO_WARM)
    plan = decided(*backups)
    assert why(plan, "whole") == ("it is the last good full backup",)
    assert all(one.keep for one in plan.decisions)
    assert "partial is in doubt: WARM (PostgreSQL) is missing; the last 2 full backups held it" in plan.frozen[0]
    assert "strata accept partial" in plan.frozen[0]
    assert latest(*backups) == ["whole", "older"]
    said = status(*backups)
    assert said["full every 24 h"] == (False, "the last good one is 2 d old (whole)")
    assert said["every tier, every scope"] == (
        False,
        "partial: WARM (PostgreSQL) is missing; the last 2 full backups held it",
    )


def test_an_accepted_one_is_good_and_ends_the_freeze() -> None:
    """From then on it is the last good one; of a tier that is configured still, the last that held it stays too."""
    backups = made("older", 3), made("whole", 2), made("partial", 0.1, holds=NO_WARM, accepted=True)
    plan = decided(*backups)
    assert plan.frozen == ()
    assert {one.backup_id for one in plan.removed} == {"older"}
    assert why(plan, "whole") == ("it is the last good full backup of WARM (PostgreSQL)",)
    assert latest(*backups)[0] == "partial"
    assert status(*backups)["full every 24 h"][0]


def test_a_later_whole_one_ends_the_freeze() -> None:
    """Nothing need be accepted where the next backup holds everything again; the partial one takes no rule's place."""
    partial = made("partial", 2, holds=NO_WARM)
    backups = made("before", 3), partial, made("whole", 0.1)
    assert decided(*backups).frozen == ()
    assert status(*backups)["every tier, every scope"][0]
    rules = {BackupType.FULL: {"last": 2}}
    kept = RetentionService(dict.fromkeys(BackupType, 0), rules).decide(backups, NOW)
    assert [one.backup_id for one in kept.removed] == ["partial"]


def test_handed_over_state_is_never_the_last_good_of_the_live_state() -> None:
    """Nor `latest`; the last of it stays beside. Where there is no other state it is the one that counts."""
    live = made("live", 2)
    handed = made("handed", 0.1, source=SourceKind.HANDED, holds={"hot": 1})
    plan = decided(live, handed)
    assert (plan.frozen, plan.removed) == ((), ())
    assert why(plan, "live") == ("it is the last good full backup",)
    assert why(plan, "handed") == ("it is the last good full backup of handed over state",)
    assert latest(live, handed) == ["live"]
    assert status(live, handed)["full every 24 h"] == (False, "the last good one is 2 d old (live)")
    assert latest(handed) == ["handed"]


def test_latest_covers_what_a_full_covers() -> None:
    """An EMERGENCY or a SNAPSHOT is part of the state, and never `latest` unless its type is asked for."""
    full = made("full", 2)
    snapshot = made("snapshot", 1, "snapshot", keys=("position:*",))
    emergency = made("emergency", 0.5, "emergency", keys=("position:*",), holds={"hot": 3, "warm": None})
    incremental = made("incremental", 1.5, "incremental")
    backups = full, snapshot, emergency, incremental
    assert latest(*backups) == ["incremental", "full"]
    assert latest(*backups, kind=BackupType.SNAPSHOT) == ["snapshot"]
    assert latest(*backups, kind=BackupType.EMERGENCY) == []
    assert latest(snapshot) == []
    assert latest(full, made("thin", 0.2, "incremental", holds=NO_WARM)) == ["full"]


def test_a_tier_that_is_configured_and_in_no_backup_is_told() -> None:
    """From the first day on, though no earlier backup held it."""
    holds, finding = status(made("only", 0.1, holds=NO_WARM))["every tier, every scope"]
    assert (holds, finding) == (False, "WARM (PostgreSQL) is configured, but not in only")


def test_what_cannot_be_read_is_not_the_last_good_one() -> None:
    """A damaged copy and a doubt are asked together: of each type something that can be restored stays."""
    damaged = made("damaged", 0.2, copies=(copy(damaged=True),))
    plan = decided(made("whole", 1), damaged)
    assert [one.backup_id for one in plan.removed] == ["damaged"]
    narrow = made("narrow", 0.1, keys=("position:*",))
    only = decided(made("whole", 1, copies=(copy(damaged=True),)), narrow)
    assert why(only, "narrow") == ("it is the last full backup that can be restored",)


def test_a_tier_that_was_always_empty_is_told_and_displaces_nothing() -> None:
    """Nothing is known to be lost: it is the last good one and `latest`, but prune waits until it is accepted."""
    only = made("only", 0.1, holds={"hot": 10, "warm": 0})
    plan = decided(only)
    assert why(plan, "only") == ("it is the last good full backup",)
    assert "WARM (PostgreSQL) has no records" in plan.frozen[0]
    assert latest(only) == ["only"]
    assert not status(only)["every tier, every scope"][0]
    assert status(made("only", 0.1, holds={"hot": 10, "warm": 0}, accepted=True))["every tier, every scope"][0]


def test_the_anchor_of_an_acceptance_stays_while_older_ones_do() -> None:
    """Without it a pinned older backup would bring the settled doubt back."""
    backups = (
        made("whole", 9, pinned=True),
        made("partial", 5, holds=NO_WARM, accepted=True),
        made("later", 0.1, holds=NO_WARM),
    )
    plan = RetentionService(dict.fromkeys(BackupType, 0)).decide(backups, NOW)
    assert why(plan, "partial") == ("it was accepted, and later backups are judged from it on",)


def test_ten_thousand_backups_are_judged_in_a_moment() -> None:
    """In time that grows with their number and no faster: less than a second of processor."""
    made_all = [made(f"b{number:05}", 100 - number / 100, "incremental") for number in range(10_000)]
    began = process_time()
    assert len(Judgement(made_all).kept()) == 1
    assert process_time() - began < 1
