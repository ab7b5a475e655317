"""State that is handed over: an export is backed up as what it was, and nothing wrong is taken."""

from __future__ import annotations

import io
import json
import random
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strata.engine.export import Export, write_json
from strata.engine.handed import hand_over, handed_source
from strata.engine.local import backup_here
from strata.engine.spool import Held
from strata.errors import IntegrityError, ObjectNotFound, SettingError, SourceError
from strata.model.backup_type import BackupType
from strata.model.layer import ObjectKind
from strata.model.manifest import BackupMetadata
from strata.model.record import LARGE_VALUE, Encoding
from strata.model.scope import Scope
from strata.model.tier import Tier
from strata.sources.handed import HandedSource
from strata.sources.port import RestoreMode, StateSource
from strata.sources.redis_hot import RedisHot
from strata.testing import Key, MemoryRecord, MemorySource, always
from tests.engine.workbench import RUN, Workbench

SECRET = b"PLANTED-SECRET-0123456789"

_moments = st.none() | st.integers(0, 253_402_300_799_999).map(
    lambda milliseconds: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
)
_large = st.builds(
    lambda seed, size: random.Random(seed).randbytes(size),
    st.integers(0, 3),
    st.sampled_from([LARGE_VALUE, LARGE_VALUE + 1, 2 * LARGE_VALUE + 5]),
)
_encodings = {
    Tier.HOT: [Encoding.REDIS_STRING, Encoding.REDIS_DUMP],
    Tier.WARM: [Encoding.PG_COPY_TEXT],
    Tier.COLD: [Encoding.S3_OBJECT],
}


def _states(tier: Tier) -> st.SearchStrategy[dict[Key, MemoryRecord]]:
    names = ["0", "3"] if tier is Tier.HOT else ["", "public.orders"]
    keys = st.tuples(st.sampled_from(names), st.binary(max_size=6) | st.text(max_size=4).map(str.encode))
    records = st.builds(
        MemoryRecord,
        value=st.binary(max_size=60) | st.text(max_size=20).map(str.encode) | _large,
        encoding=st.sampled_from(_encodings[tier]),
        expires_at=_moments,
        modified_at=_moments,
        attrs=st.none() | st.text(max_size=10) | st.just('{"content_type":"text/plain"}'),
    )
    return st.dictionaries(keys, records, max_size=5)


def exported(bench: Workbench, manifest: BackupMetadata) -> bytes:
    """The backup as a JSON document."""
    tiers = tuple(content.tier for content in manifest.tiers if content.included)
    target = io.BytesIO()
    export = Export(manifest, tiers, bench.restorer.details(manifest))
    write_json(export, lambda tier: bench.restorer.items(manifest, tier), target)
    return target.getvalue()


def backed_up(bench: Workbench, state: str | Path | Mapping[str, Any], run_id: str = RUN) -> BackupMetadata:
    """A backup of state that is handed over."""
    name = hand_over(bench.spool, run_id, state, bench.clock.now())
    return backup_here(bench.manager, BackupType.FULL, run_id, override=name)


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(_states(Tier.HOT), _states(Tier.WARM), _states(Tier.COLD))
def test_an_export_that_is_handed_over_is_the_same_state(
    hot: dict[Key, MemoryRecord], warm: dict[Key, MemoryRecord], cold: dict[Key, MemoryRecord]
) -> None:
    """Exported, handed over, backed up and restored: every record of every tier is what it was, to the byte."""
    states = {Tier.HOT: hot, Tier.WARM: warm, Tier.COLD: cold}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = Workbench(folder / "first", {tier: MemorySource(tier, states[tier]) for tier in Tier})
        made = first.backup()
        (folder / "export.json").write_bytes(exported(first, made))
        second = Workbench(folder / "second", {tier: MemorySource(tier) for tier in Tier})
        manifest = backed_up(second, folder / "export.json")
        assert [content.records for content in manifest.tiers] == [len(states[tier]) for tier in Tier]
        assert manifest.content(Tier.HOT).cut["exported_from"] == made.backup_id
        second.restore()
        assert {tier: source.records for tier, source in second.sources.items()} == states
        assert second.spooled() == []


