"""Retention: what is kept and why, whatever the clocks say."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strata.model.backup_type import BackupType
from strata.model.copies import CatalogueEntry
from strata.model.removal import RetentionPlan
from strata.planning.goodness import Judgement
from strata.planning.retention import DAYS, RetentionService
from strata.planning.tables import KEEP_RULES, by_type, keep_rules
from strata.planning.tables import days as as_days
from tests.planning.entries import NOW, catalogues, copy, days, entry

NO_DAYS = dict.fromkeys(BackupType, 0)
KEEPS = st.dictionaries(
    st.sampled_from(BackupType), st.dictionaries(st.sampled_from(KEEP_RULES), st.integers(-1, 5), min_size=1)
)


def kept(plan: RetentionPlan) -> dict[str, tuple[str, ...]]:
    return {one.backup_id: one.reasons for one in plan.decisions if one.keep}


def removed(plan: RetentionPlan) -> set[str]:
    return {one.backup_id for one in plan.removed}


@pytest.mark.parametrize(("backup_type", "kept_days"), DAYS.items())
def test_each_type_has_its_days(backup_type: BackupType, kept_days: int) -> None:
    """The table: 90, 7, 30, 7, 180; a backup goes when its days are over, with the reason."""
    old = entry("old", backup_type, days(kept_days))
    young = entry("young", backup_type, days(kept_days) - timedelta(seconds=1))
    plan = RetentionService().decide([old, young, entry("last", backup_type)], NOW)
    assert removed(plan) == {"old"}
    (gone,) = plan.removed
    assert gone.reasons == (f"it is {kept_days} days old, {backup_type} backups are kept for {kept_days}",)


def test_every_reason_is_given() -> None:
    """A backup that many rules keep says all of them."""
    plan = RetentionService(keep={BackupType.FULL: {"last": 1, "daily": 2}}).decide(
        [entry("a", pinned=True, legal_hold=True)], NOW
    )
    assert kept(plan)["a"] == (
        "it is under legal hold",
        "it is pinned",
        "full backups are kept for 90 days",
        "last backup 1 of 1",
        "daily backup 1 of 2",
        "it is the last good full backup",
    )


def sundays() -> list[CatalogueEntry]:
    """One backup every Sunday at 11:00 for 12 weeks, the example of restic's documentation."""
    first = datetime(2019, 9, 1, 11, tzinfo=UTC)
    return [entry(f"w{week:02}", age=NOW - first - days(7 * week)) for week in range(12)]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({"daily": 4}, ["w08", "w09", "w10", "w11"]),
        ({"last": 2}, ["w10", "w11"]),
        ({"weekly": 3}, ["w09", "w10", "w11"]),
        ({"monthly": 2}, ["w08", "w11"]),
        ({"monthly": 3}, ["w04", "w08", "w11"]),
        ({"monthly": 5}, ["w00", "w04", "w08", "w11"]),
        ({"yearly": 3}, ["w00", "w11"]),
        ({"yearly": 1}, ["w11"]),
        ({"daily": 2, "monthly": 2}, ["w08", "w10", "w11"]),
        ({"daily": -1}, [f"w{week:02}" for week in range(12)]),
        ({"hourly": 0}, ["w11"]),
    ],
)
def test_keep_rules_are_those_of_restic(rules: dict[str, int], expected: list[str]) -> None:
    """By the calendar, latest of each, only those that have one, ORed; the oldest too while counts are left."""
    plan = RetentionService(NO_DAYS, {BackupType.FULL: rules}).decide(sundays(), NOW)
    assert sorted(kept(plan)) == expected


def test_weeks_begin_on_monday_and_go_over_the_new_year() -> None:
    """ISO weeks: Thursday 31 December 2026 and Friday 1 January 2027 are of one week."""
    at = [datetime(2026, 12, day, 9, tzinfo=UTC) for day in (27, 28, 31)] + [datetime(2027, 1, 1, 9, tzinfo=UTC)]
    made = [entry(f"d{number}", age=NOW - one) for number, one in enumerate(at)]
    plan = RetentionService(NO_DAYS, {BackupType.FULL: {"weekly": 2}}).decide(made, at[-1])
    assert sorted(kept(plan)) == ["d0", "d3"]


