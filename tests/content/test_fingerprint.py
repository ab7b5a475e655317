"""Fingerprints: equal for equal records, however they lie in memory, and different for all others."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strata.content.chunks import encode_refs
from strata.content.fingerprint import EMPTY_CHECKSUM, Fingerprinter, add_checksums, checksum
from tests.content.rows import SECRET, Row, any_row, any_rows, table

FINGERPRINTER = Fingerprinter(SECRET)
MOMENT = datetime(2030, 1, 2, 3, 4, 5, 6000, tzinfo=UTC)


def fingerprints(rows: Iterable[Row], by: Fingerprinter = FINGERPRINTER) -> list[bytes]:
    """The fingerprints of rows."""
    found: list[bytes] = by.fingerprints(table(list(rows))).to_pylist()
    return found


def key_hashes(rows: Iterable[Row], by: Fingerprinter = FINGERPRINTER) -> list[int]:
    """The key hashes of rows."""
    found: list[int] = by.key_hashes(table(list(rows))).tolist()
    return found


CHANGES: list[dict[str, Any]] = [
    {"namespace": "1"},
    {"namespace": ""},
    {"key": b"Key"},
    {"key": b""},
    {"key": b"key\0"},
    {"value": b"Value"},
    {"value": b"value\0"},
    {"value": b""},
    {"value": None},
    {"encoding": "redis/string"},
    {"encoding": None},
    {"expires_at": MOMENT},
    {"expires_at": MOMENT + timedelta(milliseconds=1)},
    {"expires_at": datetime(1970, 1, 1, tzinfo=UTC)},
    {"attrs": ""},
    {"attrs": "{}"},
    {"attrs": '{"a": 1}'},
    {"value": None, "chunks": b""},
    {"value": None, "chunks": encode_refs([(bytes(32), 5)])},
    {"value": None, "chunks": encode_refs([(bytes(32), 6)])},
]


def test_a_fingerprint_differs_with_whatever_belongs_to_the_record() -> None:
    """Key, value, encoding, expiry, namespace, attrs and chunks each change it; null, empty and zero are three."""
    rows = [Row(), *(replace(Row(), **change) for change in CHANGES)]
    found = fingerprints(rows)
    same = [(one, other) for one, other in itertools.combinations(range(len(rows)), 2) if found[one] == found[other]]
    assert [(rows[one], rows[other]) for one, other in same] == []


def test_the_time_of_the_last_change_is_no_change() -> None:
    """A record that was written again with the same content has the same fingerprint."""
    one, other = fingerprints([Row(), Row(modified_at=MOMENT)])
    assert one == other


@given(any_row, any_row)
def test_two_records_share_a_fingerprint_only_if_they_are_equal(one: Row, other: Row) -> None:
    """Equal records have equal fingerprints, and any two others have not."""
    first, second = fingerprints([one, other])
    assert (first == second) == (one == other)


@given(st.binary(max_size=12), st.text(max_size=6), st.binary(max_size=12), st.integers(0, 24), st.integers(0, 24))
def test_no_field_runs_into_its_neighbour(key: bytes, attrs: str, value: bytes, one: int, other: int) -> None:
    """Bytes moved over the border of two fields give another record: borders are part of the hash."""
    joined = key + attrs.encode() + value
    at, end = sorted((min(one, len(joined)), min(other, len(joined))))
    try:
        moved = Row(key=joined[:at], attrs=joined[at:end].decode(), value=joined[end:])
    except UnicodeDecodeError:
        return
    original = Row(key=key, attrs=attrs, value=value)
    first, second = fingerprints([original, moved])
    assert (first == second) == (original == moved)


@given(any_rows, st.data())
def test_fingerprints_do_not_depend_on_the_batches(rows: list[Row], data: st.DataObject) -> None:
    """Cut into batches anywhere, with dictionaries of their own, the rows have the fingerprints they have together."""
    whole = fingerprints(rows)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    parts = [table(rows[a:b]) for a, b in itertools.pairwise([0, *cuts, len(rows)])]
    assert FINGERPRINTER.fingerprints(pa.concat_tables(parts).unify_dictionaries()).to_pylist() == whole
    assert [one for part in parts for one in FINGERPRINTER.fingerprints(part).to_pylist()] == whole
    assert FINGERPRINTER.key_hashes(pa.concat_tables(parts)).tolist() == key_hashes(rows)


@given(any_rows, st.data())
def test_fingerprints_do_not_depend_on_slices(rows: list[Row], data: st.DataObject) -> None:
    """Rows that are a window into larger arrays hash as if they stood alone."""
    start = data.draw(st.integers(0, len(rows)))
    stop = data.draw(st.integers(start, len(rows)))
    window = table(rows).slice(start, stop - start)
    assert FINGERPRINTER.fingerprints(window).to_pylist() == fingerprints(rows)[start:stop]
    assert FINGERPRINTER.key_hashes(window).tolist() == key_hashes(rows)[start:stop]


@given(st.lists(any_row, min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_fingerprints_do_not_depend_on_the_order_of_dictionaries(rows: list[Row], random: Any) -> None:
    """The same names in another order, with names nobody uses among them, are the same namespaces and encodings."""
    plain = table(rows)
    changed = plain
    for name in ("namespace", "encoding"):
        values = plain[name].to_pylist()
        names = [*{value for value in values if value is not None}, "used by nobody"]
        random.shuffle(names)
        indices = pa.array([None if value is None else names.index(value) for value in values], pa.int32())
        column = pa.DictionaryArray.from_arrays(indices, pa.array(names, pa.string()))
        changed = changed.set_column(changed.schema.get_field_index(name), plain.schema.field(name), column)
    assert FINGERPRINTER.fingerprints(changed).to_pylist() == fingerprints(rows)
    assert FINGERPRINTER.key_hashes(changed).tolist() == key_hashes(rows)


def test_no_rows_have_no_fingerprints() -> None:
    """An empty table gives an empty column."""
    assert fingerprints([]) == []
    assert key_hashes([]) == []


def test_fingerprints_need_the_secret() -> None:
    """Under another secret every fingerprint and every key hash is another."""
    other = Fingerprinter(SECRET[::-1])
    rows = [Row(key=bytes([number])) for number in range(50)]
    assert not set(fingerprints(rows)) & set(fingerprints(rows, other))
    assert not set(key_hashes(rows)) & set(key_hashes(rows, other))


@pytest.mark.parametrize("quarter", range(4))
def test_every_part_of_the_secret_matters(quarter: int) -> None:
    """No eighth byte of the secret is without effect on fingerprints."""
    secret = bytearray(SECRET)
    secret[quarter * 8] ^= 1
    changed = Fingerprinter(bytes(secret))
    assert fingerprints([Row()], changed) != fingerprints([Row()]) or key_hashes([Row()], changed) != key_hashes(
        [Row()]
    )


@given(any_row, any_row)
def test_a_key_hash_tells_namespace_and_key_and_nothing_else(one: Row, other: Row) -> None:
    """Records of one namespace and key share their key hash, whatever else they hold."""
    first, second = key_hashes([one, other])
    assert (first == second) == ((one.namespace, one.key) == (other.namespace, other.key))
    assert FINGERPRINTER.hash_keys(one.namespace, pa.array([one.key], pa.large_binary())).tolist() == [first]


@given(
    st.lists(st.binary(min_size=16, max_size=16), max_size=20), st.randoms(use_true_random=False), st.integers(0, 20)
)
def test_a_checksum_knows_no_order_and_no_split(values: list[bytes], random: Any, cut: int) -> None:
    """The same values in any order, in any number of parts, sliced or not, have one sum."""
    whole = checksum(pa.array(values, pa.binary(16)))
    shuffled = random.sample(values, len(values))
    column = pa.array([b"x" * 16, *shuffled, b"y" * 16], pa.binary(16))[1:-1]
    assert checksum(column) == whole
    assert checksum(pa.chunked_array([column[:cut], column[cut:]], pa.binary(16))) == whole
    assert add_checksums(checksum(column[:cut]), checksum(column[cut:])) == whole


def test_a_checksum_sees_a_value_more_or_less() -> None:
    """A value that is missing, doubled or changed changes the sum; no values have the empty sum."""
    values = [number.to_bytes(16, "little") for number in (1, 2, 3)]
    sums = {
        checksum(pa.array(column, pa.binary(16)))
        for column in (values, values[:2], [*values, values[0]], [*values[:2], bytes(16)])
    }
    assert len(sums) == 3  # sixteen zeros are the one value that a sum does not see
    assert checksum(pa.array([], pa.binary(16))) == checksum(pa.chunked_array([], pa.binary(16))) == EMPTY_CHECKSUM


def test_a_checksum_wraps_around() -> None:
    """Sums over 64 bits wrap, in the table and when two are added."""
    top = np.full(2, np.iinfo(np.uint64).max).tobytes()
    assert checksum(pa.array([top, (1).to_bytes(8, "little") * 2], pa.binary(16))) == EMPTY_CHECKSUM
    assert add_checksums(top, (1).to_bytes(8, "little") * 2) == EMPTY_CHECKSUM
