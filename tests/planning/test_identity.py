"""Whether two processes mean the same."""

from __future__ import annotations

import pytest

from strata.errors import IdentityMismatch
from strata.model.identity import KEYRING, NOTHING_SEEN, STARTED, SYSTEM, Identities, Identity
from strata.model.run import Stage
from strata.model.tier import StorageTier, Tier
from strata.planning.identity import overlapping, refuse_difference, refuse_other_tiers, refuse_unseen, same, touched

HOT = Identity(part=Tier.HOT, server={"run id": ("a",)}, place="database 0", address="one:1", words="Redis 7")


def changed(**fields: object) -> Identity:
    """HOT with other fields."""
    return HOT.model_copy(update=fields)


def test_what_the_server_says_counts_before_its_address() -> None:
    """Another address is no difference, another server or place is."""
    assert same(HOT, changed(address="two:2"))
    assert not same(HOT, changed(server={"run id": ("b",)}))
    assert not same(HOT, changed(place="database 1"))


def test_all_that_both_say_must_agree() -> None:
    """A fact that one side may not ask is left out; one that both have and that differs is enough."""
    more = changed(server={"run id": ("a",), "started": ("now",)})
    assert same(HOT, more)
    assert not same(more, changed(server={"run id": ("a",), "started": ("then",)}))


WARM = Identity(
    part=Tier.WARM,
    server={SYSTEM: ("7",), STARTED: ("2026-01-01T10:00:00.000001",), "database oid": ("5",)},
    place="database bot",
    address="db:5432",
    asked="2026-01-01T12:00:00.000000",
    listening="10.0.0.5:5432",
)


def started(moment: str, **fields: object) -> Identity:
    """WARM, whose server was started at another moment."""
    server = {**WARM.server, STARTED: (moment,)}
    return WARM.model_copy(update={"server": server, "asked": "2026-01-02T12:00:00.000000", **fields})


LATER = "2026-01-01T12:30:00.000000"


def test_a_cluster_that_was_started_again_is_the_same_one() -> None:
    """Between plan and apply may lie days: what was started after the look, at the same place, is the same server."""
    assert same(WARM, started(LATER))
    assert same(started(LATER), WARM)


@pytest.mark.parametrize(
    "other",
    [
        started("2026-01-01T11:00:00.000000"),
        started("2025-12-31T11:00:00.000000"),
        started(LATER, address="staging:5432"),
        started(LATER, listening="10.0.0.6:5432"),
        started(LATER, place="database other"),
        started(LATER, server={STARTED: (LATER,), "database oid": ("5",)}),
        started(LATER, server={SYSTEM: ("8",), STARTED: (LATER,), "database oid": ("5",)}),
        started(LATER, server={SYSTEM: ("7",), STARTED: (LATER,), "database oid": ("6",)}),
    ],
)
def test_a_copy_of_a_cluster_is_another_one(other: Identity) -> None:
    """One that ran already at the look, one elsewhere, and one that nothing ties to it."""
    assert not same(WARM, other)
    assert not same(other, WARM)


def test_a_look_that_has_no_moment_knows_no_restart() -> None:
    """It says nothing of what ran when."""
    assert not same(WARM.model_copy(update={"asked": ""}), started(LATER))


def test_where_nothing_is_said_the_address_counts() -> None:
    """Servers that say nothing comparable are known by how they are reached."""
    silent = changed(server={})
    assert same(silent, HOT)
    assert not same(silent, changed(address="two:2"))


def test_keyrings_are_the_same_while_they_share_a_key_of_each_purpose() -> None:
    """A rotated keyring is the same one, a part of it too; another's is not."""
    old = Identity(part=KEYRING, server={"wrap": ("w-1",), "sign": ("s-1",)})
    assert same(old, Identity(part=KEYRING, server={"wrap": ("w-1", "w-2"), "sign": ("s-1",)}))
    assert same(old, Identity(part=KEYRING, server={"wrap": ("w-1",)}))
    assert not same(old, Identity(part=KEYRING, server={"wrap": ("w-9",), "sign": ("s-1",)}))


def test_a_difference_names_the_part_and_what_each_saw() -> None:
    """The sentence has both sides; a part that nobody saw is not compared."""
    refuse_difference(None, HOT)
    with pytest.raises(IdentityMismatch) as caught:
        refuse_difference(HOT, changed(server={"run id": ("b",)}, address="two:2"))
    for word in ("HOT (Redis)", "Redis 7 at one:1, database 0 (run id a)", "Redis 7 at two:2, database 0 (run id b)"):
        assert word in caught.value.sentence


def test_a_store_that_the_sender_did_not_see_is_refused_by_name() -> None:
    """Unless nobody saw anything: then nothing was confirmed."""
    seen = Identities(parts=(Identity(part=StorageTier.LOCAL, address="file:///a"),))
    refuse_unseen(NOTHING_SEEN, [StorageTier.CLOUD])
    refuse_unseen(seen, [StorageTier.LOCAL])
    with pytest.raises(IdentityMismatch, match="CLOUD"):
        refuse_unseen(seen, [StorageTier.LOCAL, StorageTier.CLOUD])


@pytest.mark.parametrize("tier", Tier)
def test_a_tier_that_one_side_alone_has_configured_is_refused_by_name(tier: Tier) -> None:
    """Whichever side it is; it is passed over where it is not asked for, or the sender has none."""
    all_of_them, others = Identities(tiers=tuple(Tier)), [one for one in Tier if one is not tier]
    with pytest.raises(IdentityMismatch, match=f"{tier.value.upper()} .* configured where the run was started and not"):
        refuse_other_tiers(all_of_them, others)
    with pytest.raises(IdentityMismatch, match=f"{tier.value.upper()} .* is configured for this worker and not where"):
        refuse_other_tiers(Identities(tiers=tuple(others)), list(Tier))
    refuse_other_tiers(Identities(tiers=tuple(others)), list(Tier), of=others)
    refuse_other_tiers(NOTHING_SEEN, list(Tier))
    refuse_other_tiers(all_of_them, list(Tier))


def test_a_database_of_hot_that_another_lies_in_is_found() -> None:
    """By run id and number: another database of the same server is not shared, whatever the address says."""
    hot = changed(place="database 0,3")
    inside = Identity(part="the ledger", server={"run id": ("a",)}, place="database 3", address="tunnel:9")
    beside = inside.model_copy(update={"place": "database 1"})
    elsewhere = inside.model_copy(update={"server": {"run id": ("b",)}})
    silent = Identity(part="the broker", place="database 3", address="one:1")
    named = [("inside", inside), ("beside", beside), ("elsewhere", elsewhere), ("silent", silent)]
    assert overlapping(hot, named) == ["inside", "silent"]


@pytest.mark.parametrize("stage", Stage)
def test_every_stage_says_what_it_touches(stage: Stage) -> None:
    """Whatever the stage, the ledger is among it, and tiers only where a restore writes."""
    plan = {"storage_tier": "local", "source": "local", "target": "cloud", "stores": ["local"], "tiers": ["hot"]}
    parts = touched(stage, "hot", plan)
    assert "ledger" in parts
    assert (Tier.HOT in parts) == (stage in {Stage.CHECK, Stage.APPLY, Stage.SWEEP})


@pytest.mark.parametrize("stage", [Stage.COLLECT, Stage.MERGE, Stage.COMPRESS, Stage.ENCRYPT])
def test_a_stage_that_opens_the_spool_works_with_the_keyring(stage: Stage) -> None:
    """Otherwise another keyring's worker calls what it cannot open damaged."""
    assert KEYRING in touched(stage, "hot", {"storage_tier": "local"})
