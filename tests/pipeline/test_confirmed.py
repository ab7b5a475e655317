"""What a person confirmed is what is done: a worker whose servers are others than the sender saw refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from strata.model.backup_type import BackupType
from strata.model.identity import KEYRING, Identities, Identity
from strata.model.run import RunState
from strata.model.tier import StorageTier, Tier
from strata.planning.backup import new_run_id
from strata.seal.keyring import FileKeyring
from strata.wiring import Wiring
from tasks.enqueue import (
    PLAN_RESTORE,
    enqueue_backup,
    enqueue_confirmation,
    enqueue_copy,
    enqueue_prune,
    enqueue_restore,
)
from tests.pipeline.conftest import Pipeline
from tests.tunnel import tunnel_to
from workers.local_stack.servers import RedisServer, start_redis


@pytest.fixture(scope="module")
def staging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that the workers do not work on."""
    server = start_redis(tmp_path_factory.mktemp("staging"))
    yield server
    server.stop()


def seen(pipeline: Pipeline, **settings: object) -> Identities:
    """What a sender with these settings sees."""
    here = Wiring(pipeline.wiring.settings.model_copy(update=settings))
    return here.looks.reachable(here.clock, 20)


def without(pipeline: Pipeline, folder: Path, *names: str) -> str:
    """The path of the workers' settings without these."""
    lines = Path(pipeline.stack.environment()["STRATA_CONFIG"]).read_text().splitlines(keepends=True)
    found = folder / "fewer.toml"
    found.touch(mode=0o600)
    found.write_text("".join(line for line in lines if line.partition(" ")[0] not in names))
    return str(found)


def test_a_backup_of_another_hot_is_refused_by_name(pipeline: Pipeline, staging: RedisServer) -> None:
    """The command of a person whose settings name staging ends with the code of the difference; nothing is made."""
    pipeline.bot.hot.set("position:1", "x")
    said = pipeline.strata("backup", "full", hot_url=staging.url)
    assert said.returncode in {9, 16}, said.stderr
    assert "HOT (Redis) of this worker is another" in said.stderr
    assert pipeline.wiring.depots.nearest.metadata.history()[0] == []
    (run,) = pipeline.wiring.ledger.runs(1)
    assert (run.state, run.code) == (RunState.FAILED, "identity-mismatch")


@pytest.mark.parametrize("tier", Tier)
def test_a_tier_that_the_sender_alone_has_or_lacks_starts_nothing(pipeline: Pipeline, tier: Tier) -> None:
    """A backup without it would be made otherwise; a prune would keep by other tiers. Nothing is planned."""
    everything = seen(pipeline)
    assert everything.tiers == tuple(Tier)
    fewer = everything.model_copy(update={"tiers": tuple(one for one in Tier if one is not tier)})
    ids = [new_run_id(kind, pipeline.wiring.clock.now()) for kind in ("full", "prune", "copy")]
    enqueue_backup(pipeline.app, BackupType.FULL, ids[0], confirmed=fewer)
    enqueue_prune(pipeline.app, ids[1], confirmed=fewer)
    enqueue_copy(pipeline.app, "x", ids[2], StorageTier.CLOUD, confirmed=fewer)
    for run_id in ids:
        run = pipeline.wait(run_id, 30)
        assert (run.state, run.code) == (RunState.REFUSED, "identity-mismatch")
        assert f"{tier.label} is configured for this worker and not where the run was started" in run.reason


