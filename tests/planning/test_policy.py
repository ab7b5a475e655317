"""The policy: how old backups are against what is promised, and 3-2-1-1-0."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from strata.model.backup_type import BackupType
from strata.model.copies import CatalogueEntry
from strata.model.policy import PolicyLine, PolicyReport
from strata.model.tier import StorageTier
from strata.planning.policy import Promises, report, slack
from strata.planning.tables import CopyRule
from strata.planning.tier_strategy import TierStrategy
from tests.planning.entries import NOW, copy, days, entry

LOCAL, NETWORK, CLOUD, ARCHIVE = StorageTier
ALL = TierStrategy(StorageTier)
HOUR = timedelta(hours=1)


def told(entries: Sequence[CatalogueEntry], strategy: TierStrategy = ALL, **promises: Any) -> PolicyReport:
    return report(entries, strategy, Promises(**{"locking": frozenset({CLOUD}), **promises}), NOW)


def line(found: PolicyReport, beginning: str) -> PolicyLine:
    return next(one for one in found.lines if beginning in one.rule)


def whole(backup_id: str = "f", age: timedelta = 2 * HOUR, **facts: Any) -> CatalogueEntry:
    """A FULL as the table wants it."""
    copies = (copy(NETWORK), copy(CLOUD, locked_until=NOW + days(80)))
    return entry(backup_id, age=age, **{"copies": copies, **facts})


EMERGENCY = entry("e", "emergency", 3 * HOUR, copies=(copy(LOCAL), copy(ARCHIVE, verified_at=None)))
GOOD = [whole(), entry("d", "differential", HOUR), entry("i", "incremental", HOUR / 6), EMERGENCY]


def test_where_everything_is_as_promised_everything_holds() -> None:
    """One line for each promise and each number of the rule; nothing to do."""
    found = told(GOOD)
    assert found.holds
    assert [one.rule for one in found.lines] == [
        "full every 24 h",
        "incremental every 15 min",
        "differential every 6 h",
        "snapshot",
        "emergency",
        "every tier, every scope",
        "3 copies, the live state being one",
        "on 2 kinds of media",
        "1 offsite",
        "1 immutable",
        "0 errors",
    ]
    assert {one.advice for one in found.lines} == {""}
    assert line(found, "full every").finding == "the last good one is 2 h old (f)"
    assert line(found, "snapshot").finding == "promises nothing; there is no good one"
    assert line(found, "emergency").finding == "promises nothing; the last good one is 3 h old (e)"
    assert line(found, "3 copies").finding == "3 of the last full, 3 of the last emergency"


def test_a_backup_that_is_late_is_told_with_what_to_do() -> None:
    """Later than the interval and its slack; a tenth of it, five minutes at least."""
    assert (slack(timedelta(minutes=15)), slack(timedelta(hours=24))) == (timedelta(minutes=5), timedelta(hours=2.4))
    late = line(told([whole(age=27 * HOUR)]), "full every")
    assert (late.holds, late.finding) == (False, "the last good one is 27 h old (f)")
    assert late.advice.startswith("Run `strata backup full`")
    assert line(told([whole(age=26 * HOUR)]), "full every").holds


def test_a_fuller_backup_keeps_a_lesser_ones_promise() -> None:
    """A FULL just made is as good as an INCREMENTAL; the other way round it is not so."""
    found = told([whole(age=HOUR / 6)])
    assert line(found, "incremental every").holds
    assert line(found, "differential every").holds
    found = told([entry("i", "incremental", HOUR / 6)])
    assert not line(found, "full every").holds
    assert line(found, "full every").finding == "there is no good one"


def test_damaged_backups_keep_no_promise() -> None:
    """The last good one counts; what is marked for removal counts for nothing."""
    found = told([whole("old", 30 * HOUR), whole("new", HOUR, copies=(copy(damaged=True),))])
    assert not line(found, "full every").holds
    assert "(old)" in line(found, "full every").finding
    assert line(found, "0 errors").finding == "new in LOCAL is damaged"
    assert not line(told([whole(removal_marked_at=NOW)]), "full every").holds


def test_a_backup_of_the_future_keeps_no_promise() -> None:
    """Its age is not known."""
    found = line(told([whole(age=-days(1))]), "full every")
    assert (found.holds, found.advice) == (False, "Set the clock right.")


def test_promises_can_be_changed_and_taken_back() -> None:
    """A type of one's choice, or none."""
    promised = {BackupType.SNAPSHOT: HOUR, BackupType.INCREMENTAL: None}
    found = told([GOOD[0], entry("i", "incremental", days(9))], promised=promised)
    assert not line(found, "snapshot every 1 h").holds
    assert [one.rule for one in found.lines if one.rule.startswith("incremental")] == ["incremental"]
    old = line(found, "incremental")
    assert (old.holds, old.finding) == (True, "promises nothing; the last good one is 9 d old (i)")
    early = line(told([entry("i", "incremental", -days(1))], promised=promised), "incremental")
    assert (early.holds, early.finding) == (True, "promises nothing; i was made later than now")


