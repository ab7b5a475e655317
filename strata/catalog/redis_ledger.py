"""The ledger in Redis: shared by all workers. Every change is one Lua script, on the server's clock."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import uuid4

import redis

from strata.catalog.lease import LEASE_KEY
from strata.catalog.ledger import CLAIM_SECONDS, KEEP_DAYS, MAX_ATTEMPTS, Claim, Done, Seat, takes_none
from strata.catalog.redis_answers import asking
from strata.errors import RunFailed, StageBusy
from strata.model.run import COMMITS, Progress, Run, RunKind, RunState, Stage, StageRow

if TYPE_CHECKING:
    from redis.commands.core import Script

_RUNS: Final = "strata:runs"
_WAITING: Final = "strata:runs:waiting"
_RESTORES: Final = "strata:runs:restores"
_KEEP: Final = KEEP_DAYS * 86400

# A run is three hashes: its own fields, its stage rows (cjson), its progress. Every script touches `updated` of a run
# that has not ended; of one that has, it is the moment of its end.
_PRELUDE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local run, rows = KEYS[1], KEYS[2]
local state = redis.call('HGET', run, 'state')
if not state then return {'unknown'} end
local round = tonumber(redis.call('HGET', run, 'round') or 1)
local function read(field)
  local row = redis.call('HGET', rows, field)
  row = row and cjson.decode(row) or nil
  if row and row.round and row.round ~= round then row.result = nil end
  return row
end
local function write(field, row)
  redis.call('HSET', rows, field, cjson.encode(row))
  redis.call('EXPIRE', rows, ARGV[#ARGV])
  if state == 'RUNNING' or state == 'PLANNED' then redis.call('HSET', run, 'updated', now) end
end
"""

_CREATE: Final = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 4))
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -10001)
if KEYS[3] then redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1]) end
return 1
"""

_TAKE: Final = """
local field, owner, token, ttl, cap, dead = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local row = read(field) or {attempts = 0, owner = ''}
if row.result then return {'done', row.result} end
if state ~= 'RUNNING' then return {state, redis.call('HGET', run, 'reason')} end
if row.token and row.expires > now and row.owner ~= dead then return {'busy', row.owner} end
if row.attempts - (row.before or 0) >= cap then return {'exhausted', tostring(row.attempts)} end
row = {attempts = row.attempts + 1, owner = owner, token = token, expires = now + ttl, began = now,
       round = row.round, seat = row.seat, before = row.before}
write(field, row)
redis.call('HDEL', run, 'wakes', 'waits_for')
return {'claim', tostring(row.attempts)}
"""

_RENEW: Final = """
local row = read(ARGV[1])
if state ~= 'RUNNING' or not row or row.token ~= ARGV[2] then return {'lost'} end
row.expires = now + tonumber(ARGV[3])
write(ARGV[1], row)
return {'ok'}
"""

_FINISH: Final = """
local row = read(ARGV[1])
if row and row.result then return {'done', row.result} end
if not row or row.token ~= ARGV[2] then return {'busy', row and row.owner or 'nobody'} end
row.token, row.result, row.seconds = nil, ARGV[3], tonumber(ARGV[4])
write(ARGV[1], row)
return {'done', row.result}
"""

# `before` are the attempts of earlier rounds, which count no more.
_SIT: Final = """
local row = read(ARGV[1])
if not row or row.token ~= ARGV[2] then return {'busy', row and row.owner or 'nobody'} end
if row.round ~= round then row.round, row.seat, row.before = round, row.token, row.attempts - 1 end
write(ARGV[1], row)
return {row.seat == row.token and 'free' or 'taken', tostring(round)}
"""

_LOSE: Final = """
if state ~= 'RUNNING' or round ~= tonumber(ARGV[1]) then return {'begun'} end
redis.call('HSET', run, 'round', round + 1, 'updated', now)
return {'ok'}
"""

_RELEASE: Final = """
local row = read(ARGV[1])
if row and row.token == ARGV[2] then
  row.token = nil
  if ARGV[3] == '0' then row.attempts = 0 end
  write(ARGV[1], row)
end
return {'ok'}
"""

_IDLE: Final = """
for _, document in ipairs(redis.call('HVALS', rows)) do
  local row = cjson.decode(document)
  if row.token and row.expires > now then return {'busy'} end