def test_a_damaged_backup_takes_no_place_in_a_rule() -> None:
    """The latest good one of the day is kept, not the latest one that nobody can restore."""
    broken = entry("broken", age=timedelta(hours=1), copies=(copy(damaged=True),))
    plan = RetentionService(NO_DAYS, {BackupType.FULL: {"daily": 1}}).decide(
        [entry("whole", age=timedelta(hours=2)), broken], NOW
    )
    assert removed(plan) == {"broken"}


def test_rules_count_each_type_by_itself() -> None:
    """A rule of one type neither keeps nor counts another's."""
    made = [entry(f"{kind}{age}", kind, days(age)) for kind in ("full", "snapshot") for age in (1, 2, 3)]
    plan = RetentionService(NO_DAYS, {BackupType.FULL: {"last": 2}}).decide(made, NOW)
    assert sorted(kept(plan)) == ["full1", "full2", "snapshot1"]


def test_one_made_later_than_now_freezes_everything() -> None:
    """Either that clock was ahead or this one is behind; pinning it says which, and removal goes on."""
    made = [entry("old", age=days(400)), entry("mid", age=days(300)), entry("ahead", age=-days(2))]
    plan = RetentionService().decide(made, NOW)
    assert removed(plan) == set()
    (sentence,) = plan.frozen
    assert "ahead (2026-11-27 12:00) was made later than now (2026-11-25 12:00 UTC)" in sentence
    assert "strata pin" in sentence
    assert kept(plan)["old"] == ("a clock lies, so nothing is removed",)
    settled = [*made[:2], made[2].model_copy(update={"pinned": True}), entry("good")]
    assert removed(RetentionService().decide(settled, NOW)) == {"old", "mid"}


def test_clocks_may_differ_a_little() -> None:
    """Some minutes are no lie."""
    made = [entry("old", age=days(400)), entry("ahead", age=-timedelta(minutes=4))]
    assert removed(RetentionService().decide(made, NOW)) == {"old"}


def test_a_jump_backwards_freezes_everything_while_it_lasts() -> None:
    """The latest generation has an earlier time: nobody can tell which clock is right."""
    made = [entry("old", age=days(400), generation=1), entry("b", age=days(1), generation=2)]
    jumped = entry("c", age=days(200), generation=3)
    plan = RetentionService().decide([*made, jumped], NOW)
    assert removed(plan) == set()
    assert "c (2026-05-09 12:00) was made after backups that have a later time" in plan.frozen[0]


def test_a_jump_that_is_over_keeps_only_what_it_made() -> None:
    """The clock was set back for one backup: it is kept and counted by no rule, and the others go by the rules."""
    made = [
        entry("old", age=days(400), generation=1),
        entry("jumped", age=days(2000), generation=2),
        entry("right", age=days(1), generation=3),
    ]
    plan = RetentionService(NO_DAYS, {BackupType.FULL: {"last": 2}}).decide(made, NOW)
    assert kept(plan)["jumped"] == ("its clock lies, so its age is not known",)
    assert "old" in kept(plan)
    assert plan.frozen == ()
    assert "jumped" in plan.notices[0]
    assert removed(RetentionService().decide(made, NOW)) == {"old"}


def test_a_lying_backup_takes_no_place_in_a_rule() -> None:
    """The last three are the three whose times are right."""
    made = [
        entry("old", age=days(400), generation=1),
        entry("b", age=days(10), generation=2),
        entry("jumped", age=days(300), generation=3),
        entry("right", age=days(1), generation=4),
    ]
    assert removed(RetentionService(NO_DAYS, {BackupType.FULL: {"last": 3}}).decide(made, NOW)) == set()


def test_pinning_the_one_that_was_ahead_frees_those_after_it() -> None:
    """A clock ahead in the past makes all later ones look wrong until somebody says which one is."""
    made = [
        entry("old", age=days(400), generation=1),
        entry("ahead", age=days(1), generation=2),
        entry("c", age=days(300), generation=3),
        entry("d", age=days(299), generation=4),
    ]
    assert removed(RetentionService().decide(made, NOW)) == set()
    made[1] = made[1].model_copy(update={"pinned": True})
    assert removed(RetentionService().decide(made, NOW)) == {"old", "c"}


