"""A tier behind the application's own state manager: read, restored, and every refusal in one sentence."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import redis

from strata.clock import SystemClock
from strata.engine.local import backup_here, restore_here
from strata.engine.restorer import Applied
from strata.errors import SettingError, SourceError, SourceUnavailable
from strata.model.backup_type import BackupType
from strata.model.manifest import BackupMetadata
from strata.model.scope import Scope
from strata.model.tier import Tier
from strata.seal.keyring import FileKeyring
from strata.settings import Settings
from strata.sources.port import RestoreMode
from strata.sources.redis_hot import RedisHot
from strata.sources.state_manager import StateManagerSource, encoded
from strata.testing import always
from strata.wiring import Wiring
from tests.sources import state_objects
from tests.sources.state_objects import (
    AsyncOneByOne,
    AsyncThreeDicts,
    OneByOne,
    RedisStates,
    StateCategory,
    ThreeDicts,
)

STATES: dict[str, Any] = {
    **{f"position:{number}": {"qty": number, "price": 1.5, "tags": ["a", None, True]} for number in range(150)},
    "config:limits": {"b": 1, "a": {"ä": "ö"}},
    "archive:2024": [1, 2, 3],
    "naïve key": "text",
    "portfolio": 0,
}
OBJECTS = "tests.sources.state_objects"
IN_MEMORY: dict[str, OneByOne | AsyncOneByOne] = {
    "one_by_one": state_objects.one_by_one,
    "three_dicts": state_objects.three_dicts,
    "async_one_by_one": state_objects.async_one_by_one,
    "async_three_dicts": state_objects.async_three_dicts,
}


def dicts(name: str) -> OneByOne:
    """The dicts behind one of the objects."""
    found = IN_MEMORY[name]
    return found.inner if isinstance(found, AsyncOneByOne) else found


@pytest.fixture
def wired(folder: Path) -> Callable[..., Wiring]:
    """An engine whose settings name a state manager."""

    def build(name: str, **settings: Any) -> Wiring:
        keyring = folder / "keyring.json"
        if not keyring.exists():
            FileKeyring.create(keyring, SystemClock().now())
        settings = {
            "local_url": (folder / "store").as_uri(),
            "spool_url": (folder / "spool").as_uri(),
            "keyring_file": keyring,
            "state_manager": f"{OBJECTS}:{name}",
            **settings,
        }
        return Wiring(Settings(**settings))

    return build


def backup(wiring: Wiring) -> BackupMetadata:
    """A full backup."""
    return backup_here(wiring.local_manager, BackupType.FULL, "made")


def restore(wiring: Wiring, mode: RestoreMode = RestoreMode.EXACT) -> Applied:
    """A restore of it."""
    (applied,) = restore_here(wiring.local_manager, "made", "brought-back", mode, ()).tiers
    return applied


def rows(source: StateManagerSource, scope: Scope | None = None) -> dict[str, Any]:
    """What a session reads."""
    with source.connect() as session:
        session.cut()
        batches: Iterable[Any] = list(session.read(scope or Scope()))
    return {
        key.decode(): json.loads(value)
        for batch in batches
        for key, value in zip(batch["key"].to_pylist(), batch["value"].to_pylist(), strict=True)
    }


@pytest.mark.parametrize("name", IN_MEMORY)
def test_what_was_backed_up_comes_back(wired: Callable[..., Wiring], name: str) -> None:
    """Sync or async, by batches or key by key: every value is what it was, and the backup counts as HOT's."""
    held = dicts(name)
    held.fill(STATES)
    wiring = wired(name)
    manifest = backup(wiring)
    assert manifest.content(Tier.HOT).records == len(STATES)
    assert manifest.content(Tier.WARM).reason == "STRATA_WARM_URL is not set"
    held.fill({"position:1": "changed"})
    applied = restore(wiring)
    assert (applied.written, applied.removed) == (len(STATES), 0)
    assert held.held() == STATES


@pytest.mark.parametrize("name", ["three_dicts", "async_three_dicts"])
def test_exact_restore_removes_what_the_backup_does_not_hold(wired: Callable[..., Wiring], name: str) -> None:
    """EXACT removes strangers and counts them; OVERLAY leaves them alone."""
    held = dicts(name)
    held.fill(STATES)
    wiring = wired(name)
    backup(wiring)
    held.fill({**STATES, "stranger": 1, "position:x": 2})
    assert restore(wiring, RestoreMode.OVERLAY).removed == 0
    assert set(held.held()) == {*STATES, "stranger", "position:x"}
    (applied,) = restore_here(wiring.local_manager, "made", "again", RestoreMode.EXACT, ()).tiers
    assert (applied.removed, applied.notes) == (2, ())
    assert held.held() == STATES


