"""Which parts of a tier a backup lacks that earlier ones held: tables, databases, prefixes."""

from __future__ import annotations

import pytest

from strata.model.copies import CatalogueEntry
from strata.model.coverage import Coverage, DoubtKind, Parts, SourceKind
from strata.model.tier import Tier
from strata.planning.completeness import History
from strata.planning.goodness import Judgement
from strata.planning.parts import lost, names_lost
from tests.planning.entries import entry


def test_what_a_wider_part_covers_is_not_lost() -> None:
    """A path covers all that lies below it, and itself; the empty one covers the whole tier."""
    inner, outer, whole, other = Parts("k", ("a/b",)), Parts("k", ("a",)), Parts("k", ("",)), Parts("k", ("ab",))
    assert [lost(inner, now) for now in (inner, outer, whole, other)] == [0, 0, 0, 1]
    assert [lost(before, inner) for before in (outer, whole)] == [1, 1]


@pytest.mark.parametrize(
    ("before", "now", "count"),
    [
        (("a", "b", "c"), ("a",), 2),
        (("a", "b"), ("a", "b", "c"), 0),
        (("a", "b"), ("c", "d"), 2),
        ((), ("a",), 0),
        (("a", "b"), (), 2),
    ],
)
def test_each_part_that_went_counts_and_none_that_came(
    before: tuple[str, ...], now: tuple[str, ...], count: int
) -> None:
    """A backup that is not made yet tells nothing of its parts."""
    assert lost(Parts("k", before), Parts("k", now)) == count
    assert lost(Parts("k", before), Parts()) == 0


def test_marks_of_two_keys_are_compared_by_their_number() -> None:
    """After a rotation of the keyring nobody can say which they are; fewer are fewer all the same."""
    assert lost(Parts("k", ("a", "b")), Parts("l", ("c", "d"))) == 0
    assert lost(Parts("k", ("a", "b")), Parts("l", ("c",))) == 1


def test_lost_parts_have_names() -> None:
    """As the descriptions of both backups tell them; steps of a prefix are joined again."""
    assert names_lost(Tier.WARM, [["public.a"], ["public.b"]], [["public.b"]]) == ["public.a"]
    assert names_lost(Tier.WARM, [["public.a", "public.a_2026"]], [["public.b"]]) == ["public.a_2026"]
    assert names_lost(Tier.COLD, [["cold/", "sub/"]], [["cold/", "other/"]]) == ["cold/sub/"]
    assert names_lost(Tier.COLD, [[]], [["cold/"]]) == ["everything"]


def held(name: str, *marks: str, kind: str = "full", tier: Tier = Tier.WARM) -> CatalogueEntry:
    """A backup of some parts of a tier."""
    covered = Coverage(tier, SourceKind.LIVE, records=100, parts=Parts("k", marks))
    return entry(name, kind, generation=int(name[1:]), covers=(covered,))


def told(*backups: CatalogueEntry) -> list[str]:
    """What is told of the last of these."""
    history = History()
    return [[doubt.sentence for doubt in history.add(one)] for one in backups][-1]


def test_a_table_that_an_earlier_backup_held_is_missed_by_every_type() -> None:
    """However many records the others hold, and whichever type held it; one that came is no doubt."""
    lacks = "WARM (PostgreSQL) lacks 1 of the 3 tables that earlier backups held"
    for kind in ("full", "incremental", "snapshot"):
        assert told(held("b1", "a", "b", "c"), held("b2", "a", "b", kind=kind)) == [lacks]
    assert told(held("b1", "a", "b"), held("b2", "a", "b", "c")) == []
    assert told(held("b1", "a", "b"), held("b2", "a", "b", "c"), held("b3", "a", "b")) == [lacks]


def test_the_word_is_that_of_the_tier() -> None:
    """Databases of Redis, the prefix of a bucket; the one table is the table."""
    assert told(held("b1", "0", "3", tier=Tier.HOT), held("b2", "0", tier=Tier.HOT)) == [
        "HOT (Redis) lacks 1 of the 2 databases that earlier backups held"
    ]
    assert told(held("b1", "a", tier=Tier.COLD), held("b2", "a/b", tier=Tier.COLD)) == [
        "COLD (S3) does not cover the prefix that earlier backups covered"
    ]
    assert told(held("b1", "a"), held("b2", "b")) == ["WARM (PostgreSQL) lacks the table that earlier backups held"]


def test_a_lost_table_is_missed_until_a_person_accepts_it() -> None:
    """The doubt stays with each backup, freezes what is removed, and ends for every type with one acceptance."""
    whole, narrow = held("b1", "a", "b"), held("b2", "a", kind="incremental")
    assert told(whole, narrow, held("b3", "a")) != []
    judgement = Judgement([whole, narrow])
    (doubt,) = judgement.doubts(narrow)
    assert (doubt.kind, doubt.tier, doubt.against) == (DoubtKind.PART_MISSING, Tier.WARM, "b1")
    assert judgement.frozen
    assert judgement.latest() == [whole]
    accepted = narrow.model_copy(update={"accepted": True})
    assert told(whole, accepted, held("b3", "a")) == []
    assert told(whole, accepted, held("b3", "b")) != []
