"""The bucket and prefix of COLD: listed page by page, read whole or by range."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from strata.errors import SourceError, SourceUnavailable
from strata.model.tier import Tier
from strata.s3client import Fault, FaultKind, Translated
from strata.sources.s3_get import PlainGets, TooLong
from strata.sources.s3_listing import Listing
from strata.sources.s3_object import attrs_of, cold_failure
from strata.sources.s3_rehearse import SCRATCH

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import (
        GetObjectOutputTypeDef,
        ListObjectsV2OutputTypeDef,
        ObjectIdentifierTypeDef,
        ObjectTypeDef,
    )

_TIER: Final = Tier.COLD.label
_MAY_DELETE: Final = "Check that the credentials may delete, and that no lock holds the objects."
_ALL: Final = Listing()
_ARCHIVE_CLASSES: Final = {"GLACIER", "DEEP_ARCHIVE"}
_TRIES: Final = 3
"""How often a body that breaks off is asked for again; botocore tries again only until a body begins."""


class Gone(Exception):
    """The object is not there any more."""


class Changed(Exception):
    """The object is not the one that was listed."""


class Archived(Exception):
    """The object cannot be read until it is brought back from an archive class."""


class _OneByOne(Exception):
    """The service does not remove many objects in one request."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a listing; `key` is its name below the prefix, `size` in bytes."""

    key: str
    size: int
    etag: str
    modified: datetime
    storage_class: str

    @property
    def is_archived(self) -> bool:
        """Whether its class cannot be read as it is."""
        return self.storage_class in _ARCHIVE_CLASSES


@dataclass(frozen=True)
class Piece:
    """Bytes of an object, and what the answer said of the whole of it."""

    data: bytes
    size: int
    etag: str
    version: str | None
    modified: datetime
    attrs: str


@dataclass(frozen=True)
class Page:
    """One answer to a listing, and what to list next; the time is the service's own."""

    entries: list[Entry]
    following: Listing | None
    time: datetime | None


