"""S3 services and their objects, as the tests of COLD arrange and compare them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from moto.s3.models import s3_backends

from strata.model.record import MARKED_SCHEMA, Claimed, Encoding, LargeValue, SourceItem, Unchanged
from strata.model.scope import Scope
from strata.s3client import S3Access, make_client
from strata.sources.port import ApplyCounts, Reading, RestoreMode, StateSource
from strata.sources.s3_cold import S3Cold
from strata.testing import always

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

EVERYTHING = Scope()
SECRET = "a-secret-that-nobody-may-see"  # noqa: S105 - made up
MIB = 1 << 20
SOURCE = Encoding.S3_OBJECT


@dataclass(frozen=True)
class Service:
    """An S3 service that is up, and a client to arrange things with."""

    endpoint: str
    key: str
    secret: str

    @property
    def client(self) -> S3Client:
        return make_client(S3Access(self.endpoint, self.key, self.secret), 4)

    def cold(self, where: str, threads: int = 4) -> S3Cold:
        return S3Cold(
            f"s3://{where}",
            endpoint=self.endpoint,
            access_key_id=self.key,
            secret_access_key=self.secret,
            threads=threads,
            attempts=2,
        )


@dataclass
class Held:
    """What a parent holds of COLD, as a backup would know it; implements Baseline."""

    cut: dict[str, Any]
    description: dict[str, Any]
    reading: Reading = Reading.CHANGES
    kept: dict[bytes, bytes | None] = field(default_factory=dict)
    """Marks by key."""
    asked: list[int] = field(default_factory=list)
    """How many keys each question for marks named."""

    def marks(self, namespace: str, keys: pa.Array) -> pa.FixedSizeBinaryArray:
        assert (namespace, keys.type) == ("", pa.large_binary())
        self.asked.append(len(keys))
        return pa.array([self.kept.get(key) for key in keys.to_pylist()], pa.binary(16))


def marks_in(item: SourceItem) -> dict[bytes, bytes | None]:
    """The marks of what was read; parts of large values are read to their end."""
    if isinstance(item, Claimed):
        return marks_in(item.item)
    if isinstance(item, LargeValue):
        assert sum(map(len, item.parts)) == item.size
        return {item.key: item.mark}
    assert isinstance(item, pa.RecordBatch)
    return dict(zip(item["key"].to_pylist(), item["mark"].to_pylist(), strict=True))


def hold(source: StateSource, scope: Scope = EVERYTHING, reading: Reading = Reading.CHANGES) -> Held:
    """What a backup of the source holds that is made now."""
    with source.connect() as session:
        cut, description = session.cut(), session.describe()
        kept = {key: mark for item in session.read(scope) for key, mark in marks_in(item).items()}
        return Held(cut, description, reading, kept)


@dataclass
class Compared:
    """What a reading with a baseline gave: names of objects by what was said of them."""

    read: dict[bytes, bytes | None] = field(default_factory=dict)
    claimed: dict[bytes, bytes | None] = field(default_factory=dict)
    unchanged: list[bytes] = field(default_factory=list)


def compare(source: StateSource, held: Held, scope: Scope = EVERYTHING) -> Compared:
    """Read the source with a baseline."""
    found = Compared()
    with source.connect() as session:
        session.cut()
        for item in session.read(scope, held):
            if isinstance(item, Unchanged):
                assert item.namespace == ""
                found.unchanged += item.keys.to_pylist()
            else:
                target = found.claimed if isinstance(item, Claimed) else found.read
                target |= marks_in(item)
    names = [*found.read, *found.claimed, *found.unchanged]
    assert len(names) == len(set(names))
    return found


@dataclass(frozen=True)
class Seen:
    """A record as a test compares it."""

    value: bytes
    attrs: dict[str, Any]
    large: bool


def seen_in(item: SourceItem) -> dict[bytes, Seen]:
    if isinstance(item, LargeValue):
        value = b"".join(item.parts)
        assert len(value) == item.size
        return {item.key: Seen(value, json.loads(item.attrs or ""), large=True)}
    assert isinstance(item, pa.RecordBatch)
    assert item.schema == MARKED_SCHEMA
    rows = item.to_pylist()
    return {row["key"]: Seen(row["value"], json.loads(row["attrs"]), large=False) for row in rows}


def read_all(source: StateSource, scope: Scope = EVERYTHING) -> dict[bytes, Seen]:
    with source.connect() as session:
        session.cut(scope)
        found: dict[bytes, Seen] = {}
        for item in session.read(scope):
            found |= seen_in(item)
        return found


def copy(
    source: StateSource, target: StateSource, mode: RestoreMode = RestoreMode.OVERLAY, scope: Scope = EVERYTHING
) -> ApplyCounts:
    """Read the source's records of the scope and write them to the target, as a backup and a restore would."""
    held: set[bytes] = set()

    def known(namespace: str, keys: pa.Array) -> npt.NDArray[np.bool_]:
        assert (namespace, keys.type) == ("", pa.large_binary())
        return np.array([key in held for key in keys.to_pylist()], dtype=bool)

    with source.connect() as session, target.apply({}, mode, always) as application:
        for item in session.read(scope):
            if isinstance(item, LargeValue):
                held.add(item.key)
                application.write_large(item)
            else:
                held |= set(item.column("key").to_pylist())
                application.write(item)
        return application.finish(known, scope)


def put(client: S3Client, bucket: str, *names: str) -> None:
    for name in names:
        client.put_object(Bucket=bucket, Key=name, Body=name.encode())


def make_old(bucket: str) -> None:
    """Date what a bucket of moto holds back by an hour; moto runs in this process, and its times are whole seconds."""
    for backends in s3_backends.values():
        for backend in backends.values():
            for key in backend.buckets[bucket].keys.values() if bucket in backend.buckets else ():
                key.last_modified -= timedelta(hours=1)


def names_in(client: S3Client, bucket: str) -> list[str]:
    return [found["Key"] for found in client.list_objects_v2(Bucket=bucket).get("Contents", [])]
