"""An archive that can be held: moto's S3, in which thaws stay on their way for as long as a test says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from moto.moto_api import state_manager
from moto.s3.models import s3_backends

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

ACCESS: dict[str, Any] = {"access_key_id": "test", "secret_access_key": "test", "region": "us-east-1"}
_MODEL = "s3::keyrestore"
_NEVER = 1 << 40


@dataclass(frozen=True)
class Glacier:
    """A bucket of the moto server that runs in this process."""

    endpoint: str
    bucket: str

    @property
    def client(self) -> S3Client:
        """A client of the test's own."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106 - moto asks for none
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}),
        )

    def put(self, name: str, data: bytes = b"data", storage_class: str = "GLACIER") -> None:
        """Store an object in a class."""
        self.client.put_object(Bucket=self.bucket, Key=name, Body=data, StorageClass=storage_class)  # type: ignore[arg-type]

    def archive(self, folder: Path, prefix: str = "", storage_class: str = "GLACIER") -> list[str]:
        """Copy a store's folder here, its sealed data into the class, all else into the hot one; what was frozen."""
        frozen = []
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = f"{prefix}{path.relative_to(folder)}"
            cold = path.suffix in {".seg", ".pack"}
            self.put(name, path.read_bytes(), storage_class if cold else "STANDARD")
            frozen += [name] if cold else []
        return frozen

    @contextmanager
    def holding(self) -> Iterator[None]:
        """What is asked for meanwhile stays on its way; then all of it is thawed."""
        state_manager.set_transition(_MODEL, {"progression": "manual", "times": _NEVER})
        for key in self._keys().values():
            key.status = "IN_PROGRESS"
        try:
            yield
        finally:
            state_manager.unset_transition(_MODEL)

    def empty(self) -> None:
        """Remove every object."""
        for name in self._keys():
            self.client.delete_object(Bucket=self.bucket, Key=name)

    def finish(self, name: str) -> None:
        """One object is thawed, though the others are held."""
        self._keys()[name].status = "RESTORED"

    def expire(self, name: str) -> None:
        """The temporary copy of an object is gone."""
        self._keys()[name].set_expiry(None)

    def asked(self) -> set[str]:
        """The objects that were asked for."""
        return {name for name, key in self._keys().items() if key.expiry_date is not None}

    def _keys(self) -> dict[str, Any]:
        (backend,) = (backends["aws"] for backends in s3_backends.values())
        keys: dict[str, Any] = dict(backend.buckets[self.bucket].keys.items())
        return keys
