"""What a lost or damaged object costs: what it holds, by name; other backups restore, and the next go around it."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path

import pytest

from strata.errors import BackupNotFound, IntegrityError, ObjectNotFound, StrataError
from strata.model.backup_type import BackupType
from strata.model.manifest import BackupMetadata
from strata.model.tier import Tier
from strata.testing import SettableClock
from tests.pipeline.conftest import Pipeline
from tests.pipeline.state import State

MIB = 1 << 20
BUILDING = [BackupType.INCREMENTAL, BackupType.DIFFERENTIAL, BackupType.FULL]


@pytest.fixture
def history(pipeline: Pipeline) -> tuple[Pipeline, list[tuple[BackupMetadata, State]]]:
    """A FULL and two INCREMENTALs on it, each with changes in every tier; large values in HOT and COLD."""
    moments = []
    for number in range(3):
        _change(pipeline, number)
        kind = BackupType.INCREMENTAL if number else BackupType.FULL
        moments.append((pipeline.made(kind), pipeline.tiers.read()))
    return pipeline, moments


def _change(pipeline: Pipeline, number: int) -> None:
    bot = pipeline.bot
    bot.hot.mset({f"order:{number}": number, "order:now": number})
    bot.hot.set(f"large:{number}", random.Random(number).randbytes(MIB + 1))
    row = "INSERT INTO state_warm (key, data) VALUES (%s, '{}')"
    pipeline.tiers.warm.execute(row, (f"row:{number}",))
    bot.s3.put_object(Bucket=bot.bucket, Key=f"{bot.prefix}object:{number}", Body=random.Random(-number).randbytes(99))


def _damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    path.unlink()
    if how == "flipped":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif how == "cut":
        path.write_bytes(data[:-1])


def _name(pipeline: Pipeline, path: Path) -> str:
    return path.relative_to(pipeline.store_folder).as_posix()


def _eventually(pipeline: Pipeline, kind: BackupType) -> BackupMetadata:
    """The next backup of a type, or the one after it: the first may fail for what it finds, but not the second."""
    try:
        return pipeline.made(kind)
    except (IntegrityError, ObjectNotFound):
        return pipeline.made(kind)


@pytest.mark.parametrize("kind", BUILDING)
def test_a_deleted_manifest_of_a_parent_hides_no_other_backup(
    history: tuple[Pipeline, list[tuple[BackupMetadata, State]]], kind: BackupType
) -> None:
    """The backup is gone by its id; its children restore, for their layers are there; the next builds on what is."""
    pipeline, ((first, _), *children) = history
    (pipeline.store_folder / "manifests" / f"{first.backup_id}.json").unlink()
    with pytest.raises(BackupNotFound, match=first.backup_id):
        pipeline.brought_back(first.backup_id)
    made = pipeline.made(kind)
    for backup, state in [*children, (made, pipeline.tiers.read())]:
        pipeline.tiers.wipe()
        pipeline.brought_back(backup.backup_id)
        pipeline.holds(state, backup.backup_id)


@pytest.mark.parametrize(
    ("pattern", "how"),
    [
        ("*.json", "gone"),
        ("*.json", "flipped"),
        ("*.idx", "flipped"),
        ("*.seg", "flipped"),
        ("*.seg", "cut"),
        ("*.cdx", "gone"),
        ("*.pack", "flipped"),
    ],
)
def test_backups_go_around_a_damaged_layer(
    history: tuple[Pipeline, list[tuple[BackupMetadata, State]]], pattern: str, how: str
) -> None:
    """Whatever of a layer is lost: who restores it is told its name, its siblings restore, and new backups are made.

    A new backup does not build on the layer, and says in its manifest why not.
    """
    pipeline, moments = history
    (_, _), (middle, _), (_, _) = moments
    hurt = next(path for path in pipeline.objects(f"**/{pattern}") if f"{middle.backup_id}-hot" in path.as_posix())
    _damage(hurt, how)
    pipeline = pipeline.set_up()  # another process: nothing of the layer is remembered
    for backup, state in moments:
        pipeline.tiers.wipe()
        if backup is moments[0][0]:
            pipeline.brought_back(backup.backup_id)
            pipeline.holds(state, backup.backup_id)
            continue
        with pytest.raises(StrataError, match=_name(pipeline, hurt)):
            pipeline.brought_back(backup.backup_id)
    pipeline.brought_back(moments[0][0].backup_id)
    for number, kind in enumerate([BackupType.FULL, BackupType.INCREMENTAL], 10):
        _change(pipeline, number)
        state = pipeline.tiers.read()
        made = _eventually(pipeline, kind)
        assert f"{middle.backup_id}-hot" not in {layer.layer_id for layer in made.layers}
        if kind is BackupType.FULL:
            assert any(f"{middle.backup_id}-hot" in reason for reason in made.reasons), made.reasons
        pipeline.tiers.wipe()
        pipeline.brought_back(made.backup_id)
        pipeline.holds(state, made.backup_id)


@pytest.mark.parametrize(
    ("pattern", "kind"),
    [("*.json", BackupType.DIFFERENTIAL), ("*.idx", BackupType.INCREMENTAL), ("*.pack", BackupType.INCREMENTAL)],
)
def test_an_incremental_goes_around_a_layer_that_is_gone(
    history: tuple[Pipeline, list[tuple[BackupMetadata, State]]], pattern: str, kind: BackupType
) -> None:
    """Without any FULL in between, after at most one failure, by name."""
    pipeline, moments = history
    first = moments[0][0]
    hurt = next(path for path in pipeline.objects(f"**/{pattern}") if f"{first.backup_id}-hot" in path.as_posix())
    _damage(hurt, "gone")
    pipeline = pipeline.set_up()
    state = pipeline.tiers.read()
    made = _eventually(pipeline, kind)
    assert f"{first.backup_id}-hot" not in {layer.layer_id for layer in made.layers}
    pipeline.tiers.wipe()
    pipeline.brought_back(made.backup_id)
    pipeline.holds(state, made.backup_id)


def test_what_a_full_proves_to_be_damaged_is_noted_and_never_built_on(
    history: tuple[Pipeline, list[tuple[BackupMetadata, State]]],
) -> None:
    """An INCREMENTAL looks only that a segment is there; a FULL reads it, and its note holds for all that follow."""
    pipeline, moments = history
    layer = f"{moments[0][0].backup_id}-warm"
    (hurt,) = pipeline.objects(f"layers/{layer}/*.seg")
    _damage(hurt, "flipped")
    assert layer in {ref.layer_id for ref in pipeline.made(BackupType.INCREMENTAL).layers}
    with pytest.raises(IntegrityError, match=_name(pipeline, hurt)):
        pipeline.made(BackupType.FULL)
    assert [path.parent.name for path in pipeline.objects("notes/*/*")] == [layer]
    made = pipeline.made(BackupType.INCREMENTAL)
    assert layer not in {ref.layer_id for ref in made.layers}
    assert any(layer in reason for reason in made.reasons)


def test_damage_in_one_tier_does_not_hide_the_others(
    history: tuple[Pipeline, list[tuple[BackupMetadata, State]]],
) -> None:
    """A tier whose layers are whole restores by itself, whatever of another tier's layers is lost."""
    pipeline, moments = history
    backup, state = moments[-1]
    for path in pipeline.objects(f"layers/{backup.backup_id}-warm/*"):
        path.unlink()
    pipeline = pipeline.set_up()
    pipeline.tiers.wipe()
    for tier in (Tier.HOT, Tier.COLD):
        pipeline.brought_back(backup.backup_id, (tier,))
    pipeline.holds({where: held for where, held in state.items() if where[0] != "warm"})


