"""The comparison with a baseline: what a dictionary says, however hashes collide and however often a key was read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strata.content.diff import Comparison, Counts, match
from strata.content.index import CLAIMED, LISTED_SCHEMA, NOWHERE, PART_SCHEMA, READ, UNREAD
from strata.errors import IntegrityError
from tests.content.listed import Listed, Name, block_rows, hashed_names, in_blocks, listed

PRINTS: Final = [bytes([number]) * 16 for number in (1, 2, 3)]
"""Fingerprints of a few contents: so few that many rows are as before."""


@dataclass(frozen=True)
class Case:
    """Rows as they were read, part by part, and the baseline they are compared with."""

    parts: Sequence[Sequence[Listed]]
    before: Mapping[Name, Listed]
    block_rows: int

    def comparison(self) -> Comparison:
        """The comparison of them."""
        parts = [in_blocks(listed(rows, PART_SCHEMA), self.block_rows) for rows in self.parts]
        return Comparison(parts, [in_blocks(listed(self.before.values(), LISTED_SCHEMA), self.block_rows)])


@dataclass
class Found:
    """What came of it, over all ranges."""

    kept: list[Listed]
    gone: list[Listed]
    dropped: set[tuple[int, int]]
    counts: Counts


def found(comparison: Comparison) -> Found:
    """Go through the ranges."""
    kept, gone = [], []
    hashes: list[int] = []
    for difference in comparison.differences():
        assert (difference.kept.schema, difference.gone.schema) == (PART_SCHEMA, LISTED_SCHEMA)
        kept += [Listed(**row) for row in difference.kept.to_pylist()]
        gone += [Listed(**row) for row in difference.gone.to_pylist()]
        hashes += difference.kept["key_hash"].to_pylist()
    assert hashes == sorted(hashes)
    dropped = [(segment, row) for segment in range(1000) for row in comparison.dropped.of(segment)]
    assert len(dropped) == len(set(dropped))
    return Found(kept, gone, set(dropped), comparison.counts)


def expected(case: Case) -> Found:
    """What a dictionary says."""
    counts, kept = Counts(), []
    last = {row.name: row for rows in case.parts for row in rows}
    for name, row in last.items():
        before = case.before.get(name)
        if before and (row.claim == UNREAD or row.fingerprint == before.fingerprint):
            counts.unchanged += 1
            counts.size += before.size
            continue
        kept.append(row)
        counts.size += row.size
        counts.new += before is None
        counts.changed += before is not None
        counts.drift += before is not None and row.claim == CLAIMED
    gone = [row for name, row in case.before.items() if name not in last]
    counts.gone = len(gone)
    written = {(row.segment, row.row) for rows in case.parts for row in rows if row.segment != NOWHERE}
    return Found(kept, gone, written - {(row.segment, row.row) for row in kept}, counts)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Keys that repeat, within a part and between parts; some different keys have equal hashes.

    What is as before may have been written or not, and may have been claimed to be so, or not read at all.
    """
    known = draw(hashed_names)
    names = st.sampled_from(sorted(known))
    contents = st.tuples(st.sampled_from(PRINTS), st.integers(0, 2**40))
    before = {
        name: Listed(known[name], *name, fingerprint=print_, size=size, mark=draw(st.none() | st.just(print_)))
        for name, (print_, size) in draw(st.dictionaries(names, contents, max_size=12)).items()
    }
    parts: list[list[Listed]] = []
    turn = 0
    for segment in range(draw(st.integers(0, 4))):
        rows: list[Listed] = []
        for name in draw(st.lists(names, max_size=10)):
            row = _read(draw, Listed(known[name], *name, turn=turn), before.get(name), segment)
            rows.append(row if row.segment == NOWHERE else replace(row, row=_written(rows)))
            turn += 1
        parts.append(rows)
    return Case(parts, before, draw(block_rows))


def _read(draw: st.DrawFn, row: Listed, before: Listed | None, segment: int) -> Listed:
    claim = draw(st.sampled_from([READ, CLAIMED, UNREAD] if before else [READ]))
    if claim == UNREAD:
        return replace(row, claim=UNREAD)
    print_ = draw(st.sampled_from(PRINTS))
    left_out = before is not None and before.fingerprint == print_ and draw(st.booleans())
    size = draw(st.integers(0, 2**40))
    return replace(row, claim=claim, fingerprint=print_, size=size, segment=NOWHERE if left_out else segment)


def _written(rows: Sequence[Listed]) -> int:
    return sum(row.segment != NOWHERE for row in rows)


def in_order(rows: Sequence[Listed]) -> list[Listed]:
    """Rows by hash and key."""
    return sorted(rows, key=lambda row: (row.key_hash, row.name))


