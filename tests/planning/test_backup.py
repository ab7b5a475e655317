"""Plans are pure: the same facts give the same decision, with a reason for what is left out or not as usual."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from strata.errors import SettingError
from strata.model.backup_type import RULES, BackupType, Reads
from strata.model.context import BackupContext, BackupSummary, TierSummary
from strata.model.coverage import SourceKind
from strata.model.layer import LayerKind, LayerRef
from strata.model.plan import TierPlan
from strata.model.tier import Tier
from strata.planning.backup import (
    StackPolicy,
    TierPlans,
    Wish,
    checked_run_id,
    new_run_id,
    plan_tiers,
)

NOW = datetime(2026, 11, 23, 22, 45, 1, tzinfo=UTC)
EVERYTHING: Final = ("*",)
CHANGES: Final = [kind for kind in BackupType if RULES[kind].reads is Reads.CHANGES]


def layer(
    layer_id: str,
    kind: LayerKind = LayerKind.BASE,
    *,
    records: int = 100,
    size: int = 1000,
    tombstones: int = 0,
    age: timedelta = timedelta(hours=1),
) -> LayerRef:
    """A layer of HOT; the backup that wrote it is what its id begins with."""
    return LayerRef(
        layer_id=layer_id,
        backup_id=layer_id.partition("/")[0],
        created_at=NOW - age,
        tier=Tier.HOT,
        kind=kind,
        fingerprint_key_id="f-0123456789ab",
        records=records,
        tombstones=tombstones,
        chunked=0,
        logical_bytes=size,
        stored_bytes=size // 2,
        objects=2,
        digest="ab" * 32,
    )


def stack(*backup_ids: str, age: timedelta = timedelta(hours=1)) -> tuple[LayerRef, ...]:
    """A base of that age and deltas, written by these backups."""
    base, *deltas = backup_ids
    return (
        layer(f"{base}/hot", age=age),
        *(layer(f"{delta}/hot", LayerKind.DELTA, records=1, size=10) for delta in deltas),
    )


def summary(
    backup_id: str,
    generation: int,
    layers: Sequence[LayerRef],
    *,
    backup_type: BackupType = BackupType.FULL,
    age: timedelta = timedelta(hours=1),
    patterns: tuple[str, ...] = EVERYTHING,
    **held: int,
) -> BackupSummary:
    """A recorded backup of HOT."""
    hot = TierSummary(
        tier=Tier.HOT,
        source=SourceKind.LIVE,
        patterns=patterns,
        records=held.get("records", 100),
        logical_bytes=held.get("size", 1000),
        stack=tuple(layers),
    )
    return BackupSummary(
        backup_id=backup_id,
        backup_type=backup_type,
        generation=generation,
        created_at=NOW - age,
        fingerprint_key_id="f-0123456789ab",
        tiers=(hot,),
    )


def wish(backup_type: BackupType, *backups: BackupSummary, **changed: Any) -> Wish:
    """A backup of HOT is wanted, where these are recorded."""
    context = BackupContext.of(backups)
    made = Wish(
        backup_id="new", backup_type=backup_type, now=NOW, configured={Tier.HOT: SourceKind.LIVE}, context=context
    )
    return replace(made, **changed)


def hot(planned: TierPlans) -> TierPlan:
    """The plan of HOT."""
    return next(plan for plan in planned.tiers if plan.tier is Tier.HOT)


def parent_of(wanted: Wish) -> str | None:
    """The backup that HOT would be compared with."""
    planned = plan_tiers(wanted)
    assert hot(planned).parent == planned.parent
    return planned.parent


# --- ids, names and stores ----------------------------------------------------------------------------------------


def test_a_run_id_sorts_by_time_and_says_what_it_is() -> None:
    """Date, time, kind, and something that tells two runs of one second apart."""
    assert re.fullmatch(r"20261123-224501-full-[0-9a-f]{6}", new_run_id("full", NOW))
    assert len({new_run_id("full", NOW) for _ in range(100)}) == 100
    assert new_run_id("full", NOW) < new_run_id("emergency", NOW.replace(second=2))


@pytest.mark.parametrize("kind", [*BackupType, "restore"])
def test_a_run_id_fits_wherever_it_is_written(kind: str) -> None:
    """With the longest tier behind it an id fits into an object's header (64 bytes), and it may name an object."""
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", f"{new_run_id(kind, NOW)}-{max(Tier, key=len)}")


