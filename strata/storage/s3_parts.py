"""Uploads in parts, for large objects: side by side, and cleaned up where they fail."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

LARGE_BYTES: Final = 32 << 20
"""An object that is larger goes in parts; a segment is not, as a rule."""
PART_BYTES: Final = 16 << 20


class PartsUpload:
    """One upload of an object; raises boto3's errors, and then leaves nothing that is paid for."""

    def __init__(
        self,
        client: S3Client,
        target: Any,
        stored_as: Any,
        uploads: BoundedSemaphore,
        checksum_of: Callable[[bytes], Any],
    ) -> None:
        self._client, self._target, self._stored_as = client, target, stored_as
        self._uploads, self._checksum_of = uploads, checksum_of

    def send(self, body: bytes, threads: int, condition: Any) -> None:
        """Upload the body by up to `threads` threads, and make the object appear where the condition holds."""
        upload: Any = {"UploadId": self._client.create_multipart_upload(**self._target, **self._stored_as)["UploadId"]}
        try:
            starts = range(0, len(body), PART_BYTES)
            with ThreadPoolExecutor(min(threads, len(starts))) as pool:
                sent = [pool.submit(self._send_part, upload, body, start) for start in starts]
                try:
                    parts = [one.result() for one in sent]
                finally:
                    pool.shutdown(wait=True, cancel_futures=True)
            self._client.complete_multipart_upload(
                **self._target, **upload, MultipartUpload={"Parts": parts}, **condition
            )
        except BaseException:
            from botocore.exceptions import BotoCoreError, ClientError

            with suppress(BotoCoreError, ClientError):  # the failure that brought us here is the one to report
                self._client.abort_multipart_upload(**self._target, **upload)
            raise

    def _send_part(self, upload: Any, body: bytes, start: int) -> Any:
        part, number = body[start : start + PART_BYTES], start // PART_BYTES + 1
        with self._uploads:
            answer = self._client.upload_part(
                **self._target, **upload, PartNumber=number, Body=part, **self._checksum_of(part)
            )
        return {"PartNumber": number, "ETag": answer["ETag"]}


def checksum(body: bytes) -> Any:
    """The header by which the service itself proves what it took, in the form that every service knows."""
    return {"ContentMD5": b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()}


def unfinished(client: S3Client, bucket: str, prefix: str, before: datetime) -> Iterator[tuple[str, str]]:
    """Key and id of each upload in parts below a prefix that began before that moment and has not ended."""
    for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix):
        for upload in page.get("Uploads", []):
            if upload["Initiated"] < before:
                yield upload["Key"], upload["UploadId"]
