"""Plans are pure: the same facts give the same decision, with a reason for what is left out."""

from __future__ import annotations

import itertools
import re
from datetime import UTC, datetime

import pytest

from strata.errors import SettingError
from strata.model.backup_type import BackupType
from strata.model.tier import StorageTier, Tier
from strata.planning.backup import AVAILABLE, checked_run_id, checked_type, choose_store, new_run_id, plan_tiers

NOW = datetime(2026, 11, 23, 22, 45, 1, tzinfo=UTC)


def test_a_run_id_sorts_by_time_and_says_what_it_is() -> None:
    """Date, time, kind, and something that tells two runs of one second apart."""
    assert re.fullmatch(r"20261123-224501-full-[0-9a-f]{6}", new_run_id("full", NOW))
    assert len({new_run_id("full", NOW) for _ in range(100)}) == 100
    assert new_run_id("full", NOW) < new_run_id("emergency", NOW.replace(second=2))


@pytest.mark.parametrize("kind", [*BackupType, "restore"])
def test_a_run_id_fits_wherever_it_is_written(kind: str) -> None:
    """With the longest tier behind it an id fits into an object's header (64 bytes), and it may name an object."""
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", f"{new_run_id(kind, NOW)}-{max(Tier, key=len)}")


@pytest.mark.parametrize("configured", list(itertools.product([True, False], repeat=3)))
def test_each_tier_is_planned_or_left_out_by_name(configured: tuple[bool, ...]) -> None:
    """A configured tier gets a layer, another is listed with the setting that is missing; none is forgotten."""
    reachable = dict(zip(Tier, configured, strict=True))
    if not any(configured):
        with pytest.raises(SettingError, match="no tier is configured") as caught:
            plan_tiers("id", reachable)
        assert "STRATA_HOT_URL" in caught.value.hint
        return
    plans = plan_tiers("id", reachable)
    assert [plan.tier for plan in plans] == list(Tier)
    for plan in plans:
        expected = (
            (f"id-{plan.tier}", "") if reachable[plan.tier] else (None, f"STRATA_{plan.tier.upper()}_URL is not set")
        )
        assert (plan.layer_id, plan.reason) == expected


def test_a_tier_nobody_spoke_of_is_left_out() -> None:
    """A tier that is missing from the facts counts as not configured."""
    assert [plan.layer_id for plan in plan_tiers("id", {Tier.WARM: True})] == [None, "id-warm", None]


@pytest.mark.parametrize("backup_type", BackupType)
def test_a_type_that_cannot_be_made_is_refused_by_name(backup_type: BackupType) -> None:
    """A type that is available is passed on; another is refused with the list of those that are."""
    if backup_type in AVAILABLE:
        assert checked_type(backup_type) is backup_type
        return
    with pytest.raises(SettingError, match=f"of type {backup_type} are not available") as caught:
        checked_type(backup_type)
    assert "full" in caught.value.hint


def test_local_comes_before_cloud() -> None:
    """A LOCAL store is used where there is one, a CLOUD store otherwise."""
    both = {StorageTier.CLOUD: "s3://b/p", StorageTier.LOCAL: "file:///x"}
    assert choose_store(BackupType.FULL, both) == (StorageTier.LOCAL, "file:///x")
    assert choose_store(BackupType.FULL, {StorageTier.CLOUD: "s3://b/p"}) == (StorageTier.CLOUD, "s3://b/p")


def test_no_store_is_no_backup() -> None:
    """Without a store the error names the setting that gives one."""
    with pytest.raises(SettingError, match="no store for a full backup") as caught:
        choose_store(BackupType.FULL, {})
    assert "STRATA_LOCAL_URL" in caught.value.hint


@pytest.mark.parametrize("run_id", ["", "-a", "a/b", "ü", "x" * 49, "a b"])
def test_an_id_that_cannot_name_objects_is_refused(run_id: str) -> None:
    """The id becomes part of object names and of headers, so it is checked before anything is done."""
    with pytest.raises(SettingError, match="cannot be the id"):
        checked_run_id(run_id)
