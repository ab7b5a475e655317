"""A store in an S3 bucket: CLOUD, or ARCHIVE with a storage class of its own.

An object appears by one request with `If-None-Match: *`, a PUT or the completion of an upload in parts, so that of
racing writers one wins. Services that do not know the condition overwrite (rclone's), or refuse it and are asked
without it from then on; there a HEAD before each write refuses a name that is taken, but not one that is being taken at
that moment. `strata doctor` tells which it is.

Only sealed data goes into the storage class: manifests, notes, layer documents and indexes are always in the bucket's
own, hot one, so that an archive can be listed, planned on and priced without bringing anything back.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from strata.clock import Clock, SystemClock
from strata.errors import (
    ObjectDenied,
    ObjectExists,
    ObjectFrozen,
    ObjectLocked,
    ObjectNotFound,
    StorageError,
    StoreFull,
    StoreUnavailable,
)
from strata.s3client import ATTEMPTS, Fault, FaultKind, S3Access, Translated, location, make_client
from strata.storage.port import Buffer, GatheringWriter, LockMode, ObjectInfo, ObjectWriter, checked_name, holds
from strata.storage.s3_lock import BucketLock
from strata.storage.s3_parts import LARGE_BYTES, PartsUpload, checksum, unfinished
from strata.storage.thawing import S3Thaw
from strata.tls import Tls

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

THREADS: Final = 4
_CONNECTIONS: Final = 12
"""Besides those of the uploads."""
_DATA: Final = (".seg", ".pack")
"""What names of sealed data end in."""
_ERRORS: Final = {
    FaultKind.UNAVAILABLE: StoreUnavailable,
    FaultKind.CONFLICT: StoreUnavailable,
    FaultKind.FULL: StoreFull,
}
_TAKEN: Final = {FaultKind.CHANGED, FaultKind.CONFLICT}
_ABSENT: Final = {FaultKind.NO_OBJECT, FaultKind.DENIED}

_NO_RIGHT: Final = "AccessDenied"
"""What S3 answers where a right is missing; other refusals are of the credentials, hence of the whole store."""


class S3Store:
    """Objects below `s3://bucket/prefix`; a value of None for a credential or the region is boto3's to find.

    May be used from several threads, of which `threads` upload at a time: each an object, or a part of one. The client
    is made at the first request, so after the worker has forked.
    """

    def __init__(
        self,
        url: str,
        *,
        endpoint: str | None = None,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        region: str | None = None,
        storage_class: str | None = None,
        kms_key: str | None = None,
        threads: int = THREADS,
        attempts: int = ATTEMPTS,
        tls: Tls | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._bucket, self._prefix = location(url, "the URL of an S3 store")
        self._access = S3Access(endpoint, access_key_id, secret_access_key, region, attempts, tls or Tls())
        self._class: Any = {"StorageClass": storage_class} if storage_class else {}
        self._encrypted: Any = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key} if kms_key else {}
        self._condition: Any = {"IfNoneMatch": "*"}
        self._threads, self._clock = threads, clock or SystemClock()
        self._uploads = threading.BoundedSemaphore(threads)

    def __repr__(self) -> str:
        return f"S3Store({self.url})"

    @property
    def classed(self) -> bool:
        """Whether sealed data has a storage class of its own."""
        return bool(self._class)

    @property
    def url(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def put(self, name: str, parts: Sequence[Buffer]) -> None:
        target, body = self._target(name), b"".join(parts)
        if self._is_there(name):
            raise ObjectExists(f"{self.url} already holds {name}")
        try:
            self._put_if_free(name, target, body)
        except _Taken as taken:
            self._settle_conflict(name, body, taken.tries)
        except _Unconditional:
            self._condition = {}
            self._put_if_free(name, target, body)

    def begin(self, name: str) -> ObjectWriter:
        return GatheringWriter(self.put, checked_name(name))

    def clear(self, folder: str) -> None:
        for info in list(self.list(f"{folder}/")):
            self.delete(info.name)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        if length == 0:
            self.size(name)  # raises where there is no such object
            return b""
        span: Any = {}
        if offset or length is not None:
            span["Range"] = f"bytes={offset}-{offset + length - 1 if length else ''}"
        try:
            with Translated(
                lambda fault: _Beyond() if fault.kind is FaultKind.BAD_RANGE else self._unread(name, fault)
            ):
                answer = self._client.get_object(**self._target(name), **span)
                with closing(answer["Body"]) as body:
                    return body.read()
        except _Beyond:
            return b""

    def size(self, name: str) -> int:
        try:
            with Translated(lambda fault: self._failed(name, fault)):
                return self._client.head_object(**self._target(name))["ContentLength"]
        except ObjectNotFound:
            self._require_bucket()  # the answer to a HEAD has no body that tells a missing bucket
            raise

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        with Translated(lambda fault: self._failed(prefix or "its objects", fault)):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix + prefix):
                for found in page.get("Contents", []):
                    name = found["Key"][len(self._prefix) :]
                    if name and not name.endswith("/"):  # folder markers, which consoles make
                        yield ObjectInfo(name, found["Size"], found["LastModified"])

    def delete(self, name: str) -> None:
        """Remove the object; in a bucket with versions it only hides it, and a locked one is left as it is."""
        try:
            if self._bucket_locks:
                self._refuse_locked(name)
            with Translated(lambda fault: self._failed(name, fault)):
                self._client.delete_object(**self._target(name))
        except ObjectNotFound:
            return

    def lock(self, name: str, until: datetime, mode: LockMode) -> None:
        """Refuse to remove the object before `until`; StorageError where the bucket was made without Object Lock."""
        if not self._bucket_locks:
            raise StorageError(
                f"{self.url} cannot lock {name}: its bucket has no Object Lock",
                hint="Make a bucket with Object Lock; it cannot be added by Strata.",
            )
        with Translated(lambda fault: self._failed(name, fault)):
            self._lock_of(name).extend(until, mode)

    def locked_until(self, name: str) -> datetime | None:
        with Translated(lambda fault: self._failed(name, fault)):
            return self._lock_of(name).until

    def abort_unfinished(self, older_than: timedelta) -> int:
        """Give up uploads in parts that began longer ago than that and never ended; how many there were.

        Their parts are in no listing, and are paid for.
        """
        before, count = self._clock.now() - older_than, 0
        with Translated(lambda fault: self._failed("its unfinished uploads", fault)):
            for key, upload_id in list(unfinished(self._client, self._bucket, self._prefix, before)):
                self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload_id)
                count += 1
        return count

    def thaw(self) -> S3Thaw:
        """What makes frozen objects of this store readable."""
        return S3Thaw(lambda: self._client, self._bucket, self._prefix, self._failed)

    @cached_property
    def _client(self) -> S3Client:
        return make_client(self._access, _CONNECTIONS + self._threads)

    @cached_property
    def _bucket_locks(self) -> bool:
        """Whether the bucket has Object Lock; yes where these credentials may not ask, since it may."""
        try:
            with Translated(lambda fault: _Absent(fault) if fault.kind in _ABSENT else self._failed("its lock", fault)):
                answer = self._client.get_object_lock_configuration(Bucket=self._bucket)
        except StoreUnavailable:
            raise
        except StorageError:
            return False  # the service has no such verb
        except _Absent as absent:
            return absent.denied
        return answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled"

    def _target(self, name: str) -> Any:
        return {"Bucket": self._bucket, "Key": self._prefix + checked_name(name)}

    def _stored_as(self, key: str) -> Any:
        return {**self._encrypted, **(self._class if key.endswith(_DATA) else {})}

    def _put_if_free(self, name: str, target: Any, body: bytes) -> None:
        put = self._put_in_parts if len(body) > LARGE_BYTES else self._put_at_once
        with Translated(lambda fault: self._unmet(fault) or self._failed(name, fault)):
            put(target, body)

    def _unmet(self, fault: Fault) -> Exception | None:
        """What became of the condition, where it is the condition that the service did not take."""
        if fault.kind in _TAKEN:
            return _Taken(fault.tries)
        refused = fault.status == HTTPStatus.NOT_IMPLEMENTED and self._condition
        return _Unconditional() if refused else None

    def _put_at_once(self, target: Any, body: bytes) -> None:
        with self._uploads:
            self._client.put_object(
                **target, Body=body, **self._condition, **self._stored_as(target["Key"]), **self._checksum(body)
            )

    def _put_in_parts(self, target: Any, body: bytes) -> None:
        upload = PartsUpload(self._client, target, self._stored_as(target["Key"]), self._uploads, self._checksum)
        upload.send(body, self._threads, self._condition)

    def _checksum(self, body: bytes) -> Any:
        """What a bucket with Object Lock asks for, and what proves bytes that cannot be read back at once."""
        return checksum(body) if self._class or self._bucket_locks else {}

    def _lock_of(self, name: str) -> BucketLock:
        return BucketLock(self._client, self._target(name))

    def _refuse_locked(self, name: str) -> None:
        with Translated(lambda fault: self._failed(name, fault)):
            lock = self._lock_of(name)
            until = lock.until
        if lock.held:
            raise ObjectLocked(f"{self.url} keeps {name} under a legal hold", hint="Whoever set it can lift it.")
        if until and until > self._clock.now():
            raise ObjectLocked(
                f"{self.url} keeps {name} until {until:%Y-%m-%d %H:%M:%S} UTC",
                hint="Its lock ends then.",
            )

    def _is_there(self, name: str) -> bool:
        """Whether the name is taken; no where these credentials may not ask, since the PUT tells."""
        try:
            with Translated(lambda fault: _Absent(fault) if fault.kind in _ABSENT else self._failed(name, fault)):
                self._client.head_object(**self._target(name))
        except _Absent:
            return False
        return True

    def _settle_conflict(self, name: str, body: bytes, tries: int) -> None:
        """Return where a repeated PUT met what its own first try had stored; raise otherwise."""
        if not self._is_there(name):
            raise StoreUnavailable(f"{self.url} was busy with another write of {name}", hint="A retry may help.")
        if tries == 1 or not holds(self, name, body):
            raise ObjectExists(f"{self.url} already holds {name}")

    def _require_bucket(self) -> None:
        with Translated(lambda fault: self._failed("its objects", fault)):
            self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)

    def _unread(self, name: str, fault: Fault) -> StorageError:
        failed = self._failed(name, fault)
        of_the_object = fault.reason.partition(" ")[0] == _NO_RIGHT
        return ObjectDenied(failed.sentence, hint=failed.hint) if of_the_object else failed

    def _failed(self, name: str, fault: Fault) -> StorageError:
        if fault.kind is FaultKind.NO_OBJECT:
            return ObjectNotFound(f"{self.url} does not hold {name}", hint=fault.hint)
        if fault.kind is FaultKind.ARCHIVED:
            return ObjectFrozen(
                f"{self.url} holds {name} in an archive class, where it cannot be read at once",
                hint="Restore through a thaw: `strata restore ID --store archive`.",
            )
        reason = "the bucket does not exist" if fault.kind is FaultKind.NO_BUCKET else fault.reason
        kind = _ERRORS.get(fault.kind, StorageError)
        return kind(f"{self.url} failed on {name}: {reason}", hint=fault.hint)


class _Taken(Exception):
    """The name is taken, or being taken; `tries` counts the requests sent."""

    def __init__(self, tries: int) -> None:
        super().__init__(tries)
        self.tries = tries


class _Unconditional(Exception):
    """The service refuses the condition, instead of passing it by."""


class _Beyond(Exception):
    """The range begins at or after the object's end."""


class _Absent(Exception):
    """Nothing of that name is to be seen, by these credentials."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.denied = fault.kind is FaultKind.DENIED
