"""Glob patterns over keys as Redis matches them: byte by byte, case counts, and `*` crosses every separator."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from strata.model.scope import Scope

_GLOB: Final = frozenset("*?[\\")


def matcher(scope: Scope) -> Callable[[bytes], bool]:
    """Says of a key whether the scope covers it."""
    if scope.is_everything:
        return lambda _: True
    expression = re.compile(b"|".join(_expression(pattern.encode()) for pattern in scope.patterns), re.DOTALL)
    return lambda key: expression.fullmatch(key) is not None


def exact_key(pattern: str) -> bytes | None:
    """The one key that a pattern without glob characters names; None for a glob."""
    return None if set(pattern) & _GLOB else pattern.encode()


def _expression(pattern: bytes) -> bytes:
    """The regular expression that does what stringmatchlen of Redis (src/util.c) does."""
    found, at = [], 0
    while at < len(pattern):
        char = pattern[at : at + 1]
        at += 1
        if char == b"*":
            found.append(b".*")
        elif char == b"?":
            found.append(b".")
        elif char == b"[":
            part, at = _class(pattern, at)
            found.append(part)
        else:
            if char == b"\\" and at < len(pattern):
                char = pattern[at : at + 1]
                at += 1
            found.append(re.escape(char))
    return b"(?:" + b"".join(found) + b")"


def _class(pattern: bytes, at: int) -> tuple[bytes, int]:
    """The class that begins after `[` at `at`, and where the pattern goes on; an open one ends with the pattern."""
    negated = pattern[at : at + 1] == b"^"
    at += negated
    ranges: list[tuple[int, int]] = []
    while at < len(pattern) and pattern[at] != ord("]"):
        if pattern[at] == ord("\\") and at + 1 < len(pattern):
            ranges.append((pattern[at + 1], pattern[at + 1]))
            at += 2
        elif pattern[at + 1 : at + 2] == b"-" and at + 2 < len(pattern):
            ranges.append((min(pattern[at], pattern[at + 2]), max(pattern[at], pattern[at + 2])))
            at += 3
        else:
            ranges.append((pattern[at], pattern[at]))
            at += 1
    members = b"".join(b"\\x%02x-\\x%02x" % pair for pair in ranges)
    if not members:
        return (b"." if negated else b"(?!)"), at + 1
    return (b"[^" if negated else b"[") + members + b"]", at + 1
