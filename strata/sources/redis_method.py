"""The choice how HOT is read: from the replication stream, at one moment, or key by key with SCAN."""

from __future__ import annotations

from typing import Final

from strata.errors import SourceError
from strata.model.scope import Scope
from strata.sources.hot_method import HotMethod
from strata.sources.redis_commands import pack
from strata.sources.redis_server import RedisServer
from strata.sources.redis_sync import SyncStream
from strata.sources.resp import Connection, Refusal

Chosen = tuple[SyncStream | None, str]
"""The stream that has begun; or None, and why there is none."""

_DELAY: Final = b"repl-diskless-sync-delay"
_DISKLESS: Final = b"repl-diskless-sync"


def begin_stream(method: HotMethod, connection: Connection, server: RedisServer, scope: Scope) -> Chosen:
    """Begin the stream if it is the way to go; in `AUTO` it never fails, for there is the other way."""
    match method:
        case HotMethod.SCAN:
            return None, "STRATA_HOT_METHOD is scan"
        case HotMethod.SYNC:
            return _known(SyncStream(connection.address, server.version)), ""
        case HotMethod.AUTO:
            why = "only some keys are read" if not scope.is_everything else why_wait(connection, server)
            return (None, why) if why else _tried(connection, server)


def why_wait(connection: Connection, server: RedisServer) -> str:
    """Why a stream would not begin at once; empty if it would."""
    if server.is_saving:
        return "the server is saving or rewriting its own files, and its stream would wait for that"
    answer = connection.send(pack(b"CONFIG", b"GET", _DISKLESS + b"*"), 1).take()[0]
    told = {} if isinstance(answer, Refusal) else dict(zip(answer[::2], answer[1::2], strict=False))
    if _DISKLESS not in told or _DELAY not in told:
        return "the server does not say whether its stream begins at once (CONFIG GET)"
    if told[_DISKLESS] == b"yes" and told[_DELAY] != b"0":
        return (
            f"the server's stream begins after {told[_DELAY].decode('ascii', 'replace')} s (repl-diskless-sync-delay)"
        )
    return ""


def _tried(connection: Connection, server: RedisServer) -> Chosen:
    try:
        return _known(SyncStream(connection.address, server.version)), ""
    except SourceError as error:  # a manifest does not tell the host
        return None, error.sentence.replace(f" at {connection.address}", "")


def _known(stream: SyncStream) -> SyncStream:
    """The stream, if all that it can hold is known here."""
    head = stream.splitter.head
    if head.is_known:
        return stream
    stream.close()
    raise SourceError(
        f"HOT (Redis) sends its stream in version {head.version} of the RDB, which is not known here",
        hint="Set STRATA_HOT_METHOD to scan, or use a newer Strata.",
    )
