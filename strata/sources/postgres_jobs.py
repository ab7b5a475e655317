"""What to read of the tables, in pieces: ctid ranges, and of each what a parent lacks apart from what it holds.

Two ranges at a time read 2,000,000 rows of jsonb in two thirds of one stream's time on two cores; more than four
ranges of a table are slower again, as more than one process then waits for the same core.

A range is read twice where there is a watermark, keys and rows: with 1 % of 1,000,000 rows changed, 0.32-0.41 s of the
server's processor, where the whole table is 3.1 s. One COPY that gives the key of each row, and the rest only of
changed ones, was no cheaper (0.45 s), and every row would have to be taken apart here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
from psycopg import sql

from strata.model.record import Claimed, SourceItem, Unchanged
from strata.model.scope import Scope
from strata.sources.port import Reading
from strata.sources.postgres_catalog import Found
from strata.sources.postgres_copy import Rows, keyed_batch, keys_of, numbered_batch
from strata.sources.postgres_scope import key_condition
from strata.sources.postgres_table import Table
from strata.sources.postgres_watermark import Watermark

_PAGE: Final = 8192  # ranges need not be even: another page size of the server only shifts their bounds
_RANGE_BYTES: Final = 64 << 20
_MOST_RANGES: Final = 4
_TID_RANGE_SCANS: Final = 140000  # an older server would read the whole table for each range

_ALL: Final = sql.SQL("true")


@dataclass(frozen=True)
class Pass:
    """One COPY over a job's rows, and what its rows are; called with rows and how many came before them."""

    query: sql.Composed
    item: Callable[[Rows, int], SourceItem]


@dataclass(frozen=True)
class Job:
    """Pages of one table to read: from `start` up to `stop`, or to the end where that is None."""

    table: Table
    part: int
    start: int
    stop: int | None
    bytes: int
    scope: Scope
    since: Watermark | None = None

    def passes(self) -> list[Pass]:
        """The COPYs that give each row once."""
        copied, since = self.table.copied, self.since
        if since is None:
            return [Pass(self._query(copied, _ALL), self._records)]
        changed = Pass(self._query(copied, since.changed), self._records)
        if since.reading is Reading.EVERYTHING:
            return [Pass(self._query(copied, since.unchanged), self._claimed), changed]
        return [Pass(self._query(self.table.key, since.unchanged), self._unchanged), changed]

    def _query(self, columns: Sequence[str], condition: sql.Composable) -> sql.Composed:
        """The COPY statement; without bounds for a table that is read in one."""
        conditions = [key_condition(self.table, self.scope), condition]
        if self.start:
            conditions.append(sql.SQL("ctid >= {}::tid").format(sql.Literal(f"({self.start},0)")))
        if self.stop is not None:
            conditions.append(sql.SQL("ctid < {}::tid").format(sql.Literal(f"({self.stop},0)")))
        return sql.SQL("COPY (SELECT {} FROM ONLY {} WHERE {}) TO STDOUT").format(
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            self.table.sql,
            sql.SQL(" AND ").join(conditions),
        )

    def _records(self, rows: Rows, first: int) -> pa.RecordBatch:
        table = self.table
        if table.key:
            return keyed_batch(table.name, rows, len(table.copied), len(table.key))
        return numbered_batch(table.name, rows, self.part, first)

    def _claimed(self, rows: Rows, first: int) -> Claimed:
        return Claimed(self._records(rows, first))

    def _unchanged(self, rows: Rows, _first: int) -> Unchanged:
        return Unchanged(self.table.name, keys_of(rows))


def jobs_for(tables: Sequence[Found], scope: Scope, server_version: int, since: Watermark | None = None) -> list[Job]:
    """The work list, largest pieces first, so that no thread is left alone with one at the end."""
    wanted = [one for one in tables if scope.is_everything or one.table.key]
    jobs = [job for one in wanted for job in _divided(one, scope, server_version, since)]
    return sorted(jobs, key=lambda job: job.bytes, reverse=True)


def _divided(found: Found, scope: Scope, server_version: int, since: Watermark | None) -> Iterator[Job]:
    pages = found.main_bytes // _PAGE
    whole = not found.heap or server_version < _TID_RANGE_SCANS
    count = 1 if whole else max(1, min(_MOST_RANGES, found.all_bytes // _RANGE_BYTES, pages))
    bounds = [pages * n // count for n in range(count)]
    known = since if since is not None and found.table.name in since.tables else None
    for part, (start, stop) in enumerate(zip(bounds, [*bounds[1:], None], strict=True)):
        yield Job(found.table, part, start, stop, found.all_bytes // count, scope, known)
