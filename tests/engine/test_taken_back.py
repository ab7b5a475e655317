"""What a failed backup stored goes at once, and nothing that anybody needs or may still write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from strata.catalog.ledger import Claim
from strata.engine.taken_back import take_back
from strata.errors import IntegrityError, StoreFull
from strata.model.backup_type import BackupType
from strata.model.run import RunState, Stage
from strata.model.tier import Tier
from strata.storage.port import Buffer, ObjectStore
from strata.storage.wrapped import WrappedStore
from tests.engine.workbench import RUN, Workbench, tiers_of

NEXT = "20250103-030405-full-601d01"
DAMAGED = "20250103-030405-full-601d02"


class SmallStore(WrappedStore):
    """A store that holds no more than so many bytes."""

    room = 1 << 40

    def put(self, name: str, parts: Sequence[Buffer]) -> None:
        held = sum(info.size for info in self.inner.list())
        if held + sum(memoryview(part).nbytes for part in parts) > self.room:
            raise StoreFull(f"no room is left for {name}")
        super().put(name, parts)


def small(bench: Workbench, more: int) -> None:
    """From now on the store has so many bytes left."""
    assert isinstance(bench.store, SmallStore)
    bench.store.room = sum(info.size for info in bench.files.list()) + more


def data(store: ObjectStore) -> set[str]:
    """The objects of layers."""
    return {info.name for info in store.list() if info.name.startswith(("layers/", "chunks/"))}


@pytest.fixture
def bench(folder: Path) -> Workbench:
    """A workbench whose store has no end yet, with a FULL."""
    made = Workbench(folder, tiers_of(2000, tiers=[Tier.HOT, Tier.WARM]), wrap_store=SmallStore, segment_bytes=20_000)
    made.backup()
    return made


def stored_in_part(bench: Workbench, run_id: str) -> list[str]:
    """The units of a backup of which the first two are stored."""
    plan = bench.manager.start(BackupType.FULL, run_id, fresh=True)
    for part in plan.included:
        bench.manager.collect(run_id, part.tier)
    labels = [spooled.unit.label for spooled in bench.manager.merge(run_id).objects]
    for label in labels[:2]:
        bench.manager.compress(run_id, label)
        bench.manager.encrypt(run_id, label)
        bench.manager.store(run_id, label)
    return labels


def test_a_store_that_a_backup_filled_is_full_no_longer(bench: Workbench) -> None:
    """Every object of the failed run goes; what the backup before it needs stays, and can be proved."""
    before = data(bench.files)
    small(bench, 30_000)
    with pytest.raises(StoreFull):
        bench.backup(NEXT, fresh=True)
    assert data(bench.files) == before
    bench.restorer.verify(bench.metadata.load(RUN), (Tier.HOT, Tier.WARM), lambda _: None)


def test_nothing_is_taken_back_while_another_try_may_write(bench: Workbench) -> None:
    """A claim on any unit of the run keeps all of it, until it is given up or over."""
    before = data(bench.files)
    labels = stored_in_part(bench, NEXT)
    claim = bench.ledger.take(NEXT, Stage.STORE, labels[2], "another worker")
    assert isinstance(claim, Claim)
    bench.manager.abandon(NEXT, "because")
    assert take_back(bench.manager, NEXT) is None
    assert len(data(bench.files)) == len(before) + 2
    bench.ledger.release(claim)
    assert take_back(bench.manager, NEXT) == 2
    assert data(bench.files) == before


def test_what_may_be_needed_is_left_to_a_prune(bench: Workbench) -> None:
    """Of a run that goes on or is done; where damage was found, and where a manifest cannot be read."""
    stored_in_part(bench, DAMAGED)
    assert take_back(bench.manager, DAMAGED) == 0
    bench.manager.close(DAMAGED, RunState.FAILED, "an object is damaged", IntegrityError.code)
    assert take_back(bench.manager, DAMAGED) == 0
    stored_in_part(bench, NEXT)
    bench.manager.abandon(NEXT, "because")
    bench.files.put("manifests/20250101-000000-full-000000.json", [b"{}"])
    assert take_back(bench.manager, NEXT) == 0
    bench.files.delete("manifests/20250101-000000-full-000000.json")
    assert take_back(bench.manager, NEXT) == 2
    assert take_back(bench.manager, RUN) == 0
    assert take_back(bench.manager, "unknown") == 0
