"""`strata settle`, and what other commands say of a state that a restore left half overwritten."""

from __future__ import annotations

import pytest
import redis

from strata.model.tier import Tier
from strata.settings import load_settings
from strata.sources.port import RestoreMode
from strata.testing import always
from strata.wiring import Wiring
from tests.cli.conftest import Command


@pytest.mark.usefixtures("configured")
def test_a_half_restored_state_is_told_refused_and_settled(strata: Command, hot_url: str) -> None:
    """Status names the restore and both ways out, a backup exits with 15, and after `settle` both are as before."""
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
    refused = strata("backup", "incremental", "--local")
    assert refused.code == 15
    assert f"HOT (Redis): the restore {plan.restore_id} of {made} began to overwrite it" in refused.err
    assert f"strata settle {plan.restore_id}" in refused.err
    assert strata("settle", "another").code == 5

    assert "HOT (Redis) is settled" in strata("settle", plan.restore_id).out
    lines = {line["rule"]: line for line in strata("status", "--json").document["lines"]}
    assert lines["no tier is half restored"]["holds"]
    assert strata("backup", "incremental", "--local").code == 0
