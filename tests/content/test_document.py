"""The export document: what was written comes back byte for byte, and what is wrong is told by its record."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strata.content.document import EPOCH, MARK, PART_BYTES, Row, part_text, row_text
from strata.content.document_reader import DocumentReader
from strata.errors import SettingError
from strata.model.record import STATE_MANAGER, Encoding
from strata.model.tier import Tier

LAST = 253_402_300_799_999

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
).map(lambda value: json.dumps(value, separators=(",", ":")).encode())
_values = st.binary(max_size=40) | st.text(max_size=20).map(str.encode) | _json
_moments = st.none() | st.integers(-62_135_596_800_000, LAST)
_encodings = {
    Tier.HOT: [Encoding.REDIS_STRING, Encoding.REDIS_DUMP],
    Tier.WARM: [Encoding.PG_COPY_TEXT],
    Tier.COLD: [Encoding.S3_OBJECT],
}


def _rows(tier: Tier) -> st.SearchStrategy[Row]:
    return st.builds(
        Row,
        tier=st.just(tier),
        namespace=st.sampled_from(["0", "3"]) if tier is Tier.HOT else st.text(max_size=5),
        key=st.binary(max_size=8) | st.text(max_size=8).map(str.encode),
        value=_values,
        encoding=st.sampled_from(_encodings[tier]),
        expires_at=_moments,
        modified_at=_moments,
        attrs=st.none() | st.text(max_size=5) | _json.map(bytes.decode),
    )


def _place(row: Row) -> tuple[Tier, str, bytes]:
    return row.tier, row.namespace, row.key


def document(lines: list[str], **tiers: dict[str, Any]) -> bytes:
    """An export of these records."""
    heads = json.dumps(tiers or {tier.value: {"source": {"of": tier.value}} for tier in Tier})
    listed = ",\n".join(lines)
    return f'{{"{MARK}": 1, "tiers": {heads},\n"records": [\n{listed}]}}'.encode()


def read(data: bytes, size: int = 1000) -> list[Row | bytes]:
    """All its records."""
    return list(DocumentReader([data[at : at + size] for at in range(0, len(data), size)], "it").records())


def wrong(data: bytes) -> str:
    """The sentence that says what is wrong."""
    with pytest.raises(SettingError) as caught:
        read(data)
    assert "SECRET" not in caught.value.sentence
    assert "\n" not in caught.value.sentence
    return caught.value.sentence


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(Tier).flatmap(_rows), max_size=6, unique_by=lambda row: (row.tier, row.namespace, row.key)
    ),
    st.integers(1, 90),
)
def test_records_come_back_byte_for_byte(rows: list[Row], size: int) -> None:
    """Binary keys, text, JSON and neither, all moments and attributes: a record is read as it was written."""
    assert read(document([row_text(row) for row in rows]), size) == rows


@given(_json)
def test_values_of_a_state_manager_stand_as_json(value: bytes) -> None:
    """Encoding json: the value is in the document as what it is, wherever that gives the same bytes back."""
    row = Row(Tier.HOT, "", b"key", value, Encoding.JSON)
    line = row_text(row)
    assert read(document([line], hot={"source": {"source": STATE_MANAGER}})) == [row]
    if json.dumps(json.loads(value), ensure_ascii=False, separators=(",", ":")).encode() == value:
        assert "value_json" in json.loads(line) or b"NaN" in value or b"Infinity" in value


def test_a_record_is_a_line_that_a_person_can_read() -> None:
    """The shape that the page describes."""
    row = Row(Tier.HOT, "0", b"position:1", b'{"qty":1}', Encoding.REDIS_STRING, 1_700_000_000_123, None, '{"a":1}')
    assert row_text(row) == (
        '{"tier":"hot","namespace":"0","key":"position:1","value_json":{"qty":1},"encoding":"redis/string",'
        '"expires_at":"2023-11-14T22:13:20.123Z","attrs":{"a":1}}'
    )
    assert row_text(Row(Tier.HOT, "0", b"\xff", b"\xfe", Encoding.REDIS_STRING)) == (
        '{"tier":"hot","namespace":"0","key_base64":"/w==","value_base64":"/g==","encoding":"redis/string"}'
    )


def test_a_large_value_stands_in_parts() -> None:
    """Its record comes first, then its bytes, so that neither side holds it whole."""
    row = Row(Tier.COLD, "", b"model", None, Encoding.S3_OBJECT, parts=2, size=PART_BYTES + 3)
    parts = [b"x" * PART_BYTES, b"yz\xff"]
    other = Row(Tier.COLD, "", b"other", b"", Encoding.S3_OBJECT)
    lines = [row_text(row), *map(part_text, parts), row_text(other)]
    assert read(document(lines), 50_000) == [row, *parts, other]


def test_a_document_laid_out_anew_is_the_same_document() -> None:
    """White space and the order of a record's members do not matter."""
    rows = [Row(Tier.HOT, "0", b"%d" % number, b'["\xc3\xa4"]', Encoding.REDIS_STRING) for number in range(3)]
    loaded = json.loads(document([row_text(row) for row in rows]))
    assert read(json.dumps(loaded, indent=4).encode()) == rows


