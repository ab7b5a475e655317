"""What a store in S3 promises besides the contract: its failures, and the one PUT whose answer was lost."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from strata.errors import ObjectExists, ObjectLocked, SettingError, StorageError, StoreFull, StoreUnavailable
from strata.s3client import S3Access, make_client
from strata.storage.port import LockMode
from strata.storage.s3 import S3Store
from tests.s3_proxy import Spoil, first, spoiling_proxy
from tests.storage.buckets import SECRET, bucket_store, new_bucket, new_store
from workers.local_stack.servers import S3Server, free_port


def moto_store(
    endpoint: str, url: str, storage_class: str | None = None, attempts: int = 2, threads: int = 4
) -> S3Store:
    return S3Store(
        url,
        endpoint=endpoint,
        access_key_id="test",
        secret_access_key=SECRET,
        storage_class=storage_class,
        attempts=attempts,
        threads=threads,
    )


def test_a_put_whose_answer_was_lost_is_no_conflict_with_itself(moto_endpoint: str, moto_bucket: str) -> None:
    """Where the answer to a PUT is lost, the repeated PUT meets its own object and succeeds."""
    with spoiling_proxy(moto_endpoint, first("PUT", Spoil(answer_bytes=-1))) as endpoint:
        moto_store(endpoint, f"s3://{moto_bucket}").put("layers/0.seg", [b"data"])
    assert moto_store(moto_endpoint, f"s3://{moto_bucket}").get("layers/0.seg") == b"data"


def test_a_repeated_put_does_not_take_another_writers_object_for_its_own(moto_endpoint: str, moto_bucket: str) -> None:
    """Where a repeated PUT meets somebody else's bytes, the conflict is reported and they stay."""
    theirs = Spoil(body=b"theirs", answer_bytes=-1)
    with spoiling_proxy(moto_endpoint, first("PUT", theirs)) as endpoint, pytest.raises(ObjectExists):
        moto_store(endpoint, f"s3://{moto_bucket}").put("layers/0.seg", [b"ours"])
    assert moto_store(moto_endpoint, f"s3://{moto_bucket}").get("layers/0.seg") == b"theirs"


@pytest.mark.parametrize(
    ("status", "kind"), [(500, StoreUnavailable), (503, StoreUnavailable), (409, StoreUnavailable), (507, StoreFull)]
)
def test_what_the_service_answers_decides_whether_to_ask_again(
    moto_endpoint: str, moto_bucket: str, status: int, kind: type[StorageError]
) -> None:
    """A service in trouble, or busy with a write of that name, may be asked again; a full one is full."""

    def choose(method: str, _: str) -> Spoil | None:
        return Spoil(status=status) if method == "PUT" else None

    with spoiling_proxy(moto_endpoint, choose) as endpoint, pytest.raises(kind):
        moto_store(endpoint, f"s3://{moto_bucket}", attempts=1).put("one", [b"1"])


def test_an_answer_that_breaks_off_is_an_error_and_no_short_object(moto_endpoint: str, moto_bucket: str) -> None:
    """Half of an object is never handed over."""
    moto_store(moto_endpoint, f"s3://{moto_bucket}").put("one", [b"x" * 100_000])
    with (
        spoiling_proxy(moto_endpoint, first("GET", Spoil(answer_bytes=50_000))) as endpoint,
        pytest.raises(StoreUnavailable),
    ):
        moto_store(endpoint, f"s3://{moto_bucket}").get("one")


def test_an_object_rests_in_the_storage_class_of_the_store(moto_endpoint: str, moto_bucket: str) -> None:
    """The storage class of the settings is that of the object."""
    moto_store(moto_endpoint, f"s3://{moto_bucket}/b", "STANDARD_IA").put("layers/x/0.seg", [b"1"])
    client = make_client(S3Access(moto_endpoint, "test", "test"), 1)
    assert client.head_object(Bucket=moto_bucket, Key="b/layers/x/0.seg")["StorageClass"] == "STANDARD_IA"


def test_an_archived_object_says_how_it_comes_back(moto_endpoint: str, moto_bucket: str) -> None:
    """Reading from an archive class fails for good, with the way out as its hint."""
    store = moto_store(moto_endpoint, f"s3://{moto_bucket}", "GLACIER")
    store.put("0.seg", [b"1"])
    with pytest.raises(StorageError, match="in an archive class") as caught:
        store.get("0.seg")
    assert not caught.value.retryable
    assert "through a thaw" in caught.value.hint


