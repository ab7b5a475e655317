"""What a store in S3 promises besides the contract: its failures, and the one PUT whose answer was lost."""

from __future__ import annotations

import pytest

from strata.errors import ObjectExists, SettingError, StorageError, StoreFull, StoreUnavailable
from strata.s3client import S3Access, make_client
from strata.storage.s3 import S3Store
from tests.s3_proxy import Spoil, first, spoiling_proxy
from workers.local_stack.servers import S3Server, free_port

SECRET = "a-secret-that-nobody-may-see"  # noqa: S105 - made up


def moto_store(endpoint: str, url: str, storage_class: str | None = None, attempts: int = 2) -> S3Store:
    return S3Store(
        url,
        endpoint=endpoint,
        access_key_id="test",
        secret_access_key=SECRET,
        storage_class=storage_class,
        attempts=attempts,
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
    moto_store(moto_endpoint, f"s3://{moto_bucket}/b", "STANDARD_IA").put("one", [b"1"])
    head = make_client(S3Access(moto_endpoint, "test", "test"), 1).head_object(Bucket=moto_bucket, Key="b/one")
    assert head["StorageClass"] == "STANDARD_IA"


def test_an_archived_object_says_how_it_comes_back(moto_endpoint: str, moto_bucket: str) -> None:
    """Reading from an archive class fails for good, with the way out as its hint."""
    store = moto_store(moto_endpoint, f"s3://{moto_bucket}", "GLACIER")
    store.put("one", [b"1"])
    with pytest.raises(StorageError, match="in an archive class") as caught:
        store.get("one")
    assert not caught.value.retryable
    assert "through a thaw" in caught.value.hint


def test_an_unknown_storage_class_is_refused_with_a_hint(moto_endpoint: str, moto_bucket: str) -> None:
    """A storage class the service does not have is named as the fault."""
    with pytest.raises(StorageError, match="InvalidStorageClass") as caught:
        moto_store(moto_endpoint, f"s3://{moto_bucket}", "NO_SUCH_CLASS").put("one", [b"1"])
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