def test_a_plain_mapping_becomes_strings_of_redis() -> None:
    """Each value is the JSON text of itself, without white space between its tokens, in database 0."""
    data = b"""{"position:1": {"qty":  1.000000000000000000001, "note": "two  spaces\\n"},
               "mode" : "live", "n": null, "\\u00e4": [ 1 , 2 ]}"""
    reader = DocumentReader([data], "it")
    found = {row.key: row for row in reader.records() if isinstance(row, Row)}
    assert {key: row.value for key, row in found.items()} == {
        b"position:1": b'{"qty":1.000000000000000000001,"note":"two  spaces\\n"}',
        b"mode": b'"live"',
        b"n": b"null",
        "ä".encode(): b"[1,2]",
    }
    assert {(row.tier, row.namespace, row.encoding) for row in found.values()} == {
        (Tier.HOT, "0", Encoding.REDIS_STRING)
    }
    assert set(reader.tiers) == {Tier.HOT}
    assert reader.tiers[Tier.HOT].source["databases"] == [0]


def test_what_describes_a_tier_comes_with_the_document() -> None:
    """A restore needs it; for HOT and COLD it can be left out, and HOT's databases are those of its records."""
    lines = [row_text(Row(Tier.HOT, name, b"k", b"v", Encoding.REDIS_STRING)) for name in ("3", "0")]
    reader = DocumentReader([document(lines, hot={}, cold={"source": {"x": 1}, "cut": {"time": "then"}})], "it")
    list(reader.records())
    assert reader.tiers[Tier.HOT].source["databases"] == [0, 3]
    assert (reader.tiers[Tier.COLD].source, reader.tiers[Tier.COLD].cut) == ({"x": 1}, {"time": "then"})


def test_a_tier_without_records_is_held_as_empty() -> None:
    """What an export names and lists nothing of was empty."""
    reader = DocumentReader([document([], hot={"records": 0})], "it")
    assert list(reader.records()) == []
    assert set(reader.tiers) == {Tier.HOT}


GOOD = {"tier": "hot", "namespace": "0", "key": "SECRET", "value": "SECRET", "encoding": "redis/string"}
BAD_RECORDS = [
    ({"tier": "lukewarm"}, "a tier is one of hot, warm, cold"),
    ({"tier": None}, "a tier is one of"),
    ({"tier": "cold"}, "cold is none of the document's tiers"),
    ({"key_base64": "AA=="}, "it must have one of key, key_base64"),
    ({"key": None}, "its key is no string"),
    ({"value": 5}, "its value is no string"),
    ({"value_json": 5}, "it must have one of value, value_json, value_base64, parts_base64"),
    ({"key": ..., "key_base64": "SECRET!"}, "it has base64 that is none"),
    ({"value": ..., "value_base64": "SECRETS"}, "it has base64 that is none"),
    ({"value": ...}, "it must have one of value"),
    ({"value": ..., "parts_base64": 0, "bytes": 0}, "its parts_base64 and bytes do not fit together"),
    ({"value": ..., "parts_base64": 2, "bytes": 5}, "its parts_base64 and bytes do not fit together"),
    ({"bytes": 5}, "its parts_base64 and bytes do not fit together"),
    ({"encoding": "redis/list"}, "its encoding is none of"),
    ({"encoding": ...}, "its encoding is none of"),
    ({"encoding": "s3/object"}, "records of hot are not of encoding s3/object"),
    ({"encoding": "json"}, "records of hot are not of encoding json"),
    ({"namespace": "zero"}, "the namespace of a record of hot is a database's number"),
    ({"namespace": ...}, "the namespace of a record of hot is a database's number"),
    ({"namespace": 0}, "its namespace is no string"),
    ({"expires_at": "tomorrow"}, "a moment in it is not like"),
    ({"expires_at": 1_700_000_000}, "a moment in it is not like"),
    ({"modified_at": "2026-11-23T22:45:01"}, "a moment in it does not say which time zone it is of"),
    ({"attrs": {}, "attrs_text": ""}, "it has both attrs and attrs_text"),
    ({"attrs_text": {}}, "its attrs_text is no string"),
    ({"expires": "SECRET"}, "1 of its members are none that a record has"),
    ({"value": "\ud800"}, "a string in it is half a surrogate pair"),
]