def test_an_unknown_storage_class_is_refused_with_a_hint(moto_endpoint: str, moto_bucket: str) -> None:
    """A storage class the service does not have is named as the fault."""
    with pytest.raises(StorageError, match="InvalidStorageClass") as caught:
        moto_store(moto_endpoint, f"s3://{moto_bucket}", "NO_SUCH_CLASS").put("0.seg", [b"1"])
    assert "storage class" in caught.value.hint


def test_a_service_that_is_away_may_be_asked_again() -> None:
    """Every verb raises StoreUnavailable where nobody listens, without the credentials."""
    store = moto_store(f"http://127.0.0.1:{free_port()}", "s3://bucket/b", attempts=1)
    for verb in (store.get, store.size, store.delete, lambda name: store.put(name, [b""]), lambda _: [*store.list()]):
        with pytest.raises(StoreUnavailable) as caught:
            verb("one")
        assert SECRET not in f"{caught.value} {caught.value.hint} {store!r}"


def test_a_missing_bucket_is_not_taken_for_missing_objects(moto_endpoint: str) -> None:
    """Every verb says that the bucket does not exist; a retry does not help."""
    store = moto_store(moto_endpoint, "s3://no-such-bucket/b")
    for verb in (store.get, store.size, lambda name: store.put(name, [b""]), lambda _: [*store.list()]):
        with pytest.raises(StorageError, match="the bucket does not exist") as caught:
            verb("one")
        assert type(caught.value) is StorageError


def test_wrong_credentials_are_refused_with_a_hint(s3_server: S3Server) -> None:
    """Credentials the service does not know are the fault, and are not shown."""
    store = S3Store("s3://any", endpoint=s3_server.endpoint, access_key_id="nobody", secret_access_key=SECRET)
    with pytest.raises(StorageError) as caught:
        [*store.list()]
    assert "credentials" in caught.value.hint
    assert SECRET not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize("url", ["bucket/prefix", "s3://", "s3://key:secret@bucket/x", "file:///s3", "s3://UP CASE"])
def test_a_url_that_names_no_bucket_is_refused_without_quoting_it(url: str) -> None:
    """A URL that is not s3://bucket/prefix is a SettingError, which does not repeat it: it may hold a secret."""
    with pytest.raises(SettingError) as caught:
        S3Store(url)
    assert "key:secret" not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize("endpoint", ["localhost:9000", "ftp://host", "http://", "http://key:secret@host:9000"])
def test_an_endpoint_that_is_no_plain_url_is_refused(endpoint: str) -> None:
    """An endpoint needs a scheme and a host, and holds no credentials."""
    with pytest.raises(SettingError):
        S3Store("s3://bucket", endpoint=endpoint).size("one")


@pytest.mark.parametrize(
    "endpoint", ["http://exa mple:80", "http://host:port", "http://host:99999", "http://[::1", "x"]
)
def test_an_endpoint_that_is_no_url_is_a_wrong_setting(endpoint: str) -> None:
    """It is refused when the client is made, in a sentence that does not repeat it."""
    with pytest.raises(SettingError, match="the S3 endpoint must be a URL like") as caught:
        make_client(S3Access(endpoint), 1)
    assert endpoint not in caught.value.sentence or endpoint == "x"


def test_a_region_that_cannot_be_one_is_a_wrong_setting() -> None:
    """A space or a line break in the region is refused in a sentence, not by an unforeseen error."""
    with pytest.raises(SettingError, match=r"'eu central\\n' cannot be a region of S3"):
        make_client(S3Access("http://host", region="eu central\n"), 1)


EVERY_KIND = ["manifests/a.json", "notes/a/1-verified.json", "layers/x/layer.json", "layers/x/0.idx", "layers/x/0.cdx"]


@pytest.mark.parametrize("name", EVERY_KIND)
def test_what_an_archive_is_planned_on_is_never_archived(moto_endpoint: str, moto_bucket: str, name: str) -> None:
    """Manifests, notes, layer documents and indexes can be read at once, whatever the storage class of the store."""
    store = moto_store(moto_endpoint, f"s3://{moto_bucket}", "DEEP_ARCHIVE")
    store.put(name, [b"hot"])
    assert store.get(name) == b"hot"


