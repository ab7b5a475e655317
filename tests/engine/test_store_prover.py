"""What lies in the stores is read back by itself: the promise holds for ever, and damage is found and told."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from strata.catalog.cache import CatalogueCache
from strata.catalog.catalogue import Catalogue
from strata.catalog.notes import NoteKind
from strata.engine.local import copy_here
from strata.engine.store_prover import READABLE, StoreProved, StoreProver
from strata.model.backup_type import BackupType
from strata.model.manifest import manifest_name
from strata.model.policy import PolicyLine
from strata.model.tier import StorageTier, Tier
from strata.planning.policy import Promises, report
from strata.planning.proving import UNBOUNDED, Budget
from strata.planning.tier_strategy import TierStrategy
from strata.testing import FlakyStore, MemorySource, Moment, SettableClock
from tests.engine.test_copier import flip, large
from tests.engine.workbench import Workbench, tiers_of

LOCAL, NETWORK = StorageTier.LOCAL, StorageTier.NETWORK
DAY = timedelta(days=1)


@pytest.fixture
def bench(folder: Path) -> Workbench:
    """Small values and values in chunks."""
    return Workbench(folder, {**tiers_of(40, tiers=[Tier.HOT]), Tier.COLD: MemorySource(Tier.COLD, large())})


def later(bench: Workbench, span: timedelta) -> None:
    assert isinstance(bench.clock, SettableClock)
    bench.clock.advance(span)


def prover(bench: Workbench) -> StoreProver:
    return StoreProver(bench.depots, bench.catalogue, bench.clock)


def tick(bench: Workbench, budget: Budget = UNBOUNDED) -> dict[StorageTier, StoreProved]:
    """What beat lets a worker do."""
    readable, layers = prover(bench).due()
    return {one.storage_tier: one for one in prover(bench).prove(readable, layers, budget)}


def errors(bench: Workbench, catalogue: Catalogue | None = None) -> PolicyLine:
    """What `status` says of damage and of what was not read for long."""
    entries = (catalogue or bench.catalogue).view().entries
    return report(entries, TierStrategy({LOCAL}), Promises(), bench.clock.now()).lines[-1]


def test_the_promise_holds_for_ever_by_what_beat_does(bench: Workbench) -> None:
    """Backups on demand too: a SNAPSHOT and an EMERGENCY of long ago are read again and again, in every store."""
    for kind in (BackupType.FULL, BackupType.SNAPSHOT, BackupType.EMERGENCY):
        bench.backup(kind.value, kind)
    copy_here(bench.manager, "full", "copy", NETWORK)
    for _ in range(12):
        later(bench, 5 * DAY)
        tick(bench)
        assert errors(bench).holds
    later(bench, 31 * DAY)
    assert "has not been verified for 30 d" in errors(bench).finding
    assert tick(bench)[NETWORK].layers
    assert errors(bench).holds
    assert not any(store.layers for store in tick(bench).values())


def test_layers_that_only_lend_chunks_are_read_too(bench: Workbench) -> None:
    """A backup whose values lie in chunks of another's layer is proved with that."""
    value = large()["0", b"large:0"]
    bench.sources[Tier.COLD].records["0", b"position:1"] = value
    bench.backup("full")
    later(bench, DAY)
    bench.backup("borrows", BackupType.SNAPSHOT)
    assert bench.metadata.load("borrows").borrowed
    later(bench, 40 * DAY)
    assert not errors(bench).holds
    tick(bench)
    assert errors(bench).holds


def test_a_budget_bounds_what_is_read_and_the_rest_waits(bench: Workbench) -> None:
    """One layer at least; the next tick goes on where this one stopped."""
    bench.backup("full")
    later(bench, 20 * DAY)
    first = tick(bench, Budget(bytes=1))[LOCAL]
    assert (first.layers, first.left) == (1, 1)
    second = tick(bench, Budget(bytes=1))[LOCAL]
    assert (second.layers, second.left) == (1, 0)
    later(bench, 20 * DAY)
    assert tick(bench, Budget(seconds=0))[LOCAL].left == 2


