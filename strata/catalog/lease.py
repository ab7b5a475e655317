"""The lease: the right to write backups for a while.

Fenced: each grant has a number greater than all before it, and a run may commit only while its number stands. Kept
alive by every working stage; a run that dies loses it after LEASE_SECONDS.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol, cast

import redis

from strata.catalog.redis_answers import asking
from strata.errors import LeaseHeld, StorageError, StoreFull

LEASE_SECONDS: Final = 90
LEASE_KEY: Final = "strata:lease"
"""Where the grant lies; the ledger beside it takes it back in the moment a run ends."""

_FENCE: Final = "strata:lease:fence"

_ACQUIRE: Final = """
local held = redis.call('GET', KEYS[1])
if held then
  local grant = cjson.decode(held)
  if grant.run ~= ARGV[1] then return {held, -1} end
  redis.call('EXPIRE', KEYS[1], ARGV[4])
  return {'', grant.fence}
end
local fence = redis.call('INCR', KEYS[2])
local grant = {run = ARGV[1], holder = ARGV[2], since = ARGV[3], fence = fence}
redis.call('SET', KEYS[1], cjson.encode(grant), 'EX', ARGV[4])
return {'', fence}
"""

_IF_MINE: Final = """
local held = redis.call('GET', KEYS[1])
if not held or cjson.decode(held).fence ~= tonumber(ARGV[1]) then return 0 end
if ARGV[2] == '0' then redis.call('DEL', KEYS[1]) else redis.call('EXPIRE', KEYS[1], ARGV[2]) end
return 1
"""


class Lease(Protocol):
    """At most one run holds it."""

    def acquire(self, run_id: str, holder: str) -> int:
        """The fence number of a fresh grant, or of the one this run holds already; LeaseHeld says who else has it."""
        ...

    def renew(self, fence: int) -> bool:
        """Keep it; False where it is no longer ours."""
        ...

    def release(self, fence: int) -> None:
        """Give it back; nothing happens where it is no longer ours."""
        ...

    def holder(self) -> str | None:
        """Who has it, in words, or None."""
        ...


class RedisLease:
    """Implements Lease for all machines that share a Redis."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def acquire(self, run_id: str, holder: str) -> int:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        held, fence = self._eval(_ACQUIRE, 2, LEASE_KEY, _FENCE, run_id, holder, since, LEASE_SECONDS)
        if fence < 0:
            raise _held(json.loads(held))
        return int(fence)

    def renew(self, fence: int) -> bool:
        return bool(self._eval(_IF_MINE, 1, LEASE_KEY, fence, LEASE_SECONDS))

    def release(self, fence: int) -> None:
        self._eval(_IF_MINE, 1, LEASE_KEY, fence, 0)

    def holder(self) -> str | None:
        with asking("the lease"):
            held = cast("bytes | None", self._redis.get(LEASE_KEY))
        return _in_words(json.loads(held)) if held else None

    def _eval(self, script: str, keys: int, *arguments: str | int) -> Any:
        with asking("the lease"):
            return self._redis.eval(script, keys, *arguments)


class FileLease:
    """Implements Lease for the processes of one machine: an flock, which ends with the process that holds it.

    For runs without a ledger. Where no Redis answers no worker can run either, so this machine is all there is.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self, run_id: str, holder: str) -> int:
        if self._descriptor is not None:
            mine = self._read(self._descriptor)
            if mine.get("run") == run_id:
                return int(mine["fence"])
        with self._on_disk():
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            with self._on_disk():
                fence = self._grant(descriptor, run_id, holder)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return fence

    def _grant(self, descriptor: int, run_id: str, holder: str) -> int:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _held(self._read(descriptor)) from None
        fence = int(self._read(descriptor).get("fence", 0)) + 1
        since = datetime.now(UTC).isoformat(timespec="seconds")
        document = {"run": run_id, "holder": holder, "since": since, "fence": fence}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(document).encode(), 0)
        return fence

    def renew(self, fence: int) -> bool:
        return self._descriptor is not None and self._read(self._descriptor).get("fence") == fence

    def release(self, fence: int) -> None:
        if self._descriptor is not None and self.renew(fence):
            os.close(self._descriptor)
            self._descriptor = None

    def holder(self) -> str | None:
        try:
            descriptor = os.open(self._path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _in_words(self._read(descriptor))
        else:
            return None
        finally:
            os.close(descriptor)

    @contextmanager
    def _on_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            full = error.errno in {errno.ENOSPC, errno.EDQUOT}
            raise (StoreFull if full else StorageError)(
                f"the lease of this machine, {self._path}, cannot be written: {os.strerror(error.errno or 0)}",
                hint="Free room there." if full else "Check that STRATA_SPOOL_URL names a folder that may be written.",
            ) from None

    @staticmethod
    def _read(descriptor: int) -> dict[str, Any]:
        try:
            document: dict[str, Any] = json.loads(os.pread(descriptor, 4096, 0) or b"{}")
        except ValueError:
            return {}
        return document


def _in_words(held: dict[str, Any]) -> str:
    return f"{held.get('run', 'another run')}, started by {held.get('holder', 'somebody')} at {held.get('since', '?')}"


def _held(held: dict[str, Any]) -> LeaseHeld:
    return LeaseHeld(
        f"another run is going on: {_in_words(held)}",
        hint=f"Wait for it to end; if it has died, its lease ends by itself within {LEASE_SECONDS} s.",
    )
