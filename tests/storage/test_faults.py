"""Stores in trouble: each fault gives its sentence, leaves nothing half-written, and is over when it is over."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

import strata.s3client
from strata.clock import SystemClock
from strata.engine.doctor import Part, Verdict, examine
from strata.engine.store_trial import StoreTrial
from strata.errors import ObjectDenied, StorageError, StoreFull, StoreUnavailable
from strata.s3client import S3Access, make_client
from strata.storage.append_only import AppendOnlyStore
from strata.storage.filesystem import FilesystemStore
from strata.storage.port import ObjectStore
from strata.storage.retrying import RetryingStore
from strata.storage.s3 import S3Store
from strata.storage.share import Share
from tests.s3_proxy import Spoil, spoiling_proxy
from tests.storage.buckets import SECRET, bucket_store, new_bucket
from workers.local_stack.servers import S3Server

_START_SECONDS = 20


@dataclass(frozen=True)
class FaultyFolder:
    """A folder that fails as ordered; `behind` is where its files really are."""

    path: Path
    behind: Path
    orders: Path

    def order(self, **faults: int) -> None:
        """From now on answer these operations so; 0 means never."""
        self.orders.write_text(json.dumps(faults))

    def files(self) -> list[str]:
        """Every file there is, temporary ones included, but for a share's marker."""
        found = (path for path in self.behind.rglob("*") if path.is_file())
        return sorted(path.relative_to(self.behind / "store").as_posix() for path in found if path.suffix != ".json")


@pytest.fixture
def faulty(folder: Path) -> Iterator[FaultyFolder]:
    """A file system of our own, mounted for the test."""
    made = FaultyFolder(folder / "mount", folder / "behind", folder / "orders.json")
    made.path.mkdir()
    (made.behind / "store").mkdir(parents=True)
    made.order()
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.storage.fault_fs", made.path, made.behind, made.orders],
            stdout=log,
            stderr=log,
        )
        try:
            _wait_for(made, child, folder / "log")
            yield made
        finally:
            subprocess.run(["/bin/umount", "--lazy", made.path], capture_output=True, check=False)
            child.kill()  # whoever hangs in it is let go
            child.wait(10)


def _wait_for(made: FaultyFolder, child: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while not made.path.is_mount():
        if child.poll() is not None or time.monotonic() > end:
            pytest.skip(f"no FUSE here (it takes mfusepy, libfuse and root): {log.read_text()[-300:]}")
        time.sleep(0.02)


def _share(root: Path) -> Share:
    share = Share(root)
    share.set_up(datetime.now(UTC))
    return share


FOLDERS: dict[str, Callable[[Path], ObjectStore]] = {
    "LOCAL": FilesystemStore,
    "append-only": lambda root: AppendOnlyStore(root, SystemClock()),
    "NETWORK": lambda root: FilesystemStore(root, share=_share(root)),
}
WRITE_FAULTS = [
    ("write", errno.ENOSPC, StoreFull, "No space left on device"),
    ("fsync", errno.ENOSPC, StoreFull, "No space left on device"),
    ("create", errno.EDQUOT, StoreFull, "Disk quota exceeded"),
    ("write", errno.EIO, StoreUnavailable, "Input/output error"),
    ("fsync", errno.EIO, StoreUnavailable, "Input/output error"),
    ("link", errno.EIO, StoreUnavailable, "Input/output error"),
    ("create", errno.ESTALE, StoreUnavailable, "Stale file handle"),
    ("link", errno.EROFS, StorageError, "Read-only file system"),
    ("create", errno.EACCES, StorageError, "Permission denied"),
]


@pytest.mark.parametrize("kind", FOLDERS)
@pytest.mark.parametrize(("verb", "code", "error", "reason"), WRITE_FAULTS)
def test_a_write_that_fails_leaves_nothing(
    faulty: FaultyFolder, kind: str, verb: str, code: int, error: type[StorageError], reason: str
) -> None:
    """Neither an object nor a temporary file; the sentence names object and reason, and the next write succeeds."""
    store = FOLDERS[kind](faulty.path / "store")
    store.put("layers/x/0.seg", [b"before"])
    faulty.order(**{verb: code})
    with pytest.raises(error, match=rf"could not write layers/x/1\.seg: {reason}") as caught:
        store.put("layers/x/1.seg", [b"x" * 300_000])
    assert type(caught.value) is error
    assert caught.value.hint
    faulty.order()
    assert faulty.files() == ["layers/x/0.seg"]
    store.put("layers/x/1.seg", [b"after"])
    assert store.get("layers/x/1.seg") == b"after"


@pytest.mark.parametrize("kind", FOLDERS)
@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        ({"write": errno.ENOSPC, "flush": errno.EIO}, "No space left on device"),
        ({"fsync": errno.ENOSPC, "flush": errno.EIO}, "No space left on device"),
        ({"flush": errno.EDQUOT}, "Disk quota exceeded"),
    ],
)
def test_a_close_that_fails_hides_no_failure_and_leaves_nothing(
    faulty: FaultyFolder, kind: str, faults: dict[str, int], reason: str
) -> None:
    """What failed first is told; a share that says only when a file is closed that it is full gets no object."""
    store = FOLDERS[kind](faulty.path / "store")
    writer = store.begin("one")

    def write() -> None:
        with ExitStack() as leaving:
            leaving.callback(writer.abort)
            writer.write(b"x" * 300_000)
            writer.commit()

    faulty.order(**faults)
    with pytest.raises(StoreFull, match=f"could not write one: {reason}"):
        write()
    faulty.order()
    assert faulty.files() == []