def test_a_missing_copy_breaks_the_rule() -> None:
    """The copy in CLOUD is not there after an hour: copies, media, offsite and immutable do not hold."""
    found = told([whole(copies=(copy(NETWORK),))])
    short = line(found, "3 copies")
    assert (short.holds, short.possible, short.finding) == (False, True, "2 of the last full (f)")
    assert [one.holds for one in found.lines[-5:]] == [False, False, False, False, True]
    assert not found.holds


def test_a_copy_that_is_just_being_made_is_not_missing() -> None:
    """Within the hour the backup before it is asked."""
    assert line(told([whole("a", 25 * HOUR), whole("b", HOUR / 2, copies=(copy(NETWORK),))]), "3 copies").holds


STRICT = CopyRule()
"""3-2-1-1-0, set by a person."""


def test_what_was_asked_for_and_cannot_hold_names_the_setting() -> None:
    """One store: one copy beside the live state is all there can be."""
    alone: Any = {"strategy": TierStrategy({LOCAL}), "locking": frozenset(), "copy_rule": STRICT}
    found = told([entry("f", age=2 * HOUR)], **alone)
    short = line(found, "3 copies")
    assert (short.holds, short.possible, short.finding) == (False, False, "at most 2 with the configured stores")
    assert "STRATA_CLOUD_URL" in short.advice
    assert "STRATA_CLOUD_LOCK" in line(found, "1 immutable").advice
    fresh = [entry("f", age=2 * HOUR), entry("i", "incremental", HOUR / 6)]
    whole_rule = told([*fresh, entry("d", "differential", HOUR)], **alone)
    assert not whole_rule.holds
    assert all(line.holds for line in whole_rule.lines if line.possible)
    less = told([*fresh, entry("d", "differential", HOUR)], TierStrategy({LOCAL}), copy_rule=CopyRule(2, 1, 0, 0, 0))
    assert less.holds


def test_without_a_rule_one_store_promises_what_it_can_keep() -> None:
    """It is fine with the copy that it holds, says what more would be better, and is not fine without that copy."""
    fresh = [entry("f", age=2 * HOUR), entry("i", "incremental", HOUR / 6), entry("d", "differential", HOUR)]
    found = told(fresh, TierStrategy({LOCAL}), locking=frozenset())
    assert found.holds
    rules = [one.rule for one in found.lines[-5:]]
    assert rules == [
        "2 copies, the live state being one",
        "on 1 kind of media",
        "0 offsite",
        "0 immutable",
        "0 errors",
    ]
    assert line(found, "2 copies").advice.startswith("3 would be better. Set STRATA_NETWORK_URL")
    assert line(found, "0 immutable").finding == "at most 0 with the configured stores"
    assert [one.possible for one in found.lines[-5:]] == [True, True, False, False, True]
    hurt = told([entry("f", age=2 * HOUR, copies=(copy(damaged=True),)), *fresh[1:]], TierStrategy({LOCAL}))
    assert not hurt.holds
    lost = told([entry("f", age=2 * HOUR, copies=())], TierStrategy({LOCAL}), promised=dict.fromkeys(BackupType))
    assert lost.holds
    assert line(lost, "2 copies").finding.startswith("there is no good full or")


def test_without_a_rule_two_stores_promise_two_copies() -> None:
    """What the second one lacks is missing, and what a third one could keep is not."""
    both = TierStrategy({LOCAL, CLOUD})
    found = told([entry("f", age=2 * HOUR, copies=(copy(LOCAL),))], both, locking=frozenset())
    assert (line(found, "3 copies").holds, line(found, "1 offsite").holds) == (False, False)
    assert (line(found, "0 immutable").holds, line(found, "0 immutable").possible) == (True, False)


def test_a_lock_that_is_over_is_none() -> None:
    """Immutable is what is locked now."""
    found = told([whole(copies=(copy(NETWORK), copy(CLOUD, locked_until=NOW - HOUR)))])
    assert not line(found, "1 immutable").holds


def test_a_copy_that_was_not_verified_for_long_is_an_error() -> None:
    """Unless it lies where it cannot be read at once."""
    found = line(
        told([whole(copies=(copy(NETWORK, verified_at=NOW - days(31)), copy(CLOUD, verified_at=None)))]), "0 err"
    )
    assert (found.holds, found.finding) == (False, "f in NETWORK has not been verified for 30 d, and 1 more")
    assert line(told([EMERGENCY]), "0 errors").holds
    assert line(told([whole(copies=(copy(damaged=True), copy(CLOUD)))], copy_rule=CopyRule(errors=1)), "1 err").holds


def test_a_rule_asks_for_no_more_than_it_says() -> None:
    """A number that is 0 has no line."""
    rules = [one.rule for one in told(GOOD, copy_rule=CopyRule(2, 1, 0, 0, 0)).lines[-3:]]
    assert rules == ["2 copies, the live state being one", "on 1 kind of media", "0 errors"]


def test_without_any_store_or_backup_there_is_still_a_report() -> None:
    """Nothing holds, and each line says what to do."""
    found = told([], TierStrategy(()))
    assert not found.holds
    assert all(one.advice for one in found.lines if not one.holds)
