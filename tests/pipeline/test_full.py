"""A FULL backup through real workers, and its restore."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import redis
from psycopg import sql

from strata.errors import BackupNotFound
from strata.model.run import RunState, Stage
from strata.model.tier import Tier
from strata.sources.port import RestoreMode
from tests.pipeline.conftest import Pipeline
from workers.local_stack.bot import differences
from workers.queues import CONTROL, RESTORE


def test_every_record_of_three_tiers_comes_back(pipeline: Pipeline) -> None:
    """Written, backed up through the workers, wiped, restored: every record is equal, and every count exact."""
    counts = pipeline.bot.write()
    before = pipeline.bot.read()
    backup = pipeline.wait(pipeline.backup())
    assert backup.state is RunState.DONE, backup.reason
    pipeline.bot.wipe()
    restored = pipeline.wait(pipeline.restore(backup.run_id))
    assert restored.state is RunState.DONE, restored.reason
    assert not any(differences(before, pipeline.bot.read()).values())
    manifest = pipeline.wiring.depots.nearest.metadata.load(backup.run_id)
    assert {content.tier.value: content.records for content in manifest.tiers} == counts


def test_a_run_that_goes_well_leaves_no_warning_in_the_logs(pipeline: Pipeline) -> None:
    """What Celery says of a setting that is meant as it is does not fill the log at every run."""
    backup = pipeline.wait(pipeline.backup())
    assert pipeline.wait(pipeline.restore(backup.run_id)).state is RunState.DONE
    logs = "".join(log.read_text() for log in (pipeline.stack.folder / "logs").glob("worker-*.log"))
    assert backup.run_id in logs
    assert "DeprecationWarning" not in logs


def test_restore_removes_what_the_backup_does_not_hold_and_overlay_keeps_it(pipeline: Pipeline) -> None:
    """Deletions are state: what was created after the backup goes in an exact restore, and stays in an overlay."""
    pipeline.bot.hot.set("position:old", "1")
    backup = pipeline.wait(pipeline.backup()).run_id
    pipeline.bot.hot.set("position:new", "2")
    pipeline.bot.hot.delete("position:old")
    assert pipeline.wait(pipeline.restore(backup, RestoreMode.OVERLAY)).state is RunState.DONE
    assert sorted(pipeline.bot.hot.keys("position:*")) == [b"position:new", b"position:old"]
    assert pipeline.wait(pipeline.restore(backup)).state is RunState.DONE
    assert pipeline.bot.hot.keys("position:*") == [b"position:old"]


def test_empty_tiers_give_an_empty_backup_that_restores(pipeline: Pipeline) -> None:
    """Nothing in any tier is a state too: the backup exists, and restoring it empties the tiers."""
    backup = pipeline.wait(pipeline.backup())
    assert backup.state is RunState.DONE, backup.reason
    pipeline.bot.hot.set("position:later", "1")
    assert pipeline.wait(pipeline.restore(backup.run_id)).state is RunState.DONE
    assert pipeline.bot.hot.dbsize() == 0


def test_two_backups_at_once_the_second_is_told_who_runs(pipeline: Pipeline) -> None:
    """The lease is held by one run: the other is refused, by name, and leaves nothing."""
    with pipeline.bot.hot.pipeline(transaction=False) as pipe:
        for number in range(50_000):
            pipe.set(f"order:{number}", secrets.token_hex(40))
        pipe.execute()
    first, second = pipeline.backup(), pipeline.backup()
    ended = [pipeline.wait(first), pipeline.wait(second)]
    assert sorted(run.state for run in ended) == [RunState.DONE, RunState.REFUSED]
    done, refused = sorted(ended, key=lambda run: run.state)
    assert done.run_id in refused.reason
    assert pipeline.wiring.lease.holder() is None


def test_a_run_sent_twice_is_done_once(pipeline: Pipeline) -> None:
    """The same start delivered three times gives one backup, one claim for each stage's result."""
    pipeline.bot.hot.set("position:1", "x")
    run_id = pipeline.backup()
    pipeline.backup(run_id)
    pipeline.backup(run_id)
    assert pipeline.wait(run_id).state is RunState.DONE
    assert [one.backup_id for one in pipeline.wiring.depots.nearest.metadata.history()[0]].count(run_id) == 1
    assert len(pipeline.wiring.ledger.results(run_id, Stage.RECORD)) == 1


