"""HOT: a Redis (6.2 or later) or Valkey server, one or several of its databases.

A record's namespace is its database's number. There is no snapshot across keys: each record is of one moment between
`cut` and the end of `read`, value and expiry together. What a session holds at a time is a few tens of MiB and, where
a single value is larger, that value.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

from strata.errors import SourceError
from strata.model.record import SourceItem
from strata.model.scope import Scope
from strata.model.tier import Tier
from strata.sources.port import Baseline, RestoreMode, refuse_state_manager
from strata.sources.redis_read import DatabaseReader, payload_version, scan_command, scanned
from strata.sources.redis_server import RedisServer, check_writable, identify
from strata.sources.redis_transaction import milliseconds
from strata.sources.redis_url import RedisAddress, parse_address
from strata.sources.redis_write import RedisApplication
from strata.sources.resp import Connection

_SMALL_BYTES: Final = 64 << 10


class RedisHot:
    """The databases that a URL names: redis://, rediss:// or unix://, several as .../0,3,5."""

    tier: Tier = Tier.HOT

    def __init__(self, url: str) -> None:
        self._address = parse_address(url)

    def __repr__(self) -> str:
        return f"RedisHot({self._address}, databases {', '.join(map(str, self._address.databases))})"

    @contextmanager
    def connect(self) -> Iterator[RedisSession]:
        """Open a session for reading; a replica that is in touch with its primary can be read too."""
        with Connection(self._address) as connection:
            yield RedisSession(connection, self._address)

    def check(self, description: dict[str, Any]) -> None:
        """Raise unless records of a backup with this description can be written here; writes nothing."""
        refuse_state_manager(self.tier, description)
        with Connection(self._address) as connection:
            self._check(connection, description)

    @contextmanager
    def apply(self, description: dict[str, Any], mode: RestoreMode) -> Iterator[RedisApplication]:
        """Begin a restore; what was written stays written, for Redis has nothing to take it back with."""
        if mode is RestoreMode.REHEARSE:
            raise ValueError("a rehearsal writes nothing: use check()")
        refuse_state_manager(self.tier, description)
        with Connection(self._address) as connection:
            self._check(connection, description)
            yield RedisApplication(connection, description["databases"], mode)

    def _check(self, connection: Connection, description: dict[str, Any]) -> None:
        at = f"{Tier.HOT.label} at {self._address}"
        missing = sorted(set(description["databases"]) - set(self._address.databases))
        if missing:
            named = ", ".join(map(str, missing))
            raise SourceError(
                f"the backup holds database {named} of HOT (Redis), which the URL does not name",
                hint="Name every database of the backup in the URL of HOT: redis://host:port/0,3",
            )
        if identify(connection).is_replica:
            raise SourceError(f"{at} is a replica and cannot be restored into", hint="Restore into its primary.")
        for database in description["databases"]:
            connection.select(database)
        dumped_by = f"{description['server']} {description['version']}"
        check_writable(connection, description["dump_version"], dumped_by)


class RedisSession:
    """A connection for reading. `read` may be called once at a time."""

    def __init__(self, connection: Connection, address: RedisAddress) -> None:
        self._connection = connection
        self._databases = address.databases
        self._server: RedisServer = identify(connection)
        self._dump_version: int | None = None

    def cut(self) -> dict[str, Any]:
        """Say where the server is now; what `read` shows is from here on."""
        self._server = identify(self._connection)
        now = milliseconds(self._connection.ask(b"TIME"))
        keys = {str(database): self._size(database) for database in self._databases}
        self._dump_version = self._find_dump_version()
        return {
            "time": datetime.fromtimestamp(now / 1000, UTC).isoformat(timespec="milliseconds"),
            "method": "scan",
            "replication_offset": self._server.replication_offset,
            "replication_id": self._server.replication_id,
            "keys": keys,
        }

    def describe(self) -> dict[str, Any]:
        """What a restore must know.

        `dump_version` is the version of the DUMP payloads: before `read` that of the server, after it the highest
        among those read, null where no record needs one (strings go back into any server).
        """
        return {
            "server": self._server.product,
            "version": self._server.version,
            "databases": list(self._databases),
            "dump_version": self._dump_version,
        }

    def read(self, scope: Scope, baseline: Baseline | None = None) -> Iterator[SourceItem]:  # noqa: ARG002
        patterns = [None] if scope.is_everything else list(scope.patterns)
        highest = 0
        for database in self._databases:
            reader = DatabaseReader(self._connection, database, self._server.expiry)
            for pattern in patterns:
                yield from reader.read(pattern)
            highest = max(highest, reader.dump_version or 0)
        self._dump_version = highest or None

    def _size(self, database: int) -> int:
        self._connection.select(database)
        size: int = self._connection.ask(b"DBSIZE")
        return size

    def _find_dump_version(self) -> int | None:
        """The payload version of some small key; None where there is no small key."""
        for database in self._databases:
            self._connection.select(database)
            _, keys = scanned(self._connection, self._connection.send(scan_command(b"0", None), 1))
            for key in keys[:20]:
                small = (self._connection.ask(b"MEMORY", b"USAGE", key) or _SMALL_BYTES) < _SMALL_BYTES
                if small and (payload := self._connection.ask(b"DUMP", key)):
                    return payload_version(payload)
        return None
