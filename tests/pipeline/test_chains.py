"""Long chains of backups, and when a stack is laid anew: whatever the shape, each moment comes back."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from strata.engine.local import restore_here
from strata.model.backup_type import BackupType
from strata.model.manifest import BackupMetadata
from strata.model.tier import Tier
from strata.sources.port import RestoreMode
from strata.testing import Key, MemoryRecord, MemorySource, OverlookingSource, SettableClock
from tests.engine.workbench import Workbench
from tests.pipeline.conftest import Pipeline
from tests.pipeline.state import State


def put(pipeline: Pipeline, number: int, names: int = 20) -> None:
    """Change one of so many records of each tier; every third time one goes as well."""
    bot, name = pipeline.bot, f"order:{number % names}"
    bot.hot.set(name, number)
    pipeline.tiers.warm.execute(
        "INSERT INTO state_warm (key, data) VALUES (%s, %s) ON CONFLICT (key) DO UPDATE SET data = excluded.data",
        (name, str(number)),
    )
    bot.s3.put_object(Bucket=bot.bucket, Key=f"{bot.prefix}{name}", Body=b"%d" % number)
    if number % 3 == 2:
        bot.hot.delete(f"order:{(number + 7) % names}")


@pytest.mark.soak
def test_any_one_of_a_hundred_incrementals_restores(folder: Path, rounds: int) -> None:
    """A FULL and 100 INCREMENTALs on it, each with a change, a new key and a deletion: all of them are whole views."""
    source = MemorySource(Tier.HOT, {("0", b"%d" % number): MemoryRecord(b"old") for number in range(50)})
    bench = Workbench(folder, {Tier.HOT: source})
    moments: list[tuple[BackupMetadata, dict[Key, MemoryRecord]]] = []
    for number in range(101):
        source.records["0", b"new %d" % number] = MemoryRecord(b"new")
        source.records["0", b"%d" % (number % 50)] = MemoryRecord(b"changed %d" % number)
        del source.records["0", min(source.records)[1]]
        kind = BackupType.INCREMENTAL if number else BackupType.FULL
        moments.append((bench.backup(f"backup-{number:03d}", kind), dict(source.records)))
    assert len(moments[-1][0].content(Tier.HOT).stack) == 101
    for made, records in moments if rounds > 2 else moments[::34]:
        restore_here(bench.manager, made.backup_id, f"restore-{made.backup_id}", RestoreMode.EXACT, ())
        assert source.records == records, made.backup_id


@pytest.mark.soak
def test_a_long_chain_over_real_tiers_stays_restorable(pipeline: Pipeline, rounds: int) -> None:
    """INCREMENTALs in three real tiers, a hundred in a long run, none collapsed: every fifth comes back."""
    length = min(6 * rounds, 100)
    moments: list[tuple[BackupMetadata, State]] = []
    for number in range(length + 1):
        put(pipeline, number)
        kind = BackupType.INCREMENTAL if number else BackupType.FULL
        moments.append((pipeline.made(kind), pipeline.tiers.read()))
    assert {len(content.stack) for content in moments[-1][0].tiers} == {length + 1}
    for made, state in [*moments[::5], moments[-1]]:
        pipeline.tiers.wipe()
        pipeline.brought_back(made.backup_id)
        pipeline.holds(state, made.backup_id)


def test_a_deep_stack_collapses_onto_its_base(pipeline: Pipeline) -> None:
    """At STRATA_STACK_DEPTH a backup is compared with the base and lies on it alone, and says so; all restore."""
    there = pipeline.set_up(stack_depth=4, rebase_dead_share=1.0)
    depths: list[int] = []
    moments: list[tuple[BackupMetadata, State]] = []
    for number in range(9):
        put(pipeline, number)
        made = there.made(BackupType.INCREMENTAL if number else BackupType.FULL)
        depths.append(len(made.content(Tier.HOT).stack))
        moments.append((made, pipeline.tiers.read()))
        collapsed = number > 1 and depths[-1] < depths[-2]
        assert any("compared with its base" in reason for reason in made.reasons) == collapsed
    assert depths == [1, 2, 3, 4, 2, 3, 4, 2, 3]
    base = moments[0][0].content(Tier.HOT).stack[0]
    assert {made.content(Tier.HOT).stack[0] for made, _ in moments} == {base}
    for made, state in moments:
        pipeline.brought_back(made.backup_id)
        pipeline.holds(state, made.backup_id)


def test_a_full_begins_anew_where_most_is_dead(pipeline: Pipeline) -> None:
    """When more of a stack is dead than alive the next FULL writes a base, with its reason; INCREMENTALs go on."""
    moments: list[tuple[BackupMetadata, State]] = []
    for number in range(8):
        put(pipeline, number, names=2)
        made = pipeline.made(BackupType.INCREMENTAL if number else BackupType.FULL)
        moments.append((made, pipeline.tiers.read()))
    assert len(moments[-1][0].content(Tier.HOT).stack) > 5
    full = pipeline.made()
    assert {len(content.stack) for content in full.tiers} == {1}
    assert sum("counts no more" in reason for reason in full.reasons) == 3
    moments.append((full, pipeline.tiers.read()))
    for made, state in (moments[0], moments[5], moments[-1]):
        pipeline.brought_back(made.backup_id)
        pipeline.holds(state, made.backup_id)


def test_a_full_begins_anew_where_the_base_is_old(pipeline: Pipeline) -> None:
    """After STRATA_REBASE_DAYS the next FULL writes a base, with its reason; other types go on with the old one."""
    clock = SettableClock(pipeline.here.clock.now())
    there = pipeline.set_up(clock, rebase_days=30)
    put(pipeline, 0)
    base = there.made()
    clock.advance(timedelta(days=31))
    put(pipeline, 1)
    assert there.made(BackupType.INCREMENTAL).content(Tier.WARM).stack[0].backup_id == base.backup_id
    put(pipeline, 2)
    state = pipeline.tiers.read()
    full = there.made()
    assert [content.stack[0].backup_id for content in full.tiers] == [full.backup_id] * 3
    assert sum("the old one is of" in reason for reason in full.reasons) == 3
    pipeline.tiers.wipe()
    there.brought_back(full.backup_id)
    pipeline.holds(state)


def test_a_full_of_the_same_day_stores_almost_nothing(pipeline: Pipeline) -> None:
    """It reads everything, finds all of it stored, proves that, and adds a manifest; after one change, one record."""
    pipeline.bot.write()
    first = pipeline.made()
    again = pipeline.made()
    assert first.added_bytes > 1_000_000
    assert again.added_bytes == 0
    assert again.records == first.records
    assert {content.changes.unchanged for content in again.tiers if content.changes} == {
        content.records for content in first.tiers
    }
    pipeline.bot.hot.set("order:000001", "changed")
    assert 0 < pipeline.made().added_bytes < 5_000


@pytest.mark.parametrize("kind", [BackupType.INCREMENTAL, BackupType.DIFFERENTIAL])
def test_a_full_finds_what_was_overlooked(pipeline: Pipeline, kind: BackupType) -> None:
    """A change that the source's own word hides from other types is stored by the next FULL, and counted as drift."""
    hot = pipeline.bot.hot
    hot.mset({"order:1": "old", "order:2": "old", "order:3": "old"})
    there = pipeline.set_up()
    there.here.sources[Tier.HOT] = OverlookingSource(there.here.sources[Tier.HOT], frozenset({b"order:1", b"order:2"}))
    there.made()
    before = pipeline.tiers.read()
    hot.mset({"order:1": "new", "order:3": "new"})
    after = pipeline.tiers.read()
    overlooking = there.made(kind)
    full = there.made()
    again = there.made()
    changes = [made.content(Tier.HOT).changes for made in (overlooking, full, again)]
    assert [(one.changed, one.drift) for one in changes if one] == [(1, None), (1, 1), (0, 0)]
    pipeline.brought_back(full.backup_id)
    pipeline.holds(after)
    pipeline.brought_back(overlooking.backup_id)
    wrong = ("hot", "0", b"order:1")
    pipeline.holds({**after, wrong: before[wrong]})
    shown = pipeline.strata("show", full.backup_id)
    assert "1 drifted" in " ".join(shown.stdout.split())
