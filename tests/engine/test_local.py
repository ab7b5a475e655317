"""A whole backup and a whole restore in one process: what came out is what went in, or nothing came out."""

from __future__ import annotations

import random
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strata.engine.parallel import in_parallel
from strata.errors import (
    IntegrityError,
    ObjectNotFound,
    SettingError,
    SourceError,
    SourceUnavailable,
    StorageError,
    StoreFull,
    StoreNotMounted,
    StoreUnavailable,
    StrataError,
)
from strata.model.backup_type import BackupType
from strata.model.layer import ObjectKind
from strata.model.record import LARGE_VALUE, Encoding
from strata.model.run import RunState
from strata.model.tier import Tier
from strata.sources.port import RestoreMode
from strata.storage.port import ObjectStore
from strata.testing import FlakyStore, Key, Lie, LyingStore, MemoryRecord, MemorySource, Moment, TornStore
from tests.engine.workbench import RUN, Workbench, tiers_of

MIB = 1 << 20
STORED = ["layers/*.seg", "layers/*.idx", "layers/*.cdx", "chunks/*.pack", "layers/*/layer.json"]
"""Whatever a backup names, by pattern."""

_moments = st.none() | st.integers(0, 253_402_300_799_999).map(
    lambda milliseconds: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
)
_large = st.builds(
    lambda seed, size: random.Random(seed).randbytes(size),
    st.integers(0, 3),
    st.sampled_from([LARGE_VALUE, LARGE_VALUE + 1, 2 * LARGE_VALUE + 5]),
)
_records = st.builds(
    MemoryRecord,
    value=st.binary(max_size=60) | st.binary(max_size=60) | _large,
    encoding=st.sampled_from(Encoding),
    expires_at=_moments,
    modified_at=_moments,
    attrs=st.none() | st.text(max_size=10),
)
_keys = st.tuples(st.sampled_from(["0", "3", "public.orders", ""]), st.binary(max_size=8))


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(
    st.dictionaries(_keys, _records, max_size=8),
    st.dictionaries(_keys, _records, max_size=4),
    st.dictionaries(_keys, _records, max_size=4),
    st.sampled_from([1, 3, 100]),
)
def test_a_restored_tier_is_the_tier_that_was_backed_up(
    records: dict[Key, MemoryRecord],
    stale: dict[Key, MemoryRecord],
    added: dict[Key, MemoryRecord],
    batch_rows: int,
) -> None:
    """Any records come back as they were: values of any size, expiries, binary keys; what was added since is gone."""
    reread = {key: record for key, record in stale.items() if key in records}
    with tempfile.TemporaryDirectory() as folder:
        source = MemorySource(Tier.HOT, records, stale=reread, batch_rows=batch_rows)
        bench = Workbench(Path(folder), {Tier.HOT: source})
        manifest = bench.backup()
        assert manifest.records == len(records)
        source.records.update(added)
        for key in list(records)[::2]:
            source.records.pop(key, None)
        (restored,) = bench.restore().tiers
    assert source.records == records
    assert (restored.written, restored.removed) == (len(records), len(set(added) - set(records)))
    assert bench.spooled() == []


def test_three_tiers_come_back_together(folder: Path) -> None:
    """HOT, WARM and COLD are backed up as one and restored with exact counts for each."""
    bench = Workbench(folder, tiers_of(250))
    before = {tier: dict(source.records) for tier, source in bench.sources.items()}
    bench.backup()
    for source in bench.sources.values():
        source.records.clear()
    restored = bench.restore()
    assert {tier: source.records for tier, source in bench.sources.items()} == before
    assert [(tier.tier, tier.written, tier.removed) for tier in restored.tiers] == [(tier, 250, 0) for tier in Tier]


def test_many_segments_and_packs_come_back(folder: Path) -> None:
    """Records over several segments, and large values over several packs, are all restored."""
    values = [random.Random(number).randbytes(MIB * (1 + number % 3) - number % 2) for number in range(12)]
    records = {("0", b"%d" % number): MemoryRecord(value) for number, value in enumerate(values)}
    source = MemorySource(Tier.COLD, records, batch_rows=4)
    bench = Workbench(folder, {Tier.COLD: source}, segment_bytes=2 * MIB)
    (layer,) = bench.layers(bench.backup())
    assert len(layer.of_kind(ObjectKind.SEGMENT)) > 1
    assert len(layer.of_kind(ObjectKind.PACK)) > 1
    source.records.clear()
    bench.restore()
    assert source.records == records