@pytest.mark.parametrize("run_id", ["", "-a", "a/b", "ü", "x" * 49, "a b"])
def test_an_id_that_cannot_name_objects_is_refused(run_id: str) -> None:
    """The id becomes part of object names and of headers, so it is checked before anything is done."""
    with pytest.raises(SettingError, match="cannot be the id"):
        checked_run_id(run_id)


# --- tiers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("configured", list(itertools.product([True, False], repeat=3)))
def test_each_tier_is_planned_or_left_out_by_name(configured: tuple[bool, ...]) -> None:
    """A configured tier gets a layer, another is listed with the setting that is missing; none is forgotten."""
    reachable = dict(zip(Tier, configured, strict=True))
    wanted = wish(
        BackupType.FULL, backup_id="id", configured={tier: SourceKind.LIVE for tier in Tier if reachable[tier]}
    )
    if not any(configured):
        with pytest.raises(SettingError, match="no tier is configured") as caught:
            plan_tiers(wanted)
        assert "STRATA_HOT_URL" in caught.value.hint
        return
    plans = plan_tiers(wanted).tiers
    assert [plan.tier for plan in plans] == list(Tier)
    for plan in plans:
        expected = (
            (f"id-{plan.tier}", "") if reachable[plan.tier] else (None, f"STRATA_{plan.tier.upper()}_URL is not set")
        )
        assert (plan.layer_id, plan.reason) == expected


def test_a_tier_nobody_spoke_of_is_left_out() -> None:
    """A tier that is missing from the facts counts as not configured."""
    plans = plan_tiers(wish(BackupType.FULL, backup_id="id", configured={Tier.WARM: SourceKind.LIVE})).tiers
    assert [plan.layer_id for plan in plans] == [None, "id-warm", None]


@pytest.mark.parametrize("backup_type", BackupType)
def test_a_type_covers_its_patterns_or_those_that_are_set(backup_type: BackupType) -> None:
    """The scope is the type's own where the settings say nothing else, and the same for every tier."""
    everywhere = dict.fromkeys(Tier, SourceKind.LIVE)
    own = plan_tiers(wish(backup_type, configured=everywhere)).tiers
    assert {plan.patterns for plan in own} == {RULES[backup_type].patterns}
    other = plan_tiers(wish(backup_type, configured=everywhere, patterns=("a*", "b*"))).tiers
    assert {plan.patterns for plan in other} == {("a*", "b*")}


# --- parents ------------------------------------------------------------------------------------------------------

FIRST: Final = summary("first", 1, stack("first"))
SNAPSHOT: Final = summary("snapshot", 2, stack("snapshot"), backup_type=BackupType.SNAPSHOT, patterns=("order:*",))
LATER: Final = summary("later", 3, stack("first", "later"), backup_type=BackupType.INCREMENTAL)
LAST: Final = summary("last", 4, stack("first", "last"), backup_type=BackupType.DIFFERENTIAL)
RECORDED: Final = (FIRST, SNAPSHOT, LATER, LAST)


@pytest.mark.parametrize(
    ("backup_type", "parent"),
    [
        (BackupType.FULL, "last"),
        (BackupType.INCREMENTAL, "last"),
        (BackupType.DIFFERENTIAL, "first"),
        (BackupType.SNAPSHOT, None),
        (BackupType.EMERGENCY, None),
    ],
)
@pytest.mark.parametrize("order", [1, -1])
def test_each_type_has_its_parent(backup_type: BackupType, parent: str | None, order: int) -> None:
    """The last backup, the last full one, or none; whatever order the store lists them in."""
    assert parent_of(wish(backup_type, *RECORDED[::order])) == parent


def test_the_generation_tells_which_is_the_last() -> None:
    """Not the clock: one that was set back does not make an older backup the newer."""
    early = summary("early", 2, stack("early"), age=timedelta(hours=3))
    late = summary("late", 1, stack("late"), age=timedelta(hours=1))
    assert parent_of(wish(BackupType.INCREMENTAL, early, late)) == "early"


