"""Placement: the table, what is put in place of what is missing, and moves by age."""

from __future__ import annotations

from typing import Any

import pytest

from strata.errors import SettingError
from strata.model.backup_type import BackupType
from strata.model.tier import StorageTier
from strata.planning.tier_strategy import Placement, TierStrategy
from tests.planning.entries import NOW, copy, days, entry

LOCAL, NETWORK, CLOUD, ARCHIVE = StorageTier


@pytest.mark.parametrize(
    ("backup_type", "primary", "copies"),
    [
        (BackupType.FULL, NETWORK, (CLOUD,)),
        (BackupType.INCREMENTAL, LOCAL, ()),
        (BackupType.DIFFERENTIAL, NETWORK, ()),
        (BackupType.SNAPSHOT, LOCAL, ()),
        (BackupType.EMERGENCY, LOCAL, (ARCHIVE,)),
    ],
)
def test_with_all_stores_the_table_holds(
    backup_type: BackupType, primary: StorageTier, copies: tuple[StorageTier, ...]
) -> None:
    """Nothing is unusual, so nothing has a reason."""
    assert TierStrategy(StorageTier).place(backup_type) == Placement(primary, copies, ())


@pytest.mark.parametrize(
    ("configured", "wanted", "primary"),
    [
        ({LOCAL, CLOUD}, NETWORK, LOCAL),
        ({CLOUD, ARCHIVE}, NETWORK, CLOUD),
        ({NETWORK, CLOUD}, LOCAL, NETWORK),
        ({CLOUD}, LOCAL, CLOUD),
        ({LOCAL, NETWORK}, CLOUD, NETWORK),
        ({LOCAL}, CLOUD, LOCAL),
        ({LOCAL, NETWORK, CLOUD}, ARCHIVE, CLOUD),
    ],
)
def test_a_store_that_is_missing_is_replaced_and_the_plan_says_so(
    configured: set[StorageTier], wanted: StorageTier, primary: StorageTier
) -> None:
    """The next configured one takes its place, with a sentence."""
    placed = TierStrategy(configured, {BackupType.FULL: (wanted,)}).place(BackupType.FULL)
    assert placed.primary is primary
    assert placed.reasons == (f"stored in {primary.upper()} because STRATA_{wanted.upper()}_URL is not set",)


def test_copies_that_cannot_be_made_are_left_out_with_a_reason() -> None:
    """FULL in a house with one store: made there, no copy, two sentences."""
    placed = TierStrategy({LOCAL}).place(BackupType.FULL)
    assert placed == Placement(
        LOCAL,
        (),
        (
            "stored in LOCAL because STRATA_NETWORK_URL is not set",
            "there is no copy in CLOUD because STRATA_CLOUD_URL is not set",
        ),
    )
    placed = TierStrategy({CLOUD}).place(BackupType.FULL)
    assert placed.copies == ()
    assert placed.reasons[1] == "no copy is needed in CLOUD because it is stored there"


def test_the_archive_is_a_primary_only_where_it_is_named() -> None:
    """It takes nobody's place; named, it is one."""
    strategy = TierStrategy({ARCHIVE}, {BackupType.EMERGENCY: (ARCHIVE,)})
    assert strategy.place(BackupType.EMERGENCY) == Placement(ARCHIVE)
    with pytest.raises(SettingError, match="no store for full backups: ARCHIVE takes the place of no other") as caught:
        strategy.place(BackupType.FULL)
    assert "STRATA_NETWORK_URL" in caught.value.hint


def test_without_any_store_there_is_no_place() -> None:
    """The error names the setting that would help."""
    with pytest.raises(SettingError, match=r"there is no store for incremental backups$") as caught:
        TierStrategy(()).place(BackupType.INCREMENTAL)
    assert "STRATA_LOCAL_URL" in caught.value.hint


AFTER = {BackupType.FULL: 30}