def test_equal_large_values_are_stored_once(folder: Path) -> None:
    """Chunks that two records share take room once."""
    value = random.Random(1).randbytes(5 * MIB)
    records = {("0", b"%d" % number): MemoryRecord(value) for number in range(4)}
    manifest = Workbench(folder, {Tier.COLD: MemorySource(Tier.COLD, records)}).backup()
    assert manifest.logical_bytes == 20 * MIB
    assert manifest.added_bytes < 6 * MIB


def test_a_fresh_backup_stands_alone(folder: Path) -> None:
    """It names no layer of another backup, not even one that holds the same chunks."""
    bench = Workbench(folder, {**tiers_of(3, tiers=[Tier.HOT]), **large_values()})
    bench.backup()
    manifest = bench.backup("20250103-fresh", fresh=True)
    assert {layer.backup_id for layer in manifest.layers} == {"20250103-fresh"}
    for name in [name for name in bench.stored() if RUN in name]:
        bench.files.delete(name)
    bench.restorer.verify(manifest, (Tier.HOT, Tier.COLD), lambda _: None)


def test_an_empty_tier_is_an_empty_tier(folder: Path) -> None:
    """A tier that answers and holds nothing is backed up as holding nothing, and restored to nothing."""
    source = MemorySource(Tier.HOT)
    bench = Workbench(folder, {Tier.HOT: source})
    manifest = bench.backup()
    assert manifest.content(Tier.HOT).included
    assert manifest.records == 0
    source.records["0", b"later"] = MemoryRecord(b"x")
    assert bench.restore().tiers[0].removed == 1
    assert source.records == {}


def test_a_tier_that_is_not_configured_is_left_out_by_name(folder: Path) -> None:
    """The manifest says which tier it does not hold and why; asking for it is refused."""
    bench = Workbench(folder, tiers_of(3, tiers=[Tier.WARM]))
    manifest = bench.backup()
    assert [content.included for content in manifest.tiers] == [False, True, False]
    assert manifest.content(Tier.HOT).reason == "STRATA_HOT_URL is not set"
    with pytest.raises(SettingError, match=r"does not hold HOT \(Redis\)"):
        bench.restore(tiers=(Tier.HOT,))


def test_a_key_read_twice_is_stored_once_as_read_last(folder: Path) -> None:
    """Duplicates within a segment and between segments are dropped: one record a key, the value that was read last."""
    values = {("0", b"%d" % number): MemoryRecord(b"new %d" % number) for number in range(300)}
    stale = {key: MemoryRecord(b"old" * 10_000) for key in list(values)[::2]}
    source = MemorySource(Tier.HOT, values, stale=stale, batch_rows=20)
    bench = Workbench(folder, {Tier.HOT: source}, segment_bytes=1 * MIB)
    (layer,) = bench.layers(bench.backup())
    segments = layer.of_kind(ObjectKind.SEGMENT)
    assert (layer.records, sum(segment.rows for segment in segments)) == (300, 300)
    source.records.clear()
    bench.restore()
    assert source.records == values


def test_a_large_value_read_twice_is_stored_as_read_last(folder: Path) -> None:
    """Large values that became small, small ones that became large, and large ones of another encoding."""
    large = random.Random(1).randbytes(3 * MIB)
    values = {
        ("0", b"first"): MemoryRecord(large, Encoding.REDIS_STRING),
        ("0", b"shrunk"): MemoryRecord(b"new"),
        ("0", b"grown"): MemoryRecord(large + b"new"),
        ("0", b"another"): MemoryRecord(large + b"another", Encoding.REDIS_STRING),
    }
    stale = {
        ("0", b"first"): MemoryRecord(large + b"old", Encoding.REDIS_STRING),
        ("0", b"shrunk"): MemoryRecord(large),
        ("0", b"grown"): MemoryRecord(b"old"),
        ("0", b"another"): MemoryRecord(large, Encoding.REDIS_DUMP),
    }
    source = MemorySource(Tier.HOT, values, stale=stale, batch_rows=1)
    bench = Workbench(folder, {Tier.HOT: source}, segment_bytes=16 * MIB)
    assert bench.backup().records == len(values)
    source.records.clear()
    bench.restore()
    assert source.records == values


