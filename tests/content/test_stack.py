"""A stack seen as one: the topmost row of each key decides, as a dictionary of dictionaries would have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strata.content.index import INDEX_SCHEMA, LISTED_SCHEMA, SortedRows
from strata.content.stack import Overtaken, view
from tests.content.listed import Listed, Name, block_rows, hashed_names, in_blocks, listed

Layers = Sequence[Mapping[Name, Listed]]
"""Bottom first; each layer has a key once."""


@st.composite
def stacks(draw: st.DrawFn) -> Layers:
    """Layers over a few keys, some of equal hashes, in a few segments; tombstones also of what no layer below has."""
    known = draw(hashed_names)
    names = st.lists(st.sampled_from(sorted(known)), unique=True)
    return [
        {name: _row(draw, known[name], name, number) for name in draw(names)}
        for number in range(draw(st.integers(0, 4)))
    ]


def _row(draw: st.DrawFn, key_hash: int, name: Name, layer: int) -> Listed:
    tombstone, segment = draw(st.booleans()), draw(st.integers(0, 1))
    mark = draw(st.none() | st.just(bytes(16)))
    size = 0 if tombstone else draw(st.integers(0, 2**40))
    print_ = draw(st.binary(min_size=15, max_size=15)) + bytes([layer])
    return Listed(key_hash, *name, fingerprint=print_, size=size, mark=mark, segment=segment, tombstone=tombstone)


def indexes(layers: Layers, rows_of_a_block: int = 3) -> list[SortedRows]:
    """The layers' indexes."""
    return [in_blocks(listed(layer.values(), INDEX_SCHEMA), rows_of_a_block) for layer in layers]


def topmost(layers: Layers) -> dict[Name, Listed]:
    """What a dictionary says that the stack holds."""
    merged: dict[Name, Listed] = {}
    for layer in layers:
        merged |= layer
    return {name: row for name, row in merged.items() if not row.tombstone}


@pytest.mark.usefixtures("_range_rows")
@settings(max_examples=100)
@given(stacks(), block_rows)
def test_the_view_is_what_a_dictionary_says(layers: Layers, rows_of_a_block: int) -> None:
    """Every key whose topmost row is a record, once, with that row's columns, in order of hash."""
    tables = list(view(indexes(layers, rows_of_a_block)))
    assert all(table.schema == LISTED_SCHEMA for table in tables)
    rows = [Listed(**row) for table in tables for row in table.to_pylist()]
    assert [row.key_hash for row in rows] == sorted(row.key_hash for row in rows)
    known = [(row.name, row.key_hash, row.fingerprint, row.size, row.mark) for row in rows]
    held = topmost(layers).values()
    assert sorted(known, key=lambda row: row[0]) == sorted(
        ((row.name, row.key_hash, row.fingerprint, row.size, row.mark) for row in held), key=lambda row: row[0]
    )


@pytest.mark.usefixtures("_range_rows")
@settings(max_examples=100)
@given(stacks(), block_rows)
def test_what_is_overtaken_is_what_a_dictionary_says(layers: Layers, rows_of_a_block: int) -> None:
    """A record of a layer counts if and only if no higher layer has a row for its key."""
    found, held = Overtaken.of(indexes(layers, rows_of_a_block)), topmost(layers)
    for number, layer in enumerate(layers):
        for name, row in layer.items():
            if not row.tombstone:
                assert is_lost(found, number, row) == (held.get(name) is not row)
    assert found.records == len(held)
    present = np.concatenate([np.empty(0, np.uint64), *found.present]).tolist()
    assert present == sorted(row.key_hash for row in held.values())
    assert all((np.diff(hashes.astype(object)) >= 0).all() for hashes in found.hashes.values())


def is_lost(found: Overtaken, layer: int, row: Listed) -> bool:
    """Whether a row of a layer counts no more."""
    place = layer, row.segment
    return row.key_hash in found.hashes.get(place, np.empty(0, np.uint64)).tolist() or row.name in found.keys.get(
        place, set()
    )


A: Final = Listed(7, key=b"a", segment=0)
B: Final = Listed(7, key=b"b", segment=0)


def test_of_two_keys_of_one_hash_in_one_segment_one_can_be_overtaken() -> None:
    """The other still counts: such keys are told apart by name, all others by hash alone."""
    found = Overtaken.of(indexes([{A.name: A, B.name: B}, {A.name: A}]))
    assert found.keys == {(0, 0): {A.name}}
    assert (is_lost(found, 0, A), is_lost(found, 0, B), is_lost(found, 1, A)) == (True, False, False)
    assert found.records == 2


@pytest.mark.parametrize("layers", [[], [{}], [{}, {}]], ids=len)
def test_a_stack_of_nothing_holds_nothing(layers: Layers) -> None:
    """No layers, or empty ones: no rows, and nothing that is overtaken."""
    assert [table.num_rows for table in view(indexes(layers))] == [0]
    found = Overtaken.of(indexes(layers))
    assert (found.records, found.hashes, found.keys) == (0, {}, {})


def test_a_tombstone_over_nothing_changes_nothing() -> None:
    """And one that is overtaken itself gives way to the record above it."""
    grave = Listed(7, key=b"a", segment=1, tombstone=True)
    assert topmost([{A.name: grave}]) == {}
    assert Overtaken.of(indexes([{A.name: grave}])).records == 0
    assert Overtaken.of(indexes([{A.name: A}, {A.name: grave}])).records == 0
    assert Overtaken.of(indexes([{A.name: A}, {A.name: grave}, {A.name: A}])).records == 1