READ_FAULTS: list[tuple[str, Callable[[ObjectStore], object]]] = [
    ("open", lambda store: store.get("one")),
    ("read", lambda store: store.get("one")),
    ("readdir", lambda store: list(store.list())),
]


@pytest.mark.parametrize(("verb", "call"), READ_FAULTS)
@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
def test_a_read_that_fails_is_no_missing_object(
    faulty: FaultyFolder, verb: str, call: Callable[[ObjectStore], object], code: int
) -> None:
    """A disk or a share in trouble may be asked again; nothing is taken for missing or empty."""
    store = FilesystemStore(faulty.path / "store")
    store.put("one", [b"1"])
    faulty.order(**{verb: code})
    with pytest.raises(StoreUnavailable):
        call(store)
    faulty.order()
    call(store)


def test_an_object_of_another_user_is_told_apart(faulty: FaultyFolder, moto_endpoint: str) -> None:
    """What may not be read is there: it is neither missing nor a store that does not answer."""
    store = FilesystemStore(faulty.path / "store")
    store.put("one", [b"1"])
    faulty.order(open=errno.EACCES)
    with pytest.raises(ObjectDenied, match="could not read one: Permission denied"):
        store.get("one")
    bucket = new_bucket(moto_endpoint)
    denied = Spoil(status=403, code="AccessDenied")
    with spoiling_proxy(moto_endpoint, lambda method, _: denied if method == "GET" else None) as endpoint:
        denying = bucket_store(endpoint, bucket)
        with pytest.raises(ObjectDenied, match=r"failed on one: .*AccessDenied"):
            denying.get("one")


def test_a_share_in_trouble_is_not_taken_for_one_that_is_not_mounted(faulty: FaultyFolder) -> None:
    """Where its marker cannot be looked at, the store does not answer."""
    store = FOLDERS["NETWORK"](faulty.path / "store")
    faulty.order(getattr=errno.ESTALE, open=errno.ESTALE)
    with pytest.raises(StoreUnavailable, match="does not answer"):
        store.put("one", [b"1"])


def test_a_share_that_hangs_holds_up_nobody_else(faulty: FaultyFolder, folder: Path) -> None:
    """The doctor tells it after its time, and what it found of the others meanwhile."""
    hanging, fine = FilesystemStore(faulty.path / "store"), FilesystemStore(folder / "fine")
    faulty.order(fsync=0)
    clock = SystemClock()
    parts = [Part(name, "", StoreTrial(store, clock).findings) for name, store in (("a", hanging), ("b", fine))]
    first, second = examine(parts, clock, seconds=3)
    assert first.findings[-1].said == "it did not come to an end within 3 s"
    assert (first.verdict, second.verdict) == (Verdict.FAILED, Verdict.SAFE)


S3_FAULTS = [
    (Spoil(status=503, code="SlowDown"), StoreUnavailable, r"SlowDown \(HTTP 503\)", "a retry may help"),
    (Spoil(status=503), StoreUnavailable, "HTTP 503", "a retry may help"),
    (Spoil(status=500, code="InternalError"), StoreUnavailable, "InternalError", "a retry may help"),
    (Spoil(status=507), StoreFull, "HTTP 507", "Free room"),
    (Spoil(status=400, code="QuotaExceeded"), StoreFull, "QuotaExceeded", "Free room"),
    (Spoil(status=403, code="RequestTimeTooSkewed"), StorageError, "RequestTimeTooSkewed", "Set this machine's clock"),
    (Spoil(status=403, code="AccessDenied"), StorageError, "AccessDenied", "Check the credentials"),
    (Spoil(status=404, code="NoSuchBucket"), StorageError, "the bucket does not exist", "Create the bucket"),
    (Spoil(status=501, code="NotImplemented"), StorageError, "NotImplemented", "supports the request"),
]