def test_what_cannot_start_says_why_in_the_ledger(pipeline: Pipeline) -> None:
    """A type or a mode that does not exist is refused with a sentence, where the person who waits will look."""
    pipeline.app.send_task("tasks.start.start_backup", ("fulll", "wrong-type"), queue=CONTROL, ignore_result=True)
    pipeline.app.send_task(
        "tasks.restore.start_restore", ("latest", "wrong-mode", "sideways"), queue=RESTORE, ignore_result=True
    )
    refused = [pipeline.wait("wrong-type", 20), pipeline.wait("wrong-mode", 20)]
    assert {run.state for run in refused} == {RunState.REFUSED}
    assert "'fulll'" in refused[0].reason
    assert refused[1].reason


@contextmanager
def closed(pipeline: Pipeline) -> Iterator[None]:
    """PostgreSQL lets the workers' user in no more, meanwhile."""
    url = pipeline.wiring.settings.warm_url
    assert url
    with psycopg.connect(url.get_secret_value(), autocommit=True) as connection:
        user = sql.Identifier(connection.info.user)
        connection.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(user))
        try:
            yield
        finally:
            connection.execute(sql.SQL("ALTER ROLE {} LOGIN").format(user))


def test_a_tier_that_is_down_fails_the_backup_by_name(pipeline: Pipeline) -> None:
    """A tier that lets nobody in is no empty one: the run is FAILED with the tier and the cause, nothing exists."""
    pipeline.bot.hot.set("position:1", "x")
    with closed(pipeline):
        run = pipeline.wait(pipeline.backup())
    assert run.state is RunState.FAILED
    assert Tier.WARM.label in run.reason
    assert pipeline.wiring.lease.holder() is None
    upkeep, spool = pipeline.wiring.upkeep, pipeline.wiring.spool  # the other collectors may have written since
    pipeline.until(lambda: run.run_id not in spool.runs() or not upkeep.sweep_spool(), "the spool was not swept", 10)
    try:
        pipeline.wiring.depots.nearest.metadata.load(run.run_id)
    except BackupNotFound:
        return
    raise AssertionError("a backup exists that must not")


def test_a_flipped_byte_anywhere_is_named_and_nothing_is_written(pipeline: Pipeline) -> None:
    """One damaged object stops the restore before it writes, and its name is in the reason."""
    pipeline.bot.hot.set("position:1", "x" * 5000)
    backup = pipeline.wait(pipeline.backup()).run_id
    store = pipeline.stack.folder / "backups"
    for path in sorted((store / "layers").glob(f"{backup}-*/*")):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.chmod(0o600)
        path.write_bytes(data)
        pipeline.bot.hot.set("position:1", "untouched")
        run = pipeline.wait(pipeline.restore(backup))
        assert run.state is RunState.FAILED
        assert path.relative_to(store).as_posix() in run.reason
        assert pipeline.bot.hot.get("position:1") == b"untouched"
        data[len(data) // 2] ^= 1
        path.write_bytes(data)


def test_no_plaintext_reaches_broker_ledger_store_or_logs(pipeline: Pipeline) -> None:
    """A planted key and value are looked for in all that the broker was told, in every file, and not found."""
    key, value = f"position:{secrets.token_hex(12)}", secrets.token_hex(24)
    pipeline.bot.hot.set(key, value)
    heard = _Listener(pipeline)
    backup = pipeline.wait(pipeline.backup())
    restore = pipeline.wait(pipeline.restore(backup.run_id))
    said = heard.stop()
    assert (backup.state, restore.state) == (RunState.DONE, RunState.DONE)
    assert backup.run_id.encode() in said
    secret = pipeline.wiring.settings.hot_url
    assert secret
    password = secret.get_secret_value().split(":")[2].split("@")[0]
    for planted in (key, value, password):
        assert planted.encode() not in said
        for path in _files(pipeline.stack.folder, "backups", "spool", "logs"):
            assert planted.encode() not in path.read_bytes(), path


class _Listener:
    """Everything the broker's Redis is told while it listens."""

    def __init__(self, pipeline: Pipeline) -> None:
        url = pipeline.wiring.settings.broker_url
        assert url
        self._client = redis.Redis.from_url(url.get_secret_value())
        self._said: list[bytes] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def _listen(self) -> None:
        with self._client.monitor() as monitor:  # type: ignore[no-untyped-call]
            self._ready.set()
            for command in monitor.listen():
                self._said.append(command["command"].encode())
                if "listener-stops" in command["command"]:
                    return

    def stop(self) -> bytes:
        """End, and give what was heard."""
        self._client.echo("listener-stops")
        self._thread.join(10)
        return b"\n".join(self._said)


def _files(folder: Path, *parts: str) -> list[Path]:
    found = [path for part in parts for path in (folder / part).rglob("*") if path.is_file()]
    assert found
    return found
