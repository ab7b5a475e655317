"""Workers whose clocks are wrong do what beat sends, and say by how much they are off."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
import redis
from celery import Celery
from celery.signals import before_task_publish

from beat_schedule import BEAT_SCHEDULE
from strata.catalog.redis_ledger import RedisLedger
from strata.model.plan import CopyPlan
from strata.model.run import Run, RunKind, RunState
from strata.model.tier import StorageTier
from strata.planning.ticks import GOOD_FOR, TICKED, stale
from strata.seal.keyring import FileKeyring
from strata.settings import Settings
from tasks.due import COUNTDOWN, DueRequest, DueTask
from tasks.enqueue import LOOK
from tests.shifted_clock import shifted, shifting
from workers import ticks
from workers.configuration import make_app
from workers.local_stack.servers import RedisServer

Found = TypeVar("Found")

RUN = "20250102-030405-copy-601d00"
TICK = BEAT_SCHEDULE["resend-stalled-runs"]


@dataclass(frozen=True)
class Shifted:
    """A worker of the control queue with its own clock and ledger."""

    ahead: int
    url: str
    app: Celery
    ledger: RedisLedger
    log: Path


def until(look: Callable[[], Found | None], complaint: str, seconds: float = 60) -> Found:
    """The first thing that `look` finds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.02)
    raise AssertionError(complaint)


@contextmanager
def working(folder: Path, url: str, ahead: int) -> Iterator[Shifted]:
    """A worker whose clock is so many seconds ahead."""
    folder.mkdir()
    settings = {
        "STRATA_BROKER_URL": url,
        "STRATA_RESULT_URL": url,
        "STRATA_LOCAL_URL": (folder / "store").as_uri(),
        "STRATA_SPOOL_URL": (folder / "spool").as_uri(),
        "STRATA_KEYRING_FILE": str(folder / "keyring.json"),
        "STRATA_CACHE_FOLDER": str(folder / "cache"),
    }
    FileKeyring.create(folder / "keyring.json", datetime.now(UTC))
    environment = {**os.environ, **settings, **shifted(shifting(folder), ahead), "TMPDIR": str(folder)}
    queue = ("-Q", "strata.control", "-n", f"control{ahead}@%h")
    command = [sys.executable, "-m", "celery", "-A", "workers", "worker", "-c", "1", "-l", "WARNING", *queue]
    with (folder / "log").open("wb") as log, redis.Redis.from_url(url) as client:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            app = make_app(Settings(broker_url=url, result_url=url, _env_file=None))
            yield Shifted(ahead, url, app, RedisLedger(client), folder / "log")
        finally:
            process.terminate()
            process.wait(60)


@pytest.fixture
def workers(redis_server: RedisServer, folder: Path) -> Iterator[list[Shifted]]:
    """One that is a minute ahead, and one that is a minute behind, side by side."""
    base = redis_server.url.rpartition("/")[0]
    urls = [f"{base}/14", f"{base}/15"]
    with ExitStack() as stack:
        for url in urls:
            with redis.Redis.from_url(url) as client:
                client.flushdb()
        places = zip(urls, (60, -60), strict=True)
        yield [stack.enter_context(working(folder / f"{ahead}", url, ahead)) for url, ahead in places]


def silent_run(ledger: RedisLedger) -> None:
    """A run that stopped moving long ago."""
    then = datetime.now(UTC) - timedelta(hours=1)
    plan = CopyPlan(
        copy_id=RUN,
        backup_id="20250102-030405-full-601d00",
        source=StorageTier.LOCAL,
        target=StorageTier.NETWORK,
        source_url="file:///a",
        target_url="file:///b",
        created_at=then,
        parts=(),
        objects=0,
        bytes=0,
    )
    ledger.create(
        Run(
            run_id=RUN,
            kind=RunKind.COPY,
            state=RunState.RUNNING,
            created_at=then,
            updated_at=then,
            plan=plan.model_dump_json(),
        )
    )


