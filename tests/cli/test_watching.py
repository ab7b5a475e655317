"""Waiting for runs of the workers: on a real ledger, with the test in the place of the workers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid4

import pytest
import redis

from strata.catalog.redis_ledger import RedisLedger
from strata.cli.lost import RunLost
from strata.cli.output import Output
from strata.cli.watching import StillRunning, follow
from strata.errors import BrokerUnavailable, HalfRestored, LeaseHeld, RunFailed
from strata.model.plan import RestorePlan
from strata.model.run import Run, RunKind, RunState, StageRow
from strata.model.tier import StorageTier, Tier
from workers.local_stack.servers import RedisServer


@pytest.fixture
def ledger(redis_server: RedisServer) -> Iterator[RedisLedger]:
    """A ledger of the test's own."""
    with redis.Redis.from_url(f"{redis_server.url.removesuffix('/0')}/2") as client:
        yield RedisLedger(client)
        client.flushdb()


class EmptiedLedger(RedisLedger):
    """A ledger whose Redis is emptied once a run was read from it."""

    def rows(self, run_id: str) -> list[StageRow]:
        self._redis.flushdb()
        return super().rows(run_id)


def _enter(
    ledger: RedisLedger,
    state: RunState,
    reason: str = "",
    code: str = "",
    kind: RunKind = RunKind.BACKUP,
    plan: str = "",
) -> str:
    now, run_id = datetime.now(UTC), uuid4().hex
    ledger.create(
        Run(
            run_id=run_id,
            kind=kind,
            plan=plan,
            state=state,
            reason=reason,
            code=code,
            created_at=now,
            updated_at=now,
        )
    )
    return run_id


def test_failed_run_is_told_with_its_reason(ledger: RedisLedger) -> None:
    """FAILED becomes RunFailed, and the reason that the stage noted first is in its sentence."""
    run_id = _enter(ledger, RunState.RUNNING)
    ledger.note_failure(run_id, "HOT does not answer", "source-unavailable")
    ledger.note_failure(run_id, "something else", "storage")
    ledger.end(run_id, RunState.FAILED, ledger.failure(run_id), ledger.failure_code(run_id))
    with pytest.raises(RunFailed, match="HOT does not answer"):
        follow(Output(), ledger, run_id, "Backup", None)
    run = ledger.run(run_id)
    assert run
    assert run.code == "source-unavailable"


def test_refused_run_is_told_as_the_error_it_was_refused_by(ledger: RedisLedger) -> None:
    """REFUSED becomes the error of its code, so that its exit code is that error's."""
    run_id = _enter(ledger, RunState.REFUSED, "another run is going on: x", "lease-held")
    with pytest.raises(LeaseHeld, match="another run is going on"):
        follow(Output(), ledger, run_id, "Backup", None)


def test_backup_refused_for_a_half_restored_state_is_told_both_ways_out(ledger: RedisLedger) -> None:
    """The ledger keeps no hint, so the one who waits is given the one of the error."""
    run_id = _enter(ledger, RunState.REFUSED, "no incremental backup is made", "half-restored")
    with pytest.raises(HalfRestored) as refused:
        follow(Output(), ledger, run_id, "Backup", None)
    assert "strata settle" in refused.value.hint


def test_target_that_cannot_take_the_tables_is_told_with_what_to_do(ledger: RedisLedger) -> None:
    """The one who waits for the workers is told as much as the one who restores with --local."""
    run_id = _enter(ledger, RunState.FAILED, "public.f() does not exist", "schema-mismatch")
    with pytest.raises(RunFailed) as failed:
        follow(Output(), ledger, run_id, "Restore", None)
    assert "migrations" in failed.value.hint


def test_run_that_nobody_takes_is_told_after_the_timeout(
    ledger: RedisLedger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without workers the waiting says so, and ends with --timeout."""
    monkeypatch.setattr("strata.cli.watching.UNTAKEN_SECONDS", 0.1)
    with pytest.raises(BrokerUnavailable, match="no worker has taken"):
        follow(Output(), ledger, "nobody", "Backup", 0.5)
    assert "Are workers running?" in capsys.readouterr().err


def test_run_that_takes_longer_than_the_timeout_goes_on(ledger: RedisLedger) -> None:
    """--timeout ends the waiting, not the run."""
    run_id = _enter(ledger, RunState.RUNNING)
    with pytest.raises(StillRunning, match="goes on"):
        follow(Output(), ledger, run_id, "Backup", 0.2)
    run = ledger.run(run_id)
    assert run
    assert run.state is RunState.RUNNING


@pytest.mark.parametrize("kind", RunKind)
def test_run_that_the_ledger_lost_is_not_waited_for(redis_server: RedisServer, kind: RunKind) -> None:
    """It was seen, so workers had taken it: the waiting ends, and says what is lost."""
    with redis.Redis.from_url(f"{redis_server.url.removesuffix('/0')}/2") as client:
        ledger = EmptiedLedger(client)
        run_id = _enter(ledger, RunState.RUNNING, kind=kind)
        with pytest.raises(RunLost, match=f"the ledger has lost {run_id}"):
            follow(Output(), ledger, run_id, "Run", None)


@pytest.mark.parametrize(
    ("mode", "left"),
    [("exact", "and WARM .PostgreSQL. may be half overwritten"), ("rehearse", "no tier is changed")],
)
def test_restore_that_the_ledger_lost_is_told_with_what_it_may_leave(ledger: RedisLedger, mode: str, left: str) -> None:
    """Also where it is lost between its plan and its confirmation, before anybody looks again."""
    now, url = datetime.now(UTC), "file:///store"
    plan = RestorePlan(
        restore_id="r",
        backup_id="b",
        storage_tier=StorageTier.LOCAL,
        store_url=url,
        mode=mode,
        created_at=now,
        tiers=(Tier.HOT, Tier.WARM),
    )
    run_id = _enter(ledger, RunState.RUNNING, kind=RunKind.RESTORE, plan=plan.model_dump_json())
    known = ledger.run(run_id)
    ledger._redis.flushdb()
    with pytest.raises(RunLost, match=left) as lost:
        follow(Output(), ledger, run_id, "Restore", None, known)
    assert lost.value.exit_code == BrokerUnavailable.exit_code
