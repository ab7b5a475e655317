"""Large values are stored once: within a backup, from tier to tier, from backup to backup, whatever their types."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest

from strata.errors import StrataError
from strata.model.backup_type import RULES, BackupType
from strata.model.layer import Layer, ObjectKind
from strata.model.manifest import BackupMetadata
from strata.model.tier import Tier
from tests.pipeline.conftest import Pipeline
from tests.pipeline.state import covered

MIB = 1 << 20
VALUE = random.Random(8).randbytes(5 * MIB)


def put_cold(pipeline: Pipeline, name: str, value: bytes) -> None:
    """An object of COLD."""
    bot = pipeline.bot
    bot.s3.put_object(Bucket=bot.bucket, Key=f"{bot.prefix}{name}", Body=value)


def packed_bytes(pipeline: Pipeline) -> int:
    """Bytes of all packs in the store."""
    return sum(path.stat().st_size for path in pipeline.objects("chunks/*.pack"))


def layer_of(pipeline: Pipeline, made: BackupMetadata, tier: Tier) -> Layer:
    """The topmost layer of a tier."""
    reference = made.content(tier).stack[-1]
    return Layer.model_validate_json((pipeline.store_folder / f"layers/{reference.layer_id}/layer.json").read_bytes())


def test_a_value_in_two_tiers_is_stored_once(pipeline: Pipeline) -> None:
    """5 MB in Redis and in S3: HOT's layer has them, COLD's refers to it, and each tier restores by itself."""
    pipeline.bot.hot.set("large", VALUE)
    put_cold(pipeline, "large", VALUE)
    state = pipeline.tiers.read()
    made = pipeline.backed_up()
    assert made.logical_bytes == 2 * len(VALUE)
    assert packed_bytes(pipeline) < 1.01 * len(VALUE)
    assert [kind.kind for kind in layer_of(pipeline, made, Tier.COLD).objects if kind.kind is ObjectKind.PACK] == []
    for tier in (Tier.COLD, Tier.HOT):
        pipeline.tiers.wipe()
        pipeline.brought_back(made.backup_id, (tier,))
        pipeline.holds({where: held for where, held in state.items() if where[0] == tier.value})


def test_a_value_stored_once_is_never_stored_again(pipeline: Pipeline) -> None:
    """Later backups of every orderly type refer to it: unchanged, under another key, in another tier, gone and back.

    An EMERGENCY looks nothing up, and refers to nothing: it must be whole by itself.
    """
    hot = pipeline.bot.hot
    hot.set("order:large", VALUE)
    pipeline.made()
    stored = packed_bytes(pipeline)
    changes: list[Callable[[], object]] = [
        lambda: hot.set("order:small", "1"),
        lambda: (hot.delete("order:large"), hot.set("position:large", VALUE)),
        lambda: put_cold(pipeline, "position:large", VALUE),
        lambda: hot.delete("position:large"),
        lambda: hot.set("position:large", VALUE, ex=86_400),
    ]
    kinds = [BackupType.INCREMENTAL, BackupType.DIFFERENTIAL, BackupType.FULL]
    for number, change in enumerate(changes):
        change()
        state = pipeline.tiers.read()
        made = [pipeline.made(kind) for kind in (BackupType.SNAPSHOT, kinds[number % 3])]
        assert packed_bytes(pipeline) == stored, (number, kinds[number % 3])
        for one in made:
            pipeline.tiers.wipe()
            pipeline.brought_back(one.backup_id)
            pipeline.holds(covered(state, RULES[one.backup_type].patterns), one.backup_id)
    pipeline.made(BackupType.EMERGENCY)
    assert packed_bytes(pipeline) > stored


def test_a_shifted_copy_shares_most_chunks(pipeline: Pipeline) -> None:
    """Some bytes put in front move every other byte, and cost about one chunk."""
    value = random.Random(9).randbytes(24 * MIB)
    pipeline.bot.hot.set("large", value)
    pipeline.made()
    stored = packed_bytes(pipeline)
    put_cold(pipeline, "copy", b"in front" + value)
    pipeline.made(BackupType.INCREMENTAL)
    assert packed_bytes(pipeline) - stored < 4 * MIB


def test_a_fresh_backup_stands_by_itself(pipeline: Pipeline) -> None:
    """`--fresh` refers to nothing that is there: with everything older gone it restores."""
    pipeline.bot.hot.set("large", VALUE)
    old = pipeline.made()
    state = pipeline.tiers.read()
    made = pipeline.made(fresh=True)
    for path in pipeline.objects("**/*"):
        if old.backup_id in path.as_posix() and path.is_file():
            path.unlink()
    pipeline = pipeline.set_up()
    pipeline.tiers.wipe()
    pipeline.brought_back(made.backup_id)
    pipeline.holds(state)


def test_verify_proves_borrowed_chunks(pipeline: Pipeline) -> None:
    """A pack of another backup's layer is damaged: `verify` and a restore of who borrows from it name it."""
    pipeline.bot.hot.set("large", VALUE)
    lender = pipeline.made()
    pipeline.bot.hot.delete("large")
    put_cold(pipeline, "large", VALUE)
    borrower = pipeline.made(BackupType.INCREMENTAL)
    assert lender.backup_id != borrower.backup_id
    (pack,) = pipeline.objects("chunks/*.pack")
    assert pack.name.startswith(lender.backup_id)
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.unlink()
    pack.write_bytes(data)
    said = pipeline.strata("verify", borrower.backup_id, "--json")
    assert said.returncode == 8
    assert pack.name in json.loads(said.stdout)["error"]["sentence"]
    with pytest.raises(StrataError, match=pack.name):
        pipeline.brought_back(borrower.backup_id, (Tier.COLD,))
    pipeline.brought_back(borrower.backup_id, (Tier.WARM,))
