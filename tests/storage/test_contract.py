"""What every store promises, tried on each of them: memory, folders, a share, S3 on services of different strictness.

The wrappers stand before a store in memory, and promise the same.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from strata.clock import SystemClock
from strata.errors import ObjectExists, ObjectLocked, ObjectNotFound, StorageError
from strata.s3client import S3Access, make_client
from strata.storage.append_only import AppendOnlyStore
from strata.storage.attributes import set_immutable
from strata.storage.filesystem import Durability, FilesystemStore
from strata.storage.memory import MemoryStore
from strata.storage.metered import MeteredStore
from strata.storage.port import LockingStore, LockMode, ObjectStore
from strata.storage.retrying import RetryingStore
from strata.storage.s3 import S3Store
from strata.storage.share import Share
from strata.storage.throttled import Bandwidth, ThrottledStore
from tests.storage.buckets import new_store
from workers.local_stack.servers import S3Server


def _shared(folder: Path) -> Share:
    folder.mkdir()
    share = Share(folder)
    share.set_up(datetime.now(UTC))
    return share


IN_FOLDERS: dict[str, Callable[[Path], ObjectStore]] = {
    "folder-synced": FilesystemStore,
    "folder-cached": lambda folder: FilesystemStore(folder, Durability.CACHED),
    "folder-append-only": lambda folder: AppendOnlyStore(folder, SystemClock()),
    "share": lambda folder: FilesystemStore(folder, share=_shared(folder)),
    "share-append-only": lambda folder: AppendOnlyStore(folder, SystemClock(), _shared(folder)),
}
IN_MEMORY: dict[str, Callable[[], ObjectStore]] = {
    "memory": MemoryStore,
    "retrying": lambda: RetryingStore(MemoryStore()),
    "metered": lambda: MeteredStore(MemoryStore(), SystemClock()),
    "throttled": lambda: ThrottledStore(MemoryStore(), Bandwidth(1e12, SystemClock())),
}
EXCLUSIVE = [*IN_FOLDERS, *IN_MEMORY, "s3-moto", "s3-strict"]
"""Stores of which one of several racing writers wins."""
LOCKING = ["folder-append-only", "share-append-only", "memory", "s3-moto-locked", "s3-strict-locked"]
"""Stores that refuse to remove what is locked."""


@pytest.fixture(autouse=True)
def _thawed(tmp_path: Path) -> Iterator[None]:
    """Files that were made immutable can be removed when the test is over."""
    yield
    for path in files(tmp_path):
        set_immutable(path, False)


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty store of the kind that the parameter names."""
    kind: str = request.param
    if kind in IN_FOLDERS:
        return IN_FOLDERS[kind](tmp_path / "store")
    if kind in IN_MEMORY:
        return IN_MEMORY[kind]()
    if kind.startswith(("s3-moto", "s3-strict")):
        endpoint = f"{kind.split('-')[1]}_endpoint"
        return new_store(request.getfixturevalue(endpoint), locks=kind.endswith("-locked"))
    server: S3Server = request.getfixturevalue("s3_server")
    bucket = f"contract-{os.urandom(4).hex()}"
    make_client(S3Access(server.endpoint, server.access_key, server.secret_key), 1).create_bucket(Bucket=bucket)
    return S3Store(
        f"s3://{bucket}/backups/",
        endpoint=server.endpoint,
        access_key_id=server.access_key,
        secret_access_key=server.secret_key,
    )


every_store = pytest.mark.parametrize(
    "store", [*EXCLUSIVE, "s3-rclone", "s3-moto-locked", "s3-strict-locked"], indirect=True
)
exclusive_store = pytest.mark.parametrize("store", EXCLUSIVE, indirect=True)
in_folders = pytest.mark.parametrize("store", IN_FOLDERS, indirect=True)
locking_store = pytest.mark.parametrize("store", LOCKING, indirect=True)


def names(store: ObjectStore, prefix: str = "") -> list[str]:
    return sorted(info.name for info in store.list(prefix))


