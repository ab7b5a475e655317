"""Stores in new buckets of the servers that tests run: on moto, and on a strict service."""

from __future__ import annotations

import os
from typing import Any

from strata.s3client import S3Access, make_client
from strata.storage.s3 import S3Store

ACCESS = "test"
SECRET = "a-secret-that-nobody-may-see"  # noqa: S105 - made up


def new_bucket(endpoint: str, *, locks: bool = False) -> str:
    """The name of a new bucket, with versions and Object Lock where that is asked for."""
    name = f"bucket-{os.urandom(6).hex()}"
    client = make_client(S3Access(endpoint, ACCESS, SECRET), 1)
    client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=locks)
    return name


def lock_by_default(endpoint: str, bucket: str, days: int) -> None:
    """Give a bucket with Object Lock a default retention: every new object is locked for so many days."""
    rule: Any = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": days}}
    make_client(S3Access(endpoint, ACCESS, SECRET), 1).put_object_lock_configuration(
        Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )


def bucket_store(endpoint: str, bucket: str, **options: Any) -> S3Store:
    """A store in a bucket of a server that asks for no credentials of its own."""
    given: Any = {"endpoint": endpoint, "access_key_id": ACCESS, "secret_access_key": SECRET, "attempts": 2, **options}
    return S3Store(f"s3://{bucket}/backups/one", **given)


def new_store(endpoint: str, *, locks: bool = False, **options: Any) -> S3Store:
    """A store in a new bucket."""
    return bucket_store(endpoint, new_bucket(endpoint, locks=locks), **options)
