"""`strata settle`, and what other commands say of a state that a restore left half overwritten."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import redis

from strata.engine.local import restore_here
from strata.errors import SourceError
from strata.model.identity import Identity
from strata.model.tier import Tier
from strata.settings import load_settings
from strata.sources.port import Application, Permit, RestoreMode, StateSource
from strata.testing import always
from strata.wiring import Wiring
from tests.cli.conftest import Command


@pytest.mark.usefixtures("configured")
def test_a_half_restored_state_is_told_refused_and_settled(strata: Command, hot_url: str) -> None:
    """Status and list name the restore, a backup exits with 15, and after `settle` all is as before."""
    with redis.Redis.from_url(hot_url) as hot:
        hot.set("position:1", "100")
    made = strata("backup", "full", "--local", "--json").document["backup_id"]
    manager = Wiring(load_settings()).local_manager
    plan = manager.start_restore(made, "20250102-030405-restore-601d00", RestoreMode.EXACT, ())
    manager.unfinished.permit(plan, Tier.HOT, always)()
    manager.abandon(plan.restore_id, "no worker moved it on")

    lines = {line["rule"]: line for line in strata("status", "--json").document["lines"]}
    line = lines["no tier is half restored"]
    assert not line["holds"]
    assert plan.restore_id in line["finding"]
    (listed,) = strata("list", "--json").document["half_restored"]
    assert plan.restore_id in listed
    assert f"half restored: {listed}" in " ".join(strata("list").err.split())
    refused = strata("backup", "incremental", "--local")
    assert refused.code == 15
    assert f"HOT (Redis): the restore {plan.restore_id} of {made} began to overwrite it" in refused.err
    assert f"strata settle {plan.restore_id}" in refused.err
    assert strata("settle", "another").code == 5

    assert "HOT (Redis) is settled" in strata("settle", plan.restore_id).out
    lines = {line["rule"]: line for line in strata("status", "--json").document["lines"]}
    assert lines["no tier is half restored"]["holds"]
    assert strata("list", "--json").document["half_restored"] == []
    assert strata("backup", "incremental", "--local").code == 0


@dataclass
class BreakingSource:
    """Implements StateSource by another; a restore into it breaks after the records were written."""

    inner: StateSource
    tier: Tier = Tier.HOT

    def identity(self) -> Identity:
        return self.inner.identity()

    def connect(self) -> Any:
        return self.inner.connect()

    def check(self, description: dict[str, Any]) -> None:
        self.inner.check(description)

    @contextmanager
    def apply(self, description: dict[str, Any], mode: RestoreMode, permit: Permit) -> Iterator[Application]:
        with self.inner.apply(description, mode, permit) as application:
            yield application
            raise SourceError("the restore broke")


@pytest.mark.usefixtures("configured")
def test_an_emergency_of_a_half_restored_redis_is_in_doubt_and_a_dry_run_says_what_a_start_would(
    strata: Command, hot_url: str
) -> None:
    """Half of a real restore: an EMERGENCY ends with 14, and a dry run is refused in the words of the real start."""
    with redis.Redis.from_url(hot_url) as hot:
        hot.mset({f"position:{number}": "backed up" for number in range(20)})
        good = strata("backup", "emergency", "--local", "--json").document["backup_id"]
        hot.mset({f"position:{number}": "live" for number in range(10, 30)})
        wiring = Wiring(load_settings())
        wiring.sources[Tier.HOT] = BreakingSource(wiring.sources[Tier.HOT])
        with pytest.raises(SourceError, match="broke"):
            restore_here(wiring.local_manager, good, "20250102-030405-restore-601d00", RestoreMode.EXACT, ())
        assert hot.get("position:15") == b"backed up"

    dry, real = strata("backup", "full", "--local", "--dry-run"), strata("backup", "full", "--local")
    assert (dry.code, real.code) == (15, 15)
    assert real.err.endswith(dry.err)
    told = strata("backup", "emergency", "--local", "--dry-run").err
    assert "in doubt: HOT (Redis) is half restored" in " ".join(told.split())

    made = strata("backup", "emergency", "--local", "--json")
    assert made.code == 14
    assert [one["kind"] for one in made.document["doubts"]] == ["half-restored"]
    doubtful = strata("list", "--status", "doubtful", "--json").document["backups"]
    assert [one["backup_id"] for one in doubtful] == [made.document["backup_id"]]
    assert strata("accept", made.document["backup_id"]).code == 0
    assert strata("list", "--status", "doubtful", "--json").document["backups"] == []