def files(folder: Path) -> list[Path]:
    """The files that stores in a folder have, temporary ones included."""
    return sorted(path for path in (folder / "store").rglob("*") if path.is_file() and path.name != "strata-store.json")


@every_store
def test_what_was_put_is_what_is_got(store: ObjectStore) -> None:
    """An object comes back byte for byte, whatever buffers it was handed over in."""
    store.put("layers/x/0.seg", [b"one", bytearray(b"-two-"), memoryview(b"three")])
    assert store.get("layers/x/0.seg") == b"one-two-three"
    assert store.size("layers/x/0.seg") == 13


@every_store
def test_many_parts_make_one_object(store: ObjectStore) -> None:
    """Thousands of parts and a few MiB are joined in their order."""
    parts = [os.urandom(1 + number % 1500) for number in range(3000)]
    store.put("many", parts)
    assert store.get("many") == b"".join(parts)


@every_store
def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    """An object of no bytes is stored, listed, sized and read."""
    store.put("empty", [])
    assert (store.get("empty"), store.size("empty"), names(store)) == (b"", 0, ["empty"])
    assert store.get("empty", 0, 10) == b""


@every_store
@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [(0, None, b"0123456789"), (3, None, b"3456789"), (2, 3, b"234"), (8, 100, b"89"), (10, 5, b""), (50, 5, b""),
     (4, 0, b""), (50, None, b"")],
)  # fmt: skip
def test_a_range_is_cut_at_the_end(store: ObjectStore, offset: int, length: int | None, expected: bytes) -> None:
    """A ranged read gives the bytes asked for, fewer at the object's end, none beyond it."""
    store.put("digits", [b"0123456789"])
    assert store.get("digits", offset, length) == expected


@every_store
def test_a_name_that_is_taken_is_refused(store: ObjectStore) -> None:
    """A second object of one name is refused, and the first keeps its bytes."""
    store.put("manifests/a.json", [b"first"])
    with pytest.raises(ObjectExists, match=r"manifests/a\.json"):
        store.put("manifests/a.json", [b"second"])
    assert store.get("manifests/a.json") == b"first"


@exclusive_store
def test_one_of_racing_writers_wins(store: ObjectStore) -> None:
    """Of eight writers of one name exactly one succeeds, and its bytes are whole."""
    bodies = [bytes([number]) * 100_000 for number in range(8)]

    def won(body: bytes) -> bool:
        try:
            store.put("race", [body])
        except ObjectExists:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(won, bodies))
    assert outcomes.count(True) == 1
    assert store.get("race") == bodies[outcomes.index(True)]


@every_store
@pytest.mark.parametrize("length", [None, 0, 5])
def test_a_missing_object_is_said_to_be_missing(store: ObjectStore, length: int | None) -> None:
    """Reading what is not there raises ObjectNotFound with its name."""
    with pytest.raises(ObjectNotFound, match="nothing/here"):
        store.get("nothing/here", 0, length)
    with pytest.raises(ObjectNotFound, match="nothing/here"):
        store.size("nothing/here")


@every_store
def test_deleting_is_done_once_or_often(store: ObjectStore) -> None:
    """A deleted object is gone, its neighbour is not, and deleting again is no error."""
    store.put("a/one", [b"1"])
    store.put("a/two", [b"2"])
    store.delete("a/one")
    store.delete("a/one")
    store.delete("never/was")
    assert names(store) == ["a/two"]
    store.put("a/one", [b"again"])
    assert store.get("a/one") == b"again"


@every_store
def test_an_empty_store_lists_nothing(store: ObjectStore) -> None:
    """A store that was never written to has no objects."""
    assert names(store) == []
    assert names(store, "layers/") == []


@every_store
def test_a_listing_shows_the_prefix_and_nothing_else(store: ObjectStore) -> None:
    """A prefix ends anywhere in a name, and no other name is shown."""
    every = ["layers/ab/0.seg", "layers/ab/index", "layers/ac/0.seg", "layersx", "manifests/ab.json"]
    for name in every:
        store.put(name, [name.encode()])
    assert names(store) == every
    assert names(store, "layers/") == every[:3]
    assert names(store, "layers/ab/") == every[:2]
    assert names(store, "layers/a") == every[:3]
    assert names(store, "layers") == every[:4]
    assert names(store, "nowhere/") == []


