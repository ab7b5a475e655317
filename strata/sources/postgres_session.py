"""A session that reads WARM at one moment: lock the tables, take the snapshot, describe, stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC
from typing import Any, Final

import psycopg
from psycopg import sql

from strata.errors import SourceError, SourceUnavailable
from strata.model.record import NOT_HELD, PARTS, SourceItem
from strata.model.scope import Scope
from strata.sources import postgres_catalog as catalog
from strata.sources.port import ALL_KEYS, AfterCut, Baseline, Right
from strata.sources.postgres_connect import Connection, Server, begin
from strata.sources.postgres_continuity import Continuity, continuity
from strata.sources.postgres_jobs import jobs_for
from strata.sources.postgres_names import Candidate, TablePattern, choose_tables, parts_of
from strata.sources.postgres_needs import not_held
from strata.sources.postgres_read import READ_ONLY, RangeReaders
from strata.sources.postgres_rights import write_right
from strata.sources.postgres_watermark import watermark

_ATTEMPTS: Final = 5

_EXPORT: Final = """
SELECT statement_timestamp(), pg_export_snapshot(), txid_current_snapshot()::text,
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text
"""


class PostgresSession:
    """Holds the transaction whose snapshot all readers share, and the locks that keep its tables as they are."""

    def __init__(self, server: Server, connection: Connection, patterns: Sequence[TablePattern], parallel: int) -> None:
        self._server = server
        self._connection = connection
        self._patterns = patterns
        self._parallel = parallel
        self._snapshot = ""
        self._tables: list[catalog.Found] = []
        self._parts: list[list[str]] = []
        self._position: dict[str, Any] = {}
        self._continuity = Continuity()

    def cut(self, scope: Scope = ALL_KEYS) -> dict[str, Any]:  # noqa: ARG002
        with self._server.speaking("taking its snapshot"):
            for _ in range(_ATTEMPTS):
                position = self._locked_snapshot()
                if position is not None:
                    return position
        raise SourceUnavailable(f"{self._server.label}: tables came and went while its snapshot was being taken")

    def describe(self) -> dict[str, Any]:
        with self._server.speaking("describing its tables"):
            described = catalog.describe(self._connection, self._cut_tables())
            lacking = not_held(self._connection, self._tables, described)
        told = {NOT_HELD: lacking, PARTS: self._parts}
        return {**described.to_json(), "continuity": self._continuity.to_json(), **told}

    def read(self, scope: Scope, baseline: Baseline | None = None) -> Iterator[SourceItem]:
        tables = self._cut_tables()
        since = watermark(baseline, self._position, self._continuity) if baseline is not None else None
        jobs = jobs_for(tables, scope, self._connection.info.server_version, since)
        with RangeReaders(self._server, self._connection, self._snapshot, jobs, self._parallel) as readers:
            yield from readers.items()
        # The locks went with this connection if it died; a table truncated since would have read as empty.
        with self._server.speaking("reading its tables"):
            self._connection.execute("SELECT 1")

    def write_right(self) -> Right:
        """Whether a restore could write the tables of the cut."""
        with self._server.speaking("asking for its rights"):
            return write_right(self._connection, [one.oid for one in self._cut_tables()])

    def after_cut(self) -> AfterCut:
        return AfterCut()

    def _locked_snapshot(self) -> dict[str, Any] | None:
        """Lock first, then take the snapshot: none of the tables can change its shape in between.

        None where the choice of tables was no longer the same, so that it must be made again.
        """
        before = self._choose()
        begin(self._connection, READ_ONLY)
        try:
            for one in before:
                name = sql.Identifier(one.schema, one.table)
                self._connection.execute(sql.SQL("LOCK TABLE ONLY {} IN ACCESS SHARE MODE").format(name))
            row = self._connection.execute(_EXPORT).fetchone()
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            row = None
        if row is None or {one.oid for one in before} != {one.oid for one in self._choose_now()}:
            self._connection.rollback()
            return None
        time, self._snapshot, xids, lsn = row
        self._tables = catalog.find(self._connection, [one.oid for one in before])
        self._continuity = continuity(self._connection, self._tables)
        self._position = {
            "time": time.astimezone(UTC).isoformat(),
            "method": "snapshot",
            "snapshot": self._snapshot,
            "xids": xids,
            "lsn": lsn,
        }
        return self._position

    def _choose(self) -> list[Candidate]:
        """The tables to read, as a transaction of its own sees them."""
        path = self._connection.execute("SELECT current_schemas(false)::text[]").fetchone()
        self._search_path = path[0] if path else []
        begin(self._connection, READ_ONLY)
        chosen = self._choose_now()
        self._connection.rollback()
        return chosen

    def _choose_now(self) -> list[Candidate]:
        candidates = catalog.candidates(self._connection)
        chosen = choose_tables(self._patterns, candidates, self._search_path)
        self._parts = parts_of(chosen, candidates)
        return chosen

    def _cut_tables(self) -> list[catalog.Found]:
        if not self._snapshot:
            raise SourceError("WARM (PostgreSQL) was to be read before its moment was fixed")
        return self._tables
