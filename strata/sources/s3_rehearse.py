"""Whether COLD takes objects: one of a few bytes is put below the prefix, and removed for good."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from strata.errors import SourceError, SourceUnavailable
from strata.s3client import Translated
from strata.sources.port import Right
from strata.sources.s3_object import cold_failure

if TYPE_CHECKING:
    from strata.sources.s3_bucket import Bucket

SCRATCH: Final = "strata-rehearsal-may-be-removed"
"""Always the same name, so that what a process left that died is taken away by the next, and is no state meanwhile."""

_BODY: Final = b"A restore was tried here. This object may be removed.\n"


def try_put(bucket: Bucket) -> None:
    """Raise where the bucket takes no object. Nothing is put where nothing could be removed again."""
    try:
        _remove(bucket)
    except SourceUnavailable:
        raise
    except SourceError:
        return  # a restore that overlays needs no right to remove, and an object that stays would be worse
    with Translated(cold_failure("be written")):
        put = bucket.client.put_object(**_target(bucket), Body=_BODY)
    _remove(bucket, put.get("VersionId"))


def write_right(bucket: Bucket) -> Right:
    """Whether a restore could write; one that overlays needs no right to remove, one that is exact does."""
    try:
        _remove(bucket)
        try_put(bucket)
    except SourceUnavailable:
        raise
    except SourceError as error:
        said = f"an exact restore into it is not possible: {error.sentence}"
        return Right("restore", "", said, error.hint)
    return Right("restore", "takes writes")


def _remove(bucket: Bucket, version: str | None = None) -> None:
    """Remove the object and, in a bucket that keeps versions, the version or the mark that this would leave."""
    with Translated(cold_failure("remove an object")):
        if version is None:
            version = bucket.client.delete_object(**_target(bucket)).get("VersionId")
        if version is None:
            return
    with suppress(SourceError), Translated(cold_failure("remove a version")):
        bucket.client.delete_object(**_target(bucket), VersionId=version)
        return
    with Translated(cold_failure("remove an object")):  # the version is locked, or its removal is not allowed
        bucket.client.delete_object(**_target(bucket))


def _target(bucket: Bucket) -> dict[str, Any]:
    return {"Bucket": bucket.name, "Key": bucket.prefix + SCRATCH}
