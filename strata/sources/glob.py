"""Glob patterns over keys as Redis matches them: byte by byte, case counts, and `*` crosses every separator.

The time a match takes grows with the lengths of key and pattern, whatever the pattern: what follows a `*` is taken
where it first fits, and never tried further on (an atomic group), because no later place can fit better.
"""

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
    first, *further = _runs(pattern)
    if not further:
        return b"(?:" + first + b")"
    *middle, last = further
    skipped = b"".join(b"(?>.*?" + run + b")" for run in middle if run)
    return b"(?:" + first + skipped + b".*" + last + b")"


def _runs(pattern: bytes) -> list[bytes]:
    """What stands between the pattern's stars, each as an expression of one length."""
    runs, at = [b""], 0
    while at < len(pattern):
        char = pattern[at : at + 1]
        at += 1
        if char == b"*":
            runs.append(b"")
        elif char == b"?":
            runs[-1] += b"."
        elif char == b"[":
            part, at = _class(pattern, at)
            runs[-1] += part
        else:
            if char == b"\\" and at < len(pattern):
                char = pattern[at : at + 1]
                at += 1
            runs[-1] += re.escape(char)
    return runs


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
