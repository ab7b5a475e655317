"""A history of random changes and backups of random types: each backup brings back the whole state of its moment."""

from __future__ import annotations

import random
import secrets
from dataclasses import dataclass

import pytest

from strata.model.backup_type import RULES, BackupType
from strata.model.manifest import BackupMetadata
from strata.sources.hot_method import HotMethod
from tests.pipeline.conftest import Pipeline
from tests.pipeline.state import Life, State, covered

pytestmark = [pytest.mark.soak, pytest.mark.timeout(7200)]

_WEIGHTS = {
    BackupType.FULL: 2,
    BackupType.INCREMENTAL: 6,
    BackupType.DIFFERENTIAL: 3,
    BackupType.SNAPSHOT: 2,
    BackupType.EMERGENCY: 2,
}
_BACKUPS_A_ROUND = 6


@dataclass(frozen=True)
class Moment:
    """A backup, and all that was there when it was made."""

    backup: BackupMetadata
    asked: BackupType
    state: State


def test_every_backup_of_a_history_brings_back_the_state_of_its_moment(pipeline: Pipeline, rounds: int) -> None:
    """Writes, deletions, expiries, changes of type and moves between tiers, backups of all types in between.

    Each backup, restored by its id in any order into full, changed or lost tiers, gives the state it was made of; of
    a type with patterns that part of it, and nothing else is touched.
    """
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # noqa: T201 - shown where the test fails
    _live_through(pipeline, random.Random(seed), rounds * _BACKUPS_A_ROUND)


def _live_through(pipeline: Pipeline, source: random.Random, backups: int) -> None:
    life = Life(pipeline.tiers, source)
    life.go_on(60)
    pipeline = pipeline.set_up(
        stack_depth=source.randrange(2, 9),
        rebase_dead_share=source.choice((0.2, 0.5, 1.0)),
        hot_method=source.choice(list(HotMethod)),
    )
    moments = []
    for number in range(backups):
        moments.append(_moment(pipeline, source, number))
        life.go_on(source.choice((0, 1, 12, 40)))
        if source.random() < 0.1:  # a restore is a change like any other
            life.settle()
            _bring_back(pipeline, source, source.choice(moments))
    life.settle()
    source.shuffle(moments)
    for moment in moments:
        match source.randrange(4):
            case 0:
                pipeline.tiers.wipe()
            case 1:
                life.go_on(20)
                life.settle()
        _bring_back(pipeline, source, moment)


def _moment(pipeline: Pipeline, source: random.Random, number: int) -> Moment:
    (asked,) = source.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
    state = pipeline.tiers.read()
    made = pipeline.backed_up(asked) if number % 3 == 1 else pipeline.made(asked, fresh=source.random() < 0.05)
    assert made.backup_type in {asked, BackupType.FULL}
    assert all(content.included for content in made.tiers), made.tiers
    return Moment(made, asked, state)


def _bring_back(pipeline: Pipeline, source: random.Random, moment: Moment) -> None:
    patterns = RULES[moment.backup.backup_type].patterns
    before = pipeline.tiers.read()
    if source.random() < 0.2:
        pipeline.restored(moment.backup.backup_id)
    else:
        pipeline.brought_back(moment.backup.backup_id)
    untouched = {where: held for where, held in before.items() if where not in covered(before, patterns)}
    pipeline.holds({**untouched, **covered(moment.state, patterns)}, (moment.asked, moment.backup.backup_id))