@pytest.mark.parametrize("name", ["one_by_one", "async_one_by_one"])
def test_without_a_delete_an_exact_restore_says_what_it_left(wired: Callable[..., Wiring], name: str) -> None:
    """Keys that cannot be removed stay, and the notes count them."""
    held = dicts(name)
    held.fill(STATES)
    wiring = wired(name)
    backup(wiring)
    held.fill({**STATES, "stranger": 1, "another": 2})
    applied = restore(wiring)
    assert applied.removed == 0
    assert applied.notes == ("2 keys that the backup does not hold were left: the state manager has no delete_state",)
    assert "stranger" in held.held()


def test_each_key_goes_back_into_its_category(wired: Callable[..., Wiring]) -> None:
    """`category_of` says where a key belongs, and `batch_set_state` is told."""
    state_objects.three_dicts.fill(STATES)
    wiring = wired("Outer.manager")
    backup(wiring)
    before = {category: dict(held) for category, held in state_objects.three_dicts.dicts.items()}
    state_objects.three_dicts.fill({})
    restore(wiring)
    assert state_objects.three_dicts.dicts == before
    assert all(before.values())


class _Heard(OneByOne):
    """Remembers the categories it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: dict[str, Any] = {}

    def batch_set_state(self, items: dict[str, tuple[Any, Any]]) -> int:
        self.told.update({key: category for key, (_, category) in items.items()})
        return len(items)


heard = _Heard()


def test_without_category_of_the_category_is_the_tiers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The StateCategory beside the class has a member called like the tier; where there is none it is None."""
    source = StateManagerSource("tests.sources.test_state_manager:heard", Tier.WARM)
    records = pa.record_batch(
        [pa.array([b"a"], pa.large_binary()), pa.array([b"1"], pa.large_binary()), pa.array(["json"])],
        ["key", "value", "encoding"],
    )
    for expected in (StateCategory.WARM, None):
        with source.apply({"source": "state manager"}, RestoreMode.OVERLAY, always) as application:
            application.write(records)
        assert heard.told == {"a": expected}
        monkeypatch.delattr("tests.sources.test_state_manager.StateCategory", raising=False)


def test_a_snapshot_is_of_one_moment(wired: Callable[..., Wiring]) -> None:
    """Where the object has `create_snapshot`, what is backed up is what it gave, not what is there when it is read."""
    state_objects.snapshotting.fill(STATES)
    manifest = backup(wired("snapshotting"))
    assert manifest.content(Tier.HOT).cut["method"] == "snapshot"
    assert manifest.records == len(STATES)
    with StateManagerSource(f"{OBJECTS}:snapshotting", Tier.HOT).connect() as session:
        session.cut()
        state_objects.snapshotting.fill({})
        (batch,) = session.read(Scope(("position:*",)))
    assert isinstance(batch, pa.RecordBatch)
    assert batch.num_rows == 150


@pytest.mark.parametrize("name", ["RedisStates", "AsyncRedisStates", "made_later"])
def test_states_in_a_real_redis_come_back(wired: Callable[..., Wiring], hot_url: str, name: str) -> None:
    """A class or a (coroutine) function makes the object anew for each session, in that session's event loop."""
    RedisStates.url = hot_url
    client = redis.Redis.from_url(hot_url, decode_responses=True)
    client.mset({key: json.dumps(value) for key, value in STATES.items()})
    wiring = wired(name)
    assert backup(wiring).records == len(STATES)
    client.delete("position:1")
    client.mset({"position:2": "0", "stranger": "1"})
    applied = restore(wiring)
    assert (applied.written, applied.removed) == (len(STATES), 1)
    assert {key: json.loads(str(client.get(key))) for key in client.scan_iter()} == STATES


def test_a_caller_inside_an_event_loop_is_served() -> None:
    """Whoever restores from a coroutine is in a loop already; the session's own is another thread's."""
    state_objects.async_three_dicts.inner.fill(STATES)

    async def caller() -> dict[str, Any]:
        return rows(StateManagerSource(f"{OBJECTS}:async_three_dicts", Tier.HOT))

    assert asyncio.run(caller()) == STATES


def test_async_gets_run_together_but_not_all_at_once() -> None:
    """At most 32 at a time."""
    found: AsyncThreeDicts = state_objects.async_three_dicts
    found.inner.fill(STATES)
    rows(StateManagerSource(f"{OBJECTS}:async_three_dicts", Tier.HOT))
    assert found.most == 32


