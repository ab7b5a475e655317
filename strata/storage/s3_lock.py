"""Object Lock of one S3 object: read with its head, and only ever extended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from strata.storage.port import LockMode

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client


class BucketLock:
    """The lock of the object that `target` names, as it was when it was first asked about; raises boto3's errors."""

    def __init__(self, client: S3Client, target: Any) -> None:
        self._client, self._target = client, target

    @property
    def until(self) -> datetime | None:
        """Until when it is locked, which may be over; None for an object that never was."""
        found: datetime | None = self._head.get("ObjectLockRetainUntilDate")
        return found.astimezone(UTC) if found else None

    @property
    def held(self) -> bool:
        """Whether it is under a legal hold, which has no end."""
        return bool(self._head.get("ObjectLockLegalHoldStatus") == "ON")

    def extend(self, until: datetime, mode: LockMode) -> None:
        """Lock it until then, in whole seconds, at least by that mode; what is longer or stricter stays."""
        before, strict = self.until, self._head.get("ObjectLockMode") == LockMode.COMPLIANCE.upper()
        if before and before >= until and (strict or mode is LockMode.GOVERNANCE):
            return
        end = max(until, before or until)
        whole = end.replace(microsecond=0) + timedelta(seconds=1 if end.microsecond else 0)
        wanted: Any = LockMode.COMPLIANCE.upper() if strict else mode.upper()
        self._client.put_object_retention(**self._target, Retention={"Mode": wanted, "RetainUntilDate": whole})

    @cached_property
    def _head(self) -> Any:
        return self._client.head_object(**self._target)