@dataclass(frozen=True)
class Bucket:
    """Requests on the objects below one prefix; every failure is raised as a SourceError."""

    client: S3Client
    name: str
    prefix: str
    gets: PlainGets

    def page(self, listing: Listing = _ALL, limit: int = 1000) -> Page:
        """One page of a listing, in the service's order, of at most `limit` objects."""
        more: Any = {"ContinuationToken": listing.following} if listing.following else {}
        name, limit = self.prefix + listing.start, 1 if listing.is_name else limit
        with Translated(cold_failure("be listed")):
            answer = self.client.list_objects_v2(Bucket=self.name, Prefix=name, MaxKeys=limit, **more)
        start = len(self.prefix)
        entries = [
            _entry(found, start)
            for found in answer.get("Contents", [])
            if len(found["Key"]) > start  # the prefix's own folder marker is not below it
            and found["Key"][start:] != SCRATCH
            and (found["Key"] == name or not listing.is_name)
        ]
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        return Page(entries, _following(listing, answer), parsedate_to_datetime(date) if date else None)

    def holds(self, key: str) -> bool:
        """Whether a listing shows the object now."""
        return bool(self.page(Listing(key, is_name=True)).entries)

    def version_of(self, entry: Entry) -> str | None:
        """The version that was listed as this entry; None where the bucket keeps none, or not this one any more."""
        name = self.prefix + entry.key
        with Translated(cold_failure("list the versions of an object")):
            answer = self.client.list_object_versions(Bucket=self.name, Prefix=name)
        for found in answer.get("Versions", []):
            told = found["Key"], found.get("ETag", ""), found["Size"], found["LastModified"].replace(microsecond=0)
            if told == (name, entry.etag, entry.size, entry.modified.replace(microsecond=0)):
                return found["VersionId"]
        return None

    def whole(self, key: str, most: int, version: str | None = None) -> Piece:
        """The object, or that version of it, unless it is larger than `most` bytes (Changed)."""
        return self._get(key, most, {"VersionId": version} if version else {})

    def part(self, key: str, start: int, length: int, etag: str | None = None, version: str | None = None) -> Piece:
        """Up to `length` bytes from `start`: of that version, or as long as the object has that ETag (Changed)."""
        how = {"Range": f"bytes={start}-{start + length - 1}"}
        if version:
            how["VersionId"] = version
        elif etag:
            how["IfMatch"] = etag
        piece = self._get(key, length, how)
        if etag and not version and piece.etag.strip('"') != etag.strip('"'):
            raise Changed  # some services do not know If-Match
        if len(piece.data) != min(length, piece.size - start):
            raise Changed
        return piece

    def delete(self, keys: list[str]) -> bool:
        """Remove up to 1,000 objects in one request; False where the service takes them only one by one."""
        objects: list[ObjectIdentifierTypeDef] = [{"Key": self.prefix + key} for key in keys]
        try:
            with Translated(_delete_failure):
                answer = self.client.delete_objects(Bucket=self.name, Delete={"Objects": objects, "Quiet": True})
        except _OneByOne:
            return False
        if failed := answer.get("Errors"):
            kind = SourceUnavailable if failed[0].get("Code") in {"InternalError", "SlowDown"} else SourceError
            raise kind(f"{_TIER} could not remove {len(failed)} objects", hint=_MAY_DELETE)
        return True

    def delete_one(self, key: str) -> None:
        """Remove one object; no error where there is none."""
        with Translated(cold_failure("remove an object")):
            self.client.delete_object(Bucket=self.name, Key=self.prefix + key)

    def _get(self, key: str, most: int, how: dict[str, str]) -> Piece:
        try:
            found = self.gets.get(self.prefix + key, most, how)
        except TooLong:
            raise Changed from None
        return _piece(*found) if found else self._get_with_boto3(key, most, how)

    def _get_with_boto3(self, key: str, most: int, how: dict[str, str]) -> Piece:
        for tries_left in reversed(range(_TRIES)):
            answer = self._ask(key, how)
            try:
                with closing(answer["Body"]) as body, Translated(cold_failure("be read to the end of an object")):
                    if answer["ContentLength"] > most:
                        raise Changed
                    # read() of all costs one copy out of the socket; it raises where the body is short
                    return _piece(answer, body.read())
            except SourceUnavailable:
                if not tries_left:
                    raise
        raise Changed  # pragma: no cover - the last try returned or raised

    def _ask(self, key: str, how: dict[str, Any]) -> GetObjectOutputTypeDef:
        with Translated(_get_failure):
            return self.client.get_object(Bucket=self.name, Key=self.prefix + key, **how)


def _entry(found: ObjectTypeDef, start: int) -> Entry:
    return Entry(
        key=found["Key"][start:],
        size=found["Size"],
        etag=found.get("ETag", ""),
        modified=found["LastModified"],
        storage_class=found.get("StorageClass", "STANDARD"),
    )


def _following(listing: Listing, answer: ListObjectsV2OutputTypeDef) -> Listing | None:
    if listing.is_name or not answer.get("IsTruncated"):
        return None
    if not (token := answer.get("NextContinuationToken")):
        raise SourceError(f"{_TIER} broke off its listing and does not say how it goes on")
    return replace(listing, following=token)


def _delete_failure(fault: Fault) -> Exception:
    if fault.kind is FaultKind.REFUSED:
        return _OneByOne()  # not known, or wants a checksum that is not sent: services differ
    return cold_failure("remove objects")(fault)


def _get_failure(fault: Fault) -> Exception:
    answers = {
        FaultKind.NO_OBJECT: Gone,
        FaultKind.CHANGED: Changed,
        FaultKind.BAD_RANGE: Changed,
        FaultKind.ARCHIVED: Archived,
    }
    return answers[fault.kind]() if fault.kind in answers else cold_failure("be read")(fault)


def _piece(answer: Mapping[str, Any], data: bytes) -> Piece:
    whole = answer.get("ContentRange", "").rpartition("/")[2]
    return Piece(
        data=data,
        size=int(whole) if whole.isdigit() else answer["ContentLength"],
        etag=answer.get("ETag", ""),
        version=answer.get("VersionId"),
        modified=answer["LastModified"],
        attrs=attrs_of(answer),
    )
