"""The settings of the stores; read and frozen with all the others (strata.settings)."""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

from strata.storage.port import LockMode


class StoreSettings(BaseSettings):
    """Where each storage tier is, who asks there, and what is asked of it."""

    installation: str | None = Field(
        None,
        description="The name of this installation, which its stores belong to; a random one is made where not set.",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
    )

    local_url: str | None = Field(None, description="The LOCAL store: file:///folder.")
    local_append_only: bool = Field(
        False, description="Whether LOCAL's files are made immutable, and removed only after their lock has ended."
    )
    local_bandwidth: int | None = Field(
        None, gt=0, description="Bytes per second that a process moves to and from LOCAL."
    )

    network_url: str | None = Field(
        None,
        description="The NETWORK store: file:///folder on a mounted share, set up by `strata stores init network`.",
    )
    network_append_only: bool = Field(
        False, description="Whether NETWORK's files are made immutable, and removed only after their lock has ended."
    )
    network_bandwidth: int | None = Field(
        None, gt=0, description="Bytes per second that a process moves to and from NETWORK."
    )

    cloud_url: str | None = Field(None, description="The CLOUD store: s3://bucket/prefix.")
    cloud_endpoint: str | None = Field(None, description="URL of the CLOUD store's S3 server; AWS where it is not set.")
    cloud_region: str | None = Field(None, description="Region of the CLOUD store's bucket.")
    cloud_access_key_id: str | None = Field(None, description="The CLOUD store's own access key.")
    cloud_secret_access_key: SecretStr | None = Field(None, description="The CLOUD store's own secret key.")
    cloud_storage_class: str | None = Field(
        None, description="Storage class of sealed data in CLOUD, such as `STANDARD_IA`; the bucket's own otherwise."
    )
    cloud_kms_key: str | None = Field(None, description="Id of the KMS key that CLOUD's server encrypts with as well.")
    cloud_lock: LockMode | None = Field(
        None, description="Object Lock in CLOUD: `governance` or `compliance`; the bucket must have been made with it."
    )
    cloud_bandwidth: int | None = Field(
        None, gt=0, description="Bytes per second that a process moves to and from CLOUD."
    )

    archive_url: str | None = Field(None, description="The ARCHIVE store: s3://bucket/prefix.")
    archive_endpoint: str | None = Field(
        None, description="URL of the ARCHIVE store's S3 server; AWS where it is not set."
    )
    archive_region: str | None = Field(None, description="Region of the ARCHIVE store's bucket.")
    archive_access_key_id: str | None = Field(None, description="The ARCHIVE store's own access key.")
    archive_secret_access_key: SecretStr | None = Field(None, description="The ARCHIVE store's own secret key.")
    archive_storage_class: str = Field(
        "GLACIER", description="Storage class of sealed data in ARCHIVE; everything else there stays in a hot class."
    )
    archive_kms_key: str | None = Field(
        None, description="Id of the KMS key that ARCHIVE's server encrypts with as well."
    )
    archive_lock: LockMode | None = Field(
        None,
        description="Object Lock in ARCHIVE: `governance` or `compliance`; the bucket must have been made with it.",
    )
    archive_bandwidth: int | None = Field(
        None, gt=0, description="Bytes per second that a process moves to and from ARCHIVE."
    )

    stores_read_only: bool = Field(
        False, description="Whether nothing is written to a store or removed from it: for machines that only restore."
    )
    store_threads: int = Field(
        4, ge=1, le=64, description="Objects, or parts of a large one, that a process uploads to an S3 store at a time."
    )

    @field_validator("cloud_url", "archive_url")
    @classmethod
    def _in_s3(cls, value: str | None) -> str | None:
        return plain_scheme(value, "s3")

    @field_validator("local_url", "network_url")
    @classmethod
    def _in_a_folder(cls, value: str | None) -> str | None:
        return plain_scheme(value, "file")


def plain_scheme(value: str | None, *schemes: str) -> str | None:
    """The URL, or ValueError where it does not begin with one of the schemes."""
    if value is not None and value.partition("://")[0] not in schemes:
        raise ValueError(f"it must be a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    if value is not None and value.startswith("file://") and not value.removeprefix("file://").strip("/"):
        raise ValueError("it must name a folder of its own, not the root of the file system")
    return value