@pytest.mark.parametrize("backup_type", [BackupType.FULL, *CHANGES])
def test_a_parent_covers_the_scope(backup_type: BackupType) -> None:
    """A backup of fewer keys is no parent of one of more, nor the other way round; nor one that lacks the tier."""
    narrow = summary("narrow", 9, stack("narrow"), patterns=("order:*",))
    without = summary("without", 10, ())
    assert parent_of(wish(backup_type, FIRST, narrow, without)) == "first"
    assert parent_of(wish(backup_type, narrow, without)) is None
    assert parent_of(wish(backup_type, FIRST, narrow, patterns=("order:*",))) == "narrow"
    assert parent_of(wish(backup_type, FIRST, patterns=("order:*",))) is None


def test_a_snapshot_is_built_on_within_its_scope_alone() -> None:
    """It is a full baseline of the keys that it covers, and of no others."""
    assert parent_of(wish(BackupType.DIFFERENTIAL, FIRST, SNAPSHOT)) == "first"
    assert parent_of(wish(BackupType.DIFFERENTIAL, FIRST, SNAPSHOT, patterns=("order:*",))) == "snapshot"


@pytest.mark.parametrize("backup_type", [BackupType.FULL, *CHANGES])
def test_each_tier_has_a_parent_of_its_own(backup_type: BackupType) -> None:
    """A tier that the last backup went on without is compared with an older one; most tiers give the plan's parent."""
    whole = summary("whole", 1, stack("whole"))
    cold = whole.tiers[0].model_copy(update={"tier": Tier.COLD})
    warm = whole.tiers[0].model_copy(update={"tier": Tier.WARM})
    whole = whole.model_copy(update={"tiers": (*whole.tiers, warm, cold)})
    short = summary("short", 2, stack("short")).model_copy(update={"tiers": (warm, cold)})
    planned = plan_tiers(wish(backup_type, whole, short, configured=dict.fromkeys(Tier, SourceKind.LIVE)))
    assert [plan.parent for plan in planned.tiers] == ["whole", "short", "short"]
    assert planned.parent == "short"


@pytest.mark.parametrize("backup_type", BackupType)
def test_what_is_read_follows_the_type_and_the_parent(backup_type: BackupType) -> None:
    """Only a type that reads changes, and has something to tell them by, leaves anything unread."""
    assert hot(plan_tiers(wish(backup_type))).thorough
    assert hot(plan_tiers(wish(backup_type, *RECORDED))).thorough is (RULES[backup_type].reads is Reads.EVERYTHING)


@pytest.mark.parametrize("backup_type", BackupType)
def test_what_has_nothing_to_build_on_stores_everything_and_says_so(backup_type: BackupType) -> None:
    """A type of changes without a parent reads and stores all of its keys, and keeps its type."""
    planned = plan_tiers(wish(backup_type))
    assert planned.parent is None
    if backup_type in CHANGES:
        assert re.fullmatch(f"there is nothing that an? {backup_type} backup could build on.*", planned.reasons[0])
    else:
        assert planned.reasons == ()
    assert hot(planned).thorough


@pytest.mark.parametrize("backup_type", CHANGES)
def test_what_covers_not_everything_is_no_full_one(backup_type: BackupType) -> None:
    """Without a parent all of its keys are stored, and it keeps its type: a FULL covers everything."""
    planned = plan_tiers(wish(backup_type, FIRST, patterns=("order:*",)))
    assert planned.parent is None
    assert planned.reasons[0].endswith("so all of its keys are stored")
    assert hot(planned).thorough


def test_one_tier_with_a_parent_keeps_the_type() -> None:
    """An incremental backup to which a tier was added stores that tier whole, and stays incremental."""
    planned = plan_tiers(
        wish(BackupType.INCREMENTAL, FIRST, configured={Tier.HOT: SourceKind.LIVE, Tier.COLD: SourceKind.LIVE})
    )
    assert planned.parent == "first"
    assert [(plan.parent, plan.thorough) for plan in planned.tiers if plan.layer_id] == [("first", False), (None, True)]


@pytest.mark.parametrize("backup_type", BackupType)
def test_fresh_builds_on_nothing(backup_type: BackupType) -> None:
    """Whatever is there, no tier has a parent."""
    assert parent_of(wish(backup_type, *RECORDED, fresh=True)) is None


