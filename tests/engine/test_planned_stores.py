"""The store that a plan names is known by what it is, wherever this process finds it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from strata.engine.depot import Depots
from strata.engine.local import copy_here
from strata.errors import SettingError
from strata.model.tier import StorageTier
from strata.storage.filesystem import Durability, FilesystemStore
from tests.engine.workbench import RUN, Workbench, tiers_of


@pytest.fixture
def bench(folder: Path) -> Workbench:
    """A workbench with a backup in LOCAL."""
    bench = Workbench(folder, tiers_of(3))
    bench.backup()
    return bench


def depots_at(bench: Workbench, place: Path) -> Depots:
    """The depots of a process that has LOCAL in another folder."""
    store = FilesystemStore(place, Durability.CACHED)
    depot = type(bench.depot).of(StorageTier.LOCAL, store, bench.sources, bench.keyring, bench.clock)
    return Depots({StorageTier.LOCAL: depot}, bench.catalogue)


def test_a_store_that_is_mounted_elsewhere_is_the_same(bench: Workbench) -> None:
    """Another URL of the store with that id is no difference."""
    (bench.folder / "elsewhere").symlink_to(bench.folder / "store")
    there = depots_at(bench, bench.folder / "elsewhere")
    plan = bench.manager.plan(RUN)
    assert there.planned("a run", plan.storage_tier, plan.store_url, plan.store_id)


def test_a_store_of_the_same_name_on_another_machine_is_another(bench: Workbench, folder: Path) -> None:
    """`file:///backups` of each machine is its own: what one planned is not read or written in the other's."""
    plan = bench.manager.plan(RUN)
    shutil.move(folder / "store", folder / "first")
    other = Workbench(folder, tiers_of(3), lease=bench.lease)
    other.backup("20250102-040405-full-601d01")
    assert other.depot.store.url == plan.store_url
    with pytest.raises(SettingError, match="which is another store"):
        other.depots.planned("a run", plan.storage_tier, plan.store_url, plan.store_id)


def test_a_store_that_says_nothing_of_itself_is_known_by_its_url(bench: Workbench) -> None:
    """Before anything is written into it, and where this keyring cannot tell."""
    (bench.folder / "store" / "store.json").unlink()
    plan = bench.manager.plan(RUN)
    assert bench.depots.planned("one", plan.storage_tier, plan.store_url, plan.store_id) is bench.depot
    with pytest.raises(SettingError, match="this worker is set to"):
        bench.depots.planned("another", plan.storage_tier, "file:///elsewhere", plan.store_id)


def test_copies_and_restores_name_their_stores(bench: Workbench) -> None:
    """Each plan holds the ids of the stores that it was made for."""
    copy_here(bench.manager, RUN, "copy-1", StorageTier.NETWORK)
    copy = bench.manager.copy_plan("copy-1")
    assert copy.source_id == bench.depot.store_id()
    assert copy.target_id == bench.network.store_id()
    assert "" not in {copy.source_id, copy.target_id}
    bench.restore()
    assert bench.manager.restore_plan("restore").store_id == bench.depot.store_id()