@every_store
def test_a_listing_tells_size_and_time(store: ObjectStore) -> None:
    """A listed object has its size in bytes and the moment it was stored."""
    store.put("sized", [b"x" * 1234])
    (info,) = store.list()
    assert info.size == 1234
    assert abs(datetime.now(UTC) - info.modified) < timedelta(minutes=1)


@every_store
def test_an_object_written_in_parts_appears_when_it_is_whole(store: ObjectStore) -> None:
    """Nothing is to be seen before the commit; then the object is there, and an abort takes nothing back."""
    writer = store.begin("layers/x/0.seg")
    writer.write(b"one")
    writer.write(memoryview(b"-two"))
    assert names(store) == []
    with pytest.raises(ObjectNotFound):
        store.get("layers/x/0.seg")
    writer.commit()
    writer.abort()
    assert store.get("layers/x/0.seg") == b"one-two"
    assert names(store) == ["layers/x/0.seg"]


@every_store
def test_a_write_that_is_given_up_leaves_nothing(store: ObjectStore, tmp_path: Path) -> None:
    """An abort, or several, leave no object and no file, and the name is free."""
    writer = store.begin("layers/x/0.seg")
    writer.write(b"half")
    writer.abort()
    writer.abort()
    assert names(store) == []
    assert files(tmp_path) == []
    store.put("layers/x/0.seg", [b"whole"])
    assert store.get("layers/x/0.seg") == b"whole"


@every_store
def test_a_name_that_is_taken_is_refused_at_the_commit(store: ObjectStore, tmp_path: Path) -> None:
    """Whether it was taken before the write began or during it; the first object keeps its bytes."""
    late = store.begin("a/late")
    late.write(b"second")
    store.put("a/late", [b"first"])
    store.put("a/early", [b"first"])
    early = store.begin("a/early")
    early.write(b"second")
    for writer, name in ((late, "a/late"), (early, "a/early")):
        with pytest.raises(ObjectExists, match=name):
            writer.commit()
        writer.abort()
        assert store.get(name) == b"first"
    assert names(store) == ["a/early", "a/late"]
    assert [path.name for path in files(tmp_path)] in ([], ["early", "late"])


@every_store
def test_a_buffer_may_be_used_again_between_writes(store: ObjectStore) -> None:
    """What was written is what the buffer held then."""
    writer = store.begin("reused")
    buffer = bytearray(4)
    for number in range(3):
        buffer[:] = bytes([number]) * 4
        writer.write(buffer)
        writer.write(memoryview(buffer)[:1])
    buffer[:] = b"gone"
    writer.commit()
    assert store.get("reused") == b"\0\0\0\0\0\1\1\1\1\1\2\2\2\2\2"


@every_store
def test_clearing_removes_what_is_below_a_folder_and_nothing_else(store: ObjectStore) -> None:
    """Objects at any depth below it; not those whose names only begin alike. Clearing again is no error."""
    for name in ["runs/a/0", "runs/a/b/c/1", "runs/ab", "runs/ab.c/0", "other"]:
        store.put(name, [b"x"])
    store.clear("runs/a")
    store.clear("runs/a")
    store.clear("never/was")
    assert names(store) == ["other", "runs/ab", "runs/ab.c/0"]
    store.put("runs/a/0", [b"again"])
    assert store.get("runs/a/0") == b"again"


@in_folders
def test_clearing_removes_what_interrupted_writes_left(store: ObjectStore, tmp_path: Path) -> None:
    """Temporary files of writers that never ended go too; those of other folders stay."""
    writers = [store.begin(name) for name in ("runs/a/0", "runs/a/b/1", "runs/b/0")]
    for writer in writers:
        writer.write(b"half")
    assert (len(files(tmp_path)), names(store)) == (3, [])
    store.clear("runs/a")
    assert [path.parent.name for path in files(tmp_path)] == ["b"]
    for writer in writers:
        writer.abort()
    assert files(tmp_path) == []


