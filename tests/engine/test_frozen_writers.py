"""A worker that stood still while another finished its restore writes nothing into the live state when it wakes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import psycopg
import pytest
import redis

from strata.engine.local import backup_here
from strata.errors import StageBusy
from strata.model.backup_type import BackupType
from strata.model.run import RunState
from strata.model.tier import Tier
from strata.seal.keyring import FileKeyring
from strata.settings import Settings
from strata.sources.port import RestoreMode
from strata.testing import SettableClock
from strata.wiring import Wiring
from tests.engine.frozen_worker import SPANS
from workers.local_stack.servers import RedisServer, S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

RECORDS = 60
State = dict[str, str]

BACKED_UP = {f"record:{number:03}": "backed up" for number in range(RECORDS)} | {"large": "backed up" * 200_000}
BEFORE = {f"record:{number:03}": "before" for number in range(0, 2 * RECORDS, 2)}
AFTER = {f"record:{number:03}": "live again" for number in range(0, 3 * RECORDS, 3)}


class Live:
    """The tiers as their application sees them: each is a mapping of names to texts."""

    def __init__(self, hot: redis.Redis, warm: psycopg.Connection, cold: S3Client, bucket: str) -> None:
        self._hot, self._warm, self._cold, self._bucket = hot, warm, cold, bucket
        warm.execute("CREATE TABLE state_warm (name text PRIMARY KEY, value text)")

    def become(self, tier: Tier, state: State) -> None:
        """Make the tier hold exactly this."""
        match tier:
            case Tier.HOT:
                self._hot.flushdb()
                self._hot.mset(state)
            case Tier.WARM:
                with self._warm.transaction():
                    self._warm.execute("DELETE FROM state_warm")
                    self._warm.cursor().executemany("INSERT INTO state_warm VALUES (%s, %s)", list(state.items()))
            case Tier.COLD:
                for name in self.now(tier).keys() - state.keys():
                    self._cold.delete_object(Bucket=self._bucket, Key=name)
                for name, value in state.items():
                    self._cold.put_object(Bucket=self._bucket, Key=name, Body=value.encode())

    def now(self, tier: Tier) -> State:
        """What the tier holds."""
        match tier:
            case Tier.HOT:
                names = [name.decode() for name in cast("list[bytes]", self._hot.keys())]
                values = cast("list[bytes]", self._hot.mget(names))
                return {name: value.decode() for name, value in zip(names, values, strict=True)}
            case Tier.WARM:
                return dict(self._warm.execute("SELECT name, value FROM state_warm").fetchall())
            case Tier.COLD:
                listed = self._cold.list_objects_v2(Bucket=self._bucket).get("Contents", [])
                names = [one["Key"] for one in listed]
                return {
                    name: self._cold.get_object(Bucket=self._bucket, Key=name)["Body"].read().decode() for name in names
                }


@pytest.fixture
def settings(
    folder: Path, redis_server: RedisServer, hot_url: str, warm_url: str, s3_server: S3Server
) -> dict[str, str]:
    """Three tiers, a store, a spool, a keyring and a ledger."""
    FileKeyring.create(folder / "keyring.json", SettableClock().now())
    return {
        "hot_url": hot_url,
        "warm_url": warm_url,
        "cold_url": f"s3://frozen-{os.urandom(4).hex()}",
        "cold_endpoint": s3_server.endpoint,
        "cold_access_key_id": s3_server.access_key,
        "cold_secret_access_key": s3_server.secret_key,
        "result_url": f"{redis_server.url.removesuffix('/0')}/1",
        "local_url": (folder / "store").as_uri(),
        "spool_url": (folder / "spool").as_uri(),
        "keyring_file": str(folder / "keyring.json"),
    }


@pytest.fixture
def wiring(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Wiring:
    """What the second worker works with; claims run out sooner than usual."""
    for module, name, seconds in SPANS:
        monkeypatch.setattr(module, name, seconds)
    return Wiring(Settings.model_validate(settings))


@pytest.fixture
def live(settings: dict[str, str], s3_server: S3Server) -> Iterator[Live]:
    """The tiers, empty."""
    from strata.s3client import S3Access, make_client

    cold = make_client(S3Access(s3_server.endpoint, s3_server.access_key, s3_server.secret_key), 2)
    bucket = settings["cold_url"].removeprefix("s3://")
    cold.create_bucket(Bucket=bucket)
    with (
        redis.Redis.from_url(settings["hot_url"]) as hot,
        psycopg.connect(settings["warm_url"], autocommit=True) as warm,
    ):
        yield Live(hot, warm, cold, bucket)


@contextmanager
def worker(settings: dict[str, str], folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A worker that has come to its point."""
    variables = {f"STRATA_{name.upper()}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "tests.engine.frozen_worker", *arguments]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STRATA_")}
    paths = {"PYTHONPATH": str(Path(__file__).parents[2]), "HOME": str(folder)}
    with subprocess.Popen(
        command, cwd=folder, env={**kept, **paths, **variables}, stdin=-1, stdout=-1, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "here\n"
            yield process
        finally:
            process.kill()


def until(look: Callable[[], bool], seconds: float = 60) -> None:
    """Return once it is so."""
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def applied(wiring: Wiring, run_id: str, tier: Tier) -> bool:
    """Whether the tier is written back: by this process, once the other's claim has run out."""
    try:
        wiring.manager.apply(run_id, tier)
    except StageBusy:
        return False
    return True


def idle_restores(settings: dict[str, str]) -> bool:
    """Whether the server still keeps the transaction of a restore that says nothing."""
    with psycopg.connect(settings["warm_url"], autocommit=True) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND application_name LIKE 'strata%' AND state LIKE 'idle in transaction%'"
        ).fetchone()
    return bool(row and row[0])


