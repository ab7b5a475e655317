"""What earlier backups make one expect: nothing is missed in silence, and what was accepted is asked once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given

from strata.model.backup_type import BackupType
from strata.model.copies import CatalogueEntry
from strata.model.coverage import Coverage, DoubtKind, SourceKind
from strata.model.tier import Tier
from strata.planning.completeness import History, doubts_about, doubts_before
from tests.planning.entries import catalogues, entry

LIVE, HANDED = SourceKind.LIVE, SourceKind.HANDED


def made(
    name: str,
    kind: str = "full",
    *,
    source: SourceKind = LIVE,
    patterns: tuple[str, ...] = ("*",),
    accepted: bool = False,
    **records: int | None,
) -> CatalogueEntry:
    """A backup with so many records of each tier; None is a tier that could not be read."""
    covers = tuple(Coverage(Tier(tier), source, patterns, count) for tier, count in records.items())
    return entry(name, kind, generation=int(name.strip("abcdefgh") or 0), covers=covers, accepted=accepted)


def test_a_backup_whose_tiers_were_not_cut_together_is_in_doubt() -> None:
    """Whatever it holds, until somebody accepts it; the sentence names the tier and what was lost."""
    whole = made("a1", hot=10, warm=10)
    torn = whole.covers[0]._replace(torn="it was collected again")
    late = whole.covers[1]._replace(late=3)
    history = History()
    assert history.add(whole) == ()
    (doubt,) = history.add(whole.model_copy(update={"covers": (torn, late)}))
    assert (doubt.kind, doubt.tier) == (DoubtKind.TORN, Tier.HOT)
    assert doubt.sentence == "HOT (Redis) may be of another moment than the other tiers: it was collected again"


def test_a_backup_of_a_half_restored_tier_is_in_doubt_and_changes_no_expectation() -> None:
    """Its sentence is the doubt; the next backup is compared with those before it, and a person can accept it."""
    whole = made("a1", hot=10)
    mixture = whole.model_copy(update={"covers": (whole.covers[0]._replace(half="a mixture", records=90),)})
    history = History()
    assert history.add(whole) == ()
    (doubt,) = history.add(mixture)
    assert (doubt.kind, doubt.tier, doubt.sentence) == (DoubtKind.HALF_RESTORED, Tier.HOT, "a mixture")
    assert history.expected(whole.backup_type, whole.covers)[0].last == 10
    history.add(mixture.model_copy(update={"accepted": True}))
    assert history.expected(whole.backup_type, whole.covers)[0].last == 90


def told(backups: Sequence[CatalogueEntry]) -> list[str]:
    """The sentences about the last of these, in their order."""
    history = History()
    return [[doubt.sentence for doubt in history.add(one)] for one in backups][-1]


@pytest.mark.parametrize(
    ("last", "sentences"),
    [
        ({"hot": 10, "warm": 10}, []),
        ({"hot": 10, "warm": 5}, []),
        ({"hot": 10, "warm": 4}, ["WARM (PostgreSQL) has 4 records, less than half of the usual 10"]),
        ({"hot": 10, "warm": 0}, ["WARM (PostgreSQL) has no records; the backup before held 10"]),
        ({"hot": 10}, ["WARM (PostgreSQL) is missing; the last 2 full backups held it"]),
        (
            {"hot": 10, "warm": None},
            ["WARM (PostgreSQL) is missing because it could not be read; the last 2 full backups held it"],
        ),
        ({"hot": 10, "warm": 10, "cold": 1}, []),
        ({"hot": 10, "warm": 10, "cold": 0}, ["COLD (S3) has no records"]),
    ],
)
def test_what_a_backup_lacks_is_told(last: dict[str, Any], sentences: list[str]) -> None:
    """A tier that is missing, empty, or has lost more than half of its records, each in one sentence."""
    usual: dict[str, Any] = {"hot": 10, "warm": 10}
    assert told([made("a1", **usual), made("a2", **usual), made("a3", **last)]) == sentences


def test_the_first_backup_must_only_not_be_empty() -> None:
    """Nothing is expected before there is one: what it holds not is what nobody configured."""
    assert told([made("a1", hot=1)]) == []
    assert told([made("a1", hot=1, warm=0)]) == ["WARM (PostgreSQL) has no records"]
    failed = "WARM (PostgreSQL) is missing because it could not be read"
    assert told([made("a1", "emergency", hot=1, warm=None)]) == [failed]


def test_a_scope_or_a_source_that_changed_is_told() -> None:
    """Fewer keys than before, or from elsewhere; more keys are no loss."""
    narrow = made("a2", patterns=("position:*",), hot=10)
    assert told([made("a1", hot=10), narrow]) == [
        "HOT (Redis) covers only the keys position:*; the last full backup covered *"
    ]
    assert told([made("a1", patterns=("position:*",), hot=10), made("a2", hot=10)]) == []
    other = made("a2", source=SourceKind.STATE_MANAGER, hot=10)
    assert told([made("a1", hot=10), other]) == [
        "HOT (Redis) was read through the state manager; the last full backup read it from its service"
    ]


def test_numbers_are_compared_over_types() -> None:
    """An INCREMENTAL knows how many records a FULL held; a SNAPSHOT, of other keys, does not."""
    full = made("a1", hot=100, warm=100)
    assert told([full, made("a2", "incremental", hot=100, warm=100)]) == []
    assert told([full, made("a2", "incremental", hot=10, warm=100)]) == [
        "HOT (Redis) has 10 records, less than half of the usual 100"
    ]
    assert told([full, made("a2", "snapshot", patterns=("position:*",), hot=10, warm=1)]) == []


@pytest.mark.parametrize("kind", ["incremental", "differential", "snapshot", "emergency"])
def test_the_first_of_a_type_is_expected_to_hold_the_tiers_of_a_full(kind: str) -> None:
    """Whoever lost a variable before it is told so; what a person accepts is what the next of the type must hold."""
    full, scope = made("a1", hot=100, warm=100), ("position:*",)
    missing = "WARM (PostgreSQL) is missing; the last full backup held it"
    assert told([full, made("a2", kind, patterns=scope, hot=10)]) == [missing]
    assert (
        told([full, made("a2", kind, patterns=scope, hot=10, accepted=True), made("a3", kind, patterns=scope, hot=10)])
        == []
    )
    assert told([made("a1", hot=100), made("a2", kind, patterns=scope, hot=10)]) == []


def test_a_doubt_stays_until_it_is_accepted_and_then_is_told_no_more() -> None:
    """A backup in doubt lowers no expectation; one that a person accepted is what is expected from then on."""
    lost = [made(f"a{number}", hot=10, warm=0) for number in range(2, 6)]
    assert told([made("a1", hot=10, warm=10), *lost]) != []
    accepted = made("a2", hot=10, warm=0, accepted=True)
    assert told([made("a1", hot=10, warm=10), accepted, *lost[1:]]) == []
    gone = made("a2", hot=10, accepted=True)
    assert told([made("a1", hot=10, warm=10), gone, made("a3", hot=10)]) == []
    assert told([made("a1", hot=10, warm=10), gone, made("a3", warm=10)]) == [
        "HOT (Redis) is missing; the last full backup held it"
    ]


def test_an_empty_tier_is_settled_once() -> None:
    """Where a service has nothing in a tier from the start one acceptance is enough, for every type of that scope."""
    first = made("a1", hot=10, cold=0, accepted=True)
    later = [made(f"a{number}", hot=10, cold=0) for number in range(2, 5)]
    assert [told([first, *later[:count]]) for count in (1, 2, 3)] == [[], [], []]
    assert told([first, made("a2", "incremental", hot=10, cold=0)]) == []
    assert told([first, made("a2", hot=10, cold=5), made("a3", hot=10, cold=0)]) == [
        "COLD (S3) has no records; the backup before held 5"
    ]


def test_a_tier_is_not_called_empty_where_only_some_keys_were_asked_for() -> None:
    """The sentence says that none of the covered keys are there: the tier may be full of others."""
    assert told([made("a1", "emergency", patterns=("position:*",), hot=1, warm=0)]) == [
        "WARM (PostgreSQL) has no records of the keys that the backup covers"
    ]


def test_a_doubt_about_one_tier_hides_none_about_another() -> None:
    """While an empty tier waits to be accepted, the other tiers are expected as ever."""
    usual = [made(f"a{number}", hot=10, cold=0) for number in (1, 2)]
    assert told([*usual, made("a3", cold=0)]) == [
        "HOT (Redis) is missing; the last 2 full backups held it",
        "COLD (S3) has no records",
    ]


def test_handed_over_state_is_expected_to_be_what_it_is() -> None:
    """A document of one key after live backups is no loss of theirs, but an empty one is told; neither lowers them."""
    live = made("a1", hot=100, warm=100)
    assert told([live, made("a2", source=HANDED, hot=1)]) == []
    assert told([live, made("a2", source=HANDED, hot=0)]) == ["HOT (Redis) has no records"]
    assert told([live, made("a2", source=HANDED, hot=1), made("a3", hot=40, warm=100)]) == [
        "HOT (Redis) has 40 records, less than half of the usual 100"
    ]


def test_the_usual_number_is_the_median_of_the_last_ten() -> None:
    """One backup of an unusual hour changes little, and growth is followed."""
    grown = [made(f"a{number}", hot=10 * number) for number in range(1, 31)]
    assert told([*grown, made("a31", hot=128)]) == []
    assert told([*grown, made("a31", hot=127)]) == ["HOT (Redis) has 127 records, less than half of the usual 255"]


def test_what_is_missing_is_known_before_anything_is_read() -> None:
    """A plan tells missing tiers and scopes, and cannot tell numbers."""
    history = History()
    history.add(made("a1", hot=10, warm=10))
    covers = [Coverage(Tier.HOT, LIVE, ("position:*",))]
    expected = history.expected(BackupType.FULL, covers)
    kinds = [doubt.kind for doubt in doubts_before(BackupType.FULL, expected, covers)]
    assert kinds == [DoubtKind.NARROWER, DoubtKind.MISSING]
    whole = [Coverage(tier, LIVE) for tier in (Tier.HOT, Tier.WARM)]
    expected = history.expected(BackupType.FULL, whole)
    assert doubts_before(BackupType.FULL, expected, whole) == ()
    counted = [Coverage(Tier.HOT, LIVE, records=10), Coverage(Tier.WARM, LIVE, records=2)]
    assert [doubt.kind for doubt in doubts_about(BackupType.FULL, expected, counted)] == [DoubtKind.FEWER]


@given(catalogues(doubts=True))
def test_the_quick_way_says_the_same_as_the_long_one(backups: Sequence[CatalogueEntry]) -> None:
    """Whatever was before, a backup that is as usual is in no doubt by the whole comparison either."""
    history = History()
    for one in sorted(backups, key=lambda backup: backup.generation):
        long = doubts_about(one.backup_type, history.expected(one.backup_type, one.covers), one.covers)
        assert history.add(one) == long