def test_nothing_moves_unless_it_is_asked_for() -> None:
    """Off by default; without an ARCHIVE it is said that nothing can."""
    old = [entry("a", age=days(40)), entry("b")]
    assert not any(TierStrategy(StorageTier).moves(old, NOW).model_dump().values())
    without = TierStrategy({LOCAL}, archive_after_days=AFTER).moves(old, NOW)
    assert without.copies == ()
    assert without.reasons == ("nothing moves to ARCHIVE because STRATA_ARCHIVE_URL is not set",)


def test_an_old_backup_is_copied_and_then_released() -> None:
    """The release comes only when a good copy lies in ARCHIVE."""
    strategy = TierStrategy(StorageTier, archive_after_days=AFTER)
    plan = strategy.moves([entry("a", age=days(40)), entry("s", "snapshot", days(40)), entry("b")], NOW)
    assert [(move.backup_id, move.source, move.target) for move in plan.copies] == [("a", LOCAL, ARCHIVE)]
    assert plan.copies[0].reason == "full backups move after 30 days, and it has no copy in ARCHIVE"
    assert plan.releases == ()
    there = entry("a", age=days(40), copies=(copy(NETWORK), copy(CLOUD), copy(ARCHIVE, verified_at=None)))
    plan = strategy.moves([there, entry("b")], NOW)
    assert [(move.backup_id, move.source) for move in plan.releases] == [("a", NETWORK), ("a", CLOUD)]
    assert plan.copies == ()


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"pinned": True}, "it is pinned"),
        ({"legal_hold": True}, "it is under legal hold"),
        ({"removal_marked_at": NOW}, "it is marked for removal"),
        ({"copies": (copy(damaged=True),)}, "every copy that could be moved is damaged"),
        ({"copies": (copy(), copy(ARCHIVE, damaged=True))}, "its copy in ARCHIVE is damaged"),
        (
            {"copies": (copy(CLOUD, locked_until=NOW + days(2)), copy(ARCHIVE))},
            "its copy in CLOUD is locked until 27 Nov 2026 12:00",
        ),
    ],
)
def test_what_stays_though_it_is_old_says_why(facts: dict[str, Any], reason: str) -> None:
    """Nothing is moved that somebody holds, or whose only good copy it would be."""
    plan = TierStrategy(StorageTier, archive_after_days=AFTER).moves(
        [entry("a", age=days(40), **facts), entry("b")], NOW
    )
    assert (plan.copies, plan.releases) == ((), ())
    assert [(one.name, one.reason) for one in plan.left] == [("a", reason)]


def test_the_last_good_one_stays_at_hand() -> None:
    """The only good FULL is not sent where it takes hours to come back from."""
    newer = entry("b", age=days(1), copies=(copy(damaged=True),))
    plan = TierStrategy(StorageTier, archive_after_days=AFTER).moves([entry("a", age=days(40)), newer], NOW)
    assert [one.reason for one in plan.left] == ["it is the last good full backup"]
    assert plan.copies == ()


def test_what_a_backup_lacks_is_what_its_placement_names_and_no_store_holds() -> None:
    """Nothing of one that goes, or that moved to ARCHIVE by its age."""
    strategy = TierStrategy(StorageTier, archive_after_days={BackupType.FULL: 30})
    assert strategy.lacking(entry(), NOW) == (NETWORK, CLOUD)
    assert strategy.lacking(entry(copies=(copy(NETWORK),)), NOW) == (CLOUD,)
    assert strategy.lacking(entry(removal_marked_at=NOW), NOW) == ()
    archived = (copy(ARCHIVE),)
    assert strategy.lacking(entry(age=days(31), copies=archived), NOW) == ()
    assert strategy.lacking(entry(age=days(29), copies=archived), NOW) == (NETWORK, CLOUD)
    assert strategy.lacking(entry(age=days(31)), NOW) == (NETWORK, CLOUD)
    with pytest.raises(SettingError):
        TierStrategy([ARCHIVE]).lacking(entry(), NOW)
