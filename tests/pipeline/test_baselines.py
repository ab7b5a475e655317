"""What new backups build on is read from what is recorded: by any process, after any restart, whatever the clock."""

from __future__ import annotations

from datetime import timedelta

from strata.model.backup_type import BackupType
from strata.model.manifest import BackupMetadata
from strata.model.tier import Tier
from strata.planning.rounds import Torn
from strata.testing import SettableClock
from tests.pipeline.conftest import STACK_DEPTH, Pipeline
from tests.pipeline.state import State


def put(pipeline: Pipeline, number: int) -> None:
    """A change in every tier."""
    bot = pipeline.bot
    bot.hot.set("order:now", number)
    pipeline.tiers.warm.execute("INSERT INTO state_warm (key, data) VALUES (%s, '1')", (f"order:{number}",))
    bot.s3.put_object(Bucket=bot.bucket, Key=f"{bot.prefix}order:{number}", Body=b"%d" % number)


def assert_restores(pipeline: Pipeline, moments: list[tuple[BackupMetadata, State]]) -> None:
    """Each backup gives its state."""
    for made, state in moments:
        pipeline.tiers.wipe()
        pipeline.brought_back(made.backup_id)
        pipeline.holds(state, made.backup_id)


def test_workers_that_were_restarted_see_the_same_baselines(pipeline: Pipeline) -> None:
    """Between a FULL and its INCREMENTAL all workers die and others take their place: the parent is the FULL."""
    moments: list[tuple[BackupMetadata, State]] = []
    for number, kind in enumerate((BackupType.FULL, BackupType.INCREMENTAL, BackupType.DIFFERENTIAL)):
        put(pipeline, number)
        moments.append((pipeline.backed_up(kind), pipeline.tiers.read()))
        if number == 0:
            pipeline.kill_workers()
    full, incremental, differential = (made for made, _ in moments)
    assert (incremental.parent, differential.parent) == (full.backup_id, full.backup_id)
    assert full.generation < incremental.generation < differential.generation
    assert_restores(pipeline, moments)


def test_processes_take_turns(pipeline: Pipeline) -> None:
    """A worker, a process that lives long, and a command that has just begun build on each other's backups."""
    put(pipeline, 0)
    moments = [(pipeline.backed_up(), pipeline.tiers.read())]
    for number in range(1, STACK_DEPTH):
        put(pipeline, number)
        match number % 3:
            case 0:
                made = pipeline.backed_up(BackupType.INCREMENTAL)
            case 1:
                made = pipeline.made(BackupType.INCREMENTAL)
            case _:
                made = pipeline.set_up().made(BackupType.INCREMENTAL)
        assert made.parent == moments[-1][0].backup_id
        assert {content.changes.changed for content in made.tiers if content.tier is Tier.HOT and content.changes} == {
            1
        }
        moments.append((made, pipeline.tiers.read()))
    assert_restores(pipeline, moments[::2])


def test_the_order_of_backups_is_not_the_clock_s(pipeline: Pipeline) -> None:
    """Whichever way the clock is set between backups: each builds on the one before, and `latest` is the last made."""
    clock = SettableClock(pipeline.here.clock.now())
    there = pipeline.set_up(clock)
    moments: list[tuple[BackupMetadata, State]] = []
    for number, days in enumerate((0, 3, -10, 5, -1)):
        clock.advance(timedelta(days=days))
        put(pipeline, number)
        made = there.made(BackupType.INCREMENTAL if number else BackupType.FULL)
        moments.append((made, pipeline.tiers.read()))
        assert made.parent == (moments[-2][0].backup_id if number else None)
        assert pipeline.wiring.depots.nearest.metadata.history()[0][0].backup_id == made.backup_id
    clock.advance(timedelta(days=-20))
    again = there.made()
    assert again.parent == moments[-1][0].backup_id
    clock.advance(timedelta(days=-20))
    put(pipeline, 9)
    assert there.made(BackupType.DIFFERENTIAL).parent == again.backup_id
    listed = [backup.generation for backup in pipeline.wiring.depots.nearest.metadata.history()[0]]
    assert listed == sorted(listed, reverse=True)
    assert_restores(pipeline, moments)


def test_workers_whose_clock_was_set_back_build_on_the_last_backup(pipeline: Pipeline) -> None:
    """A backup that was made in ten days is the parent of what the workers make today, and is the latest no more."""
    there = pipeline.set_up(SettableClock(pipeline.here.clock.now() + timedelta(days=10)))
    put(pipeline, 0)
    future = there.made()
    moments = [(future, pipeline.tiers.read())]
    for number, kind in enumerate((BackupType.INCREMENTAL, BackupType.DIFFERENTIAL), 1):
        put(pipeline, number)
        made = pipeline.backed_up(kind)
        assert made.parent == future.backup_id
        assert made.created_at < future.created_at
        moments.append((made, pipeline.tiers.read()))
        assert pipeline.wiring.depots.nearest.metadata.history()[0][0].backup_id == made.backup_id
    assert_restores(pipeline, moments)


def test_only_what_is_recorded_is_built_on(pipeline: Pipeline) -> None:
    """A backup that failed after it had stored everything is no baseline, and what it stored harms none."""
    put(pipeline, 0)
    first = pipeline.made()
    put(pipeline, 1)
    here = pipeline.set_up(meeting_seconds=0.0, cut_rounds=1, torn=Torn.TELL).here
    manager, run_id = here.local_manager, "failed-after-storing"
    plan = manager.start(BackupType.INCREMENTAL, run_id)
    for unit in manager.baseline_units(plan):
        manager.baseline(run_id, unit)
    for tier in Tier:
        manager.collect(run_id, tier)
    for spooled in manager.merge(run_id).objects:
        manager.compress(run_id, spooled.unit.label)
        manager.encrypt(run_id, spooled.unit.label)
        manager.store(run_id, spooled.unit.label)
    manager.abandon(run_id, "on purpose")
    assert any("failed-after-storing" in path.as_posix() for path in pipeline.objects("layers/*/*"))
    put(pipeline, 2)
    made = pipeline.made(BackupType.INCREMENTAL)
    assert made.parent == first.backup_id
    assert_restores(pipeline, [(made, pipeline.tiers.read())])
