"""Tables for terminals of every width: nothing is cut off where columns do not fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from strata.errors import printable

_GAP: Final = 2
_LEAST_WRAPPED: Final = 24
"""Columns of the screen below which a column of sentences is no pleasure to read."""
_LONGEST_NAME: Final = 26


class PlainConsole(Console):
    """One that takes words as words: no markup, no emoji, no control characters of anybody else's."""

    def __init__(self, *, stderr: bool, width: int | None = None) -> None:
        super().__init__(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*map(_harmless, objects), **options)


class PlainTable(Table):
    """Columns without lines; where they do not fit, each row is a block of lines with the columns' names."""

    def __init__(self, columns: Sequence[str], right: Sequence[str] = (), wrap: Sequence[str] = ()) -> None:
        super().__init__(box=None, pad_edge=False, padding=(0, 1), header_style="dim")
        for column in columns:
            justify = "right" if column in right else "left"
            self.add_column(column, justify=justify, no_wrap=column not in wrap, overflow="fold")  # type: ignore[arg-type]

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        super().add_row(*map(_harmless, cells), **options)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._least_width() <= options.max_width:
            yield from super().__rich_console__(console, options)
        else:
            yield from self._blocks()

    def _least_width(self) -> int:
        widths = (_width([str(column.header), *column.cells], whole=bool(column.no_wrap)) for column in self.columns)
        return sum(widths) + _GAP * (len(self.columns) - 1)

    def _blocks(self) -> Iterator[RenderableType]:
        names = [str(column.header) for column in self.columns]
        for cells in zip(*(column.cells for column in self.columns), strict=True):
            first = 2 if len(_plain(cells[0])) == 1 and len(cells) > 1 else 1  # a mark is no title
            yield Text(" ").join(_text(cell) for cell in cells[:first])
            rest = [(name, cell) for name, cell in zip(names[first:], cells[first:], strict=True) if _plain(cell)]
            if rest:
                yield Padding(facts_table(rest), (0, 0, 0, 2))


def facts_table(rows: Iterable[tuple[str, RenderableType]]) -> Table:
    """Names and values; a long name takes several lines rather than the room of the values."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, _GAP, 0, 0))
    table.add_column(style="dim", overflow="fold", max_width=_LONGEST_NAME)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(printable(name)), _harmless(value))
    return table


def _width(cells: Iterable[RenderableType], *, whole: bool) -> int:
    """Columns of the screen that cells need: whole, or as sentences that are wrapped."""
    widest = max(cell_len(line) for cell in cells for line in (_plain(cell).splitlines() or [""]))
    return widest if whole else min(widest, _LEAST_WRAPPED)


def _plain(cell: RenderableType | None) -> str:
    return cell.plain if isinstance(cell, Text) else str(cell or "")


def _text(cell: RenderableType | None) -> Text:
    return cell if isinstance(cell, Text) else Text(_plain(cell))


def _harmless(value: Any) -> Any:
    """Words without control characters; anything else as it is."""
    plain = _plain(value) if isinstance(value, str | Text) else ""
    harmless = printable(plain)
    if harmless == plain:
        return value
    return Text(harmless, value.style if isinstance(value, Text) else "")
