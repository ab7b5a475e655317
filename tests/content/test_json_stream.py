"""A document in pieces is read as the whole would be, and what is wrong is told with its line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strata.content.json_stream import AS_TEXT, EXACT, JsonScanner
from strata.errors import SettingError

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def pieces(data: bytes, size: int) -> list[bytes]:
    """The bytes, so many at a time."""
    return [data[start : start + size] for start in range(0, len(data), size)]


def elements(data: bytes, size: int = 1) -> list[Any]:
    """The elements of a list."""
    scanner = JsonScanner(pieces(data, size), "it")
    scanner.expect("[")
    found = []
    while not scanner.take("]"):
        found.append(scanner.element()[0])
        scanner.take(",")
    assert scanner.next() == ""
    return found


@given(st.lists(_values, max_size=5), st.integers(1, 40), st.none() | st.integers(0, 3))
def test_elements_are_those_of_the_whole(values: list[Any], size: int, indent: int | None) -> None:
    """However the bytes are cut and the text is laid out, each element is what json.loads would give."""
    assert elements(json.dumps(values, indent=indent, ensure_ascii=False).encode("utf-8", "replace"), size) == (
        json.loads(json.dumps(values, ensure_ascii=False).encode("utf-8", "replace"))
    )


def test_a_number_is_not_cut_where_a_piece_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Digits that come with the next piece belong to the number."""
    monkeypatch.setattr("strata.content.json_stream._PIECE", 1)
    assert elements(b"[12345678901234567890, 1.5e10, -0.25, true]") == [12345678901234567890, 1.5e10, -0.25, True]


def test_an_element_longer_than_a_piece_is_read_whole() -> None:
    """Strings of several MiB are elements like others."""
    values = ["x" * 3_000_000, {"a": "\\" * 2_000_000}, 1]
    assert elements(json.dumps(values).encode(), 70_000) == values


def test_the_text_of_an_element_is_as_it_stands() -> None:
    """Numbers of any length are let through as text."""
    scanner = JsonScanner([b'  {"a": 1.00000000000000000001, "b": ' + b"9" * 5000 + b"} , 1"], "it")
    _, text = scanner.element(AS_TEXT)
    assert text == '{"a": 1.00000000000000000001, "b": ' + "9" * 5000 + "}"
    assert scanner.take(",")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('[1,\n2,\n"a\nb"]', "line 3 of it: it is not JSON"),
        ("[1,\n\n01x]" + " " * 50, "line 3 of it: it is not JSON"),
        ("[1,\n", "line 2 of it: it ends too early"),
        ('["abc', "line 1 of it: it ends too early"),
        ("[\n\nNaN]", "line 3 of it: it holds NaN or Infinity, which JSON does not know"),
        ("[-Infinity]", "line 1 of it: it holds NaN"),
        ('[{"a": 1, "a": 2}]', "line 1 of it: an object names the same member twice"),
        ("[1.00000000000000000001]", "line 1 of it: a number has more digits than a double keeps"),
        ("[1e999]", "line 1 of it: a number has more digits"),
        ("[" * 100_000, "line 1 of it: it is nested too deeply"),
        ("[" + "9" * 5000 + "]", "line 1 of it: a number has too many digits"),
        ('["\udce4"]', "line 1 of it: it is not UTF-8"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, what: str) -> None:
    """One sentence, and nothing of the document in it."""
    with pytest.raises(SettingError) as caught:
        elements(text.encode("utf-8", "surrogateescape"), 5)
    assert caught.value.sentence.startswith(what)
    assert "secret" not in caught.value.sentence


def test_an_error_early_in_a_long_document_is_told_early() -> None:
    """What cannot be JSON is not read to its end."""
    read = []

    def parts() -> Any:
        for number in range(1000):
            read.append(number)
            yield b"[1 2 3]" + b" " * 100_000

    scanner = JsonScanner(parts(), "it")
    with pytest.raises(SettingError, match="it is not JSON"):
        scanner.element(EXACT)
    assert len(read) < 20


def test_an_element_has_a_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """A string that never ends is not gathered for ever."""
    monkeypatch.setattr("strata.content.json_stream._LARGEST", 4 << 20)
    scanner = JsonScanner(iter(lambda: b"x" * 100_000, b""), "it")
    scanner._text = '"'
    with pytest.raises(SettingError, match="longer than 4 MiB"):
        scanner.element()


def test_a_byte_order_mark_is_passed_over() -> None:
    """Some editors write one."""
    assert elements(b"\xef\xbb\xbf[1]") == [1]
