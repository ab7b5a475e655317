"""COLD: the objects of an S3 bucket, below a prefix, read as records and written back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from strata.model.identity import Identity
from strata.model.tier import Tier
from strata.s3client import ATTEMPTS, S3Access, credentials_of, location, make_client
from strata.sources.port import Permit, RestoreMode, Right, refuse_state_manager
from strata.sources.s3_bucket import Bucket
from strata.sources.s3_get import PlainGets, route_to
from strata.sources.s3_identity import identity_of
from strata.sources.s3_read import ColdSession
from strata.sources.s3_rehearse import try_put, write_right
from strata.sources.s3_write import ColdApplication
from strata.tls import Tls

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client


class S3Cold:
    """The objects below `s3://bucket/prefix`; a record's key is its object's name below the prefix, in UTF-8.

    A value of None for a credential or the region leaves it to boto3's default chain. Four threads reach what more
    do: on two cores GETs of 1.5 MB run at 522 MB/s with 4 threads, 465 with 8. `cut_seconds` bounds the listing in a
    cut, while the application may stand still.
    """

    tier = Tier.COLD

    def __init__(
        self,
        url: str,
        *,
        endpoint: str | None = None,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        region: str | None = None,
        threads: int = 4,
        attempts: int = ATTEMPTS,
        tls: Tls | None = None,
        cut_seconds: float = 5.0,
    ) -> None:
        self._name, self._prefix = location(url, "the URL of COLD")
        self._access = S3Access(endpoint, access_key_id, secret_access_key, region, attempts, tls or Tls())
        self._threads, self._cut_seconds = threads, cut_seconds

    def __repr__(self) -> str:
        return f"S3Cold(s3://{self._name}/{self._prefix})"

    def identity(self) -> Identity:
        """The bucket by its owner and birth, where the service tells them; the prefix is part of the place."""
        return identity_of(self._client, self._access.host, self._name, self._prefix)

    @contextmanager
    def connect(self) -> Iterator[ColdSession]:
        with self._bucket() as bucket:
            session = ColdSession(bucket, self._access.host, self._threads, self._cut_seconds)
            with closing(session):
                yield session

    def greet(self) -> None:
        """Raise unless the bucket can be listed."""
        with self._bucket() as bucket:
            bucket.page(limit=1)

    def rights(self) -> Iterator[Right]:
        """Whether it takes objects and lets them be removed, by one that is put and removed."""
        with self._bucket() as bucket:
            bucket.page(limit=1)
            yield write_right(bucket)

    def check(self, description: dict[str, Any]) -> None:
        """Raise unless there is a bucket to write to, by an object that is put and removed; any takes any objects."""
        refuse_state_manager(self.tier, description)
        with self._bucket() as bucket:
            bucket.page(limit=1)
            try_put(bucket)

    @contextmanager
    def apply(self, description: dict[str, Any], mode: RestoreMode, permit: Permit) -> Iterator[ColdApplication]:
        refuse_state_manager(self.tier, description)
        with self._bucket() as bucket, closing(ColdApplication(bucket, mode, self._threads, permit)) as application:
            yield application

    @cached_property
    def _client(self) -> S3Client:
        """Made once, for it takes half of the processor time of a small backup; it opens connections anew as needed."""
        return make_client(self._access, self._threads + 1)

    @contextmanager
    def _bucket(self) -> Iterator[Bucket]:
        route = route_to(self._client, self._name, credentials_of(self._access))
        with closing(PlainGets(route, self._access.tls)) as gets:
            yield Bucket(self._client, self._name, self._prefix, gets)
