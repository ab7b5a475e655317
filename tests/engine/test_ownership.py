"""Runs and the owners of stores: what is refused, and that a refusal leaves the store as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from strata.catalog.owner import Owner
from strata.engine.local import backup_here, copy_here
from strata.errors import IntegrityError, KeyringError, StoreForeign
from strata.model.backup_type import BackupType
from strata.model.manifest import BackupMetadata
from strata.model.run import RunState
from strata.model.store import STORE_DOCUMENT
from strata.model.tier import StorageTier, Tier
from strata.seal.keyring import FileKeyring
from tests.engine.workbench import RUN, Workbench, tiers_of

SECOND = "20250102-040405-full-601d01"


@pytest.fixture
def bench(folder: Path) -> Workbench:
    """A workbench with a few records in every tier."""
    return Workbench(folder, tiers_of(3))


def test_a_backup_names_its_store_and_its_installation(bench: Workbench) -> None:
    """The manifest says where it was made and by whom, and a copy says the same."""
    made = bench.backup()
    identity = bench.owner.identity(StorageTier.LOCAL)
    assert identity
    assert (made.store_id, made.installation) == (identity.store_id, identity.installation)
    copy_here(bench.manager, RUN, "copy-1", StorageTier.NETWORK)
    copied = bench.network.metadata.load(RUN)
    assert copied == made
    target = bench.owner.identity(StorageTier.NETWORK)
    assert target
    assert target.store_id != identity.store_id
    assert target.installation == identity.installation


def test_another_keyring_writes_nothing_into_the_store(bench: Workbench) -> None:
    """Neither a backup, nor the record of its refusal: the store has not one object more."""
    bench.backup()
    before = bench.stored()
    (bench.folder / "keyring.json").unlink()
    FileKeyring.create(bench.folder / "keyring.json", bench.clock.now())
    other = Workbench(bench.folder, tiers_of(3))
    with pytest.raises(KeyringError, match="belongs to another keyring"):
        other.backup(SECOND)
    run = other.ledger.run(SECOND)
    assert run
    assert (run.state, run.code) == (RunState.REFUSED, "keyring")
    assert bench.stored() == before


def test_another_installation_writes_nothing_into_the_store(bench: Workbench) -> None:
    """A second deployment with a copy of the keyring is refused at the plan, for backups and copies."""
    bench.backup()
    before = bench.stored()
    other = Workbench(bench.folder, tiers_of(3), installation="second")
    with pytest.raises(StoreForeign, match="this one is second"):
        backup_here(other.manager, BackupType.FULL, SECOND)
    with pytest.raises(StoreForeign):
        copy_here(other.manager, RUN, "copy-1", StorageTier.LOCAL)
    assert bench.stored() == before


def test_a_store_that_changed_hands_during_a_run_gets_no_backup(bench: Workbench) -> None:
    """What is claimed at the plan is looked at again before the manifest is written."""
    plan = bench.manager.start(BackupType.FULL, RUN)
    bench.files.delete(STORE_DOCUMENT)
    other = Owner({StorageTier.LOCAL: bench.files}, bench.keyring, named="second")
    other.claim(StorageTier.LOCAL, other.foresee(StorageTier.LOCAL, bench.clock.now()))
    with pytest.raises(StoreForeign):
        bench.backup(plan.backup_id)
    assert not bench.stored("manifests/")


@pytest.mark.parametrize("torn", [b"", None])
def test_an_emergency_goes_into_a_store_that_does_not_tell_whose_it_is(bench: Workbench, torn: bytes | None) -> None:
    """Where all that lies there is ours, it says so; a FULL is refused as before. It can be restored."""
    bench.backup()
    bench.files.delete(STORE_DOCUMENT)
    if torn is not None:
        bench.files.put(STORE_DOCUMENT, [torn])
    with pytest.raises(IntegrityError if torn is not None else StoreForeign):
        bench.backup(SECOND)
    made = bench.backup("emergency-1", BackupType.EMERGENCY)
    (reason,) = [one for one in made.reasons if "store.json" in one]
    assert "strata stores adopt local" in reason
    assert made.store_id == ""
    assert bench.restore(tiers=made_of(made)).backup_id == "emergency-1"


def made_of(made: BackupMetadata) -> tuple[Tier, ...]:
    """The tiers that a backup holds."""
    return tuple(content.tier for content in made.tiers if content.included)


def test_an_emergency_goes_into_no_store_that_may_be_anothers(bench: Workbench) -> None:
    """Its backups are of another installation, or are sealed for another keyring: it is refused as any other."""
    bench.backup()
    other = Workbench(bench.folder, tiers_of(3), installation="second")
    with pytest.raises(StoreForeign):
        other.backup("emergency-1", BackupType.EMERGENCY)
    bench.files.delete(STORE_DOCUMENT)
    with pytest.raises(StoreForeign):
        other.backup("emergency-2", BackupType.EMERGENCY)
    (bench.folder / "keyring.json").unlink()
    FileKeyring.create(bench.folder / "keyring.json", bench.clock.now())
    stranger = Workbench(bench.folder, tiers_of(3))
    with pytest.raises(StoreForeign):
        stranger.backup("emergency-3", BackupType.EMERGENCY)


def test_an_emergency_that_is_the_first_backup_of_a_store_makes_it_ours(bench: Workbench) -> None:
    """It leaves store.json like any other: without it every later backup would be refused."""
    made = bench.backup("emergency-first", BackupType.EMERGENCY)
    identity = bench.owner.identity(StorageTier.LOCAL)
    assert identity
    assert made.store_id == identity.store_id
    assert bench.backup().store_id == identity.store_id