def test_only_keys_of_the_scope_and_of_its_own_are_read_and_removed() -> None:
    """What other tiers hold can be left to them with STRATA_STATE_MANAGER_KEYS, in both directions."""
    held: ThreeDicts = state_objects.three_dicts
    held.fill(STATES)
    source = StateManagerSource(f"{OBJECTS}:three_dicts", Tier.WARM, ("config:*", "archive:*", "ml_model:*"))
    assert set(rows(source)) == {"config:limits", "archive:2024"}
    assert set(rows(source, Scope(("archive:*", "position:*")))) == {"archive:2024"}
    with source.apply({"source": "state manager"}, RestoreMode.EXACT, always) as application:
        counts = application.finish(lambda _, keys: pa.array([False] * len(keys)).to_numpy(False), Scope())
    assert counts.removed == 2
    assert set(held.held()) == set(STATES) - {"config:limits", "archive:2024"}


def test_the_cut_says_which_tiers_its_keys_may_be_in_too(wired: Callable[..., Wiring], hot_url: str) -> None:
    """A key that Redis and the object both hold is in the backup twice, and the backup says so; nothing is lost."""
    redis.Redis.from_url(hot_url).set("position:1", "1")
    state_objects.three_dicts.fill({"position:1": 1, "config:limits": 2})
    manifest = backup(wired("three_dicts", hot_url=hot_url))
    assert [content.records for content in manifest.tiers] == [1, 2, 0]
    assert manifest.content(Tier.WARM).cut["keys_also_read_from"] == ["hot"]
    own = wired("three_dicts", hot_url=hot_url, state_manager_keys="config:*")
    with own.sources[Tier.WARM].connect() as session:
        assert "keys_also_read_from" not in session.cut()


class _Going(ThreeDicts):
    """Forgets a key between listing it and being asked for it."""

    def get_state(self, key: str) -> Any:
        return None if key == "position:3" else super().get_state(key)


going = _Going()


def test_a_key_that_went_meanwhile_is_left_out() -> None:
    """None for a key that was listed means that it is not there any more."""
    going.fill(STATES)
    found = rows(StateManagerSource("tests.sources.test_state_manager:going", Tier.HOT))
    assert found == {key: value for key, value in STATES.items() if key != "position:3"}


class _Half(ThreeDicts):
    """Sets half of what it is given, and says so."""

    def batch_set_state(self, items: Any) -> int:
        return len(items) // 2


class _Refusing(OneByOne):
    """Says that it did not set the key."""

    def set_state(self, _key: str, _value: Any) -> bool:
        return False


class _Keeping(ThreeDicts):
    """Says that it did not remove the key, and did not."""

    def delete_state(self, _key: str) -> bool:
        return False


half, refusing, keeping = _Half(), _Refusing(), _Keeping()


@pytest.mark.parametrize("name", ["half", "refusing"])
def test_keys_that_were_not_set_fail_the_restore(name: str) -> None:
    """A state manager that says it set less than it was given is believed."""
    source = StateManagerSource(f"tests.sources.test_state_manager:{name}", Tier.HOT)
    records = pa.record_batch(
        [pa.array([b"a", b"b"], pa.large_binary()), pa.array([b"1", b"2"], pa.large_binary()), pa.array(["json"] * 2)],
        ["key", "value", "encoding"],
    )
    with (
        pytest.raises(SourceError, match="of 2 keys"),
        source.apply({"source": "state manager"}, RestoreMode.EXACT, always) as application,
    ):
        application.write(records)


def test_keys_that_were_not_removed_fail_the_restore() -> None:
    """False from a delete is looked into: what is still there makes the restore a failure."""
    keeping.fill(STATES)
    source = StateManagerSource("tests.sources.test_state_manager:keeping", Tier.HOT)
    with (
        pytest.raises(SourceError, match="removed 0 of"),
        source.apply({"source": "state manager"}, RestoreMode.EXACT, always) as application,
    ):
        application.finish(lambda _, keys: pa.array([False] * len(keys)).to_numpy(False), Scope())


# --- what is refused ----------------------------------------------------------------------------------------------