def test_the_document_is_read_in_place_of_the_live_tiers(folder: Path) -> None:
    """What the tiers hold now is not in the backup; a tier that the document lacks is left out with the reason."""
    live = {("0", b"live"): MemoryRecord(b"live", Encoding.REDIS_STRING)}
    bench = Workbench(folder, {tier: MemorySource(tier, live) for tier in (Tier.HOT, Tier.WARM)})
    manifest = backed_up(bench, {"position:1": {"qty": 1}, "mode": "live"})
    assert [content.records for content in manifest.tiers] == [2, 0, 0]
    reason = "the document that was handed over does not hold it"
    assert [content.reason for content in manifest.tiers] == ["", reason, reason]
    assert manifest.content(Tier.HOT).cut["method"] == "handed over"


def test_a_document_needs_no_configured_tier(folder: Path) -> None:
    """Where no tier has a URL there is still something to back up."""
    assert backed_up(Workbench(folder, {}), {"a": 1}).records == 1


def test_a_plain_mapping_is_restored_into_redis(folder: Path, hot_url: str) -> None:
    """Each key is a string that holds its value's JSON; an exact restore removes what the mapping did not have."""
    client = redis.Redis.from_url(hot_url)
    client.set("stranger", "x")
    sources: dict[Tier, Any] = {Tier.HOT: RedisHot(hot_url)}
    bench = Workbench(folder, sources)
    backed_up(bench, {"position:1": {"qty": 1, "note": "ä"}, "mode": "live", "limits": [1, 2.5, None]})
    (applied,) = bench.restore().tiers
    assert (applied.written, applied.removed) == (3, 1)
    assert client.get("position:1") == '{"qty":1,"note":"ä"}'.encode()
    assert client.get("mode") == b'"live"'
    assert client.get("limits") == b"[1,2.5,null]"


def test_redis_to_redis_by_way_of_a_document(folder: Path, hot_url: str) -> None:
    """Strings, other types and expiries of a real Redis come back through an export."""
    client = redis.Redis.from_url(hot_url)
    client.mset({"a": b"\xff\x00", "b": "text", "big": random.Random(1).randbytes(3 << 20)})
    client.hset("hash", mapping={"f": 1, "g": 2})
    client.set("expires", "x", pxat=4_000_000_000_123)
    before = {key: (client.dump(key), client.pexpiretime(key)) for key in client.scan_iter()}
    sources: dict[Tier, Any] = {Tier.HOT: RedisHot(hot_url)}
    first = Workbench(folder / "first", sources)
    (folder / "export.json").write_bytes(exported(first, first.backup()))
    client.flushdb()
    second = Workbench(folder / "second", sources)
    backed_up(second, folder / "export.json")
    second.restore()
    assert {key: (client.dump(key), client.pexpiretime(key)) for key in client.scan_iter()} == before


def test_what_lies_in_the_spool_is_sealed_and_swept(folder: Path) -> None:
    """The document is nowhere in the clear, belongs to its run alone, and leaves with it."""
    bench = Workbench(folder, {})
    state = {SECRET.decode(): [SECRET.decode()] * 1000}
    name = hand_over(bench.spool, RUN, state, bench.clock.now())
    (spooled,) = bench.spooled()
    assert spooled == name
    assert SECRET not in (folder / "spool" / name).read_bytes()
    with pytest.raises(IntegrityError, match="in the wrong place"):
        bench.manager.start(BackupType.FULL, "another-run", override=name)
    backup_here(bench.manager, BackupType.FULL, RUN, override=name)
    assert bench.spooled() == []


