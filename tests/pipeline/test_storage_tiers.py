"""Four stores behind real workers: backups go where they are placed, are copied there, and are removed in time."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import timedelta
from itertools import product
from pathlib import Path

import pytest

from beat_schedule import BEAT_SCHEDULE
from strata.catalog.notes import NoteKind
from strata.engine.local import copy_here, restore_here
from strata.engine.pruner import Pruned
from strata.model.backup_type import BackupType
from strata.model.run import Run, RunKind, RunState, Stage
from strata.model.tier import StorageTier
from strata.planning.backup import new_run_id
from strata.sources.port import RestoreMode
from strata.testing import SettableClock
from strata.wiring import Wiring
from tasks.enqueue import enqueue_prune
from tests.glacier import Glacier
from tests.pipeline.conftest import Pipeline, forget_all
from tests.pipeline.state import Life, Tiers
from workers.configuration import make_app
from workers.local_stack.demo import bot_of, create_table
from workers.local_stack.stack import LocalStack
from workers.queues import CONTROL

pytestmark = pytest.mark.timeout(400)

LOCAL, NETWORK, CLOUD, ARCHIVE = StorageTier


@pytest.fixture(scope="module")
def glacier(moto_endpoint: str) -> Glacier:
    """The buckets of CLOUD and ARCHIVE."""
    glacier = Glacier(moto_endpoint, "tiers-archive")
    glacier.client.create_bucket(Bucket=glacier.bucket)
    glacier.client.create_bucket(Bucket="tiers-cloud")
    return glacier


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, glacier: Glacier) -> Iterator[LocalStack]:
    """Servers and workers with a store of each kind."""
    folder = tmp_path_factory.mktemp("tiers")
    stack = LocalStack(folder / "stack")
    stack.layout.make()
    access = {"endpoint": glacier.endpoint, "region": "us-east-1", "access_key_id": "a", "secret_access_key": "b"}
    stack.layout.write_settings(
        {
            "network_url": (folder / "share").as_uri(),
            "cloud_url": "s3://tiers-cloud/strata",
            "archive_url": f"s3://{glacier.bucket}/strata",
            "cache_folder": str(folder / "cache"),
            "prune_grace_hours": 1,
            **{f"{tier}_{name}": value for tier in ("cloud", "archive") for name, value in access.items()},
        }
    )
    stack.up(beat=False, flower=False)
    yield stack
    stack.down()


@pytest.fixture
def pipeline(stack: LocalStack) -> Iterator[Pipeline]:
    """The stack with empty tiers and empty stores, the share set up."""
    settings = stack.settings()
    wiring, tiers = Wiring(settings), Tiers(bot_of(settings))
    tiers.wipe()
    create_table(settings)
    pipeline = Pipeline(stack, wiring, make_app(settings), tiers.bot, tiers, Wiring(settings))
    share = Path(str(settings.network_url).removeprefix("file://"))
    share.mkdir(exist_ok=True)
    if not (share / "strata-store.json").exists():
        assert pipeline.strata("stores", "init", "network", "--any-folder").returncode == 0
    yield pipeline
    forget_all(wiring)
    tiers.wipe()
    tiers.close()


def held(pipeline: Pipeline) -> dict[str, set[StorageTier]]:
    """The stores that hold each backup."""
    entries = Wiring(pipeline.wiring.settings).depots
    return {
        backup_id: {depot.tier for depot in entries if backup_id in ids(depot.tier, pipeline)}
        for backup_id in set().union(*(ids(depot.tier, pipeline) for depot in entries))
    }


def ids(tier: StorageTier, pipeline: Pipeline) -> set[str]:
    """The backups that a store holds."""
    listed = pipeline.wiring.depots.of(tier).store.list("manifests/")
    return {info.name.removeprefix("manifests/").removesuffix(".json") for info in listed}


def ended(pipeline: Pipeline, kind: RunKind) -> list[Run]:
    """The runs of a kind that have ended."""
    return [run for run in pipeline.wiring.ledger.runs(100) if run.kind is kind and run.state.final]


def made(pipeline: Pipeline, kind: BackupType) -> str:
    """A backup through the workers."""
    run = pipeline.wait(pipeline.backup(kind=kind))
    assert run.state is RunState.DONE, run.reason
    return run.run_id


def test_backups_go_where_they_are_placed_and_restore_from_every_store(pipeline: Pipeline) -> None:
    """FULL to NETWORK and CLOUD, INCREMENTAL to LOCAL, EMERGENCY to LOCAL and ARCHIVE; each brings its state back."""
    life = Life(pipeline.tiers, random.Random(1))
    life.go_on(60)
    life.settle()
    state = pipeline.tiers.read()
    full, incremental = made(pipeline, BackupType.FULL), made(pipeline, BackupType.INCREMENTAL)
    emergency = made(pipeline, BackupType.EMERGENCY)
    wanted = {full: {NETWORK, CLOUD}, incremental: {LOCAL}, emergency: {LOCAL, ARCHIVE}}
    pipeline.until(lambda: held(pipeline) == wanted, f"{held(pipeline)} is not {wanted}")
    told = pipeline.stack.layout.log("worker-store").read_text()
    assert f"tasks.store.store of {full} used NETWORK: " in told
    assert f"tasks.store.store of {incremental} used LOCAL: " in told
    life.go_on(30)
    life.settle()
    for tier in (NETWORK, CLOUD):
        restore_here(
            pipeline.here.local_manager,
            full,
            new_run_id("restore", pipeline.here.clock.now()),
            RestoreMode.EXACT,
            (),
            storage_tier=tier,
        )
        pipeline.holds(state, tier)
        life.go_on(10)
        life.settle()
    pipeline.restored(incremental)
    pipeline.holds(state, "incremental")


def test_a_copy_outlives_the_workers_that_make_it(pipeline: Pipeline) -> None:
    """All workers die while the copy is made; it is made all the same, by the tasks that beat runs."""
    life = Life(pipeline.tiers, random.Random(2))
    life.go_on(60)
    life.settle()
    run = pipeline.wait(pipeline.backup())
    pipeline.kill_workers()
    assert run.state is RunState.DONE

    def there() -> bool:
        if run.run_id in ids(CLOUD, pipeline):
            return True
        for task in ("resend_stalled", "copy_missing"):
            pipeline.app.send_task(f"tasks.upkeep.{task}", queue=CONTROL, ignore_result=True)
        return False

    pipeline.until(there, "the copy was not made", 120)
    depot = pipeline.wiring.depots.of(CLOUD)
    manifest = depot.metadata.load(run.run_id)
    depot.restorer.verify(manifest, tuple(c.tier for c in manifest.tiers if c.included), lambda _: None)


def test_a_store_that_is_down_costs_its_copy_only(pipeline: Pipeline) -> None:
    """The share is gone: a FULL, which is made there, fails by name; the EMERGENCY and the INCREMENTAL are made."""
    life = Life(pipeline.tiers, random.Random(3))
    life.go_on(30)
    life.settle()
    share = Path(str(pipeline.wiring.settings.network_url).removeprefix("file://"))
    away = share.with_name("away")
    share.rename(away)
    try:
        run = pipeline.wait(pipeline.backup())
        assert run.state is not RunState.DONE
        assert "not mounted" in run.reason or "share" in run.reason
        incremental = made(pipeline, BackupType.INCREMENTAL)
        assert incremental in ids(LOCAL, pipeline)
    finally:
        away.rename(share)
    assert made(pipeline, BackupType.FULL) in ids(NETWORK, pipeline)


def test_a_prune_through_the_workers(pipeline: Pipeline) -> None:
    """Enqueued as beat does it, it marks nothing that is young, ends DONE, and says so."""
    life = Life(pipeline.tiers, random.Random(2))
    life.go_on(30)
    life.settle()
    made(pipeline, BackupType.FULL)
    before = len(ended(pipeline, RunKind.PRUNE))
    pipeline.app.send_task("tasks.upkeep.prune", queue=CONTROL, ignore_result=True)
    pipeline.until(lambda: len(ended(pipeline, RunKind.PRUNE)) > before, "the prune did not end")
    assert ended(pipeline, RunKind.PRUNE)[0].state is RunState.DONE, ended(pipeline, RunKind.PRUNE)[0].reason
    said = pipeline.strata("prune", "--yes", "--json")
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["marks"]["marked"] == []
    assert pipeline.strata("prune", "--dry-run", "--all").returncode == 0


def test_a_prune_through_the_workers_removes_what_is_old(pipeline: Pipeline) -> None:
    """A FULL of 100 days ago goes from the share and the bucket, first marked, then swept; what is younger restores."""
    life = Life(pipeline.tiers, random.Random(4))
    life.go_on(30)
    life.settle()
    past = pipeline.set_up(SettableClock(pipeline.here.clock.now() - timedelta(days=100)))
    old = past.made().backup_id
    copy_here(past.here.local_manager, old, new_run_id("copy", past.here.clock.now()), CLOUD)
    life.go_on(30)
    life.settle()
    fresh, state = pipeline.made(fresh=True).backup_id, pipeline.tiers.read()
    copy_here(pipeline.here.local_manager, fresh, new_run_id("copy", pipeline.here.clock.now()), CLOUD)
    full = made(pipeline, BackupType.FULL)
    both = {NETWORK, CLOUD}
    pipeline.until(lambda: held(pipeline) == {old: both, fresh: both, full: both}, "the copy was not made")
    first = pruned(pipeline)
    assert first.marks.marked == (old,)
    assert [swept.manifests for swept in first.stores] == [0, 0, 0, 0]
    for tier in both:  # as if that had been two hours ago
        marked_at = pipeline.here.clock.now() - timedelta(hours=2)
        pipeline.here.depots.of(tier).book.add(NoteKind.REMOVED, old, marked_at)
    for swept in pruned(pipeline).stores:
        assert (swept.manifests, swept.layers > 0) == ((1, True) if swept.storage_tier in both else (0, False))
    assert held(pipeline) == {fresh: both, full: both}
    for depot in pipeline.wiring.depots:
        assert [info.name for info in depot.store.list() if old in info.name and "history/" not in info.name] == []
    for tier, backup_id in product(sorted(both), (fresh, full)):
        life.go_on(10)
        life.settle()
        run_id = new_run_id("restore", pipeline.here.clock.now())
        restore_here(pipeline.here.local_manager, backup_id, run_id, RestoreMode.EXACT, (), storage_tier=tier)
        pipeline.holds(state, (tier, backup_id))


def pruned(pipeline: Pipeline) -> Pruned:
    """A prune through the workers, which must succeed."""
    run_id = new_run_id("prune", pipeline.wiring.clock.now())
    enqueue_prune(pipeline.app, run_id)
    run = pipeline.wait(run_id)
    assert run.state is RunState.DONE, run.reason
    return Pruned.model_validate_json(pipeline.wiring.manager.result(run_id, Stage.FINISH, ""))


def test_the_status_says_what_is_missing(pipeline: Pipeline) -> None:
    """Its exit code says whether every promise holds; nothing here is immutable, so that is promised only if asked."""
    life = Life(pipeline.tiers, random.Random(1))
    life.go_on(60)
    life.settle()
    said = pipeline.strata("status", "--json")
    assert said.returncode == 12
    assert not json.loads(said.stdout)["holds"]
    full = made(pipeline, BackupType.FULL)
    pipeline.until(lambda: full in ids(CLOUD, pipeline), "the copy was not made")
    said = pipeline.strata("status", "--json", copy_rule="3-2-1-1-0")
    lines = {line["rule"]: line for line in json.loads(said.stdout)["lines"]}
    assert said.returncode == 12
    assert lines["full every 24 h"]["holds"]
    assert not lines["1 immutable"]["possible"]
    said = pipeline.strata("status", "--json")
    assert said.returncode == 0, said.stdout


def test_what_was_never_read_is_proved_by_what_beat_sends(pipeline: Pipeline) -> None:
    """Without the notes that tell of its readings CLOUD's copy breaks the promise; a worker of the stores mends it."""
    Life(pipeline.tiers, random.Random(1)).go_on(20)
    full = made(pipeline, BackupType.FULL)
    pipeline.until(lambda: not missing_in(pipeline, CLOUD), "the copy was not made")
    cloud = pipeline.wiring.depots.of(CLOUD)
    for name in [info.name for info in cloud.store.list(f"notes/{full}/")]:
        cloud.store.delete(name)
    assert missing_in(pipeline, CLOUD)
    pipeline.app.send_task(BEAT_SCHEDULE["prove-oldest"]["task"], ignore_result=True)
    pipeline.until(lambda: not missing_in(pipeline, CLOUD), "the copy was not read back")


def missing_in(pipeline: Pipeline, tier: StorageTier) -> list[str]:
    """The backups that were never read back in a store, or are not there."""
    entries = Wiring(pipeline.wiring.settings).catalogue.view().entries
    return [one.backup_id for one in entries if not ((copy := one.copy_in(tier)) and copy.verified_at)]