@every_store
def test_nothing_is_below_an_object(store: ObjectStore) -> None:
    """A listing under a name that is an object's gives nothing."""
    store.put("a/object", [b"x"])
    assert names(store, "a/object/") == []
    assert names(store, "a/object/deeper/") == []


@every_store
def test_a_bad_name_is_refused(store: ObjectStore) -> None:
    """A name that could leave the store or upset a file system is refused by every verb."""
    for name in ["", "/root", "a//b", "a/", "../up", "a/../b", "./a", "a b", "ü", "a\nb", "a%2fb"]:
        for verb in (store.get, store.size, store.delete):
            with pytest.raises(StorageError, match="not a valid object name"):
                verb(name)
        with pytest.raises(StorageError, match="not a valid object name"):
            store.put(name, [b""])
        with pytest.raises(StorageError, match="not a valid object name"):
            store.begin(name)
    assert names(store) == []


@locking_store
def test_a_locked_object_is_not_removed_before_its_time(store: LockingStore) -> None:
    """Neither by its name nor with its folder; it can still be read, and its neighbours can go."""
    store.put("layers/x/0.seg", [b"kept"])
    store.put("layers/x/1.seg", [b"free"])
    assert store.locked_until("layers/x/0.seg") is None
    until = datetime.now(UTC) + timedelta(hours=1)
    store.lock("layers/x/0.seg", until, LockMode.GOVERNANCE)
    for remove in (store.delete, lambda _: store.clear("layers/x")):
        with pytest.raises(ObjectLocked, match=rf"keeps layers/x/0\.seg until {until:%Y-%m-%d}"):
            remove("layers/x/0.seg")
    assert store.get("layers/x/0.seg") == b"kept"
    store.delete("layers/x/1.seg")
    assert names(store) == ["layers/x/0.seg"]


@locking_store
def test_a_lock_is_only_ever_extended(store: LockingStore) -> None:
    """An earlier end changes nothing, a later one holds from then on; whole seconds at least."""
    store.put("one", [b"1"])
    first, later = (datetime.now(UTC) + timedelta(hours=hours) for hours in (2, 3))
    for asked, expected in ((first, first), (first - timedelta(hours=1), first), (later, later)):
        store.lock("one", asked, LockMode.GOVERNANCE)
        found = store.locked_until("one")
        assert found
        assert timedelta(0) <= found - expected <= timedelta(seconds=1)


@locking_store
def test_a_lock_that_is_over_lets_go(store: LockingStore) -> None:
    """What was locked until now can be removed, and the name can be used again."""
    store.put("one", [b"1"])
    store.lock("one", datetime.now(UTC) + timedelta(seconds=1), LockMode.GOVERNANCE)
    while (store.locked_until("one") or datetime.max.replace(tzinfo=UTC)) > datetime.now(UTC):
        os.sched_yield()
    store.delete("one")
    assert names(store) == []
    store.put("one", [b"2"])
    assert store.get("one") == b"2"
    assert store.locked_until("one") is None


@locking_store
def test_a_missing_object_cannot_be_locked(store: LockingStore) -> None:
    """There is nothing to keep, and nothing to tell of it."""
    with pytest.raises(ObjectNotFound):
        store.lock("nothing", datetime.now(UTC) + timedelta(hours=1), LockMode.GOVERNANCE)
    with pytest.raises(ObjectNotFound):
        store.locked_until("nothing")


@every_store
def test_a_large_object_is_one_object(store: ObjectStore) -> None:
    """One that goes in several parts is refused where its name is taken, and comes back byte for byte."""
    block = os.urandom(1 << 20)
    store.put("chunks/x-000000.pack", [block] * 33 + [b"end"])
    with pytest.raises(ObjectExists, match=re.escape("chunks/x-000000.pack")):
        store.put("chunks/x-000000.pack", [block] * 33)
    assert store.size("chunks/x-000000.pack") == (33 << 20) + 3
    assert store.get("chunks/x-000000.pack", 32 << 20) == block + b"end"
    assert store.get("chunks/x-000000.pack") == block * 33 + b"end"
