"""HOT: a Redis (6.2 or later) or Valkey server, one or several of its databases.

A record's namespace is its database's number. Read from the replication stream (`sync`), all records are of the
moment of the cut; read by SCAN (`scan`), each is of some moment between `cut` and the end of `read`, value and expiry
together. The cut says which it was, and for SCAN why. What a session holds at a time is a few tens of MiB and, where
a single value is larger, that value.

A replica can be read too, either way: by its stream it is the replica that forks, and the cut is the replica's moment
with the replication id of its primary and the offset it had reached.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa

from strata.errors import SourceError, SourceUnavailable
from strata.model.identity import Identity
from strata.model.record import PARTS, VALUE_BYTES, LargeValue, SourceItem
from strata.model.scope import Scope
from strata.model.tier import Tier
from strata.sources.glob import exact_key, matcher
from strata.sources.hot_method import HotMethod
from strata.sources.port import ALL_KEYS, AfterCut, Baseline, Permit, RestoreMode, Right, refuse_state_manager
from strata.sources.redis_commands import pack
from strata.sources.redis_method import begin_stream
from strata.sources.redis_read import DatabaseReader, payload_version, scan_command, scanned
from strata.sources.redis_rehearse import check_memory, try_key
from strata.sources.redis_rights import stream_right, write_right
from strata.sources.redis_server import (
    RedisServer,
    check_writable,
    end_other_restores,
    identify,
    identity_of,
)
from strata.sources.redis_sync import SyncStream
from strata.sources.redis_transaction import milliseconds
from strata.sources.redis_url import RedisAddress, parse_address
from strata.sources.redis_write import RedisApplication
from strata.sources.resp import Connection, Refusal, beyond_reach, refused
from strata.tls import Tls

_SMALL_BYTES: Final = 64 << 10


class RedisHot:
    """The databases that a URL names: redis://, rediss:// or unix://, several as .../0,3,5."""

    tier: Tier = Tier.HOT

    def __init__(self, url: str, method: HotMethod = HotMethod.AUTO, tls: Tls | None = None) -> None:
        self._address = parse_address(url, tls)
        self._method = method

    def __repr__(self) -> str:
        return f"RedisHot({self._address}, databases {', '.join(map(str, self._address.databases))})"

    def identity(self) -> Identity:
        """The server by its run id, and the databases by their numbers."""
        with Connection(self._address) as connection:
            return identity_of(connection, self._address.databases)

    @contextmanager
    def connect(self) -> Iterator[RedisSession]:
        """Open a session for reading; a replica that is in touch with its primary can be read too."""
        with (
            Connection(self._address) as connection,
            closing(RedisSession(connection, self._address, self._method)) as session,
        ):
            yield session

    def greet(self) -> None:
        """Raise unless the server can be read whole."""
        with Connection(self._address) as connection:
            identify(connection)
            for database in self._address.databases:
                connection.select(database)

    def rights(self) -> Iterator[Right]:
        """Whether it is read at one moment, and whether it takes writes; no key is set and no stream begun."""
        with Connection(self._address) as connection:
            server = identify(connection)
            yield stream_right(self._method, connection, server)
            yield write_right(connection, server, self._address.databases)

    def check(self, description: dict[str, Any]) -> None:
        """Raise unless records of a backup with this description can be written here; a scratch key comes and goes."""
        refuse_state_manager(self.tier, description)
        with Connection(self._address) as connection:
            self._check(connection, description)
            check_memory(connection, description.get(VALUE_BYTES, 0))
            for database in description["databases"]:
                connection.select(database)
                try_key(connection)

    @contextmanager
    def apply(self, description: dict[str, Any], mode: RestoreMode, permit: Permit) -> Iterator[RedisApplication]:
        """Begin a restore; what was written stays written, for Redis has nothing to take it back with."""
        if mode is RestoreMode.REHEARSE:
            raise ValueError("a rehearsal writes nothing: use check()")
        refuse_state_manager(self.tier, description)
        with Connection(self._address) as connection:
            self._check(connection, description)
            end_other_restores(connection, description["databases"])
            connection.permit = permit
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

    def __init__(self, connection: Connection, address: RedisAddress, method: HotMethod) -> None:
        self._connection = connection
        self._databases = address.databases
        self._method = method
        self._server: RedisServer = identify(connection)
        self._dump_version: int | None = None
        self._stream: SyncStream | None = None
        self._stream_began = 0
        self._scanned_at: float | None = None

    def cut(self, scope: Scope = ALL_KEYS) -> dict[str, Any]:
        """Say where the server is now; what `read` shows is of this moment (`sync`) or from here on (`scan`)."""
        self.close()
        self._server = identify(self._connection)
        before = self._now()
        self._stream, why = begin_stream(self._method, self._connection, self._server, scope)
        self._refuse_shared()
        method = self._cut_by_scan(why) if self._stream is None else self._cut_by_sync(self._stream, before)
        keys = {str(database): self._size(database) for database in self._databases}
        return {**method, "keys": keys}

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
            PARTS: [[str(database)] for database in self._databases],
        }

    def read(self, scope: Scope, baseline: Baseline | None = None) -> Iterator[SourceItem]:  # noqa: ARG002
        """The records of the scope. A stream is read once: after it, and before any `cut`, it is SCAN that reads."""
        stream, self._stream = self._stream, None
        yield from self._scan(scope) if stream is None else self._follow(stream, scope)

    def close(self) -> None:
        """End a stream that nobody has read."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _refuse_shared(self) -> None:
        """SourceUnavailable where the stream is a save that was under way for a replica, from before this cut began.

        It would lack writes that came between, and may be of before the pause in which the other tiers are cut.
        """
        stream, server = self._stream, self._server
        if stream is None or stream.replication_id != server.replication_id or server.replication_offset is None:
            return
        if stream.replication_offset < server.replication_offset:
            self.close()
            raise SourceUnavailable(
                "HOT (Redis) sends the save that it had begun for a replica, which is of before the cut",
                hint="It is tried again; STRATA_HOT_METHOD=auto reads by SCAN meanwhile.",
            )

    def _cut_by_sync(self, stream: SyncStream, before: int) -> dict[str, Any]:
        """The cut of a stream: not after the second in which the server's child began to write.

        A save that was under way for another replica may have been shared, so that its moment is before we asked.
        """
        now, second = self._now(), stream.splitter.head.saved_at
        latest = now if second is None else min(now, second * 1000 + 999)
        self._stream_began = min(before, latest)
        self._dump_version = stream.splitter.head.version
        return {
            "time": _text(latest),
            "method": "sync",
            "replication_offset": stream.replication_offset,
            "replication_id": stream.replication_id,
        }

    def _cut_by_scan(self, why: str) -> dict[str, Any]:
        now = self._now()
        self._dump_version = self._find_dump_version()
        return {
            "time": _text(now),
            "method": "scan",
            "why": why,
            "replication_offset": self._server.replication_offset,
            "replication_id": self._server.replication_id,
        }

    def _follow(self, stream: SyncStream, scope: Scope) -> Iterator[SourceItem]:
        try:
            items = stream.splitter.records(self._databases, self._stream_began)
            yield from items if scope.is_everything else _covered(items, scope)
            self._dump_version = stream.splitter.dump_version
        finally:
            stream.close()

    def _scan(self, scope: Scope) -> Iterator[SourceItem]:
        exact = list(dict.fromkeys(key for pattern in scope.patterns if (key := exact_key(pattern)) is not None))
        globs = [None] if scope.is_everything else [one for one in scope.patterns if exact_key(one) is None]
        highest = 0
        for database in self._databases:
            reader = DatabaseReader(self._connection, database, self._server.expiry)
            if exact and not scope.is_everything:
                yield from reader.read_keys(exact)
            for pattern in globs:
                yield from reader.read(pattern)
            highest = max(highest, reader.dump_version or 0)
        self._dump_version = highest or None
        self._scanned_at = time.monotonic()

    def after_cut(self) -> AfterCut:
        """A stream is of the cut; what SCAN gave is of any moment up to its end."""
        return AfterCut(self._scanned_at)

    def _now(self) -> int:
        """The server's clock, in milliseconds since 1970."""
        return milliseconds(self._connection.ask(b"TIME"))

    def _size(self, database: int) -> int:
        self._connection.select(database)
        size: int = self._connection.ask(b"DBSIZE")
        return size

    def _find_dump_version(self) -> int | None:
        """The payload version of some small key; None where there is none within the user's reach."""
        for database in self._databases:
            self._connection.select(database)
            _, keys = scanned(self._connection, self._connection.send(scan_command(b"0", None), 1))
            for key in keys[:20]:
                small = (self._asked_of_key(b"MEMORY", b"USAGE", key) or _SMALL_BYTES) < _SMALL_BYTES
                if small and (payload := self._asked_of_key(b"DUMP", key)):
                    return payload_version(payload)
        return None

    def _asked_of_key(self, *command: bytes) -> Any:
        """The reply to a command about one key; None where the user may not touch it."""
        reply = self._connection.send(pack(*command), 1).take()[0]
        if isinstance(reply, Refusal) and not beyond_reach(reply):
            raise refused(self._connection.address, reply)
        return None if isinstance(reply, Refusal) else reply


def _text(moment: int) -> str:
    """A moment in milliseconds since 1970, as ISO 8601 has it."""
    return datetime.fromtimestamp(moment / 1000, UTC).isoformat(timespec="milliseconds")


def _covered(items: Iterator[SourceItem], scope: Scope) -> Iterator[SourceItem]:
    """Those of batches and large values that the scope covers."""
    covers = matcher(scope)
    for item in items:
        if isinstance(item, pa.RecordBatch):
            rows = item.filter(pa.array([covers(key) for key in item.column("key").to_pylist()], pa.bool_()))
            if rows.num_rows:
                yield rows
        elif isinstance(item, LargeValue) and covers(item.key):
            yield item
