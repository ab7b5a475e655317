"""What the user of HOT may do besides reading keys; asked in ways that change nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from strata.sources.hot_method import HotMethod
from strata.sources.port import Right
from strata.sources.redis_commands import pack
from strata.sources.redis_method import why_wait
from strata.sources.redis_server import RedisServer
from strata.sources.redis_url import RedisAddress
from strata.sources.resp import Connection, Refusal, beyond_reach, refusal_code, refused

_SCRATCH: Final = b"strata:rehearsal:doctor"
_GRANTED: Final = ("pending output", "NOMASTERLINK")
"""What PSYNC is refused with by a server that would give it, if it were asked properly."""
_HINT: Final = "Give its user +psync and +replconf (ACL SETUSER), or set STRATA_HOT_METHOD to scan."


def stream_right(method: HotMethod, connection: Connection, server: RedisServer) -> Right:
    """Whether HOT is read at one moment, from its replication stream; without it SCAN reads key by key."""
    if method is HotMethod.SCAN:
        return Right("one moment", "is read key by key, as STRATA_HOT_METHOD says")
    if why := _no_stream(connection.address):
        said = f"it does not give its replication stream: {why}"
        if method is HotMethod.SYNC:
            said = f"{said}. STRATA_HOT_METHOD is sync, so it cannot be read"
            return Right("one moment", "", said, _HINT, needed=True)
        return Right("one moment", "", f"{said}. So it is read key by key, not at one moment", _HINT)
    if method is HotMethod.AUTO and (why := why_wait(connection, server)):
        said = f"it is read key by key, not at one moment, because {why}"
        return Right("one moment", "", said, "See docs/how-to/one-point.md.")
    return Right("one moment", "can be read at one moment")


def write_right(connection: Connection, server: RedisServer, databases: Sequence[int]) -> Right:
    """Whether a restore could write: a SET that no server executes, as its option is wrong, tells all the same."""
    if server.is_replica:
        return Right("restore", "", "it is a replica, so nothing can be restored into it", "Restore into its primary.")
    for database in databases:
        connection.select(database)
        answers = connection.send(pack(b"SET", _SCRATCH, b"", b"PX", b"?") + pack(b"UNLINK", _SCRATCH), 2).take()
        for answer in answers:
            if isinstance(answer, Refusal) and _forbids(answer):
                said = refused(connection.address, answer, "takes no writes")
                return Right("restore", "", f"nothing can be restored into it: {said.sentence}", said.hint)
    return Right("restore", "takes writes")


def _forbids(answer: Refusal) -> bool:
    """Whether it is more than the wrong option, or a key that the user may not touch: that proves nothing."""
    code = refusal_code(answer)
    return code != "ERR" and not beyond_reach(answer)


def _no_stream(address: RedisAddress) -> str:
    """Why the server would not begin its stream; nothing where it would. It begins none, and does not fork.

    A server refuses PSYNC to a connection that has an answer under way, but looks at the user's rights before that:
    sent right behind a PING it says whether it would be granted. Its offset is no number besides.
    """
    commands = pack(b"REPLCONF", b"capa", b"eof") + pack(b"PING") + pack(b"PSYNC", b"?", b"?")
    with Connection(address) as connection:
        told, _, began = connection.send(commands, 3).take()
    refusals: list[Any] = [one for one in (began, told) if isinstance(one, Refusal)]
    for one in refusals:
        if not any(words in str(one) for words in _GRANTED):
            return str(one).partition(", with args")[0][:200]
    return ""