def test_a_segment_that_lost_every_row_is_not_stored(folder: Path) -> None:
    """Where all of a segment's records were read again later, nothing is left of it and the backup is whole."""
    values = {("0", b"%d" % number): MemoryRecord(b"new") for number in range(6)}
    stale = {key: MemoryRecord(bytes([number]) * MIB) for number, key in enumerate(values)}
    source = MemorySource(Tier.HOT, values, stale=stale, batch_rows=6)
    bench = Workbench(folder, {Tier.HOT: source}, segment_bytes=1 * MIB)
    (layer,) = bench.layers(bench.backup())
    assert [(segment.seq, segment.rows) for segment in layer.of_kind(ObjectKind.SEGMENT)] == [(1, 6)]
    assert [name for name in bench.stored() if name.endswith(".seg")] == [layer.of_kind(ObjectKind.SEGMENT)[0].name]
    source.records.clear()
    bench.restore()
    assert source.records == values


# --- restores -----------------------------------------------------------------------------------------------------


def test_an_overlay_leaves_other_records_alone(folder: Path) -> None:
    """OVERLAY writes what the backup holds and removes nothing."""
    bench = Workbench(folder, tiers_of(3, tiers=[Tier.HOT]))
    source = bench.sources[Tier.HOT]
    bench.backup()
    source.records["0", b"other"] = other = MemoryRecord(b"other")
    source.records["0", b"hot:0"] = MemoryRecord(b"changed")
    bench.restore(mode=RestoreMode.OVERLAY)
    assert source.records["0", b"other"] == other
    assert source.records["0", b"hot:0"].value == b"value 0"
    assert len(source.records) == 4


def test_a_rehearsal_writes_nothing(folder: Path) -> None:
    """REHEARSE proves everything and changes nothing."""
    bench = Workbench(folder, tiers_of(3, tiers=[Tier.HOT]))
    bench.backup()
    bench.sources[Tier.HOT].records.clear()
    restored = bench.restore(mode=RestoreMode.REHEARSE)
    assert bench.sources[Tier.HOT].records == {}
    assert [tier.written for tier in restored.tiers] == [0]


class Wavering(MemorySource):
    """Takes a backup as often as `agrees` says, then no more."""

    agrees = 1 << 30

    def check(self, description: dict[str, Any]) -> None:
        super().check(description)
        self.agrees -= 1
        if self.agrees < 0:
            raise SourceError(f"{self.tier.label} takes nothing any more")


@pytest.mark.parametrize(
    ("tier", "agrees"),
    [(Tier.HOT, 0), (Tier.WARM, 0), (Tier.COLD, 0), (Tier.WARM, 1), (Tier.HOT, 1), (Tier.COLD, 1)],
    ids=str,
)
def test_nothing_is_overwritten_anywhere_before_every_target_can_take_it(folder: Path, tier: Tier, agrees: int) -> None:
    """A tier that refuses when it is looked at, or just before WARM is lasting, leaves all three as they were."""
    bench = Workbench(folder, tiers_of(3) | {tier: Wavering(tier, {("0", b"own"): MemoryRecord(b"own")})})
    bench.backup()
    changed = {("0", b"newer"): MemoryRecord(b"newer")}
    for source in bench.sources.values():
        source.records = dict(changed)
    wavering = bench.sources[tier]
    assert isinstance(wavering, Wavering)
    wavering.agrees = agrees
    with pytest.raises(SourceError, match="takes nothing any more"):
        bench.restore()
    assert [source.records for source in bench.sources.values()] == [changed] * 3


def test_one_tier_alone_can_be_restored(folder: Path) -> None:
    """A restore of one tier touches no other."""
    bench = Workbench(folder, tiers_of(3))
    bench.backup()
    for source in bench.sources.values():
        source.records.clear()
    bench.restore(tiers=(Tier.WARM,))
    assert [len(bench.sources[tier].records) for tier in Tier] == [0, 3, 0]


def test_a_restore_can_be_run_again(folder: Path) -> None:
    """The second restore of a backup leaves what the first left."""
    bench = Workbench(folder, tiers_of(20))
    before = {tier: dict(source.records) for tier, source in bench.sources.items()}
    bench.backup()
    first, second = bench.restore("restore-1"), bench.restore("restore-2")
    assert first.tiers == second.tiers
    assert {tier: source.records for tier, source in bench.sources.items()} == before


