"""A prune's plan: what is marked, what goes, and what must never go."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bench.prune import measured
from strata.model.copies import CatalogueEntry
from strata.model.removal import Move, PrunePlan, Reasoned, StorePrune
from strata.model.tier import StorageTier
from strata.planning.prune import Intent, ListedLayer, PruneRules, PruneState, StoreState, plan_prune
from strata.planning.retention import RetentionService
from tests.planning.entries import NOW, catalogues, copy, days, entry

LOCAL, NETWORK, CLOUD, ARCHIVE = StorageTier
LONG_AGO = NOW - days(500)


def listed(*layers: str, modified: datetime = LONG_AGO) -> dict[str, ListedLayer]:
    return {layer: ListedLayer(3, 100, modified) for layer in layers}


def store(tier: StorageTier = LOCAL, **facts: Any) -> StoreState:
    return StoreState(**{"storage_tier": tier, "layers": {}, **facts})


def plan(entries: Sequence[CatalogueEntry], *stores: StoreState, now: datetime = NOW, **facts: Any) -> PrunePlan:
    retention = RetentionService().decide(entries, now)
    return plan_prune(PruneState(entries, retention, stores, now, **facts))


def names(items: Sequence[Reasoned]) -> list[str]:
    return [item.name for item in items]


def swept(of: StorePrune) -> list[str]:
    return [layer.layer_id for layer in of.layers]


OLD = entry("old", age=days(100))
LAST = entry("last", age=days(1))
MARKED = OLD.model_copy(update={"removal_marked_at": NOW - timedelta(hours=25)})
WHY = "it is 100 days old, full backups are kept for 90"


def test_what_is_not_kept_is_marked_and_nothing_else_happens_yet() -> None:
    """First the mark; manifest and layers stay."""
    found = plan([OLD, LAST], store(layers=listed("old-hot", "last-hot")))
    assert found.marks == (Reasoned(name="old", reason=WHY),)
    assert found.stores == (StorePrune(storage_tier=LOCAL),)


def test_within_the_grace_it_waits() -> None:
    """What is marked but not yet due says when it goes."""
    marked = OLD.model_copy(update={"removal_marked_at": NOW - timedelta(hours=21)})
    found = plan([marked, LAST], store(layers=listed("old-hot", "last-hot")))
    assert (found.marks, found.stores[0].manifests, found.stores[0].layers) == ((), (), ())
    assert found.stores[0].waiting == (Reasoned(name="old", reason="its grace ends in 3 h"),)


def test_when_the_grace_is_over_manifest_and_layers_go() -> None:
    """The manifest, and the layers that no other one names, with what that frees."""
    child = entry("child", age=days(2), layers=("old-hot", "child-hot"))
    marked = MARKED.model_copy(update={"layers": ("old-hot", "old-warm")})
    found = plan([marked, child, LAST], store(layers=listed("old-hot", "old-warm", "child-hot", "last-hot")))
    (here,) = found.stores
    assert here.manifests == (Reasoned(name="old", reason=f"{WHY}; marked 2026-11-24 11:00"),)
    assert swept(here) == ["old-warm"]
    assert here.layers[0].reason == "the last backups that name it go"
    assert (here.objects, here.bytes, found.bytes) == (3, 100, 100)


def test_a_mark_is_taken_back_where_the_answer_changed() -> None:
    """Pinned meanwhile: it stays, with the reason."""
    found = plan([MARKED.model_copy(update={"pinned": True}), LAST], store(layers=listed("old-hot")))
    assert found.unmarks == (Reasoned(name="old", reason="it is pinned"),)
    assert found.stores[0].manifests == ()


def test_a_mark_of_the_future_is_taken_back() -> None:
    """A clock that was ahead marked it: its grace would end at a wrong time."""
    found = plan([OLD.model_copy(update={"removal_marked_at": NOW + days(1)}), LAST], store())
    assert names(found.unmarks) == ["old"]
    assert "by a wrong clock" in found.unmarks[0].reason
    assert found.stores[0].manifests == ()


def test_a_clock_that_lies_freezes_all_stores_and_leaves_marks() -> None:
    """Nothing is marked, swept or unmarked; the sentence is there for every store."""
    ahead = entry("ahead", age=-days(1))
    found = plan([MARKED, entry("two", age=days(120)), ahead], store(layers=listed("x-hot")), store(CLOUD))
    assert (found.marks, found.unmarks) == ((), ())
    assert found.frozen
    assert found.stores == tuple(StorePrune(storage_tier=tier, frozen=found.frozen) for tier in (LOCAL, CLOUD))


def test_an_unreadable_manifest_freezes_its_store_only() -> None:
    """Its reach is not known; other stores, whose manifests are all readable, go on."""
    both = MARKED.model_copy(update={"copies": (copy(), copy(CLOUD))})
    broken = store(layers=listed("old-hot", "last-hot"), unreadable=["manifests/x.json"])
    found = plan([both, LAST], broken, store(CLOUD, layers=listed("old-hot")))
    assert found.stores[0] == StorePrune(
        storage_tier=LOCAL,
        frozen=("nothing is removed from LOCAL because manifests/x.json cannot be read: what it needs is not known",),
    )
    assert swept(found.stores[1]) == ["old-hot"]


def test_a_locked_copy_stays_in_its_store() -> None:
    """Where the store itself refuses, the plan does not try; the layers stay with it."""
    locked = MARKED.model_copy(update={"copies": (copy(locked_until=NOW + days(1)), copy(CLOUD))})
    found = plan([locked, LAST], store(layers=listed("old-hot")), store(CLOUD, layers=listed("old-hot")))
    assert found.stores[0].waiting == (Reasoned(name="old", reason="it is locked until 2026-11-26 12:00"),)
    assert swept(found.stores[0]) == []
    assert swept(found.stores[1]) == ["old-hot"]


def test_orphans_go_when_they_are_old_and_nobody_is_at_work_on_them() -> None:
    """Younger than the grace, of a run that has not ended, under the note of a copy: they stay, and it says why."""
    layers = {
        **listed("dead-hot", "copied-hot", "late-hot", "live-run-hot"),
        **listed("fresh-hot", modified=NOW - timedelta(hours=23)),
        **listed("ahead-hot", modified=NOW + days(1)),
    }
    intents = [Intent("copied", ("copied-hot",), NOW - days(6)), Intent("late", ("late-hot",), NOW - days(8))]
    (here,) = plan([LAST], store(layers=layers, intents=intents), running=frozenset({"live-run"})).stores
    assert swept(here) == ["dead-hot", "late-hot"]
    assert here.layers[0].reason == "no backup in the store names it"
    assert [(one.name, one.reason) for one in here.waiting] == [
        ("ahead-hot", "no backup names it, but it is younger than 24 h"),
        ("copied-hot", "a copy of copied is being made with it"),
        ("fresh-hot", "no backup names it, but it is younger than 24 h"),
        ("live-run-hot", "its run has not ended"),
    ]


def test_a_copy_that_is_being_made_keeps_layers_of_a_backup_that_goes() -> None:
    """The note protects a layer whoever named it before."""
    (here,) = plan([MARKED, LAST], store(layers=listed("old-hot"), intents=[Intent("c", ("old-hot",), NOW)])).stores
    assert names(here.manifests) == ["old"]
    assert swept(here) == []


def test_every_store_is_judged_by_its_own_manifests() -> None:
    """A layer that a manifest of another store names is an orphan here."""
    elsewhere = LAST.model_copy(update={"copies": (copy(CLOUD),)})
    found = plan([elsewhere], store(layers=listed("last-hot")), store(CLOUD, layers=listed("last-hot")))
    assert [swept(one) for one in found.stores] == [["last-hot"], []]


def test_what_moved_to_the_archive_goes_from_its_store() -> None:
    """Released where ARCHIVE has a good copy, and only from the store that the move names."""
    moved = entry("m", age=days(40), copies=(copy(NETWORK), copy(ARCHIVE)))
    move = Move(backup_id="m", source=NETWORK, target=ARCHIVE, reason="old enough")
    stores = (store(NETWORK, layers=listed("m-hot")), store(ARCHIVE, layers=listed("m-hot")))
    found = plan([moved, LAST], *stores, releases=[move])
    assert found.stores[0].manifests == (Reasoned(name="m", reason="old enough"),)
    assert [swept(one) for one in found.stores] == [["m-hot"], []]
    torn = moved.model_copy(update={"copies": (copy(NETWORK), copy(ARCHIVE, damaged=True))})
    assert plan([torn, LAST], *stores, releases=[move]).stores[0].manifests == ()


def test_no_grace_sweeps_at_once() -> None:
    """With 0 hours what is marked goes in the next prune."""
    marked = OLD.model_copy(update={"removal_marked_at": NOW})
    (here,) = plan([marked, LAST], store(layers=listed("old-hot")), rules=PruneRules(timedelta(0))).stores
    assert (names(here.manifests), swept(here)) == (["old"], ["old-hot"])


def test_a_mark_by_a_wrong_clock_does_not_let_a_move_take_the_copy() -> None:
    """What is marked does not move by age either, whether its mark is of the past or of the future."""
    there = (copy(LOCAL), copy(ARCHIVE))
    release = Move(backup_id="old", source=LOCAL, target=ARCHIVE, reason="r")
    for hours in (-1, 1):
        marked = OLD.model_copy(update={"copies": there, "removal_marked_at": NOW + timedelta(hours=hours)})
        assert not names(plan([marked, LAST], store(), releases=[release]).stores[0].manifests)


@st.composite
def states(draw: st.DrawFn) -> PruneState:
    """Catalogues with lies, orphans, notes, runs, releases and unreadable manifests."""
    made = draw(catalogues(lies=draw(st.booleans())))
    ids = [f"b{number:02}" for number in range(16)]
    stores = [
        StoreState(
            tier,
            {
                layer: ListedLayer(1, 10, NOW - timedelta(hours=draw(st.integers(-5, 50))))
                for layer in draw(st.permutations([f"{one}-hot" for one in ids]))
            },
            [Intent("c", (f"{draw(st.sampled_from(ids))}-hot",), NOW - days(draw(st.integers(-1, 9))))],
            draw(st.sampled_from([(), (), ("manifests/x.json",)])),
        )
        for tier in StorageTier
    ]
    releases = [
        Move(backup_id=one.backup_id, source=draw(st.sampled_from([LOCAL, NETWORK, CLOUD])), target=ARCHIVE, reason="r")
        for one in made
        if draw(st.booleans())
    ]
    running = frozenset(draw(st.sets(st.sampled_from(ids), max_size=2)))
    retention = RetentionService(dict.fromkeys({one.backup_type for one in made}, 3)).decide(made, NOW)
    return PruneState(made, retention, stores, NOW, running, releases)


@given(states())
def test_nothing_that_a_remaining_manifest_reaches_is_swept(state: PruneState) -> None:
    """In no store; nor what is under a note, of a run, or in a store with an unreadable manifest."""
    found = plan_prune(state)
    for lies, here in zip(state.stores, found.stores, strict=True):
        going = set(names(here.manifests))
        remaining = [one for one in state.entries if one.copy_in(here.storage_tier) and one.backup_id not in going]
        gone = set(swept(here))
        assert not gone & {layer for one in remaining for layer in one.layers}
        assert not gone & {layer for note in lies.intents if NOW - note.noted_at < days(7) for layer in note.layers}
        assert not gone & {f"{run}-hot" for run in state.running}
        assert not (lies.unreadable and (gone or going))
        assert not (state.retention.frozen and (gone or going or found.marks))
        assert here.bytes == 10 * len(gone)


@given(states())
def test_the_last_good_copy_of_what_is_kept_never_goes(state: PruneState) -> None:
    """Of every backup that is kept and good, some store still has a good copy."""
    found = plan_prune(state)
    going = {(store.storage_tier, name) for store in found.stores for name in names(store.manifests)}
    kept = {one.backup_id for one in state.retention.decisions if one.keep}
    for one in state.entries:
        good = [held.storage_tier for held in one.copies if not held.damaged]
        if one.backup_id in kept and good:
            assert any((tier, one.backup_id) not in going for tier in good)
        if one.removal_marked_at is None and one.backup_id not in {move.backup_id for move in state.releases}:
            assert one.backup_id not in {name for _, name in going}


@given(states(), st.randoms())
def test_the_plan_does_not_depend_on_the_order(state: PruneState, chance: random.Random) -> None:
    """The same things in any order give the same plan."""
    shuffled = list(state.entries)
    chance.shuffle(shuffled)
    again = PruneState(shuffled, state.retention, state.stores, NOW, state.running, state.releases)
    assert plan_prune(again) == plan_prune(state)


@given(states(), st.integers(0, 400))
def test_what_goes_only_grows_with_time(state: PruneState, hours: int) -> None:
    """What is swept now would be swept later too, were nothing else to change."""
    later = PruneState(
        state.entries, state.retention, state.stores, NOW + timedelta(hours=hours), state.running, state.releases
    )
    for early, late in zip(plan_prune(state).stores, plan_prune(later).stores, strict=True):
        assert set(names(early.manifests)) <= set(names(late.manifests))
        assert set(swept(early)) <= set(swept(late))


def test_ten_thousand_manifests_are_planned_quickly() -> None:
    """Within 10 s and 500 MB over 100,000 objects, the catalogue itself included, in a process of its own."""
    found = measured(10_000)
    assert found["objects"] >= 100_000
    assert found["seconds"] <= 10
    assert found["peak_mb"] <= 500
