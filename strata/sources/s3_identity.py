"""Which bucket a URL leads to, by what the service tells of it."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Final

from strata.model.identity import Identity
from strata.model.tier import Tier
from strata.s3client import Fault, FaultKind, Translated
from strata.sources.s3_object import cold_failure

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_AWS: Final = "amazonaws.com"
_GATEWAYS: Final = {"GoFakeS3"}
"""Owners that gateways over a file system invent: their buckets are folders, whose date is that of the last change."""


class _NotTold(Exception):
    """The service does not list buckets for these credentials."""


def identity_of(client: S3Client, host: str, bucket: str, prefix: str) -> Identity:
    """The bucket: at AWS by its name, which no other one has; elsewhere by its owner and the moment it was made.

    Where the service lists no buckets to these credentials it is known by the endpoint's name alone.
    """
    at_aws = host.partition(":")[0].endswith(_AWS)
    return Identity(
        part=Tier.COLD,
        server={"service": (_AWS,)} if at_aws else _birth(client, bucket),
        place=f"s3://{bucket}/{prefix}",
        address=host,
        words="S3",
    )


def _birth(client: S3Client, bucket: str) -> dict[str, tuple[str, ...]]:
    try:
        with Translated(_failure):
            answer = client.list_buckets()
    except _NotTold:
        return {}
    owner = answer.get("Owner", {})
    made = next((one["CreationDate"] for one in answer.get("Buckets", []) if one["Name"] == bucket), None)
    if made is None or not owner.get("ID") or owner.get("DisplayName") in _GATEWAYS:
        return {}
    return {"owner": (owner["ID"],), "made": (made.astimezone(UTC).isoformat(timespec="milliseconds"),)}


def _failure(fault: Fault) -> Exception:
    return cold_failure("be identified")(fault) if fault.kind is FaultKind.UNAVAILABLE else _NotTold()