LARGE = 33 << 20
IN_EITHER_WAY = [
    (Spoil(answer_bytes=-1), StoreUnavailable, "the connection broke", "a retry may help", LARGE),
    *((*fault, size) for fault in S3_FAULTS for size in (10, LARGE)),
]
"""Faults of objects that go at once, and of such that go in parts."""


@pytest.mark.parametrize(("spoil", "error", "reason", "hint", "size"), IN_EITHER_WAY)
def test_a_service_in_trouble_gets_its_sentence_and_no_object(
    moto_endpoint: str, spoil: Spoil, error: type[StorageError], reason: str, hint: str, size: int
) -> None:
    """For objects that go at once and such that go in parts; neither an object nor a part is left."""
    bucket, large = new_bucket(moto_endpoint), size == LARGE

    def choose(method: str, path: str) -> Spoil | None:
        return spoil if method == "PUT" and (not large or "partNumber=3" in path) else None

    with (
        spoiling_proxy(moto_endpoint, choose) as endpoint,
        pytest.raises(error, match=rf"failed on 0\.pack: {reason}") as caught,
    ):
        bucket_store(endpoint, bucket, attempts=1).put("0.pack", [bytes(size)])
    assert type(caught.value) is error
    assert hint in caught.value.hint
    assert SECRET not in caught.value.sentence + caught.value.hint
    client = make_client(S3Access(moto_endpoint, "test", "test"), 1)
    assert "Contents" not in client.list_objects_v2(Bucket=bucket)
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)


@pytest.mark.parametrize("verb", ["get", "put", "list"])
def test_a_service_that_hangs_is_given_up(moto_endpoint: str, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    """A request that is never answered ends after its time, and may be tried again."""
    monkeypatch.setattr(strata.s3client, "READ_SECONDS", 0.2)
    bucket, let_go = new_bucket(moto_endpoint), threading.Event()
    with spoiling_proxy(moto_endpoint, lambda *_: Spoil(until=let_go, status=503)) as endpoint:
        store = bucket_store(endpoint, bucket, attempts=1)
        calls: dict[str, Callable[[], object]] = {
            "get": lambda: store.get("one"),
            "put": lambda: store.put("one", [b"1"]),
            "list": lambda: [*store.list()],
        }
        with pytest.raises(StoreUnavailable, match="it did not answer in time"):
            calls[verb]()
        let_go.set()


def test_a_service_that_asks_to_slow_down_gets_its_object_in_the_end(moto_endpoint: str) -> None:
    """The wrapper waits longer from try to try, and the object is there once."""
    left, pauses = [Spoil(status=503, code="SlowDown")] * 2, list[float]()
    bucket = new_bucket(moto_endpoint)

    def choose(method: str, _: str) -> Spoil | None:
        return left.pop() if method == "PUT" and left else None

    with spoiling_proxy(moto_endpoint, choose) as endpoint:
        store = RetryingStore(bucket_store(endpoint, bucket, attempts=1), sleep=pauses.append)
        store.put("layers/0.seg", [b"data"])
        assert store.get("layers/0.seg") == b"data"
    assert len(pauses) == 2


def test_a_bucket_that_is_gone_is_said_to_be_gone(moto_endpoint: str) -> None:
    """A bucket that was there and is not any more: no verb takes its objects for missing ones."""
    bucket = new_bucket(moto_endpoint)
    store = bucket_store(moto_endpoint, bucket)
    store.put("one", [b"1"])
    store.delete("one")
    make_client(S3Access(moto_endpoint, "test", "test"), 1).delete_bucket(Bucket=bucket)
    verbs: tuple[Callable[[], object], ...] = (
        lambda: store.get("one"),
        lambda: store.size("one"),
        lambda: store.put("two", [b"2"]),
        lambda: list(store.list()),
    )
    for verb in verbs:
        with pytest.raises(StorageError, match="the bucket does not exist"):
            verb()


def test_credentials_that_were_withdrawn_are_the_fault(s3_server: S3Server) -> None:
    """Every verb says so, by the service's own code, without showing them."""
    store = S3Store(
        "s3://any", endpoint=s3_server.endpoint, access_key_id="nobody", secret_access_key=SECRET, attempts=1
    )
    verbs: tuple[Callable[[], object], ...] = (
        lambda: store.get("one"),
        lambda: store.put("two", [b"2"]),
        lambda: list(store.list()),
    )
    for verb in verbs:
        with pytest.raises(StorageError) as caught:
            verb()
        assert type(caught.value) is StorageError
        assert "credentials" in caught.value.hint
        assert SECRET not in caught.value.sentence + caught.value.hint
