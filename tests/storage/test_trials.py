"""What the doctor finds of real services: which of them let one writer win, which lock, which archive."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from strata.clock import SystemClock
from strata.engine.doctor import Verdict
from strata.engine.store_trial import StoreTrial
from strata.s3client import S3Access, make_client
from strata.storage.append_only import AppendOnlyStore
from strata.storage.attributes import set_immutable
from strata.storage.port import LockMode, ObjectStore
from strata.storage.s3 import S3Store
from tests.storage.buckets import bucket_store, lock_by_default, new_bucket, new_store
from workers.local_stack.servers import S3Server


def found(store: ObjectStore, **options: Any) -> dict[str, tuple[Verdict, str]]:
    """Each check, with its verdict and what is said of it; nothing is left in the store."""
    findings = {
        one.check: (one.verdict, one.said) for one in StoreTrial(store, SystemClock(), **options).findings()
    }  # fmt: skip
    assert list(store.list()) == []
    return findings


@pytest.mark.parametrize("service", ["moto", "strict"])
def test_a_service_with_conditions_is_safe(request: pytest.FixtureRequest, service: str) -> None:
    """One of two writers wins, and everything else is as it should be."""
    findings = found(new_store(request.getfixturevalue(f"{service}_endpoint")))
    assert {verdict for verdict, _ in findings.values()} == {Verdict.SAFE}
    assert findings["conditional put"] == (Verdict.SAFE, "of two writers of one name one wins")


def test_a_service_without_conditions_is_weaker(s3_server: S3Server) -> None:
    """Rclone's lets both win; the other checks are safe."""
    access = S3Access(s3_server.endpoint, s3_server.access_key, s3_server.secret_key)
    make_client(access, 1).create_bucket(Bucket="trials")
    store = S3Store(
        "s3://trials/x",
        endpoint=access.endpoint,
        access_key_id=access.access_key_id,
        secret_access_key=access.secret_access_key,
    )
    findings = found(store)
    assert {check for check, (verdict, _) in findings.items() if verdict is not Verdict.SAFE} == {"conditional put"}


@pytest.mark.parametrize("service", ["moto", "strict"])
def test_a_bucket_that_locks_is_tried_with_a_lock_of_seconds(request: pytest.FixtureRequest, service: str) -> None:
    """The lock holds, ends, and leaves nothing behind, by either mode."""
    store = new_store(request.getfixturevalue(f"{service}_endpoint"), locks=True)
    for mode in LockMode:
        assert found(store, locking=store, lock_mode=mode)["lock"] == (Verdict.SAFE, "locked objects stay")


@pytest.mark.parametrize("locks", [True, False])
def test_a_bucket_that_locks_by_default_is_weaker_and_holds_nobody_up(moto_endpoint: str, *, locks: bool) -> None:
    """Nobody waits days for its lock to end; what the trial leaves is told with the end of its lock."""
    bucket = new_bucket(moto_endpoint, locks=True)
    lock_by_default(moto_endpoint, bucket, days=30)
    store = bucket_store(moto_endpoint, bucket)
    trial = StoreTrial(store, SystemClock(), locking=store if locks else None, sleep=lambda _: pytest.fail("it waits"))
    findings = {one.check: one for one in trial.findings()}
    day = f"{SystemClock().now() + timedelta(days=30):%Y-%m-%d}"
    if locks:
        assert findings["lock"].verdict is Verdict.SAFE
        assert findings["lock"].said.startswith(f"the bucket itself locks until {day}")
    assert findings["delete"].verdict is Verdict.WEAKER
    assert findings["delete"].said.startswith(f"the trial's objects stay: {store.url} keeps doctor/")
    assert f" until {day}" in findings["delete"].said
    assert {one.verdict for check, one in findings.items() if check != "delete"} == {Verdict.SAFE}


def test_an_archive_class_is_told(moto_endpoint: str) -> None:
    """Sealed data in Glacier cannot be read at once; in the bucket's own class it can."""
    deep, near = (new_store(moto_endpoint, storage_class=name) for name in ("DEEP_ARCHIVE", "STANDARD"))
    assert found(deep, classed=True)["storage class"][1] == "sealed data has to be brought back before it can be read"
    assert found(near, classed=True)["storage class"][1] == "sealed data can be read at once"


def test_an_append_only_folder_is_told_by_what_its_file_system_can(folder: Path) -> None:
    """Where files can be made immutable it is safe, elsewhere weaker; how much room there is is said."""
    clock = SystemClock()
    root = folder / "store"
    root.mkdir()
    (root / "probe").touch()
    able = set_immutable(root / "probe", True)
    set_immutable(root / "probe", False)
    (root / "probe").unlink()
    store = AppendOnlyStore(root, clock)
    findings = found(store, locking=store, folder=root)
    assert findings["lock"][0] is (Verdict.SAFE if able else Verdict.WEAKER)
    assert "GiB free of" in findings["room"][1]


def test_a_clock_that_is_off_is_found_at_a_service(moto_endpoint: str) -> None:
    """It is this machine's that is off here, by an hour."""

    class LateClock(SystemClock):
        def now(self) -> Any:
            return super().now() - timedelta(hours=1)

    store = new_store(moto_endpoint)
    findings = {one.check: one for one in StoreTrial(store, LateClock()).findings()}
    assert findings["clock"].verdict is Verdict.WEAKER
    assert findings["clock"].said.startswith("its clock is 3,")
    assert findings["clock"].said.endswith("s ahead of this machine's")