def looked(worker: Shifted) -> dict[str, Any] | None:
    """What a worker answers to `strata doctor`."""
    answers = worker.app.control.inspect(timeout=1, limit=1)._request(LOOK) or {}
    return next(iter(answers.values()), None)


def test_workers_a_minute_ahead_and_behind_do_what_beat_sends(
    workers: list[Shifted], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stalled run is sent again at the first tick, whatever a worker thinks the time is; and the worker complains."""
    for worker in workers:
        answer = until(lambda worker=worker: looked(worker), f"the worker {worker.ahead} s ahead does not answer")  # type: ignore[misc]
        assert answer["queues"] == ["strata.control"]
        assert answer["ahead"] == pytest.approx(worker.ahead, abs=3)
        silent_run(worker.ledger)
        monkeypatch.setenv("STRATA_RESULT_URL", worker.url)
        ticks._ticks.cache_clear()
        before_task_publish.connect(ticks.mark)
        try:
            worker.app.send_task(TICK["task"], **TICK["options"])
        finally:
            before_task_publish.disconnect(ticks.mark)
            ticks._ticks.cache_clear()
    for worker in workers:
        run = until(lambda worker=worker: sent_again(worker), f"{worker.ahead} s ahead: {worker.log.read_text()}")  # type: ignore[misc]
        assert run.resent == 1
        side = "ahead of" if worker.ahead > 0 else "behind"
        said = f"s {side} the ledger's"
        until(lambda worker=worker, said=said: said in worker.log.read_text(), worker.log.read_text())  # type: ignore[misc]


def sent_again(worker: Shifted) -> Run | None:
    """The run, once it was sent again."""
    run = worker.ledger.run(RUN)
    return run if run and run.resent else None


@pytest.mark.parametrize(
    ("headers", "now_ms", "why"),
    [
        ({GOOD_FOR: 25, TICKED: 1_000_000}, 1_024_000, ""),
        ({GOOD_FOR: 25, TICKED: 1_000_000}, 1_026_000, "not done: sent 26 s ago, and good for 25 s"),
        ({GOOD_FOR: 600, TICKED: 0}, 840_000, "not done: sent 14 min ago, and good for 10 min"),
        ({GOOD_FOR: 25}, 1_026_000, ""),
        ({TICKED: 1_000_000}, 1_026_000, ""),
        ({GOOD_FOR: "25", TICKED: "x"}, 1_026_000, ""),
        ({}, 1_026_000, ""),
    ],
)
def test_a_tick_is_stale_by_one_clock_only(headers: dict[str, Any], now_ms: float, why: str) -> None:
    """Sent and taken are moments of the ledger's clock; what does not say when it was sent is always good."""
    assert stale(headers, now_ms) == why


def test_a_countdown_is_a_span_on_every_machine() -> None:
    """A message that is sent by a clock that is an hour ahead is due after its countdown, not an hour later."""
    app = Celery("test", broker="memory://", set_as_current=False)

    def due() -> None:
        """Done later."""

    task = app.task(due, base=DueTask, name="due")
    task.apply_async(countdown=20)
    with app.connection_for_read() as connection:
        message = connection.SimpleQueue("celery").get(timeout=5)
    assert message.headers[COUNTDOWN] == 20
    hour = timedelta(hours=1)
    sent_ahead = {**message.headers, "eta": (datetime.fromisoformat(message.headers["eta"]) + hour).isoformat()}
    sent_behind = {**message.headers, "eta": (datetime.fromisoformat(message.headers["eta"]) - hour).isoformat()}
    now = datetime.now(UTC)
    assert now < _request(app, task, message, sent_ahead).eta < now + timedelta(seconds=40)
    assert _request(app, task, message, sent_behind).eta < now


def _request(app: Celery, task: Any, message: Any, headers: dict[str, Any]) -> Any:
    received = SimpleNamespace(**{name: getattr(message, name) for name in ("body", "payload", "properties")})
    received.headers, received.delivery_info = headers, {}
    received.content_type, received.content_encoding = message.content_type, message.content_encoding
    return DueRequest(received, app=app, task=task)