end
return {'idle'}
"""

_WAIT: Final = """
if state ~= 'RUNNING' and state ~= 'PLANNED' then return {'ended'} end
local wakes = now + tonumber(ARGV[1])
redis.call('HSET', run, 'wakes', wakes, 'waits_for', ARGV[2], 'updated', now, 'resent', 0)
redis.call('EXPIRE', run, ARGV[#ARGV])
redis.call('ZADD', KEYS[4], wakes, ARGV[3])
return {'ok'}
"""

_GRANT: Final = """
if state ~= 'RUNNING' then return {'ended'} end
redis.call('HSET', run, 'fence', ARGV[1], 'updated', now)
return {'ok'}
"""

_CONFIRM: Final = """
if state ~= 'PLANNED' then return {state == 'RUNNING' and 'ok' or 'ended'} end
local wakes = redis.call('HGET', run, 'wakes')
if not wakes or tonumber(wakes) < now then return {'late'} end
redis.call('HDEL', run, 'wakes', 'waits_for')
redis.call('HSET', run, 'state', 'RUNNING', 'fence', ARGV[1], 'updated', now)
return {'ok'}
"""

_END: Final = """
if state ~= 'RUNNING' and state ~= 'PLANNED' then return {'final'} end
for _, field in ipairs({COMMITS}) do
  local row = read(field)
  if ARGV[1] == 'FAILED' and row and (row.result or (row.token and row.expires > now)) then return {'committing'} end
end
redis.call('HSET', run, 'state', ARGV[1], 'reason', ARGV[2], 'code', ARGV[3], 'updated', now)
local held = redis.call('GET', KEYS[3])
if held and cjson.decode(held).fence == tonumber(redis.call('HGET', run, 'fence')) then redis.call('DEL', KEYS[3]) end
return {'ok'}
""".replace("COMMITS", ", ".join(f"'{stage}:'" for stage in COMMITS))

_RESENT: Final = """
local wakes = tonumber(redis.call('HGET', run, 'wakes') or 0)
local silent = now - math.max(tonumber(redis.call('HGET', run, 'updated')), wakes)
if state ~= 'RUNNING' or silent < tonumber(ARGV[1]) then return {'alive'} end
redis.call('HSET', run, 'updated', now)
return {'resent', tostring(redis.call('HINCRBY', run, 'resent', 1))}
"""


class RedisLedger:
    """Implements Ledger on a Redis that is not the HOT one."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._scripts: dict[str, Script] = {}

    def create(self, run: Run) -> None:
        fields = {
            "kind": run.kind.value,
            "state": run.state.value,
            "reason": run.reason,
            "code": run.code,
            "plan": run.plan,
            "created": _milliseconds(run.created_at),
            "updated": _milliseconds(run.updated_at),
            "resent": run.resent,
            "fence": "" if run.fence is None else run.fence,
        }
        with _reachable():
            pairs = [part for pair in fields.items() for part in pair]
            keys = [_run_key(run.run_id), _RUNS, *([_RESTORES] if run.kind is RunKind.RESTORE else [])]
            entered = self._redis.eval(_CREATE, len(keys), *keys, run.run_id, fields["created"], _KEEP, *pairs)
        if not entered:
            raise RunFailed(f"a run {run.run_id} is known already")

    def run(self, run_id: str) -> Run | None:
        with _reachable():
            fields = cast("dict[bytes, bytes]", self._redis.hgetall(_run_key(run_id)))
        return _run(run_id, fields) if b"state" in fields else None

    def runs(self, limit: int) -> list[Run]:
        with _reachable():
            ids = [run_id.decode() for run_id in cast("list[bytes]", self._redis.zrevrange(_RUNS, 0, limit - 1))]
        return [run for run_id in ids if (run := self.run(run_id))]

    def restores(self) -> list[Run]:
        with _reachable():
            ids = [run_id.decode() for run_id in cast("list[bytes]", self._redis.zrevrange(_RESTORES, 0, -1))]
        runs = {run_id: self.run(run_id) for run_id in ids}
        self._forget(_RESTORES, [run_id for run_id, run in runs.items() if run is None])
        return [run for run in runs.values() if run is not None]

    def end(self, run_id: str, state: RunState, reason: str = "", code: str = "") -> bool:
        return self._call(_END, run_id, state.value, reason, code)[0] == "ok"

    def note_failure(self, run_id: str, reason: str, code: str = "") -> None:
        with _reachable():
            if self._redis.exists(_run_key(run_id)) and self._redis.hsetnx(_run_key(run_id), "failure", reason):
                self._redis.hset(_run_key(run_id), "failure_code", code)

    def failure(self, run_id: str) -> str:
        return self._noted(run_id, "failure")

    def failure_code(self, run_id: str) -> str:
        return self._noted(run_id, "failure_code")

    def take(self, run_id: str, stage: Stage, unit: str, owner: str, *, instead_of: str | None = None) -> Claim | Done:
        token = uuid4().hex
        answer, value = self._call(
            _TAKE, run_id, _field(stage, unit), owner, token, CLAIM_SECONDS * 1000, MAX_ATTEMPTS, instead_of or "\0"
        )
        match answer:
            case "claim":
                return Claim(run_id, stage, unit, token, int(value))
            case "done":
                return Done(value)
            case "busy":
                raise StageBusy(f"{stage} {unit} is being done by {value}")
            case "exhausted":
                raise RunFailed(f"{stage} {unit} was given up after {value} attempts")
        raise takes_none(run_id, RunState(answer), value)

    def renew(self, claim: Claim) -> bool:
        answer = self._call(_RENEW, claim.run_id, _field(claim.stage, claim.unit), claim.token, CLAIM_SECONDS * 1000)
        return answer[0] == "ok"

    def finish(self, claim: Claim, result: str, seconds: float) -> str:
        field = _field(claim.stage, claim.unit)
        answer, value = self._call(_FINISH, claim.run_id, field, claim.token, result, seconds)
        if answer == "busy":
            raise StageBusy(f"{claim.stage} {claim.unit} went to {value}")
        return value

    def release(self, claim: Claim, *, counted: bool = True) -> None:
        self._call(_RELEASE, claim.run_id, _field(claim.stage, claim.unit), claim.token, int(counted))

    def wait(self, run_id: str, seconds: float, why: str) -> None:
        self._call(_WAIT, run_id, int(seconds * 1000), why, run_id)

    def waiting(self) -> list[Run]:
        with _reachable():
            ids = [run_id.decode() for run_id in cast("list[bytes]", self._redis.zrange(_WAITING, 0, -1))]
        runs = {run_id: self.run(run_id) for run_id in ids}
        over = [run_id for run_id, run in runs.items() if run is None or run.state.final]
        self._forget(_WAITING, over)
        return [run for run_id, run in runs.items() if run is not None and run_id not in over]

    def confirm(self, run_id: str, fence: int | None) -> bool:
        return self._call(_CONFIRM, run_id, "" if fence is None else fence)[0] == "ok"

    def grant(self, run_id: str, fence: int) -> bool:
        return self._call(_GRANT, run_id, fence)[0] == "ok"

    def result(self, run_id: str, stage: Stage, unit: str) -> str | None:
        with _reachable(), self._redis.pipeline(transaction=False) as pipe:
            pipe.hget(_run_key(run_id), "round")
            pipe.hget(_rows_key(run_id), _field(stage, unit))
            number, row = pipe.execute()
        return _read(row, number).get("result") if row else None

    def results(self, run_id: str, stage: Stage) -> dict[str, str]:
        return {unit: row["result"] for at, unit, row in self._all(run_id) if at is stage and "result" in row}

    def rows(self, run_id: str) -> list[StageRow]:
        return [
            StageRow(
                stage=stage,
                unit=unit,
                done="result" in row,
                owner=row["owner"],
                attempts=int(row["attempts"]),
                seconds=row.get("seconds"),
                began=row["began"] / 1000,
            )
            for stage, unit, row in self._all(run_id)
        ]

    def idle(self, run_id: str) -> bool:
        return self._call(_IDLE, run_id)[0] == "idle"

    def report(self, claim: Claim, progress: Progress) -> None:
        key = _progress_key(claim.run_id)
        with _reachable(), self._redis.pipeline(transaction=False) as pipe:
            pipe.hset(key, _field(claim.stage, claim.unit), progress.model_dump_json())
            pipe.expire(key, _KEEP)
            pipe.execute()

    def progress(self, run_id: str) -> dict[str, Progress]:
        with _reachable():
            fields = cast("dict[bytes, bytes]", self._redis.hgetall(_progress_key(run_id)))
        return {field.decode(): Progress.model_validate_json(value) for field, value in fields.items()}

    def sit(self, claim: Claim) -> Seat:
        answer, value = self._call(_SIT, claim.run_id, _field(claim.stage, claim.unit), claim.token)
        if answer == "busy":
            raise StageBusy(f"{claim.stage} {claim.unit} went to {value}")
        return Seat(int(value), taken=answer == "taken")

    def round(self, run_id: str) -> int:
        with _reachable():
            number = cast("bytes | None", self._redis.hget(_run_key(run_id), "round"))
        return int(number) if number else 1

    def lose(self, run_id: str, number: int) -> None:
        self._call(_LOSE, run_id, number)

    def mark(self, run_id: str, mark: str) -> None:
        with _reachable(), self._redis.pipeline(transaction=False) as pipe:
            pipe.sadd(_marks_key(run_id), mark)
            pipe.expire(_marks_key(run_id), _KEEP)
            pipe.execute()

    def marks(self, run_id: str) -> frozenset[str]:
        with _reachable():
            found = cast("set[bytes]", self._redis.smembers(_marks_key(run_id)))
        return frozenset(mark.decode() for mark in found)

    def clock_ms(self) -> float:
        with _reachable():
            seconds, microseconds = self._redis.time()
        return seconds * 1000 + microseconds / 1000

    def mark_resent(self, run_id: str, after_seconds: float) -> int | None:
        answer = self._call(_RESENT, run_id, int(after_seconds * 1000))
        return int(answer[1]) if answer[0] == "resent" else None

    def _forget(self, index: str, run_ids: list[str]) -> None:
        if run_ids:
            with _reachable():
                self._redis.zrem(index, *run_ids)

    def _noted(self, run_id: str, field: str) -> str:
        with _reachable():
            noted = cast("bytes | None", self._redis.hget(_run_key(run_id), field))
        return noted.decode() if noted else ""

    def _all(self, run_id: str) -> list[tuple[Stage, str, dict[str, Any]]]:
        with _reachable(), self._redis.pipeline(transaction=False) as pipe:
            pipe.hget(_run_key(run_id), "round")
            pipe.hgetall(_rows_key(run_id))
            number, fields = pipe.execute()
        names = ((field.decode().split(":", 1), _read(row, number)) for field, row in fields.items())
        return [(Stage(stage), unit, row) for (stage, unit), row in names]

    def _call(self, script: str, run_id: str, *arguments: str | float) -> tuple[str, str]:
        if script not in self._scripts:
            self._scripts[script] = self._redis.register_script(_PRELUDE + script)
        with _reachable():
            keys = [_run_key(run_id), _rows_key(run_id), LEASE_KEY, _WAITING]
            answer = self._scripts[script](keys=keys, args=[*arguments, _KEEP])
        words = [word.decode() if word else "" for word in cast("list[bytes]", answer)]
        if words[0] == "unknown":
            raise RunFailed(f"the ledger knows no run {run_id}")
        return words[0], words[1] if len(words) > 1 else ""


def _reachable() -> AbstractContextManager[None]:
    return asking("the ledger")


def _run(run_id: str, fields: dict[bytes, bytes]) -> Run:
    text = {name.decode(): value.decode() for name, value in fields.items()}
    return Run(
        run_id=run_id,
        kind=RunKind(text["kind"]),
        state=RunState(text["state"]),
        reason=text["reason"],
        code=text.get("code", ""),
        created_at=_moment(text["created"]),
        updated_at=_moment(text["updated"]),
        plan=text["plan"],
        fence=int(text["fence"]) if text["fence"] else None,
        resent=int(text["resent"]),
        wakes_at=_moment(text["wakes"]) if "wakes" in text else None,
        waits_for=text.get("waits_for", ""),
    )


def _read(document: bytes, number: bytes | None) -> dict[str, Any]:
    """A row as it counts in the current round."""
    row: dict[str, Any] = json.loads(document)
    if row.get("round", 0) and row["round"] != int(number or 1):
        row.pop("result", None)
    return row


def _field(stage: Stage, unit: str) -> str:
    return f"{stage}:{unit}"


def _run_key(run_id: str) -> str:
    return f"strata:run:{run_id}"


def _rows_key(run_id: str) -> str:
    return f"strata:run:{run_id}:rows"


def _progress_key(run_id: str) -> str:
    return f"strata:run:{run_id}:progress"


def _marks_key(run_id: str) -> str:
    return f"strata:run:{run_id}:marks"


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _moment(milliseconds: str) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