_circle: list[Any] = []
_circle.append(_circle)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (b"bytes", "a bytes"),
        ({"a": [{"b": Decimal("1.5")}]}, "a Decimal"),
        ({"a": (1, 2)}, "a tuple"),
        ({1: "x"}, "a dict with keys of type int"),
        ({"a": float("nan")}, "a float that is no number"),
        ([float("inf")], "a float that is no number"),
        ({"s": {1, 2}}, "a set"),
        ("\ud800", "a str that is half a surrogate pair"),
        (_circle, "a value that holds itself"),
    ],
)
def test_a_value_that_json_cannot_express_is_refused_by_its_type(value: Any, named: str) -> None:
    """Nothing that would come back as something else is taken, and neither value nor key is told."""
    with pytest.raises(SourceError) as caught:
        encoded(Tier.HOT, value)
    assert f"with {named} in it" in caught.value.sentence or named in caught.value.sentence
    assert "1.5" not in caught.value.sentence


def test_values_are_compact_json_with_sorted_keys() -> None:
    """Equal values give equal bytes, whatever order their keys were set in."""
    assert encoded(Tier.HOT, {"b": "ü", "a": [1, 2.5, None]}) == '{"a":[1,2.5,null],"b":"ü"}'.encode()


class _Failing(OneByOne):
    """Fails with a key in its message."""

    error: Exception = ValueError("position:secret")

    def get_state(self, _key: str) -> Any:
        raise self.error


class _Listing(OneByOne):
    """Lists what is no key."""

    keys: Any = None

    def get_keys_by_pattern(self, _pattern: str) -> Any:
        return self.keys


failing, listing = _Failing(), _Listing()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("position:secret"), SourceError),
        (ConnectionRefusedError("position:secret"), SourceUnavailable),
        (redis.ConnectionError("position:secret"), SourceUnavailable),
        (TimeoutError(), SourceUnavailable),
    ],
)
def test_what_a_method_raises_is_told_by_its_type(error: Exception, kind: type[SourceError]) -> None:
    """Messages of others may hold state; an error of a connection may pass, others do not."""
    failing.fill(STATES)
    failing.error = error
    with pytest.raises(SourceError) as caught:
        rows(StateManagerSource("tests.sources.test_state_manager:failing", Tier.HOT))
    assert type(caught.value) is kind
    assert caught.value.sentence == (f"HOT (Redis): get_state of the state manager ended with {type(error).__name__}")


@pytest.mark.parametrize("keys", [None, "position:1", 5, [b"position:1"], [("a",)]])
def test_what_is_no_list_of_keys_is_refused(keys: Any) -> None:
    """Bytes are refused too: restored as str they would be other keys."""
    listing.keys = keys
    with pytest.raises(SourceError, match=r"in place of keys|keys are str"):
        rows(StateManagerSource("tests.sources.test_state_manager:listing", Tier.HOT))


@pytest.mark.parametrize(
    ("name", "lacking"),
    [
        ("nowhere.at_all:manager", "there is no module nowhere here"),
        (f"{OBJECTS}:nothing", f"{OBJECTS} has no nothing"),
        (f"{OBJECTS}:Incomplete", "an? Incomplete has no get_state"),
        (f"{OBJECTS}:ReadOnly", "has no batch_set_state and no set_state"),
        (f"{OBJECTS}:STATES", "has no STATES"),
    ],
)
def test_what_is_missing_is_one_sentence(name: str, lacking: str) -> None:
    """A missing module, attribute or method is a SettingError that names the setting, before anything is read."""
    source = StateManagerSource(name, Tier.HOT)
    for use in (source.connect, lambda: source.apply({"source": "state manager"}, RestoreMode.EXACT, always)):
        with pytest.raises(SettingError, match=lacking) as caught, use():
            pass
        assert caught.value.sentence.startswith("STRATA_STATE_MANAGER names ")
        assert "\n" not in caught.value.sentence


def test_records_go_back_the_way_they_came(hot_url: str) -> None:
    """What was read through a state manager is not written into Redis itself, nor the other way round."""
    through = StateManagerSource(f"{OBJECTS}:three_dicts", Tier.HOT)
    with pytest.raises(SourceError, match="read from its own service"):
        through.check({"server": "valkey", "databases": [0]})
    with through.connect() as session:
        description = session.describe()
    with pytest.raises(SourceError, match="only go back through one"):
        RedisHot(hot_url).check(description)


def test_three_urls_leave_nothing_to_stand_for(wired: Callable[..., Wiring]) -> None:
    """A state manager that would do nothing is an error, not silence."""
    urls = {"hot_url": "redis://h", "warm_url": "postgresql://w/d", "cold_url": "s3://bucket/c"}
    with pytest.raises(SettingError, match="all three have one"):
        _ = wired("three_dicts", **urls).sources
