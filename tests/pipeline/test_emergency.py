"""EMERGENCY: waits for nobody, harms nobody, and saves what can be reached."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from pydantic import SecretStr

from strata.cli.doubts import IN_DOUBT
from strata.errors import RunFailed
from strata.model.backup_type import RULES, BackupType
from strata.model.manifest import BackupMetadata
from strata.model.run import RunState, Stage
from strata.model.tier import Tier
from tests.pipeline.conftest import EMERGENCY_SECONDS, PauseCommands, Pipeline
from tests.pipeline.state import State, covered

PATTERNS = RULES[BackupType.EMERGENCY].patterns
SERVERS = {Tier.HOT: "hot", Tier.WARM: "postgres", Tier.COLD: "s3"}
NOWHERE = {
    "hot_url": "redis://127.0.0.1:1/0",
    "warm_url": "postgresql://nobody@127.0.0.1:1/nothing",
    "cold_endpoint": "http://127.0.0.1:1",
}
GRACE = 15
"""Seconds beside the patience with a tier: two busy processors, a worker or a command that starts."""


def fill(pipeline: Pipeline) -> State:
    """A key of the scope and one outside in every tier; the state of the scope."""
    bot = pipeline.bot
    for name in ("position:1", "order:1", "config:critical"):
        bot.hot.set(name, "hot")
        pipeline.tiers.warm.execute("INSERT INTO state_warm (key, data) VALUES (%s, '1')", (name,))
        bot.s3.put_object(Bucket=bot.bucket, Key=f"{bot.prefix}{name}", Body=b"cold")
    return covered(pipeline.tiers.read(), PATTERNS)


def only(state: State, *tiers: Tier) -> State:
    """The part of a state that is in these tiers."""
    return {where: held for where, held in state.items() if where[0] in tiers}


def assert_left_out(made: BackupMetadata, *missing: Tier) -> None:
    """The manifest names each missing tier with its reason, and holds the others."""
    assert [content.tier for content in made.tiers if not content.included] == list(missing)
    for tier in missing:
        assert tier.service in made.content(tier).reason


def test_an_emergency_waits_for_no_running_full_and_harms_none(
    pipeline: Pipeline, pause_commands: PauseCommands
) -> None:
    """While a FULL is held up in its collection an EMERGENCY is done; the FULL keeps its lease, goes on and is done."""
    wanted = fill(pipeline)
    pause_commands.hold.touch()
    full = pipeline.backup()
    pipeline.until(lambda: pause_commands.calls(full), "the full backup never came to its cuts")
    emergency = pipeline.wait(pipeline.backup(kind=BackupType.EMERGENCY), 20)
    assert emergency.state is RunState.DONE, emergency.reason
    held_up = pipeline.wiring.ledger.run(full)
    assert held_up is not None
    assert held_up.state is RunState.RUNNING
    assert pipeline.wiring.ledger.results(full, Stage.COLLECT) == {}
    assert full in str(pipeline.wiring.lease.holder())
    assert pause_commands.calls(emergency.run_id) == []
    pause_commands.hold.unlink()
    ended = pipeline.wait(full)
    assert ended.state is RunState.DONE, ended.reason
    assert pipeline.wiring.lease.holder() is None
    pipeline.tiers.wipe()
    pipeline.brought_back(emergency.run_id)
    pipeline.holds(wanted)


def test_emergencies_run_beside_each_other(pipeline: Pipeline) -> None:
    """Three at once are all done: none is refused, and each is a backup of its own."""
    wanted = fill(pipeline)
    runs = [pipeline.wait(run) for run in [pipeline.backup(kind=BackupType.EMERGENCY) for _ in range(3)]]
    assert [run.state for run in runs] == [RunState.DONE] * 3, [run.reason for run in runs]
    for run in runs:
        pipeline.tiers.wipe()
        pipeline.brought_back(run.run_id)
        pipeline.holds(wanted)


def test_an_emergency_goes_on_without_tiers_that_are_down_or_hang(pipeline: Pipeline) -> None:
    """Redis hangs and S3 is down: PostgreSQL is saved, in the time that is set; the command says what is missing."""
    wanted = fill(pipeline)
    with pipeline.stopped("s3"), pipeline.hung("hot"):
        began = time.monotonic()
        said = pipeline.strata("backup", "emergency", "--json", "--timeout", "60")
        took = time.monotonic() - began
    assert said.returncode == IN_DOUBT, said.stderr
    told = json.loads(said.stdout)
    assert [doubt["tier"] for doubt in told["doubts"]] == ["hot", "cold"]
    assert {tier["tier"]: tier["included"] for tier in told["tiers"]} == {"hot": False, "warm": True, "cold": False}
    assert took < EMERGENCY_SECONDS + GRACE
    assert_left_out(pipeline.wiring.depots.nearest.metadata.load(told["backup_id"]), Tier.HOT, Tier.COLD)
    shown = pipeline.strata("show", told["backup_id"])
    assert "left out: HOT (Redis)" in " ".join(shown.stdout.split())
    pipeline.brought_back(told["backup_id"], (Tier.WARM,))
    pipeline.tiers.wipe()
    pipeline.brought_back(told["backup_id"])
    pipeline.holds(only(wanted, Tier.WARM))


@pytest.mark.parametrize("tier", Tier)
@pytest.mark.parametrize("how", ["stopped", "hung"])
def test_each_tier_may_be_missing(pipeline: Pipeline, tier: Tier, how: str) -> None:
    """Whichever it is and however it fails, the others are saved within the bound and restore."""
    wanted = fill(pipeline)
    there = pipeline.set_up(emergency_seconds=4.0)
    broken: Callable[..., AbstractContextManager[None]] = getattr(pipeline, how)
    with broken(SERVERS[tier]):
        began = time.monotonic()
        made = there.made(BackupType.EMERGENCY)
        assert time.monotonic() - began < EMERGENCY_SECONDS + GRACE
    assert_left_out(made, tier)
    began = time.monotonic()
    pipeline.tiers.wipe()
    assert time.monotonic() - began < GRACE  # a collector that was given up holds nothing when its tier comes back
    pipeline.brought_back(made.backup_id)
    pipeline.holds(only(wanted, *(one for one in Tier if one is not tier)))


def test_an_emergency_of_nothing_fails_and_says_why(pipeline: Pipeline) -> None:
    """With every tier down there is no backup: the run is FAILED, and its reason names each tier."""
    there = pipeline.set_up(
        hot_url=SecretStr(NOWHERE["hot_url"]),
        warm_url=SecretStr(NOWHERE["warm_url"]),
        cold_endpoint=NOWHERE["cold_endpoint"],
    )
    with pytest.raises(RunFailed, match=r"no tier could be read: .*Redis.*; .*PostgreSQL.*; .*S3"):
        there.made(BackupType.EMERGENCY)
    assert pipeline.objects("manifests/*") == []
    assert pipeline.objects("layers/*/*") == []
    said = pipeline.strata("backup", "emergency", "--local", **NOWHERE)
    assert said.returncode == RunFailed.exit_code
    for tier in Tier:
        assert tier.label in said.stderr


def test_without_broker_an_emergency_is_made_in_the_command(pipeline: Pipeline) -> None:
    """No broker, no ledger: `--local` saves all the same; without it the command says so at once, with the hint."""
    wanted = fill(pipeline)
    down = {"broker_url": "redis://127.0.0.1:1/0", "result_url": "redis://127.0.0.1:1/1"}
    said = pipeline.strata("backup", "emergency", **down)
    assert said.returncode == 10
    assert "--local" in said.stderr
    made = pipeline.strata("backup", "emergency", "--local", "--json", **down)
    assert made.returncode == 0, made.stderr
    pipeline.tiers.wipe()
    pipeline.brought_back(json.loads(made.stdout)["backup_id"])
    pipeline.holds(wanted)


def test_a_command_is_back_in_time_though_everything_else_hangs(pipeline: Pipeline) -> None:
    """Broker, ledger and S3 take connections and say nothing: `--local` is back soon, with what there is."""
    wanted = fill(pipeline)
    with pipeline.hung("broker", "s3"):
        began = time.monotonic()
        made = pipeline.strata("backup", "emergency", "--local", "--json")
        took = time.monotonic() - began
    assert made.returncode == IN_DOUBT, made.stderr
    assert took < EMERGENCY_SECONDS + GRACE
    backup = pipeline.wiring.depots.nearest.metadata.load(json.loads(made.stdout)["backup_id"])
    assert_left_out(backup, Tier.COLD)
    pipeline.tiers.wipe()
    pipeline.brought_back(backup.backup_id)
    pipeline.holds(only(wanted, Tier.HOT, Tier.WARM))
