"""Thawing in S3: how objects in archive classes stand, and the request to make one readable for some days.

Nothing is remembered here: the service itself knows what was asked for, so whoever asks again meets the same state.
A LIST tells the class of 1,000 objects, and on AWS also whether each is thawed (`OptionalObjectAttributes`); only
where a service does not tell that, frozen objects are asked about one by one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from strata.errors import StorageError
from strata.model.thaw import Heat, ObjectState, ThawSpeed
from strata.planning.thaw import ARCHIVE_CLASSES
from strata.s3client import Fault, FaultKind, Translated
from strata.storage.port import checked_name

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

THREADS: Final = 8
_SAMPLE: Final = 16
_EXPIRES: Final = re.compile(r'expiry-date="([^"]+)"')
_FOLDER: Final = re.compile(r"(layers/[^/]+/|chunks/.*-)[^/]*")
_TIERS: Final = {ThawSpeed.BULK: "Bulk", ThawSpeed.STANDARD: "Standard", ThawSpeed.EXPEDITED: "Expedited"}
_STANDARD: Final = "STANDARD"


class Asked(StrEnum):
    """What came of a request."""

    DONE = "done"
    """It is on its way, was so already, or stays readable for longer now."""
    WARM = "warm"
    """It needs no thaw."""
    NOT_AT_THIS_SPEED = "not-at-this-speed"
    """The service has no capacity for expedited retrieval now; a slower one was not asked for."""


class S3Thaw:
    """Thaws objects of one S3 store; safe to use from several threads."""

    def __init__(
        self,
        client: Callable[[], S3Client],
        bucket: str,
        prefix: str,
        failed: Callable[[str, Fault], StorageError],
        threads: int = THREADS,
    ) -> None:
        self._client, self._bucket, self._prefix = client, bucket, prefix
        self._failed, self._threads = failed, threads

    def state_of(self, name: str) -> ObjectState:
        """How one object stands, by its head; ObjectNotFound names one that is not there."""
        with Translated(lambda fault: self._failed(name, fault)):
            head = self._client().head_object(**self._target(name))
        storage_class = head.get("StorageClass", _STANDARD)
        heat, until = _by_header(storage_class, head.get("Restore", ""))
        return ObjectState(name=name, size=head["ContentLength"], storage_class=storage_class, heat=heat, until=until)

    def states(self, names: Iterable[str]) -> list[ObjectState]:
        """How the objects stand, in their order; one that is not there is left out, for whoever reads it to name."""
        wanted = list(names)
        found: dict[str, Any] = {}
        with ThreadPoolExecutor(self._threads, thread_name_prefix="thaw") as pool:
            for listed in pool.map(self._listed, dict.fromkeys(_folder(name) for name in wanted)):
                found.update(listed)
            known = {name: _by_listing(name, found[name]) for name in wanted if name in found}
            told = any(found[name].get("RestoreStatus") for name in known)
            for state in [] if told else self._not_told(known, pool):
                known[state.name] = state
        return list(known.values())

    def request(self, name: str, days: int, speed: ThawSpeed) -> Asked:
        """Ask for the object, to be readable for so many days; asking again is harmless.

        StoreUnavailable where the service wants fewer requests (after the client's own retries): go on later.
        """
        try:
            with Translated(lambda fault: _Outcome(fault) if fault.kind in _OUTCOMES else self._failed(name, fault)):
                self._client().restore_object(
                    **self._target(name),
                    RestoreRequest={"Days": days, "GlacierJobParameters": {"Tier": _TIERS[speed]}},  # type: ignore[typeddict-item]
                )
        except _Outcome as outcome:
            return _OUTCOMES[outcome.fault.kind]
        return Asked.DONE

    def request_all(self, states: Sequence[ObjectState], days: int, speed: ThawSpeed) -> list[Asked]:
        """Ask for several at the same time; what came of each, in their order."""
        with ThreadPoolExecutor(self._threads, thread_name_prefix="thaw") as pool:
            return list(pool.map(lambda state: self.request(state.name, days, speed), states))

    def _not_told(self, known: dict[str, ObjectState], pool: ThreadPoolExecutor) -> Iterable[ObjectState]:
        """The frozen objects by their heads, where no listing told of any that it is on its way or thawed.

        A few are asked first: if none was ever asked for, there was nothing to tell, and the others are taken for
        frozen. To ask for one of them again is harmless.
        """
        frozen = [name for name, state in known.items() if state.heat is Heat.FROZEN]
        some = frozen[:: max(len(frozen) // _SAMPLE, 1)]
        sample = list(pool.map(self.state_of, some))
        if all(state.heat is Heat.FROZEN for state in sample):
            return []
        return [*sample, *pool.map(self.state_of, set(frozen).difference(some))]

    def _listed(self, folder: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        with Translated(lambda fault: self._failed(folder, fault)):
            pages = self._client().get_paginator("list_objects_v2")
            for page in pages.paginate(
                Bucket=self._bucket, Prefix=self._prefix + folder, OptionalObjectAttributes=["RestoreStatus"]
            ):
                found.update((one["Key"][len(self._prefix) :], one) for one in page.get("Contents", []))
        return found

    def _target(self, name: str) -> Any:
        return {"Bucket": self._bucket, "Key": self._prefix + checked_name(name)}


_OUTCOMES: Final = {
    FaultKind.THAWING: Asked.DONE,
    FaultKind.ARCHIVED: Asked.WARM,  # "the operation is not valid for the object's storage class"
    FaultKind.NO_CAPACITY: Asked.NOT_AT_THIS_SPEED,
}


class _Outcome(Exception):
    """An answer that is no failure."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


def _folder(name: str) -> str:
    """What to list to meet an object: all of its layer, or all packs of its layer."""
    found = _FOLDER.fullmatch(name)
    return found[1] if found else name


def _by_listing(name: str, listed: Any) -> ObjectState:
    storage_class, told = listed.get("StorageClass", _STANDARD), listed.get("RestoreStatus", {})
    heat, until = Heat.WARM, None
    if storage_class in ARCHIVE_CLASSES:
        until = told.get("RestoreExpiryDate")
        heat = Heat.THAWING if told.get("IsRestoreInProgress") else Heat.THAWED if until else Heat.FROZEN
    return ObjectState(name=name, size=listed["Size"], storage_class=storage_class, heat=heat, until=until)


def _by_header(storage_class: str, header: str) -> tuple[Heat, datetime | None]:
    """What `ongoing-request="false", expiry-date="Fri, 21 Dec 2012 00:00:00 GMT"` says."""
    if storage_class not in ARCHIVE_CLASSES:
        return Heat.WARM, None
    if not header:
        return Heat.FROZEN, None
    if 'ongoing-request="true"' in header:
        return Heat.THAWING, None
    found = _EXPIRES.search(header)
    return Heat.THAWED, parsedate_to_datetime(found[1]).astimezone(UTC) if found else None