def test_a_backup_by_a_shell_without_a_variable_is_refused(pipeline: Pipeline, folder: Path) -> None:
    """By the command: nothing is made, and a restore that would write the tier back is refused too."""
    pipeline.bot.hot.set("position:1", "x")
    backup = pipeline.backed_up().backup_id
    fewer = without(pipeline, folder, "warm_url")
    said = pipeline.strata("backup", "full", config=fewer)
    assert said.returncode == 16, said.stderr
    assert "WARM (PostgreSQL) is configured for this worker and not where the run was started" in said.stderr
    assert [one.backup_id for one in pipeline.wiring.depots.nearest.metadata.history()[0]] == [backup]
    refused = pipeline.strata("restore", backup, "--yes", config=fewer)
    assert refused.returncode == 16, refused.stderr
    done = pipeline.strata("restore", backup, "--yes", "--tier", "hot", config=fewer)
    assert done.returncode == 0, done.stderr


def test_a_backup_through_a_tunnel_goes_ahead(pipeline: Pipeline) -> None:
    """Another name and port of the same servers is no difference."""
    settings = pipeline.wiring.settings
    assert settings.hot_url
    assert settings.warm_url
    pipeline.bot.hot.set("position:1", "x")
    hot, warm = (url.get_secret_value() for url in (settings.hot_url, settings.warm_url))
    with tunnel_to(urlsplit(hot).port or 0) as one, tunnel_to(urlsplit(warm).port or 0) as other:
        said = pipeline.strata(
            "backup",
            "full",
            hot_url=hot.replace(f":{urlsplit(hot).port}/", f":{one}/"),
            warm_url=warm.replace(f":{urlsplit(warm).port}/", f":{other}/"),
        )
    assert said.returncode in {0, 14}, said.stderr  # made, though nearly all is empty


@pytest.mark.parametrize("start", [enqueue_backup, enqueue_prune, enqueue_copy])
def test_another_keyring_starts_nothing(pipeline: Pipeline, folder: Path, start: object) -> None:
    """A sender whose keyring shares no key with the workers' is refused before anything is planned."""
    other = FileKeyring.create(folder / "keyring.json", pipeline.wiring.clock.now())
    confirmed = Identities(parts=(Identity(part=KEYRING, server=other.ids_by_purpose, words="the keys"),))
    run_id = new_run_id("other", pipeline.wiring.clock.now())
    if start is enqueue_backup:
        enqueue_backup(pipeline.app, BackupType.FULL, run_id, confirmed=confirmed)
    elif start is enqueue_copy:
        enqueue_copy(pipeline.app, "x", run_id, StorageTier.CLOUD, confirmed=confirmed)
    else:
        stores = [Identity(part=tier, address=store.url) for tier, store in pipeline.wiring.stores.items()]
        enqueue_prune(pipeline.app, run_id, confirmed=confirmed.with_parts(stores))
    run = pipeline.wait(run_id, 30)
    assert (run.state, run.code) == (RunState.REFUSED, "identity-mismatch")
    assert re.search(r"the keyring of this worker is another .*\(.*wrap w-", run.reason)


def test_a_prune_by_other_rules_or_of_unseen_stores_is_refused(pipeline: Pipeline) -> None:
    """What the question showed came of the sender's rules and stores: a worker with others does nothing."""
    everything = seen(pipeline)
    for confirmed, part in (
        (seen(pipeline, prune_grace_hours=1), "the retention"),
        (Identities(parts=tuple(one for one in everything.parts if one.part not in set(StorageTier))), "LOCAL"),
    ):
        run_id = new_run_id("prune", pipeline.wiring.clock.now())
        enqueue_prune(pipeline.app, run_id, confirmed=confirmed)
        run = pipeline.wait(run_id, 30)
        assert (run.state, run.code) == (RunState.REFUSED, "identity-mismatch")
        assert part in run.reason
    run_id = new_run_id("prune", pipeline.wiring.clock.now())
    enqueue_prune(pipeline.app, run_id, confirmed=everything)
    run = pipeline.wait(run_id, 30)
    assert run.state is RunState.DONE, run.reason