def test_damage_is_named_noted_and_hides_nothing(bench: Workbench) -> None:
    """The other layers are read and count; the damaged one is not read again at every tick."""
    bench.backup("full")
    later(bench, 20 * DAY)
    name = next(name for name in bench.stored("layers/full-hot/") if name.endswith(".seg"))
    flip(bench.files, name)
    found = tick(bench)[LOCAL]
    assert [one.name for one in found.damages] == [name]
    assert found.layers == 1
    assert errors(bench).finding == "full in LOCAL is damaged"
    assert tick(bench)[LOCAL].damages == ()


def test_a_lost_document_of_a_layer_is_damage(bench: Workbench) -> None:
    """It is named like any other object."""
    bench.backup("full")
    bench.files.delete("layers/full-hot/layer.json")
    later(bench, 20 * DAY)
    assert [one.name for one in tick(bench)[LOCAL].damages] == ["layers/full-hot/layer.json"]


def test_a_damaged_identity_of_a_store_is_damage(bench: Workbench) -> None:
    """Backups are whole without it, but notes count no more, and nothing new is written there."""
    bench.backup("full")
    flip(bench.files, "store.json")
    later(bench, 20 * DAY)
    assert [one.name for one in tick(bench)[LOCAL].damages] == ["store.json"]


def test_a_manifest_that_rotted_is_told_to_those_that_have_it_in_a_cache(bench: Workbench, folder: Path) -> None:
    """The cache reads no manifest twice: a note in the store tells it, and a manifest brought back takes that back."""
    bench.backup("full")
    cached = Catalogue(bench.catalogue.stores, bench.keyring, CatalogueCache(folder / "cache", bench.keyring))
    assert errors(bench, cached).holds
    name = manifest_name("full")
    path, whole = folder / "store" / name, bench.files.get(name)
    before = path.stat()
    with path.open("r+b") as file:  # as a disk does it: neither size nor time say so
        file.seek(len(whole) // 2)
        file.write(bytes([whole[len(whole) // 2] ^ 1]))
    os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns))
    assert errors(bench, cached).holds
    later(bench, DAY)
    assert [one.name for one in tick(bench)[LOCAL].damages] == [name]
    tick(bench)
    assert errors(bench, cached).finding == "full in LOCAL is damaged"
    assert len([one for one in bench.depot.book.of("full") if one.kind is NoteKind.DAMAGED]) == 1
    path.write_bytes(whole)
    later(bench, DAY)
    assert tick(bench)[LOCAL].damages == ()
    assert errors(bench, cached).holds


def test_a_store_that_fails_keeps_no_other_from_being_read(folder: Path) -> None:
    """It is told with its reason, and what was to be read there waits."""
    flaky: list[FlakyStore] = []

    def wrap(store: object) -> FlakyStore:
        flaky.append(FlakyStore(store, [], Moment.BEFORE))  # type: ignore[arg-type]
        return flaky[0]

    bench = Workbench(folder, tiers_of(40, tiers=[Tier.HOT]), wrap_network=wrap)
    bench.backup("full")
    copy_here(bench.manager, "full", "copy", NETWORK)
    later(bench, 20 * DAY)
    readable, layers = prover(bench).due()
    flaky[0].fails = frozenset(range(flaky[0].operations, flaky[0].operations + 9))
    found = {one.storage_tier: one for one in prover(bench).prove(readable, layers)}
    assert (found[LOCAL].layers, found[LOCAL].failure) == (1, "")
    assert "does not answer" in found[NETWORK].failure
    assert found[NETWORK].layers == 0


def test_what_a_prune_removes_meanwhile_is_not_damage(bench: Workbench) -> None:
    """Manifests go before their layers: where it is gone, nothing was to be found."""
    bench.backup("full")
    readable = prover(bench).readable()
    bench.files.delete(manifest_name("full"))
    bench.files.delete("layers/full-hot/layer.json")
    (found, *_) = prover(bench).prove(readable, list(readable.layers), tiers=READABLE)
    assert (found.damages, found.failure, found.layers) == ((), "", 0)
    assert bench.depot.damage.layers == set()