@pytest.mark.parametrize(("change", "what"), BAD_RECORDS)
def test_a_bad_record_is_told_by_its_number_and_line(change: dict[str, Any], what: str) -> None:
    """One sentence with the record's number and its line, and nothing of what it holds."""
    record = {name: value for name, value in {**GOOD, **change}.items() if value is not ...}
    first = json.dumps({**GOOD, "key": "another"})
    sentence = wrong(document([first, json.dumps(record)], hot={}))
    assert sentence.startswith("record 2 (line 4) of it: ")
    assert what in sentence


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "line 1 of it: it ends too early"),
        (b"[]", "line 1 of it: it is not JSON: { is missing"),
        (b'"SECRET"', "{ is missing"),
        (b"{}", "line 1 of it: it holds nothing"),
        (b'{"a": 1,\n"b": SECRET, "c": 3, "d": 4, "e": 5}', "record 2, line 2 of it: it is not JSON"),
        (b'{"a": 1}\nSECRET', "line 2 of it: it is not JSON: something follows its end"),
        (b'{"a": 1,\n"b": 2,\n"a": 3}', "record 3 (line 3) of it: it has the key of an earlier one"),
        (b'{"\\ud800": 1}', "half a surrogate pair"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": 1, "strata_export": 1}', "strata_export must be the first member"),
        (b'{"strata_export": 2}', "version 1 of the format is known"),
        (b'{"strata_export": 1}', "it has no records"),
        (b'{"strata_export": 1, "records": []}', "its tiers must stand before its records"),
        (b'{"strata_export": 1, "tiers": [], "records": []}', "its tiers must be an object"),
        (b'{"strata_export": 1, "tiers": {}, "records": []}', "its tiers must be an object"),
        (b'{"strata_export": 1, "tiers": {"tepid": {}}, "records": []}', "a tier is one of hot, warm, cold"),
        (b'{"strata_export": 1, "tiers": {"hot": {"cut": 1}}, "records": []}', "a tier has a source, a cut or a count"),
        (b'{"strata_export": 1, "tiers": {"hot": {}}, "tiers": {"hot": {}}}', "it has tiers twice"),
        (b'{"strata_export": 1, "tiers": {"hot": {}}, "records": [], "records": []}', "it has records twice"),
        (b'{"strata_export": 1, "tiers": {"hot": {}}, "records": {}}', "[ is missing"),
        (b'{"strata_export": 1, "tiers": {"hot": {}}, "records": [5]}', "record 1 (line 1) of it: it is not an object"),
        (b'{"strata_export": 1, "tiers": {"hot": {"records": 2}}, "records": []}', "it is not whole"),
    ],
)
def test_a_bad_document_is_one_sentence(data: bytes, what: str) -> None:
    """Whatever is wrong with the whole is told in one sentence, with the line."""
    assert what in wrong(data)


def test_a_record_that_comes_twice_is_told() -> None:
    """The same key in the same place, in whatever clothes."""
    twice = {**GOOD, "value": "other"}
    del twice["key"]
    twice["key_base64"] = base64.b64encode(b"SECRET").decode()
    lines = [json.dumps(GOOD), json.dumps({**GOOD, "namespace": "1"}), json.dumps(twice)]
    assert re.match(r"record 3 .*has the key of an earlier one", wrong(document(lines, hot={})))


def test_parts_that_are_missing_or_too_long_are_told() -> None:
    """A large value is what its record says, or the document is refused."""
    row = Row(Tier.COLD, "", b"model", None, Encoding.S3_OBJECT, parts=1, size=5)
    for part in ('"AAAA"', '"AAAAAAAAAAA="', row_text(row), "5"):
        assert re.search("do not add up|string is missing", wrong(document([row_text(row), part], cold={})))
    assert ", is missing" in wrong(document([row_text(row)], cold={}))


def test_rows_of_tables_need_the_tables() -> None:
    """WARM without its source is refused: nothing would say what its rows are of."""
    reader = DocumentReader([document([], warm={})], "it")
    list(reader.records())
    with pytest.raises(SettingError, match="warm needs its source"):
        _ = reader.tiers


def test_moments_are_kept_to_the_millisecond() -> None:
    """Any time zone, and from the year 1 to 9999."""
    record = {**GOOD, "expires_at": "2026-11-23T23:45:01.5+01:00"}
    (row,) = read(document([json.dumps(record)], hot={}))
    assert isinstance(row, Row)
    assert row.expires_at == (datetime(2026, 11, 23, 22, 45, 1, 500_000, UTC) - EPOCH).total_seconds() * 1000
