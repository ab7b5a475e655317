"""What a Redis server says of itself: product, version, role, position, and which DUMP payloads it takes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from strata.errors import SourceError, SourceUnavailable
from strata.model.identity import Identity
from strata.model.tier import Tier
from strata.sources.redis_commands import pack
from strata.sources.redis_transaction import ExpiryCommand
from strata.sources.resp import Connection, Refusal, beyond_reach, refused

_OLDEST: Final = (6, 2)  # SET with PXAT
_TELLS_MOMENTS: Final = (7, 0)  # PEXPIRETIME
_ANY_VERSION: Final = 6
_NO_SUCH_TYPE: Final = b"\xff"
_POLYNOMIAL: Final = 0x95AC9329AC4BC9B5  # CRC-64 Jones, reflected
_CHILDREN: Final = ("rdb_bgsave_in_progress", "aof_rewrite_in_progress", "module_fork_in_progress")
_PROBE_KEY: Final = b"strata:check"
_RESTORES: Final = "strata-restore"
"""The name of a connection that a restore writes by."""


@dataclass(frozen=True)
class RedisServer:
    """A server as it was when asked."""

    product: str
    version: str
    expiry: ExpiryCommand
    is_replica: bool
    is_saving: bool
    """Whether a child of it writes a file at the moment; it has one child at a time."""
    replication_id: str
    replication_offset: int


def identify(connection: Connection) -> RedisServer:
    """Ask a server what it is; raises where it cannot be read whole: a cluster, too old, or a replica out of touch."""
    info = _info(connection)
    at = f"{Tier.HOT.label} at {connection.address}"
    if info.get("cluster_enabled") == "1":
        raise SourceError(f"{at} is a Redis Cluster, which is not supported", hint="Use a server without cluster mode.")
    level = tuple(int(part) for part in info["redis_version"].split(".")[:2])
    if level < _OLDEST:
        raise SourceError(f"{at} is Redis {info['redis_version']}: 6.2 or later is needed")
    is_replica = info.get("role") == "slave"
    if is_replica and info.get("master_link_status") != "up":
        raise SourceUnavailable(  # it may hold old data, or none at all
            f"{at} is a replica that has lost its primary", hint="Read from the primary, or wait for the link."
        )
    product = info.get("server_name", "redis")
    return RedisServer(
        product=product,
        version=info.get(f"{product}_version", info["redis_version"]),
        expiry=ExpiryCommand.MOMENT if level >= _TELLS_MOMENTS else ExpiryCommand.REMAINING,
        is_replica=is_replica,
        is_saving=any(info.get(child, "0") != "0" for child in _CHILDREN),
        replication_id=info["master_replid"],
        replication_offset=int(info.get("slave_repl_offset", info["master_repl_offset"])),
    )


def identity_of(connection: Connection, databases: Sequence[int]) -> Identity:
    """The server by its run id, which no other one has, nor the same one after a restart; and these databases."""
    info = _info(connection)
    run_id, product = info.get("run_id", ""), info.get("server_name", "redis")
    return Identity(
        part=Tier.HOT,
        server={"run id": (run_id,)} if run_id else {},
        place=f"database {','.join(map(str, sorted(databases)))}",
        address=str(connection.address),
        words=f"{product.capitalize()} {info.get(f'{product}_version', info.get('redis_version', ''))}".strip(),
    )


def check_writable(connection: Connection, dump_version: int | None, dumped_by: str) -> None:
    """Raise where the server takes no writes, or no DUMP payloads of that version; writes nothing.

    The question is put as a RESTORE of a payload whose checksum is right and whose type does not exist: the server
    looks at the version first, and refuses the type before it touches any key.
    """
    payload = _NO_SUCH_TYPE + struct.pack("<H", dump_version or _ANY_VERSION)
    payload += struct.pack("<Q", _crc64(payload))
    command = pack(b"RESTORE", _PROBE_KEY, b"0", payload, b"REPLACE")
    answer = connection.send(command, 1).take()[0]
    if not isinstance(answer, Refusal) or "Bad data format" in str(answer):
        return
    if "payload version" in str(answer):
        server = identify(connection)
        raise SourceError(
            f"{Tier.HOT.label} at {connection.address} is {server.product} {server.version} and cannot take what "
            f"{dumped_by} dumped (payload version {dump_version})",
            hint="Restore into a server at least as new as the one that was backed up.",
        )
    if not beyond_reach(answer):
        raise refused(connection.address, answer, "takes no writes")


def end_other_restores(connection: Connection, databases: Sequence[int]) -> None:
    """Close what other restores into these databases have open: what they have on its way is then not done any more.

    One restore at a time may write, and it is this one; another was frozen, or waits in a proxy. Where the user may not
    list or close connections, only time ends them.
    """
    listed = connection.send(pack(b"CLIENT", b"LIST"), 1).take()[0]
    if not isinstance(listed, Refusal):
        lines = listed.decode("utf-8", "replace").splitlines()
        clients = [dict(part.partition("=")[::2] for part in line.split(" ")) for line in lines]
        for client in clients:
            if client.get("name") == _RESTORES and client.get("db") in set(map(str, databases)):
                connection.send(pack(b"CLIENT", b"KILL", b"ID", client["id"].encode()), 1).take()
    connection.send(pack(b"CLIENT", b"SETNAME", _RESTORES.encode()), 1).take()


def _info(connection: Connection) -> dict[str, str]:
    text: str = connection.ask(b"INFO").decode("utf-8", "replace")
    return dict(line.partition(":")[::2] for line in text.splitlines() if ":" in line)


def _crc64(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
    return crc