def test_what_a_sender_cannot_reach_is_not_compared(pipeline: Pipeline) -> None:
    """A machine that has the broker alone sees the ledger, and its backups go ahead as the workers are set."""
    pipeline.bot.hot.set("position:1", "x")
    confirmed = seen(pipeline, hot_url=None, warm_url=None, cold_url=None, keyring_file=Path("/nowhere"))
    assert confirmed.of(Tier.HOT) is None
    assert confirmed.of(KEYRING) is None
    assert confirmed.of("ledger") is not None
    run_id = new_run_id("full", pipeline.wiring.clock.now())
    enqueue_backup(pipeline.app, BackupType.FULL, run_id, confirmed=confirmed)
    run = pipeline.wait(run_id)
    assert run.state is RunState.DONE, run.reason


def test_what_a_command_cannot_reach_is_named(pipeline: Pipeline) -> None:
    """Nobody takes an unseen tier for one that was compared."""
    pipeline.bot.hot.set("position:1", "x")
    said = pipeline.strata("backup", "full", hot_url="redis://127.0.0.1:1/0")
    assert said.returncode in {0, 14}, said.stderr
    assert "Not seen from here, so the workers' own is taken whichever it is: HOT (Redis)." in said.stderr


@pytest.mark.parametrize("name", ["broker_url", "result_url"])
def test_broker_or_ledger_in_a_database_of_hot_is_refused(pipeline: Pipeline, name: str) -> None:
    """By run id and number, through a tunnel too: an exact restore would remove the ledger under itself."""
    settings = pipeline.wiring.settings
    assert settings.hot_url
    hot = settings.hot_url.get_secret_value()
    with tunnel_to(urlsplit(hot).port or 0) as port:
        url = hot.replace(f":{urlsplit(hot).port}/", f":{port}/")
        said = pipeline.strata("backup", "full", "--local", **{name: url})
        assert said.returncode == 2, said.stderr
        assert f"holds the {'broker' if name == 'broker_url' else 'ledger'}" in said.stderr
        beside = pipeline.strata("backup", "full", "--local", **{name: url.removesuffix("/0") + "/9"})
        assert beside.returncode in {0, 14}, beside.stderr  # made, though nearly all is empty


def test_a_restore_shows_the_targets_of_the_workers_and_refuses_others(
    pipeline: Pipeline, staging: RedisServer, folder: Path
) -> None:
    """Settings that name staging restore nothing into production; without any, the workers' targets are shown."""
    pipeline.bot.hot.set("position:1", "x")
    backup = pipeline.backed_up().backup_id
    pipeline.bot.hot.set("position:2", "new")
    refused = pipeline.strata("restore", backup, "--yes", hot_url=staging.url)
    assert refused.returncode == 16, refused.stderr
    assert "HOT (Redis) of this worker is another" in refused.stderr
    assert str(staging.port) in refused.stderr
    assert pipeline.bot.hot.get("position:2") == b"new"
    settings = pipeline.wiring.settings
    assert settings.hot_url
    sender = {
        "config": without(pipeline, folder, "hot_url", "warm_url", "cold_url"),
        "keyring_file": "/nowhere/keyring.json",
    }
    unasked = pipeline.strata("restore", backup, **sender)
    assert unasked.returncode == 11, unasked.stderr
    assert f"127.0.0.1:{urlsplit(settings.hot_url.get_secret_value()).port}, database 0" in unasked.stderr
    assert pipeline.bot.hot.get("position:2") == b"new"
    (run,) = pipeline.wiring.ledger.runs(1)
    assert (run.state, run.code) == (RunState.REFUSED, "refused")
    done = pipeline.strata("restore", backup, "--yes", **sender)
    assert done.returncode == 0, done.stderr
    assert pipeline.bot.hot.get("position:2") is None