@pytest.mark.timeout(180)
@pytest.mark.parametrize("point", ["write", "value", "remove", "finish"])
@pytest.mark.parametrize("tier", list(Tier))
def test_a_frozen_writer_writes_nothing_after_another_finished_the_restore(
    tier: Tier, point: str, settings: dict[str, str], wiring: Wiring, live: Live, folder: Path
) -> None:
    """Stopped in the middle and woken after the restore was done by another, it leaves the live state as it is."""
    live.become(tier, BACKED_UP)
    made = backup_here(wiring.local_manager, BackupType.FULL, "20250102-030405-full-601d00")
    live.become(tier, BEFORE)
    run_id = "20250102-030405-restore-601d00"
    wiring.manager.start_restore(made.backup_id, run_id, RestoreMode.EXACT, (tier,))
    wiring.manager.check(run_id)
    with worker(settings, folder, run_id, tier.value, point) as frozen:
        frozen.send_signal(signal.SIGSTOP)
        until(lambda: not idle_restores(settings))
        until(lambda: applied(wiring, run_id, tier))
        wiring.manager.finish(run_id)
        assert live.now(tier) == BACKED_UP
        live.become(tier, AFTER)
        frozen.send_signal(signal.SIGCONT)
        said, _ = frozen.communicate("go on\n", timeout=60)
    assert live.now(tier) == AFTER
    assert said == "done\n"


@pytest.mark.timeout(180)
@pytest.mark.parametrize("tier", [Tier.HOT, Tier.COLD])
def test_a_frozen_writer_writes_nothing_after_its_restore_was_given_up(
    tier: Tier, settings: dict[str, str], wiring: Wiring, live: Live, folder: Path
) -> None:
    """A worker that wakes after its run has ended as FAILED stops, though nobody took its unit over."""
    live.become(tier, BACKED_UP)
    made = backup_here(wiring.local_manager, BackupType.FULL, "20250102-030405-full-601d00")
    run_id = "20250102-030405-restore-601d00"
    wiring.manager.start_restore(made.backup_id, run_id, RestoreMode.EXACT, (tier,))
    wiring.manager.check(run_id)
    with worker(settings, folder, run_id, tier.value, "write") as frozen:
        frozen.send_signal(signal.SIGSTOP)
        wiring.manager.abandon(run_id, "no worker moved it on")
        live.become(tier, AFTER)
        began = wiring.ledger.rows(run_id)[-1].began
        until(lambda: time.time() - began > 2 * SPANS[0][2])
        frozen.send_signal(signal.SIGCONT)
        said, _ = frozen.communicate("go on\n", timeout=60)
    assert live.now(tier) == AFTER
    assert said.startswith("LeaseLost: ")
    run = wiring.ledger.run(run_id)
    assert run is not None
    assert run.state is RunState.FAILED