def test_a_large_object_whose_completion_was_lost_is_stored(moto_endpoint: str, moto_bucket: str) -> None:
    """Where the answer to the last request of an upload in parts is lost, the repeated one meets its own object."""

    def choose(method: str, path: str) -> Spoil | None:
        if method == "POST" and "uploadId=" in path and left:
            return left.pop()
        return None

    left = [Spoil(answer_bytes=-1)]
    body = bytes(33 << 20)
    with spoiling_proxy(moto_endpoint, choose) as endpoint:
        moto_store(endpoint, f"s3://{moto_bucket}").put("0.pack", [body])
    assert left == []
    assert moto_store(moto_endpoint, f"s3://{moto_bucket}").get("0.pack") == body


def test_an_upload_in_parts_that_fails_leaves_nothing(moto_endpoint: str, moto_bucket: str) -> None:
    """Where one part is refused, neither an object nor another part is left."""
    client = make_client(S3Access(moto_endpoint, "test", "test"), 1)

    def choose(method: str, path: str) -> Spoil | None:
        return Spoil(status=507) if method == "PUT" and "partNumber=2" in path else None

    with spoiling_proxy(moto_endpoint, choose) as endpoint, pytest.raises(StoreFull):
        moto_store(endpoint, f"s3://{moto_bucket}").put("0.pack", [bytes(33 << 20)])
    assert "Uploads" not in client.list_multipart_uploads(Bucket=moto_bucket)
    assert list(moto_store(moto_endpoint, f"s3://{moto_bucket}").list()) == []


def test_uploads_that_never_ended_are_given_up_when_they_are_old(strict_endpoint: str) -> None:
    """What a killed process left goes with the sweep, its elders only, and nothing beside the store."""
    client, bucket = make_client(S3Access(strict_endpoint, "test", "test"), 1), new_bucket(strict_endpoint)
    for key in ("b/layers/x/0.seg", "b/layers/x/1.seg", "other/0.seg"):
        client.create_multipart_upload(Bucket=bucket, Key=key)
    store = moto_store(strict_endpoint, f"s3://{bucket}/b")
    assert store.abort_unfinished(timedelta(hours=1)) == 0
    assert store.abort_unfinished(timedelta(0)) == 2
    (left,) = client.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert left["Key"] == "other/0.seg"


def test_no_more_objects_are_uploaded_at_a_time_than_there_are_threads(moto_endpoint: str, moto_bucket: str) -> None:
    """Eight writers of one store with two threads never have three requests on their way."""
    flying, most, lock = [0], [0], threading.Lock()

    def choose(method: str, _: str) -> Spoil | None:
        if method == "PUT":
            with lock:
                flying[0] += 1
                most[0] = max(most[0], flying[0])
            barrier.wait()
            with lock:
                flying[0] -= 1
        return None

    barrier = threading.Barrier(2)
    with spoiling_proxy(moto_endpoint, choose) as endpoint, ThreadPoolExecutor(8) as pool:
        store = moto_store(endpoint, f"s3://{moto_bucket}", threads=2)
        list(pool.map(lambda number: store.put(f"{number}", [b"x"]), range(8)))
    assert most == [2]


def test_a_locked_bucket_hides_what_is_deleted_and_keeps_its_versions(moto_endpoint: str) -> None:
    """A delete in a bucket with versions makes a delete marker; the object is in no listing any more."""
    store = new_store(moto_endpoint, locks=True)
    store.put("one", [b"1"])
    store.delete("one")
    bucket = store.url.split("/")[2]
    versions = make_client(S3Access(moto_endpoint, "test", "test"), 1).list_object_versions(Bucket=bucket)
    assert [len(versions["Versions"]), len(versions["DeleteMarkers"])] == [1, 1]
    assert list(store.list()) == []


def test_a_default_retention_of_the_bucket_counts(strict_endpoint: str) -> None:
    """In a bucket that locks by itself an object, large or small, is stored, and not removed before its time."""
    bucket = new_bucket(strict_endpoint, locks=True)
    make_client(S3Access(strict_endpoint, "test", "test"), 1).put_object_lock_configuration(
        Bucket=bucket,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}},
        },
    )
    store = bucket_store(strict_endpoint, bucket)
    for name, body in (("0.seg", b"1"), ("0.pack", bytes(33 << 20))):
        store.put(name, [body])
        with pytest.raises(ObjectLocked, match=f"keeps {name} until"):
            store.delete(name)


def test_a_legal_hold_counts(strict_endpoint: str) -> None:
    """An object that somebody holds is not hidden, and the sentence says why."""
    store = new_store(strict_endpoint, locks=True)
    store.put("one", [b"1"])
    bucket = store.url.split("/")[2]
    client = make_client(S3Access(strict_endpoint, "test", "test"), 1)
    client.put_object_legal_hold(Bucket=bucket, Key="backups/one/one", LegalHold={"Status": "ON"})
    with pytest.raises(ObjectLocked, match="under a legal hold"):
        store.delete("one")


