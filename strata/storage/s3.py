"""A store in an S3 bucket: CLOUD, or ARCHIVE with a storage class of its own.

An object is one PUT with `If-None-Match: *`, so that of racing writers one wins. Services that do not know the
condition (rclone's) overwrite; there a HEAD before each PUT refuses a name that is taken, but not one that is being
taken at that moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from strata.errors import ObjectExists, ObjectFrozen, ObjectNotFound, StorageError, StoreFull, StoreUnavailable
from strata.s3client import ATTEMPTS, Fault, FaultKind, S3Access, Translated, location, make_client
from strata.storage.port import Buffer, GatheringWriter, ObjectInfo, ObjectWriter, checked_name
from strata.storage.thawing import S3Thaw

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_CONNECTIONS: Final = 16
_ERRORS: Final = {
    FaultKind.UNAVAILABLE: StoreUnavailable,
    FaultKind.CONFLICT: StoreUnavailable,
    FaultKind.FULL: StoreFull,
}
_TAKEN: Final = {FaultKind.CHANGED, FaultKind.CONFLICT}
_ABSENT: Final = {FaultKind.NO_OBJECT, FaultKind.DENIED}


class S3Store:
    """Objects below `s3://bucket/prefix`; a value of None for a credential or the region is boto3's to find.

    May be used from several threads. The client is made at the first request, so after the worker has forked.
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
        attempts: int = ATTEMPTS,
    ) -> None:
        self._bucket, self._prefix = location(url, "the URL of an S3 store")
        self._access = S3Access(endpoint, access_key_id, secret_access_key, region, attempts)
        self._stored_as: Any = {"StorageClass": storage_class} if storage_class else {}

    def __repr__(self) -> str:
        return f"S3Store({self.url})"

    @property
    def url(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def put(self, name: str, parts: Sequence[Buffer]) -> None:
        target, body = self._target(name), b"".join(parts)
        if self._is_there(name):
            raise ObjectExists(f"{self.url} already holds {name}")
        try:
            with Translated(lambda fault: _Taken(fault.tries) if fault.kind in _TAKEN else self._failed(name, fault)):
                self._client.put_object(**target, Body=body, IfNoneMatch="*", **self._stored_as)
        except _Taken as taken:
            self._settle_conflict(name, body, taken.tries)

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
                lambda fault: _Beyond() if fault.kind is FaultKind.BAD_RANGE else self._failed(name, fault)
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
        try:
            with Translated(lambda fault: self._failed(name, fault)):
                self._client.delete_object(**self._target(name))
        except ObjectNotFound:
            return

    def thaw(self) -> S3Thaw:
        """What makes frozen objects of this store readable."""
        return S3Thaw(lambda: self._client, self._bucket, self._prefix, self._failed)

    @cached_property
    def _client(self) -> S3Client:
        return make_client(self._access, _CONNECTIONS)

    def _target(self, name: str) -> Any:
        return {"Bucket": self._bucket, "Key": self._prefix + checked_name(name)}

    def _is_there(self, name: str) -> bool:
        """Whether the name is taken; no where these credentials may not ask, since the PUT tells."""
        try:
            with Translated(lambda fault: _Absent() if fault.kind in _ABSENT else self._failed(name, fault)):
                self._client.head_object(**self._target(name))
        except _Absent:
            return False
        return True

    def _settle_conflict(self, name: str, body: bytes, tries: int) -> None:
        """Return where a repeated PUT met what its own first try had stored; raise otherwise."""
        if not self._is_there(name):
            raise StoreUnavailable(f"{self.url} was busy with another write of {name}", hint="A retry may help.")
        if tries == 1 or self.get(name) != body:
            raise ObjectExists(f"{self.url} already holds {name}")

    def _require_bucket(self) -> None:
        with Translated(lambda fault: self._failed("its objects", fault)):
            self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)

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


class _Beyond(Exception):
    """The range begins at or after the object's end."""


class _Absent(Exception):
    """No object of that name is to be seen."""
