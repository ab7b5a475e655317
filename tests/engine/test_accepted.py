"""What a person accepted in one store is right for a backup in another, as far as a note vouches for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from strata.catalog.notes import NoteBook, NoteKind
from strata.model.backup_type import BackupType
from strata.model.coverage import DoubtKind
from strata.model.tier import StorageTier, Tier
from strata.planning.completeness import with_accepted
from strata.planning.tier_strategy import Placement
from strata.seal.keyring import FileKeyring
from strata.testing import FlakyStore, MemoryRecord, MemorySource
from tests.engine.workbench import Workbench

LOCAL, NETWORK = StorageTier.LOCAL, StorageTier.NETWORK
FULL, INCREMENTAL = BackupType.FULL, BackupType.INCREMENTAL


def keys(count: int) -> dict[tuple[str, bytes], MemoryRecord]:
    """So many keys."""
    return {("0", f"key:{number}".encode()): MemoryRecord(b"x") for number in range(count)}


def bench(folder: Path, **parts: Any) -> Workbench:
    """FULLs go to NETWORK and INCREMENTALs to LOCAL; a FULL and an INCREMENTAL of 100 keys, then one of 10."""
    places = {FULL: Placement(NETWORK), INCREMENTAL: Placement(LOCAL)}
    made = Workbench(folder, {Tier.HOT: MemorySource(Tier.HOT, keys(100))}, places=places, **parts)
    made.backup("full-1")
    made.backup("more", INCREMENTAL)
    made.sources[Tier.HOT].records = keys(10)
    made.backup("fewer", INCREMENTAL)
    return made


def accept(there: Workbench, digest: str | None = None) -> None:
    """Note in LOCAL, where it lies, that the INCREMENTAL of 10 keys is right."""
    named = there.metadata.digest("fewer") if digest is None else digest
    NoteBook(there.files, there.keyring).add(NoteKind.ACCEPTED, "fewer", there.clock.now(), {"manifest": named})


def parents(there: Workbench) -> list[str | None]:
    """What the next three FULLs are compared with."""
    return [there.backup(f"full-{number}").parent for number in (2, 3, 4)]


def test_a_backup_that_nobody_accepted_is_built_on_nowhere(folder: Path) -> None:
    """The FULLs of 10 keys are in doubt by NETWORK: each is compared with the last good one."""
    there = bench(folder)
    assert set(parents(there)) <= {"full-1", None}
    expected = there.manager.planner.decide(FULL, "next").expected
    assert [one.last for one in expected] == [100]


def test_an_acceptance_in_one_store_counts_for_the_plans_of_all(folder: Path) -> None:
    """The first FULL after it lies on the last good one, the next lays the worn stack anew, the rest go on there."""
    there = bench(folder)
    accept(there)
    assert parents(there) == ["full-1", None, "full-3"]
    plan = there.manager.planner.decide(FULL, "next")
    assert plan.parent == "full-4"
    assert [one.last for one in plan.expected] == [10]


@pytest.mark.parametrize("digest", ["", "0" * 64])
def test_an_acceptance_of_another_manifest_counts_in_no_other_store(folder: Path, digest: str) -> None:
    """The note names what was accepted: one without, or of other bytes, says nothing elsewhere."""
    there = bench(folder)
    accept(there, digest)
    assert set(parents(there)) <= {"full-1", None}


def test_what_nobody_signed_or_another_keyring_did_accepts_nothing(folder: Path) -> None:
    """Unsigned words only ever make things stricter."""
    there = bench(folder)
    another = FileKeyring.create(folder / "another.json", there.clock.now())
    body = {"manifest": there.metadata.digest("fewer")}
    NoteBook(there.files, another).add(NoteKind.ACCEPTED, "fewer", there.clock.now(), body)
    there.files.put("notes/fewer/20250102T030406-accepted.json", [b"{}"])
    assert set(parents(there)) <= {"full-1", None}


def test_an_acceptance_of_another_installations_backup_counts_for_its_own_alone(folder: Path) -> None:
    """LOCAL may be another deployment's store, which this one only reads."""
    there = bench(folder)
    accept(there)
    (fewer,) = there.metadata.accepted()
    assert with_accepted([], [fewer], fewer.installation) == ([], [fewer])
    assert with_accepted([], [fewer], "another") == ([], [])
    unaccepted = fewer.model_copy(update={"accepted": False})
    assert with_accepted([unaccepted], [fewer], fewer.installation) == ([fewer], [])
    assert with_accepted([unaccepted], [fewer], "another") == ([unaccepted], [])


def test_a_store_that_does_not_answer_keeps_no_backup_from_being_made(folder: Path) -> None:
    """What was accepted there is not known, so the plan is the stricter one."""
    there = bench(folder)
    accept(there)
    there.backup("full-2")
    silent = Workbench(
        folder,
        there.sources,
        places=there.places,
        wrap_store=lambda store: FlakyStore(store, range(10_000)),
        ledger=there.ledger,
        lease=there.lease,
        installation=there.metadata.load("fewer").installation,
    )
    plan = silent.manager.planner.decide(FULL, "next")
    assert plan.storage_tier is NETWORK
    assert plan.parent == "full-1"
    found = there.catalogue.view()
    assert not [one for one in found.judgement.in_doubt if one.backup_id == "full-2"]
    assert {doubt.kind for one in found.judgement.in_doubt for doubt in found.judgement.doubts(one)} <= {
        DoubtKind.EMPTY
    }
