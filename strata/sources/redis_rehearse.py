"""Whether HOT takes records and keeps them: its memory, its policy, and one key that is written and removed."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Final

from strata.errors import SourceError
from strata.model.tier import Tier
from strata.sources.redis_commands import pack
from strata.sources.resp import Connection, Refusal, beyond_reach, refused

_SCRATCH: Final = b"strata:rehearsal:"
_LIFE_MS: Final = b"10000"
"""A key that could not be removed is gone by itself then."""

_TOLD: Final = re.compile(r"^(maxmemory|maxmemory_policy|evicted_keys):(\S+)", re.MULTILINE)
_MEMORY_HINT: Final = "Raise its maxmemory, or restore into a server that has more."


@dataclass(frozen=True)
class Memory:
    """What a server may hold, and how many keys it has evicted since it began."""

    most: int
    policy: str
    evicted: int


def memory_of(connection: Connection) -> Memory:
    """The server's memory as it is now; zero is no limit."""
    told = connection.ask(b"INFO", b"memory") + connection.ask(b"INFO", b"stats")
    found = dict(_TOLD.findall(told.decode("utf-8", "replace")))
    return Memory(int(found.get("maxmemory", 0)), found.get("maxmemory_policy", ""), int(found.get("evicted_keys", 0)))


def check_memory(connection: Connection, value_bytes: int) -> None:
    """Raise where the values alone are more than the server may hold; its keys and overhead come on top of them."""
    memory = memory_of(connection)
    if 0 < memory.most < value_bytes:
        raise SourceError(
            f"{Tier.HOT.label} at {connection.address} may hold {memory.most:,} bytes (maxmemory), and the values of "
            f"the backup alone have {value_bytes:,}",
            hint=_MEMORY_HINT,
        )


def check_evicted(connection: Connection, before: Memory) -> None:
    """Raise where the server has removed keys of its own accord since then: what was written is not all there."""
    now = memory_of(connection)
    if now.evicted > before.evicted:
        raise SourceError(
            f"{Tier.HOT.label} at {connection.address} evicted {now.evicted - before.evicted:,} keys while it was "
            f"restored: its maxmemory is {now.most:,} bytes and its maxmemory-policy {now.policy}",
            hint=f"{_MEMORY_HINT} With maxmemory-policy noeviction it refuses in place of removing. Then run it again.",
        )


def try_key(connection: Connection) -> None:
    """Raise where a string cannot be set and removed; a user who may not touch this one key proves nothing."""
    key = _SCRATCH + secrets.token_hex(8).encode()
    commands = pack(b"SET", key, b"", b"PX", _LIFE_MS) + pack(b"UNLINK", key)
    for answer in connection.send(commands, 2).take():
        if isinstance(answer, Refusal) and not beyond_reach(answer):
            raise refused(connection.address, answer, "takes no writes")
