"""What a type covers: the keys of its patterns in whichever tier, no others, and a restore touches no others."""

from __future__ import annotations

import pytest

from strata.model.backup_type import RULES, BackupType
from tests.pipeline.conftest import Pipeline
from tests.pipeline.state import NAMES, State, covered

SCOPED = [BackupType.SNAPSHOT, BackupType.EMERGENCY]


def fill(pipeline: Pipeline) -> State:
    """Every name in every tier, each with a value of its own; the whole state."""
    bot = pipeline.bot
    for name in NAMES:
        bot.hot.set(name, f"hot {name}")
        pipeline.tiers.warm.execute("INSERT INTO state_warm (key, data) VALUES (%s, '1')", (name,))
        bot.s3.put_object(Bucket=bot.bucket, Key=f"{bot.prefix}{name}", Body=f"cold {name}".encode())
    return pipeline.tiers.read()


def change(pipeline: Pipeline) -> None:
    """Change, remove and add keys inside and outside of every scope."""
    bot = pipeline.bot
    for name in ("position:1", "order:1", "config:critical", "strategy:x"):
        bot.hot.set(name, "changed")
        pipeline.tiers.warm.execute("DELETE FROM state_warm WHERE key = %s", (name,))
    for name in ("position:new", "order:new", "portfolio:new", "config:critical:new", "strategy:new"):
        bot.hot.set(name, "new")
        pipeline.tiers.warm.execute("INSERT INTO state_warm (key, data) VALUES (%s, '2')", (name,))
        bot.s3.put_object(Bucket=bot.bucket, Key=f"{bot.prefix}{name}", Body=b"new")
    bot.s3.delete_object(Bucket=bot.bucket, Key=f"{bot.prefix}position:2")


@pytest.mark.parametrize("kind", SCOPED)
def test_a_backup_holds_the_keys_of_its_patterns_and_no_others(pipeline: Pipeline, kind: BackupType) -> None:
    """Counted by tier, and as they come back: into lost tiers just they, into changed ones they and nothing else."""
    whole = fill(pipeline)
    wanted = covered(whole, RULES[kind].patterns)
    made = pipeline.backed_up(kind)
    assert {content.tier.value: content.records for content in made.tiers} == {
        tier: len(covered(wanted, ("*",), (tier,))) for tier in ("hot", "warm", "cold")
    }
    change(pipeline)
    changed = pipeline.tiers.read()
    outside = {where: held for where, held in changed.items() if where not in covered(changed, RULES[kind].patterns)}
    pipeline.restored(made.backup_id)
    pipeline.holds({**outside, **wanted})
    pipeline.tiers.wipe()
    pipeline.restored(made.backup_id)
    pipeline.holds(wanted)


def test_the_same_key_in_two_tiers_is_kept_in_both(pipeline: Pipeline) -> None:
    """A key that is in HOT and in COLD, with other values, is two records."""
    bot = pipeline.bot
    bot.hot.set("position:1", "hot")
    bot.s3.put_object(Bucket=bot.bucket, Key=f"{bot.prefix}position:1", Body=b"cold")
    state = pipeline.tiers.read()
    made = pipeline.made(BackupType.SNAPSHOT)
    assert made.records == 2
    pipeline.tiers.wipe()
    pipeline.brought_back(made.backup_id)
    pipeline.holds(state)


def test_patterns_are_a_setting(pipeline: Pipeline) -> None:
    """STRATA_PATTERNS gives a type other keys; the backup keeps those it was made with, whatever is set later."""
    whole = fill(pipeline)
    said = pipeline.strata(
        "backup", "snapshot", "--local", patterns="snapshot=ml_model:[12],config:*; emergency=strategy:*"
    )
    assert said.returncode == 0, said.stderr
    made = pipeline.wiring.depots.nearest.metadata.history()[0][0]
    pipeline.tiers.wipe()
    pipeline.brought_back(made.backup_id)
    pipeline.holds(covered(whole, ("ml_model:[12]", "config:*")))


def test_a_snapshot_is_no_base_for_everything(pipeline: Pipeline) -> None:
    """Whatever was snapped or saved since: INCREMENTAL, DIFFERENTIAL and FULL build on what covers all keys."""
    fill(pipeline)
    for kind in SCOPED:
        pipeline.made(kind)
    first = pipeline.made(BackupType.DIFFERENTIAL)
    assert (first.backup_type, first.parent) == (BackupType.DIFFERENTIAL, None)  # there was nothing to build on
    for kind in SCOPED:
        pipeline.made(kind)
    change(pipeline)
    state = pipeline.tiers.read()
    for kind in (BackupType.DIFFERENTIAL, BackupType.INCREMENTAL, BackupType.FULL):
        for scoped in SCOPED:
            pipeline.made(scoped)
        made = pipeline.made(kind)
        assert made.parent is not None
        assert not any(scoped.value in made.parent for scoped in SCOPED)
        pipeline.tiers.wipe()
        pipeline.brought_back(made.backup_id)
        pipeline.holds(state, kind)


def test_a_snapshot_of_everything_is_a_base(pipeline: Pipeline) -> None:
    """Where its patterns are all keys, a SNAPSHOT counts as a full baseline."""
    fill(pipeline)
    there = pipeline.set_up(patterns={BackupType.SNAPSHOT: ("*",)})
    snapshot = there.made(BackupType.SNAPSHOT)
    change(pipeline)
    state = pipeline.tiers.read()
    made = there.made(BackupType.DIFFERENTIAL)
    assert (made.parent, made.backup_type) == (snapshot.backup_id, BackupType.DIFFERENTIAL)
    pipeline.tiers.wipe()
    pipeline.brought_back(made.backup_id)
    pipeline.holds(state)