def test_a_plan_does_nothing_until_it_is_confirmed(pipeline: Pipeline) -> None:
    """It holds no lease, stages sent for it are refused, a resend leaves it alone; confirmed by its id, it is done."""
    pipeline.bot.hot.set("position:1", "x")
    backup = pipeline.backed_up().backup_id
    pipeline.bot.hot.delete("position:1")
    run_id = new_run_id("restore", pipeline.wiring.clock.now())
    ledger = pipeline.wiring.ledger
    enqueue_restore(pipeline.app, backup, run_id, "exact", task=PLAN_RESTORE)
    pipeline.until(lambda: ledger.run(run_id), "it was not planned", 30)
    pipeline.app.send_task("tasks.restore.apply_hot", (run_id,), queue="strata.restore", ignore_result=True)
    assert run_id not in [run.run_id for run in pipeline.wiring.upkeep.stalled()]
    assert pipeline.wiring.lease.holder() is None
    run = ledger.run(run_id)
    assert run
    assert run.state is RunState.PLANNED
    assert pipeline.bot.hot.get("position:1") is None
    for _ in range(2):
        enqueue_confirmation(pipeline.app, run_id)
    run = pipeline.wait(run_id)
    assert run.state is RunState.DONE, run.reason
    assert pipeline.bot.hot.get("position:1") == b"x"
    assert pipeline.wiring.lease.holder() is None


def test_a_store_is_known_by_its_id(pipeline: Pipeline) -> None:
    """Another store under the URL of the workers' is refused; the same one by another way to it is not."""
    pipeline.bot.hot.set("position:1", "x")
    backup = pipeline.backed_up().backup_id
    store = seen(pipeline).of(StorageTier.LOCAL)
    assert store
    assert store.server
    other = store.model_copy(update={"server": {"store id": ("0" * 32,)}})
    mounted = store.model_copy(update={"address": "file:///mounted/elsewhere"})
    for confirmed, state, code in ((other, RunState.REFUSED, "identity-mismatch"), (mounted, RunState.DONE, "")):
        run_id = new_run_id("restore", pipeline.wiring.clock.now())
        enqueue_restore(pipeline.app, backup, run_id, "exact", confirmed=Identities(parts=(confirmed,)))
        run = pipeline.wait(run_id, 60)
        assert (run.state, run.code) == (state, code), run.reason


def test_a_dry_run_shows_the_workers_plan_and_withdraws_it(pipeline: Pipeline) -> None:
    """Nothing waits for a confirmation afterwards."""
    pipeline.bot.hot.set("position:1", "x")
    pipeline.backed_up()
    said = pipeline.strata("restore", "latest", "--dry-run", "--json")
    assert said.returncode == 0, said.stderr
    parts = {one["part"] for one in json.loads(said.stdout)["confirmed"]["parts"]}
    assert parts == {"hot", "warm", "cold", "local", "keyring", "ledger"}
    (run,) = pipeline.wiring.ledger.runs(1)
    assert run.state is RunState.REFUSED


def test_a_plan_that_nobody_confirms_lapses(pipeline: Pipeline) -> None:
    """After its time the confirmation comes too late, and upkeep ends it."""
    pipeline.bot.hot.set("position:1", "x")
    backup = pipeline.backed_up().backup_id
    ledger, late = pipeline.wiring.ledger, list[str]()

    def waits(run_id: str) -> bool:
        run = ledger.run(run_id)
        return run is not None and run.wakes_at is not None

    for number in range(2):
        run_id = new_run_id("restore", pipeline.wiring.clock.now())
        enqueue_restore(pipeline.app, backup, run_id, "exact", task=PLAN_RESTORE)
        pipeline.until(partial(waits, run_id), "it was not planned", 30)
        ledger.wait(run_id, -1 - number, "its plan to be confirmed")
        late.append(run_id)
    enqueue_confirmation(pipeline.app, late[0])
    run = pipeline.wait(late[0], 30)
    assert (run.state, run.code) == (RunState.REFUSED, "refused")
    pipeline.wiring.upkeep.stalled()
    run = pipeline.wait(late[1], 30)
    assert run.state is RunState.REFUSED
    assert "nobody confirmed its plan" in run.reason