def test_bad_documents_leave_nothing(folder: Path) -> None:
    """What is wrong with the last record is told before anything is there."""
    bench = Workbench(folder, {})
    good = '{"tier":"hot","namespace":"0","key":"a","value":"b","encoding":"redis/string"}'
    document = f'{{"strata_export": 1, "tiers": {{"hot": {{}}}}, "records": [{good}, {good}]}}'
    (folder / "bad.json").write_text(document)
    with pytest.raises(SettingError, match=r"record 2 .* of .*bad\.json: it has the key of an earlier one"):
        hand_over(bench.spool, RUN, folder / "bad.json", bench.clock.now())
    with pytest.raises(SettingError, match="cannot be read: No such file"):
        hand_over(bench.spool, RUN, folder / "none.json", bench.clock.now())
    states: list[Any] = [{"a": {1, 2}}, {"a": (1, 2)}, {1: "a"}, {"a": float("nan")}, {"a": "\ud800"}, {}]
    for state in states:
        with pytest.raises(SettingError):
            hand_over(bench.spool, RUN, state, bench.clock.now())
    assert bench.spooled() == []


def test_a_document_that_is_gone_or_another_object_refuses_the_run(folder: Path) -> None:
    """A name that leads to nothing, or to something else of the run, starts no backup."""
    bench = Workbench(folder, {})
    with pytest.raises(ObjectNotFound):
        bench.manager.start(BackupType.FULL, "one", override="one/handed-00000000")
    bench.spool.put_document("two", "two/else", {"not": "handed over"})
    with pytest.raises(IntegrityError, match="is not a document that was handed over"):
        bench.manager.start(BackupType.FULL, "two", override="two/else")
    assert bench.lease
    assert bench.lease.holder() is None


def test_only_keys_of_the_scope_are_read(folder: Path) -> None:
    """A source over a document keeps to the scope, as every source does; large values too."""
    bench = Workbench(folder, {})
    state = {"position:1": 1, "order:1": 2, "position:large": "x" * (3 << 20)}
    name = hand_over(bench.spool, RUN, state, bench.clock.now())
    source: StateSource = handed_source(bench.spool, RUN, name, Tier.HOT)
    with source.connect() as session:
        keys = [key for item in session.read(Scope(("position:*",))) for key in item["key"].to_pylist()]
    assert sorted(keys) == [b"position:1", b"position:large"]


def test_a_document_is_only_read() -> None:
    """Nothing is restored into one."""
    source = HandedSource(Tier.HOT, lambda: pytest.fail("opened"))
    for use in (lambda: source.check({}), lambda: source.apply({}, RestoreMode.EXACT, always)):
        with pytest.raises(SourceError, match="is only read"):
            use()


def test_many_records_come_in_blocks(folder: Path) -> None:
    """A document of many MiB is staged block by block, and every record is there."""
    bench = Workbench(folder, {Tier.HOT: MemorySource(Tier.HOT)})
    (folder / "many.json").write_text(json.dumps({f"key:{number}": "x" * 1000 for number in range(12_000)}))
    name = hand_over(bench.spool, RUN, folder / "many.json", bench.clock.now())
    frame = bench.spool.open_ranged(RUN, name, Held(ObjectKind.DOCUMENT, 0))
    assert len(frame.blocks) > 3
    assert max(block.raw_length for block in frame.blocks) < 8 << 20
    assert backup_here(bench.manager, BackupType.FULL, RUN, override=name).records == 12_000


def test_an_incremental_of_handed_state_stores_what_changed(folder: Path, hot_url: str) -> None:
    """A document is compared with the backup before like a live tier: all is there, and what went is gone."""
    client = redis.Redis.from_url(hot_url)
    sources: dict[Tier, Any] = {Tier.HOT: RedisHot(hot_url)}
    bench = Workbench(folder, sources)
    backed_up(bench, {f"position:{number}": number for number in range(500)}, "first")
    changed = {f"position:{number}": number if number % 100 else -1 for number in range(1, 501)}
    name = hand_over(bench.spool, "second", changed, bench.clock.now())
    made = backup_here(bench.manager, BackupType.INCREMENTAL, "second", override=name)
    assert made.parent == "first"
    assert made.records == 500
    assert sum(layer.records for layer in bench.layers(made) if layer.layer_id.startswith("second")) == 5
    bench.restore()
    assert {key.decode(): int(client.get(key) or b"") for key in client.scan_iter()} == changed