@pytest.mark.usefixtures("_range_rows")
@settings(max_examples=80)
@given(cases())
def test_the_difference_is_what_a_dictionary_says(case: Case) -> None:
    """Each key once, the last read of it: kept where it is new or changed, gone where it was not read.

    The rows that are not to be stored are named, and no others; keys and bytes are counted.
    """
    now, model = found(case.comparison()), expected(case)
    assert in_order(now.kept) == in_order(model.kept)
    assert [(row.name, row.fingerprint) for row in in_order(now.gone)] == [
        (row.name, row.fingerprint) for row in in_order(model.gone)
    ]
    assert now.dropped == model.dropped
    assert now.counts == model.counts
    assert now.counts.present == len({row.name for rows in case.parts for row in rows})


@pytest.mark.usefixtures("_range_rows")
@settings(max_examples=40)
@given(cases())
def test_the_difference_laid_on_the_baseline_gives_what_was_read(case: Case) -> None:
    """Baseline, less what is gone, with what is kept laid over it: the records that were there."""
    difference = found(case.comparison())
    view = {name: row.fingerprint for name, row in case.before.items()}
    for row in difference.gone:
        del view[row.name]
    view |= {row.name: row.fingerprint for row in difference.kept}
    last = {row.name: row for rows in case.parts for row in rows}
    assert view == {
        name: case.before[name].fingerprint if row.claim == UNREAD else row.fingerprint for name, row in last.items()
    }


@pytest.mark.usefixtures("_range_rows")
@settings(max_examples=40)
@given(cases())
def test_without_a_baseline_each_key_is_kept_once(case: Case) -> None:
    """A first backup keeps the last read of every key, and drops what was read of it before."""
    parts, row = [], 0
    for rows in case.parts:
        written = [one for one in rows if one.claim != UNREAD]
        parts.append([replace(one, segment=0, row=row + at) for at, one in enumerate(written)])
        row += len(written)
    first = Case(parts, {}, case.block_rows)
    now, model = found(first.comparison()), expected(first)
    assert in_order(now.kept) == in_order(model.kept)
    assert (now.gone, now.dropped, now.counts) == ([], model.dropped, model.counts)
    assert now.counts.new == now.counts.present == len(now.kept)


A: Final = Listed(7, key=b"a", fingerprint=PRINTS[0], size=5)
B: Final = Listed(7, key=b"b", fingerprint=PRINTS[0], size=6)


def test_a_key_is_not_taken_for_another_of_its_hash() -> None:
    """The baseline's key is gone, and one of equal hash and content is new: nothing is called unchanged."""
    now = found(Case([[replace(B, segment=0)]], {A.name: A}, 8).comparison())
    assert ([row.name for row in now.kept], [row.name for row in now.gone]) == ([B.name], [A.name])
    assert now.counts == Counts(new=1, gone=1, size=6)


@pytest.mark.parametrize("claim", [UNREAD, READ])
def test_what_the_baseline_does_not_hold_cannot_be_unchanged(claim: int) -> None:
    """A key that was not read, or not written, and that the baseline lacks, fails the comparison: nothing is lost."""
    for before in ({}, {A.name: A}):
        with pytest.raises(IntegrityError, match="1 records were called unchanged"):
            found(Case([[replace(B, claim=claim)]], before, 8).comparison())


def test_what_was_left_out_must_be_equal() -> None:
    """A row that was not written because half its fingerprint matched is caught where the other half does not."""
    half = replace(A, fingerprint=A.fingerprint[:8] + bytes(8))
    with pytest.raises(IntegrityError, match="half equal"):
        found(Case([[half]], {A.name: A}, 8).comparison())


def test_nothing_compared_with_nothing_is_nothing() -> None:
    """A tier that is and was empty has no difference; one that became empty has only what is gone."""
    now = found(Comparison([]))
    assert (now.kept, now.gone, now.dropped, now.counts) == ([], [], set(), Counts())
    emptied = found(Case([], {A.name: A, B.name: B}, 1).comparison())
    assert (len(emptied.gone), emptied.counts) == (2, Counts(gone=2))


@given(st.data())
def test_rows_are_paired_by_key(data: st.DataObject) -> None:
    """Whatever hashes they share: every key that both tables have, and no other pair."""
    known = data.draw(hashed_names)
    names = st.lists(st.sampled_from(sorted(known)), unique=True)
    one, other = (listed([Listed(known[name], *name) for name in data.draw(names)], LISTED_SCHEMA) for _ in range(2))
    shuffled = other.take(pa.array(data.draw(st.permutations(range(other.num_rows))), pa.int64()))
    pairs = match(one, shuffled)
    left, right = (
        list(zip(rows["namespace"].to_pylist(), rows["key"].to_pylist(), strict=True)) for rows in (one, shuffled)
    )
    found_names = [(left[a], right[b]) for a, b in zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)]
    assert sorted(found_names) == sorted((name, name) for name in set(left) & set(right))