def test_a_lost_layer_of_an_old_backup_does_not_stop_new_ones(pipeline: Pipeline) -> None:
    """A layer that lends chunks to nobody is gone with its backup alone: no later backup fails for it."""
    pipeline.bot.hot.set("large", random.Random(1).randbytes(2 * MIB))
    old = pipeline.made()
    pipeline.bot.hot.set("large", random.Random(2).randbytes(2 * MIB))
    pipeline.made(fresh=True)
    for path in [*pipeline.objects(f"*/{old.backup_id}-hot/*"), *pipeline.objects(f"chunks/{old.backup_id}-hot*")]:
        path.unlink()
    pipeline = pipeline.set_up()
    pipeline.bot.hot.set("large", random.Random(1).randbytes(2 * MIB))
    state = pipeline.tiers.read()
    for kind in BUILDING:
        made = pipeline.made(kind)
        pipeline.tiers.wipe()
        pipeline.brought_back(made.backup_id)
        pipeline.holds(state, kind)


def test_backups_go_around_a_lost_layer_that_lends_chunks(pipeline: Pipeline) -> None:
    """A layer is lost from which the parent's layers borrow: the next backups store the values anew."""
    value = random.Random(3).randbytes(3 * MIB)
    pipeline.bot.hot.mset({"large": value, "small": b"1", "other": b"2"})
    lender = pipeline.made()
    pipeline.bot.hot.delete("large")
    pipeline.bot.s3.put_object(Bucket=pipeline.bot.bucket, Key=f"{pipeline.bot.prefix}large", Body=value)
    pipeline.made(BackupType.INCREMENTAL)
    borrower = pipeline.set_up(rebase_dead_share=0.01).made()  # HOT's stack begins anew, COLD's refers to the old one
    assert f"{lender.backup_id}-hot" not in {layer.layer_id for tier in borrower.tiers for layer in tier.stack}
    assert f"{lender.backup_id}-hot" in {layer.layer_id for layer in borrower.borrowed}
    for path in pipeline.objects("chunks/**/*"):
        if f"{lender.backup_id}-hot" in path.as_posix() and path.is_file():
            path.unlink()
    state = pipeline.tiers.read()
    for kind in BUILDING:
        made = _eventually(pipeline, kind)
        pipeline.tiers.wipe()
        pipeline.brought_back(made.backup_id)
        pipeline.holds(state, kind)


def test_a_damaged_manifest_that_is_latest_is_named(
    history: tuple[Pipeline, list[tuple[BackupMetadata, State]]],
) -> None:
    """An older backup never passes for the latest without a word; by its id it restores."""
    pipeline, moments = history
    newest = pipeline.store_folder / "manifests" / f"{moments[-1][0].backup_id}.json"
    _damage(newest, "flipped")
    with pytest.raises(IntegrityError, match=newest.name):
        pipeline.brought_back("latest")
    backup, state = moments[1]
    pipeline.brought_back(backup.backup_id)
    pipeline.holds(state)


def test_a_damaged_latest_manifest_is_named_though_the_clock_was_set_back(pipeline: Pipeline) -> None:
    """Its id sorts before the others' then: still nobody is given an older backup as the latest."""
    clock = SettableClock(pipeline.here.clock.now())
    there = pipeline.set_up(clock)
    for days in (5, -5):
        there.bot.hot.set("order:1", days)
        made = there.made()
        clock.advance(timedelta(days=-days))
    _damage(pipeline.store_folder / "manifests" / f"{made.backup_id}.json", "flipped")
    with pytest.raises(IntegrityError, match=made.backup_id):
        pipeline.brought_back("latest")