@pytest.mark.parametrize("service", ["moto", "strict"])
def test_a_stricter_lock_stays_strict(request: pytest.FixtureRequest, service: str) -> None:
    """A lock of compliance that is extended as one of governance is still one of compliance."""
    store = new_store(request.getfixturevalue(f"{service}_endpoint"), locks=True)
    store.put("one", [b"1"])
    now = datetime.now(UTC)
    store.lock("one", now + timedelta(hours=1), LockMode.COMPLIANCE)
    store.lock("one", now + timedelta(hours=2), LockMode.GOVERNANCE)
    bucket, endpoint = store.url.split("/")[2], request.getfixturevalue(f"{service}_endpoint")
    client = make_client(S3Access(endpoint, "test", "test"), 1)
    head = client.head_object(Bucket=bucket, Key="backups/one/one")
    assert head["ObjectLockMode"] == "COMPLIANCE"
    assert head["ObjectLockRetainUntilDate"] >= now + timedelta(hours=2)


def test_a_bucket_without_object_lock_cannot_lock(moto_endpoint: str) -> None:
    """The sentence says so; it is the bucket that was made without."""
    store = new_store(moto_endpoint)
    store.put("one", [b"1"])
    with pytest.raises(StorageError, match="its bucket has no Object Lock"):
        store.lock("one", datetime.now(UTC) + timedelta(hours=1), LockMode.GOVERNANCE)


def test_objects_are_encrypted_with_the_key_of_the_settings(strict_endpoint: str) -> None:
    """Large and small ones name the KMS key; one that is disabled is the fault, and says so."""
    from boto3.session import Session

    kms = Session("test", SECRET, region_name="us-east-1").client("kms", endpoint_url=strict_endpoint)
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    bucket = new_bucket(strict_endpoint)
    store = bucket_store(strict_endpoint, bucket, kms_key=key_id, region="us-east-1")
    client = make_client(S3Access(strict_endpoint, "test", "test"), 1)
    for name, body in (("0.seg", b"1"), ("0.pack", bytes(33 << 20)), ("manifests/a.json", b"{}")):
        store.put(name, [body])
        head = client.head_object(Bucket=bucket, Key=f"backups/one/{name}")
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"].endswith(key_id)) == ("aws:kms", True)
    kms.disable_key(KeyId=key_id)
    with pytest.raises(StorageError, match=r"KMS\.DisabledException") as caught:
        store.put("1.seg", [b"1"])
    assert caught.value.hint == "Enable the KMS key."


@pytest.mark.parametrize("size", [10, 33 << 20])
def test_a_service_that_refuses_the_condition_is_asked_without_it(
    moto_endpoint: str, moto_bucket: str, size: int
) -> None:
    """One that answers If-None-Match by 501 is a store all the same; a taken name is refused by the look before."""
    asked = list[bool]()

    def choose(_: str, path: str, headers: Mapping[str, str]) -> Spoil | None:
        asked.append("If-None-Match" in headers)
        return Spoil(status=501, code="NotImplemented") if asked[-1] else None

    with spoiling_proxy(moto_endpoint, choose_by_headers=choose) as endpoint:
        store = moto_store(endpoint, f"s3://{moto_bucket}")
        for name in ("0.pack", "1.pack"):
            store.put(name, [bytes(size)])
        with pytest.raises(ObjectExists):
            store.put("1.pack", [b"other"])
    assert asked.count(True) == 1
    assert moto_store(moto_endpoint, f"s3://{moto_bucket}").size("1.pack") == size


def test_a_large_object_whose_name_was_taken_meanwhile_is_refused(strict_endpoint: str) -> None:
    """The condition holds for the completion of an upload in parts; the loser leaves no parts."""
    bucket = new_bucket(strict_endpoint)
    bucket_store(strict_endpoint, bucket).put("0.pack", [b"first"])
    with (
        spoiling_proxy(strict_endpoint, first("HEAD", Spoil(status=404))) as endpoint,
        pytest.raises(ObjectExists),
    ):
        bucket_store(endpoint, bucket).put("0.pack", [bytes(33 << 20)])
    assert bucket_store(strict_endpoint, bucket).get("0.pack") == b"first"
    client = make_client(S3Access(strict_endpoint, "test", "test"), 1)
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)