def test_storage_and_key_are_enough(folder: Path) -> None:
    """With a new ledger, lease, spool and configuration, the store and the keyring bring everything back."""
    bench = Workbench(folder, tiers_of(20))
    before = {tier: dict(source.records) for tier, source in bench.sources.items()}
    bench.backup()
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    (folder / "store").rename(elsewhere / "store")
    (folder / "keyring.json").rename(elsewhere / "keyring.json")
    fresh = Workbench(elsewhere, {tier: MemorySource(tier) for tier in Tier}, segment_bytes=8 * MIB, zstd_level=9)
    fresh.restore()
    assert {tier: source.records for tier, source in fresh.sources.items()} == before


@pytest.mark.parametrize("kind", [".seg", ".idx", ".pack", ".cdx", "/layer.json", "another.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "swapped"])
def test_a_restore_of_a_damaged_backup_writes_nothing(folder: Path, kind: str, damage: str) -> None:
    """One damaged object of any kind fails the check, is named, and every target stays as it is."""
    bench = Workbench(folder, {**tiers_of(3, tiers=[Tier.HOT]), **large_values()})
    bench.backup()
    bench.backup("20250103-another", fresh=True)
    name = next(name for name in bench.stored() if name.endswith(kind) and "20250103" in name)
    data = bench.files.get(name)
    if damage == "gone":
        bench.files.delete(name)
    else:
        flipped = bytes([*data[:300], data[300] ^ 1, *data[301:]])
        twin = bench.files.get(name.replace("20250103-another", RUN))
        bench.replace(name, {"flipped": flipped, "cut": data[:-1], "swapped": twin}[damage])
    for source in bench.sources.values():
        source.records.clear()
    with pytest.raises(StrataError, match="20250103-another"):
        restore_of(bench, "20250103-another")
    assert [source.records for source in bench.sources.values()] == [{}, {}]
    restore_of(bench, RUN)
    assert [len(source.records) for source in bench.sources.values()] == [3, 2]


def large_values() -> dict[Tier, MemorySource]:
    """COLD with two large values: a layer with objects of every kind."""
    return tiers_of(2, value=lambda number: random.Random(number).randbytes(MIB + 1), tiers=[Tier.COLD])


def restore_of(bench: Workbench, backup_id: str) -> None:
    """An exact restore of one backup."""
    from strata.engine.local import restore_here

    restore_here(bench.manager, backup_id, f"restore-{backup_id}", RestoreMode.EXACT, ())


# --- what fails a backup ------------------------------------------------------------------------------------------


def assert_nothing_is_left(bench: Workbench, run_id: str = RUN, state: RunState = RunState.FAILED) -> None:
    """No manifest, an empty spool, a free lease, and a run that FAILED (or was REFUSED) with its reason."""
    assert bench.stored("manifests/") == []
    assert bench.spooled() == []
    assert bench.lease
    assert bench.lease.holder() is None
    run = bench.ledger.run(run_id)
    assert run
    assert run.state is state
    assert run.reason


@pytest.mark.parametrize("dies_after", [0, 1, 3])
@pytest.mark.parametrize("tier", Tier)
def test_a_tier_that_dies_half_way_fails_the_backup_by_its_name(folder: Path, tier: Tier, dies_after: int) -> None:
    """A dead tier is never an empty or a short one: no manifest, an empty spool, and the tier in the reason."""
    bench = Workbench(folder, tiers_of(500))
    bench.sources[tier].dies_after = dies_after
    with pytest.raises(SourceUnavailable, match=tier.service):
        bench.backup()
    assert_nothing_is_left(bench)
    run = bench.ledger.run(RUN)
    assert run
    assert tier.service in run.reason
    assert run.code == "source-unavailable"


def test_after_a_failure_the_next_backup_succeeds(folder: Path) -> None:
    """What a failed run left behind stands in nobody's way."""
    bench = Workbench(folder, tiers_of(500))
    bench.sources[Tier.WARM].dies_after = 2
    with pytest.raises(SourceUnavailable):
        bench.backup()
    bench.sources[Tier.WARM].dies_after = None
    assert bench.backup("20250102-030406-full-000001").records == 1500


@pytest.mark.parametrize("pattern", STORED)
@pytest.mark.parametrize("lie", Lie)
def test_a_store_that_lies_is_caught_before_the_backup_exists(folder: Path, pattern: str, lie: Lie) -> None:
    """Other bytes, another object or none: verification reads back what is stored, and no manifest is written."""
    bench = Workbench(folder, large_values(), wrap_store=lambda store: LyingStore(store, pattern, lie))
    with pytest.raises((IntegrityError, ObjectNotFound), match=pattern.partition("*")[0]):
        bench.backup()
    assert_nothing_is_left(bench)


@pytest.mark.parametrize("pattern", STORED)
def test_a_torn_write_is_caught_before_the_backup_exists(folder: Path, pattern: str) -> None:
    """A store that kept half an object and said nothing is found out by the verification."""
    bench = Workbench(folder, large_values(), wrap_store=lambda store: TornStore(store, pattern))
    with pytest.raises(IntegrityError, match=pattern.partition("*")[0]):
        bench.backup()
    assert_nothing_is_left(bench)


def test_a_torn_manifest_is_no_backup(folder: Path) -> None:
    """A manifest of which only half was kept is damaged by name, and nothing can be restored from it."""
    bench = Workbench(folder, tiers_of(3), wrap_store=lambda store: TornStore(store, "manifests/*"))
    with pytest.raises(IntegrityError, match=f"manifests/{RUN}"):
        bench.backup()
    assert bench.metadata.history()[0] == []


@pytest.mark.parametrize("wrap", ["store", "spool"])
def test_a_spool_or_store_that_tears_every_write_yields_no_backup(folder: Path, wrap: str) -> None:
    """Where staging keeps half of what it is given, no half backup comes of it."""
    torn = {f"wrap_{wrap}": lambda store: TornStore(store, "*/*")}
    bench = Workbench(folder, tiers_of(3), **torn)  # type: ignore[arg-type]
    with pytest.raises(IntegrityError, match=r"damaged|in the spool"):
        bench.backup()
    assert_nothing_is_left(bench)


@pytest.mark.parametrize("error", [StoreUnavailable, StoreFull, StoreNotMounted, StorageError])
@pytest.mark.parametrize("moment", Moment)
def test_a_store_that_fails_fails_the_backup(folder: Path, moment: Moment, error: type[StorageError]) -> None:
    """A store that fails once, in whatever way, fails a run in this process, wherever it happens; the next succeeds.

    A run that could not even be planned is refused. A run whose manifest was written before the failure has
    succeeded: then the backup exists, and is whole.
    """
    whole: list[FlakyStore] = []

    def counting(store: ObjectStore) -> ObjectStore:
        whole.append(FlakyStore(store, ()))
        return whole[0]

    counted = Workbench(folder / "whole", _made(folder / "whole"), wrap_store=counting)
    counted.manager.start(BackupType.FULL, RUN)
    planning = whole[0].operations
    counted.backup()
    for number in range(whole[0].operations):
        where = folder / f"{number}"
        bench = Workbench(
            where, _made(where), wrap_store=partial(FlakyStore, fails={number}, moment=moment, error=error)
        )
        with pytest.raises(error):
            bench.backup()
        assert bench.lease
        assert bench.lease.holder() is None
        if bench.stored("manifests/"):
            bench.restorer.verify(bench.metadata.load(RUN), tuple(Tier), lambda _: None)
        else:
            assert_nothing_is_left(bench, state=RunState.REFUSED if number < planning else RunState.FAILED)
        assert bench.backup("20250103-next").records == 9


def _made(folder: Path) -> dict[Tier, MemorySource]:
    folder.mkdir()
    return tiers_of(3)


# --- doing things side by side ------------------------------------------------------------------------------------


def test_the_first_failure_is_raised_and_nothing_more_is_begun() -> None:
    """Of work done side by side the first failure comes out, though an item before it still works."""
    begun: list[int] = []
    failed = threading.Event()

    def work(number: int) -> None:
        begun.append(number)
        if number == 0:
            failed.wait(10)
        if number == 1:
            failed.set()
            raise IntegrityError("the second")

    with pytest.raises(IntegrityError, match="the second"):
        in_parallel(work, range(100), 2)
    assert sorted(begun) == [0, 1]


def test_work_for_nothing_is_nothing() -> None:
    """Without items no work is done."""
    done: list[int] = []
    in_parallel(done.append, _none(), 3)
    assert done == []


def _none() -> Iterator[int]:
    yield from ()
