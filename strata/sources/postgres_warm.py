"""WARM: PostgreSQL tables as records, read at one snapshot and put back in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

from strata.model.identity import Identity
from strata.model.tier import Tier
from strata.sources.port import Permit, RestoreMode, Right, refuse_state_manager
from strata.sources.postgres_compare import confirm, targets
from strata.sources.postgres_connect import Server, begin
from strata.sources.postgres_identity import identity_of
from strata.sources.postgres_names import parse_pattern
from strata.sources.postgres_read import READ_ONLY
from strata.sources.postgres_rehearse import rehearse
from strata.sources.postgres_session import PostgresSession
from strata.sources.postgres_table import Description
from strata.sources.postgres_write import PostgresApplication, restoring
from strata.tls import Tls

READERS: Final = 3
"""Connections that read at the same time, the one that holds the snapshot among them."""


class PostgresWarm:
    """The tables of one database that `tables` names: names or globs, `*` for every table."""

    tier = Tier.WARM

    def __init__(
        self,
        url: str,
        tables: tuple[str, ...] = ("*",),
        parallel: int = READERS,
        tls: Tls | None = None,
    ) -> None:
        self._server = Server(url, tls)
        self._patterns = tuple(parse_pattern(text) for text in tables)
        self._parallel = parallel

    def __repr__(self) -> str:
        return f"PostgresWarm({self._server.label})"

    def identity(self) -> Identity:
        return identity_of(self._server)

    @contextmanager
    def connect(self) -> Iterator[PostgresSession]:
        connection = self._server.connect()
        try:
            yield PostgresSession(self._server, connection, self._patterns, self._parallel)
        finally:
            connection.close()

    def greet(self) -> None:
        """Raise unless the database answers and the role is let in."""
        with self.connect():
            pass

    def rights(self) -> Iterator[Right]:
        """Whether its tables can be read, all of them, and written."""
        with self.connect() as session:
            session.cut()
            yield session.write_right()

    def check(self, description: dict[str, Any]) -> None:
        refuse_state_manager(self.tier, description)
        kept = Description.from_json(description)
        connection = self._server.connect()
        try:
            with self._server.speaking("comparing its tables with the backup's"):
                begin(connection, READ_ONLY)
                confirm(self._server, connection, kept, targets(connection, kept))
        finally:
            connection.close()
        rehearse(self._server, kept)

    def apply(
        self, description: dict[str, Any], mode: RestoreMode, permit: Permit
    ) -> AbstractContextManager[PostgresApplication]:
        refuse_state_manager(self.tier, description)
        return restoring(self._server, Description.from_json(description), mode, permit)