@pytest.mark.parametrize("backup_type", [BackupType.FULL, *CHANGES])
def test_what_lacks_a_layer_is_not_built_on(backup_type: BackupType) -> None:
    """Where a layer of the parent's stack is missing or damaged the tier is stored whole, and the reason says which."""
    asked: list[TierSummary] = []

    def intact(held: TierSummary) -> str:
        asked.append(held)
        return "the parent's layer first/hot is not in the store"

    planned = plan_tiers(wish(backup_type, *RECORDED, intact=intact))
    assert hot(planned).parent is None
    assert hot(planned).thorough
    assert "HOT (Redis) is stored whole because the parent's layer first/hot is not in the store" in planned.reasons
    assert asked


# --- stacks that are laid anew ------------------------------------------------------------------------------------


def deep(layers: int, backup_type: BackupType = BackupType.INCREMENTAL) -> BackupSummary:
    """The last of so many backups, each of which laid a layer on the first."""
    return summary(
        f"top{layers}", layers, stack("first", *(f"d{n}" for n in range(layers - 1))), backup_type=backup_type
    )


@pytest.mark.parametrize("backup_type", [BackupType.FULL, BackupType.INCREMENTAL])
def test_a_stack_grows_to_its_depth_and_no_further(backup_type: BackupType) -> None:
    """A stack one short of the depth takes another layer; one of that depth is compared with its base alone."""
    policy = StackPolicy(depth=4)
    assert parent_of(wish(backup_type, FIRST, deep(3), policy=policy)) == "top3"
    planned = plan_tiers(wish(backup_type, FIRST, deep(4), policy=policy))
    assert planned.parent == "first"
    assert planned.reasons == ("HOT (Redis) is compared with its base because its stack has 4 layers",)


@pytest.mark.parametrize(
    "others",
    [(), (summary("first", 1, ()),), (summary("first", 1, stack("older", "first")),)],
    ids=["gone", "without the tier", "itself on others"],
)
def test_a_deep_stack_without_its_first_backup_gets_a_fresh_base(others: tuple[BackupSummary, ...]) -> None:
    """Where no backup is left that is the base alone, the tier is stored whole, and the reason tells the depth."""
    planned = plan_tiers(wish(BackupType.INCREMENTAL, deep(4), *others, policy=StackPolicy(depth=4)))
    assert hot(planned).parent is None
    assert "HOT (Redis) gets a fresh base: its stack has 4 layers" in planned.reasons


@pytest.mark.parametrize(
    ("records", "size", "fresh"),
    [(200, 2000, False), (101, 2000, False), (99, 2000, True), (200, 999, True), (200, 1001, False)],
)
def test_what_renews_leaves_a_stack_that_is_mostly_dead(records: int, size: int, fresh: bool) -> None:  # noqa: FBT001
    """More than the share of rows, or of bytes, that counts no more: a fresh base is written."""
    layers = (layer("first/hot"), layer("last/hot", LayerKind.DELTA, records=50, tombstones=50))
    last = summary("last", 2, layers, records=records, size=size)
    planned = plan_tiers(wish(BackupType.FULL, FIRST, last, renews=True))
    assert planned.parent == (None if fresh else "last")
    assert bool(planned.reasons) == fresh
    if fresh:
        assert re.fullmatch(r"HOT \(Redis\) gets a fresh base: 5\d% of its stack counts no more", planned.reasons[0])
    assert parent_of(wish(BackupType.INCREMENTAL, FIRST, last)) == "last"


def test_a_base_alone_is_never_mostly_dead() -> None:
    """What a scan reads twice makes a base larger than its view; there is no stack to be rid of."""
    assert (
        parent_of(wish(BackupType.FULL, summary("first", 1, stack("first"), records=1, size=1), renews=True)) == "first"
    )


@pytest.mark.parametrize("backup_type", [BackupType.FULL, BackupType.INCREMENTAL])
@pytest.mark.parametrize(("age", "parent"), [(30, "last"), (31, None)])
def test_what_renews_leaves_a_base_that_is_old(backup_type: BackupType, age: int, parent: str | None) -> None:
    """A base over the age is written anew, with its date in the reason, whether or not its backup is still there."""
    last = summary("last", 2, stack("gone", "last", age=timedelta(days=age)), backup_type=BackupType.INCREMENTAL)
    planned = plan_tiers(wish(backup_type, last, renews=True))
    assert planned.parent == parent
    assert ("HOT (Redis) gets a fresh base: the old one is of 23 Oct 2026" in planned.reasons) == (parent is None)
    assert parent_of(wish(backup_type, last)) == "last"
