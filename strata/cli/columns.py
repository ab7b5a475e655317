"""Many rows in columns, at once: rich takes 10 s for a table of 10,000 rows, this 0.05 s."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

SHORTEST: Final = 4

_BOLD: Final = "\x1b[1;36m"
_DIM: Final = "\x1b[2m"
_PLAIN: Final = "\x1b[0m"
_INDENT: Final = "    "


def in_columns(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Sequence[str],
    lengths: Sequence[int],
    width: int,
    *,
    colour: bool,
) -> list[str]:
    """A line for the header and each row; of the first column `lengths` characters are set off, where there is colour.

    The columns in `right` are numbers. Columns for which `width` has no room go on in an indented line below.
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    fields = [f"{{:{'>' if name in right else '<'}{wide}}}" for name, wide in zip(header, widths, strict=True)]
    form = f"\n{_INDENT}".join(" ".join(fields[part]) for part in _lines(widths, width))
    lines = [_trimmed(form.format(*row)) for row in rows]
    first = _trimmed(form.format(*header))
    if not colour:
        return [first, *lines]
    marked = [
        f"{_BOLD}{line[:length]}{_PLAIN}{_DIM}{line[length : widths[0]]}{_PLAIN}{line[widths[0] :]}"
        for line, length in zip(lines, lengths, strict=True)
    ]
    return [f"{_DIM}{first}{_PLAIN}", *marked]


def _lines(widths: Sequence[int], room: int) -> list[slice]:
    """Which columns stand beside each other: as many as there is room for, and never none."""
    cuts, used = [0], -1
    for number, wide in enumerate(widths):
        if used + 1 + wide > room and number > cuts[-1]:
            cuts.append(number)
            used = len(_INDENT) - 1
        used += 1 + wide
    return [slice(begin, end) for begin, end in zip(cuts, [*cuts[1:], len(widths)], strict=True)]


def _trimmed(line: str) -> str:
    """Without the blanks that fill up the last column of each line, and without lines of blanks alone."""
    return line.rstrip() if "\n" not in line else "\n".join(part.rstrip() for part in line.split("\n") if part.strip())


def unique_lengths(names: Sequence[str]) -> list[int]:
    """How many characters of each name are enough to tell it from the others, and never fewer than four."""
    ordered = sorted(names)
    shared = [0, *(_common(one, other) for one, other in zip(ordered, ordered[1:], strict=False)), 0]
    enough = {
        name: min(max(SHORTEST, 1 + max(before, after)), len(name))
        for name, before, after in zip(ordered, shared, shared[1:], strict=False)
    }
    return [enough[name] for name in names]


def _common(one: str, other: str) -> int:
    """How many characters two names begin with alike."""
    for number, (mine, theirs) in enumerate(zip(one, other, strict=False)):
        if mine != theirs:
            return number
    return min(len(one), len(other))
