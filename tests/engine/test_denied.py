"""Manifests that belong to another user: named, and no reason for any other backup to stop."""

from __future__ import annotations

from pathlib import Path

import pytest

from strata.errors import ObjectDenied
from strata.model.backup_type import BackupType
from strata.model.tier import StorageTier, Tier
from strata.planning.soundness import denied_reasons
from strata.storage.wrapped import WrappedStore
from tests.engine.workbench import RUN, Workbench, tiers_of


class DeniedStore(WrappedStore):
    """A store in which some objects may not be read."""

    denied: tuple[str, ...] = ()

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        if name.startswith(self.denied):
            raise ObjectDenied(f"the store could not read {name}: Permission denied")
        return super().get(name, offset, length)


@pytest.fixture
def bench(folder: Path) -> Workbench:
    """A workbench whose store denies what a test says, with a FULL."""
    made = Workbench(folder, tiers_of(3, tiers=[Tier.HOT]), wrap_store=DeniedStore)
    made.backup()
    return made


def denying(bench: Workbench, *denied: str) -> None:
    """From now on these may not be read, by a process that remembers nothing."""
    bench.depot.metadata._summaries.clear()
    assert isinstance(bench.store, DeniedStore)
    bench.store.denied = denied


def test_a_manifest_of_another_user_stops_no_backup(bench: Workbench) -> None:
    """The next one is built on what may be read, and its reasons name what may not."""
    middle = bench.backup("20250102-040405-incremental-601d01", BackupType.INCREMENTAL)
    denying(bench, f"manifests/{middle.backup_id}", "notes/")
    made = bench.backup("20250102-050405-incremental-601d02", BackupType.INCREMENTAL)
    assert made.parent == RUN
    (reason,) = [one for one in made.reasons if "Permission denied" in one]
    assert f"manifests/{middle.backup_id}.json" in reason
    assert "is built on it" in reason


def test_where_no_manifest_may_be_read_no_backup_is_made(bench: Workbench) -> None:
    """Then it is not one file of another user: the right to read the store is missing."""
    denying(bench, "manifests/")
    with pytest.raises(ObjectDenied, match=RUN):
        bench.backup("20250102-050405-full-601d02")


def test_several_manifests_are_told_in_one_sentence() -> None:
    """The first by name, the others by their number."""
    assert denied_reasons(StorageTier.LOCAL, []) == ()
    (one,) = denied_reasons(StorageTier.LOCAL, ["a is denied", "b is denied", "c is denied"])
    assert one == "a is denied; nothing in LOCAL is built on it and 2 other manifests like it"
