"""Reads one JSON document element by element: what is held is little more than the element at hand.

Numbers that a double would change, names given twice and values beyond JSON are refused, so that what was read can be
written again as it was. Errors are SettingError with the line; they repeat nothing of the document.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final, NoReturn

from strata.errors import SettingError

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_PIECE: Final = 1 << 20
_LARGEST: Final = 512 << 20
_NEAR_THE_END: Final = 16
"""An error this close to the end of what was read may only mean that the rest is missing: the longest word of JSON, and
what it takes to tell an escape, are shorter."""


class _Refused(Exception):
    """Something that JSON allows, or Python, and a document here may not hold."""


def _unchanged(text: str) -> float:
    number = float(text)
    if Decimal(repr(number)) != Decimal(text):
        raise _Refused("a number has more digits than a double keeps")
    return number


def _no_constant(_: str) -> NoReturn:
    raise _Refused("it holds NaN or Infinity, which JSON does not know")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Refused("an object names the same member twice")
    return found


EXACT: Final = json.JSONDecoder(object_pairs_hook=_once, parse_float=_unchanged, parse_constant=_no_constant)
"""Gives values that are written again as they were."""

AS_TEXT: Final = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=_no_constant)
"""For elements of which only the text is wanted: numbers of any length are let through."""


class JsonScanner:
    """A place in a document that comes in parts (UTF-8); `name` is what errors call it."""

    def __init__(self, parts: Iterable[bytes], name: str) -> None:
        self.name = name
        self._parts = iter(parts)
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text, self._at, self._lines = "", 0, 1
        self._ended = False

    @property
    def line(self) -> int:
        """The line of the place, from 1."""
        return self._lines + self._text.count("\n", 0, self._at)

    def error(self, what: str, where: str = "") -> SettingError:
        """What is wrong at this place."""
        place = f"{where} (line {self.line})" if where else f"line {self.line}"
        return SettingError(f"{place} of {self.name}: {what}", hint="See docs/how-to/export-and-hand-over.md.")

    def next(self) -> str:
        """The next character that is no white space, which is not taken; empty at the end."""
        while True:
            space = _SPACE.match(self._text, self._at)
            assert space is not None
            self._at = space.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self, char: str) -> bool:
        """Take the character if it is the next."""
        found = self.next() == char
        self._at += found
        return found

    def expect(self, char: str) -> None:
        """Take the character; it must be the next."""
        if not self.take(char):
            raise self.error(f"it is not JSON: {char} is missing" if self.next() else "it ends too early")

    def element(self, decoder: json.JSONDecoder = EXACT) -> tuple[Any, str]:
        """The element that comes next, and its text."""
        if not self.next():
            raise self.error("it ends too early")
        while True:
            try:
                value, end = decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                cut_off = error.msg.startswith("Unterminated") or error.pos >= len(self._text) - _NEAR_THE_END
                if not cut_off or not self._more():
                    at_end = error.msg.startswith("Unterminated") or error.pos >= len(self._text.rstrip())
                    raise self.error("it ends too early" if at_end else "it is not JSON") from None
            except RecursionError:
                raise self.error("it is nested too deeply") from None
            except _Refused as error:
                raise self.error(str(error)) from None
            except ValueError:
                raise self.error("a number has too many digits") from None
            else:
                if end < len(self._text) or not self._more():  # a number may go on in what follows
                    text, self._at = self._text[self._at : end], end
                    return value, text

    def string(self) -> str:
        """The string that comes next."""
        if self.next() != '"':
            raise self.error("it is not JSON: a string is missing" if self.next() else "it ends too early")
        text: str = self.element()[0]
        return text

    def _more(self) -> bool:
        """Read on: as much as is still looked at, so that a long element is not begun again too often."""
        if self._ended:
            return False
        self._lines += self._text.count("\n", 0, self._at)
        held, self._at = [self._text[self._at :]], 0
        wanted = max(_PIECE, len(held[0]))
        if wanted > _LARGEST:
            self._text = held[0]
            raise self.error(f"an element is longer than {_LARGEST >> 20} MiB")
        while wanted > 0 and not self._ended:
            part = next(self._parts, None)
            self._ended = part is None
            try:
                held.append(self._decoder.decode(part or b"", final=self._ended))
            except UnicodeDecodeError:
                self._text = "".join(held)
                raise self.error("it is not UTF-8 from here on") from None
            wanted -= len(held[-1])
        self._text = "".join(held)
        return True