@given(catalogues(lies=True, doubts=True), KEEPS)
def test_the_last_good_one_is_never_removed(made: list[CatalogueEntry], keep: dict[BackupType, dict[str, int]]) -> None:
    """Of no type, hence not of all; and what is pinned or held stays."""
    gone = removed(RetentionService(NO_DAYS, keep).decide(made, NOW))
    stays = [one for one in made if one.backup_id not in gone]
    assert not gone & {one.backup_id for one in made if one.pinned or one.legal_hold}
    good = Judgement(made).is_good
    for backup_type in BackupType:
        for found in (good, lambda one: bool(one.good_copies)):
            there = [one for one in made if one.backup_type is backup_type and found(one)]
            assert not there or max(there, key=lambda one: one.generation) in stays or found is not good
            assert not there or any(one.backup_type is backup_type and found(one) for one in stays)


@given(catalogues(lies=True), KEEPS, st.integers(0, 24 * 500), st.integers(0, 24 * 500))
def test_removal_only_grows_with_time(
    made: list[CatalogueEntry], keep: dict[BackupType, dict[str, int]], first: int, more: int
) -> None:
    """What goes at one moment goes at every later one too."""
    service, early = RetentionService(keep=keep), NOW + timedelta(hours=first)
    assert removed(service.decide(made, early)) <= removed(service.decide(made, early + timedelta(hours=more)))


@given(st.data(), catalogues(lies=True), KEEPS)
def test_the_order_of_the_entries_does_not_matter(
    data: st.DataObject, made: list[CatalogueEntry], keep: dict[BackupType, dict[str, int]]
) -> None:
    """The same backups in any order give the same plan."""
    service = RetentionService(keep=keep)
    assert service.decide(made, NOW) == service.decide(data.draw(st.permutations(made)), NOW)


@given(catalogues(lies=True), KEEPS)
def test_what_a_lying_clock_made_is_never_removed(
    made: list[CatalogueEntry], keep: dict[BackupType, dict[str, int]]
) -> None:
    """Neither one of the future nor one that is earlier than a backup before it."""
    gone = removed(RetentionService(NO_DAYS, keep).decide(made, NOW))
    ordered = sorted(made, key=lambda one: one.generation)
    for number, one in enumerate(ordered):
        honest = [before for before in ordered[:number] if not (before.pinned or before.legal_hold)]
        behind = any(before.created_at > one.created_at + timedelta(minutes=5) for before in honest)
        assert not (one.backup_id in gone and (behind or one.created_at > NOW + timedelta(minutes=5)))


@given(catalogues(), KEEPS)
def test_rules_only_add_to_what_is_kept(made: list[CatalogueEntry], keep: dict[BackupType, dict[str, int]]) -> None:
    """The rules are ORed: what several keep is the union of what each keeps."""
    together = set(kept(RetentionService(NO_DAYS, keep).decide(made, NOW)))
    alone = set(kept(RetentionService(NO_DAYS).decide(made, NOW)))
    for backup_type, rules in keep.items():
        for rule, count in rules.items():
            alone |= set(kept(RetentionService(NO_DAYS, {backup_type: {rule: count}}).decide(made, NOW)))
    assert together == alone


def test_the_example_of_the_page_is_what_happens() -> None:
    """docs/how-to/retention.md: the settings, the backups and the answers it shows."""
    page = Path("docs/how-to/retention.md").read_text()
    told = dict(re.findall(r'^(\w+) = "(.+)"$', page, re.MULTILINE))
    rows = re.findall(
        r"^\| `(\w+)` \| (\w+) \| ([\d-]+ [\d:]+) \|([^|]*)\| (keep|remove) \| (.*) \|$", page, re.MULTILINE
    )
    assert len(rows) == 8
    made = [
        entry(name, kind, NOW - datetime.fromisoformat(f"{at}+00:00"), pinned="pinned" in note)
        for name, kind, at, note, _, _ in rows
    ]
    named = {BackupType(name): text for name, text in by_type(told["retention_days"]).items()}
    rules = {BackupType(name): keep_rules(text) for name, text in by_type(told["keep"]).items()}
    plan = RetentionService({one: as_days(text) for one, text in named.items()}, rules).decide(made, NOW)
    answers = {one.backup_id: ("keep" if one.keep else "remove", "; ".join(one.reasons)) for one in plan.decisions}
    assert answers == {name: (answer, why) for name, _, _, _, answer, why in rows}
