"""COLD written from records: objects are put whole, large ones in parts, several at a time.

Putting an object is idempotent, so a restore that stopped can be run again. There is no transaction over objects:
leaving without `finish` stops what is under way and takes unfinished large uploads back; objects already put remain.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from strata.errors import SourceError
from strata.model.record import LargeValue
from strata.model.scope import Scope
from strata.model.tier import Tier
from strata.s3client import PermittedBody, Translated, permitted
from strata.sources.glob import matcher
from strata.sources.in_flight import Call, InFlight
from strata.sources.port import ApplyCounts, KnownKeys, Permit, RestoreMode
from strata.sources.s3_bucket import Bucket
from strata.sources.s3_listing import listings, pages
from strata.sources.s3_object import arguments_of, cold_failure

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

_PART: Final = 8 << 20
_WHOLE: Final = 16 << 20
"""Values up to this many bytes are put in one request."""
_MOST_PARTS: Final = 10_000
_PAGE: Final = 1000
"""Objects of one delete request, S3's limit."""
_TIER: Final = Tier.COLD.label


class ColdApplication:
    """One restore into COLD."""

    def __init__(self, bucket: Bucket, mode: RestoreMode, threads: int, permit: Permit) -> None:
        self._bucket = bucket
        self._mode, self._permit = mode, permit
        self._flight = InFlight(threads, threads * _PART)
        self._puts: deque[Call[None]] = deque()
        self._counts = ApplyCounts()

    def write(self, batch: pa.RecordBatch) -> None:
        columns = (batch.column(name) for name in ("key", "value", "attrs"))
        for key, value, attrs in zip(*columns, strict=True):
            self._send(key.as_py(), value.as_py(), attrs.as_py())

    def write_large(self, value: LargeValue) -> None:
        if value.size <= _WHOLE:
            body = b"".join(value.parts)
            _check_size(value, len(body))
            self._send(value.key, body, value.attrs)
            return
        self._upload(value)
        self._count(value.size)

    def finish(self, known: KnownKeys, scope: Scope) -> ApplyCounts:
        self._settle_puts()
        if self._mode is RestoreMode.EXACT:
            for keys in self._listed(scope):
                held = known("", pa.array([key.encode() for key in keys], pa.large_binary()))
                self._remove([key for key, kept in zip(keys, held, strict=True) if not kept])
        return self._counts

    def close(self) -> None:
        """Stop what is under way."""
        self._flight.close()

    def _settle_puts(self) -> None:
        while self._puts:
            self._flight.take(self._puts.popleft())

    def _send(self, key: bytes, body: bytes, attrs: str | None) -> None:
        while self._puts and not self._flight.has_room:
            self._flight.take(self._puts.popleft())
        self._puts.append(self._flight.start(len(body), self._put, _name(key), body, attrs))
        self._count(len(body))

    def _count(self, size: int) -> None:
        self._counts.written += 1
        self._counts.bytes += size

    def _put(self, key: str, body: bytes, attrs: str | None) -> None:
        with permitted(self._permit), Translated(cold_failure("be written")):
            self._bucket.client.put_object(
                **self._target(key), Body=PermittedBody(body, self._permit), **arguments_of(attrs)
            )

    def _target(self, key: str) -> dict[str, Any]:
        return {"Bucket": self._bucket.name, "Key": self._bucket.prefix + key}

    def _upload(self, value: LargeValue) -> None:
        """Upload a large value in parts; what was uploaded is taken back where it fails."""
        self._settle_puts()
        client, target = self._bucket.client, self._target(_name(value.key))
        with permitted(self._permit), Translated(cold_failure("be written")):
            begun = client.create_multipart_upload(**target, **arguments_of(value.attrs))
        target["UploadId"] = begun["UploadId"]
        calls: deque[Call[CompletedPartTypeDef]] = deque()
        try:
            parts = self._upload_parts(value, target, calls)
            with permitted(self._permit), Translated(cold_failure("be written")):
                client.complete_multipart_upload(**target, MultipartUpload={"Parts": parts})
        except BaseException:
            for call in calls:  # a part that lands after the abort would stay, and be paid for
                self._flight.settle(call)
            with suppress(SourceError), Translated(cold_failure("take an upload back")):
                client.abort_multipart_upload(**target)
            raise

    def _upload_parts(
        self, value: LargeValue, target: dict[str, Any], calls: deque[Call[CompletedPartTypeDef]]
    ) -> list[CompletedPartTypeDef]:
        done, sent = [], 0
        for number, body in enumerate(_blocks(value), 1):
            while calls and not self._flight.has_room:
                done.append(self._flight.take(calls.popleft()))
            calls.append(self._flight.start(len(body), self._put_part, target, number, body))
            sent += len(body)
        while calls:
            done.append(self._flight.take(calls.popleft()))
        _check_size(value, sent)
        return done

    def _put_part(self, target: dict[str, Any], number: int, body: bytes) -> CompletedPartTypeDef:
        with permitted(self._permit), Translated(cold_failure("be written")):
            answer = self._bucket.client.upload_part(
                **target, PartNumber=number, Body=PermittedBody(body, self._permit)
            )
        return {"ETag": answer["ETag"], "PartNumber": number}

    def _listed(self, scope: Scope) -> Iterator[list[str]]:
        """The keys of the scope that are there now, up to a thousand at a time."""
        covers = matcher(scope)
        for page in pages(self._bucket, deque(listings(scope)), self._flight):
            if keys := [entry.key for entry in page.entries if covers(entry.key.encode())]:
                yield keys

    def _remove(self, keys: list[str]) -> None:
        together = [key for key in keys if _fits_xml(key)]
        alone = [key for key in keys if not _fits_xml(key)]
        with permitted(self._permit):
            if together and not self._bucket.delete(together):
                alone = keys
        for call in [self._flight.start(0, self._remove_one, key) for key in alone]:
            self._flight.take(call)
        self._counts.removed += len(keys)

    def _remove_one(self, key: str) -> None:
        with permitted(self._permit):
            self._bucket.delete_one(key)


def _blocks(value: LargeValue) -> Iterator[bytes]:
    """The value's bytes in parts of one size, as S3 wants them; only the last may be shorter."""
    size = max(_PART, -(-value.size // _MOST_PARTS))
    held = bytearray()
    for part in value.parts:
        held += part
        while len(held) >= size:
            with memoryview(held) as view:
                block = bytes(view[:size])
            del held[:size]
            yield block
    if held:
        yield bytes(held)


def _check_size(value: LargeValue, sent: int) -> None:
    if sent != value.size:
        raise SourceError(f"{_TIER} was handed {sent} bytes of a value of {value.size} bytes; it was not written")


def _name(key: bytes) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise SourceError(f"{_TIER} cannot hold a record whose key is not UTF-8") from None


def _fits_xml(key: str) -> bool:
    """Whether XML 1.0, hence a delete request, can name the key; it has no controls and no noncharacters."""
    return all(char >= " " and char not in "\x7f\ufffe\uffff" for char in key)
