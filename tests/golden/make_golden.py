"""Makes the golden store: real bytes of one format version, and what is in them by other means than Strata's.

Run it once for a version, before its release: `python -m tests.golden.make_golden tests/golden/v0`. The folder must
not be there yet: bytes that were released are never made anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import boto3
import psycopg
import redis
from botocore.config import Config
from pydantic import SecretStr

from strata.engine.local import backup_here
from strata.model.backup_type import BackupType
from strata.model.manifest import BackupMetadata
from strata.seal.keyring import FileKeyring
from strata.settings import Settings
from strata.wiring import Wiring
from workers.local_stack.servers import start_postgres, start_redis, start_s3

KEYRING: Final = "test-keyring-no-secret.json"
EXPECTED: Final = "expected.json"
STORE: Final = "store"
BACKUP_ID: Final = "20250102-030405-full-601d00"
_FAR: Final = datetime(2100, 1, 1, tzinfo=UTC)
_BUCKET: Final = "golden"
_PREFIX: Final = "bot/"

Listed = dict[str, Any]
"""One record as expected.json lists it."""


def back_up(settings: Settings, backup_id: str) -> BackupMetadata:
    """A full backup by the real pipeline, in this process."""
    return backup_here(Wiring(settings).local_manager, BackupType.FULL, backup_id)


def listed(
    tier: str,
    namespace: str,
    key: bytes,
    value: bytes,
    encoding: str,
    *,
    expires_at: int | None = None,
    modified_at: int | None = None,
    attrs: dict[str, Any] | None = None,
) -> Listed:
    """One record as expected.json lists it; moments in milliseconds since 1970."""
    return {
        "tier": tier,
        "namespace": namespace,
        "key": key.hex(),
        "length": len(value),
        "sha256": hashlib.sha256(value).hexdigest(),
        "encoding": encoding,
        "expires_at": expires_at,
        "modified_at": modified_at,
        "attrs": attrs,
    }


def redis_database(url: str, database: int) -> redis.Redis:
    """A client of one database of the server."""
    return redis.Redis.from_url(urlsplit(url)._replace(path=f"/{database}").geturl())


def fill_hot(url: str, database: int) -> None:
    """Strings with and without expiry, binary keys, a hash and a stream; enough bytes for two segments."""
    with redis_database(url, database) as client:
        client.set("position:BTC", '{"size": "0.25", "entry": "64000.5"}')
        client.set("session:a", "gone in 2100", pxat=_FAR)
        client.set(b"\x00\xff\nbinary\t\x80", bytes(range(256)))
        client.set("empty", b"")
        client.hset("portfolio", mapping={"cash": "1000.00", "equity": "1250.75"})
        client.pexpireat("portfolio", _FAR)
        client.xadd("events", {"kind": "fill", "price": "64000.5"}, id="1735787045000-0")
        client.xgroup_create("events", "readers", id="0")
        for number in range(7):
            client.set(f"history:{number}", f"{number}: nothing happened. ".encode() * 41_000)


def held_by_hot(url: str, databases: tuple[int, ...]) -> Iterator[Listed]:
    """What Redis itself says that it holds."""
    for database in databases:
        with redis_database(url, database) as client:
            for key in client.scan_iter():
                plain = client.type(key) == b"string"
                value: Any = client.get(key) if plain else client.dump(key)
                expiry: Any = client.pexpiretime(key)
                encoding = "redis/string" if plain else "redis/dump"
                yield listed("hot", str(database), key, value, encoding, expires_at=expiry if expiry >= 0 else None)


def _fill_warm(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE state_warm (id bigint GENERATED ALWAYS AS IDENTITY, name text, body jsonb, raw bytea,"
            " twice numeric GENERATED ALWAYS AS (id * 2) STORED, PRIMARY KEY (name, id))"
        )
        connection.execute("CREATE TABLE audit (line text)")
        connection.execute(
            "INSERT INTO state_warm (name, body, raw) VALUES ('order', '{\"side\": \"buy\"}', '\\x00ff0a'),"
            " (E'tab\\t, newline\\n, backslash \\\\', NULL, NULL), ('\u00e9t\u00e9', '[1, 2, 3]', '')"
        )
        connection.execute("INSERT INTO audit VALUES ('started'), (NULL), ('')")


def _held_by_warm(url: str) -> Iterator[Listed]:
    """What COPY gives: of state_warm the key is its first two fields, audit's rows are counted."""
    with psycopg.connect(url) as connection:
        for table, columns, fields in (("state_warm", "name, id, body, raw", 2), ("audit", "line", 0)):
            with connection.cursor().copy(f"COPY {table} ({columns}) TO STDOUT".encode()) as copy:
                lines = b"".join(map(bytes, copy)).splitlines(keepends=True)
            for number, line in enumerate(lines):
                key = b"\t".join(line.rstrip(b"\n").split(b"\t")[:fields]) if fields else b"0:%d" % number
                yield listed("warm", f"public.{table}", key, line, "pg/copy-text")


def _objects() -> Iterator[tuple[str, bytes, dict[str, Any]]]:
    """Names below the prefix, bodies, and arguments of the PUT; the last two are large, equal, and compress well."""
    yield "config.json", b'{"risk": 0.02}', {"ContentType": "application/json", "Metadata": {"author": "tests"}}
    yield "models/\u00e9toile.bin", bytes(4096), {"ContentType": "application/octet-stream"}
    yield "nothing", b"", {"ContentType": "text/plain"}
    candles = "".join(f"{n:07d},BTC-USD,{(n // 16) ** 2 % 9973:04d}\n" for n in range(130_000)).encode()
    yield "candles.csv", candles, {"ContentType": "text/csv"}
    yield "candles-copy.csv", candles, {"ContentType": "text/csv"}


def _held_by_cold(client: Any) -> Iterator[Listed]:
    names = {"content_type": "ContentType", "content_encoding": "ContentEncoding", "cache_control": "CacheControl"}
    for name, body, _ in _objects():
        answer = client.head_object(Bucket=_BUCKET, Key=_PREFIX + name)
        attrs = {kept: answer[header] for kept, header in names.items() if answer.get(header)}
        modified = round(answer["LastModified"].timestamp() * 1000)
        attrs["storage_class"] = answer.get("StorageClass", "STANDARD")
        if answer["Metadata"]:
            attrs["metadata"] = {name.lower(): text for name, text in answer["Metadata"].items()}
        yield listed("cold", "", name.encode(), body, "s3/object", modified_at=modified, attrs=attrs)


def make(target: Path) -> None:
    """Fill real servers, back them up into `target`, and write down what is in them."""
    target.mkdir(parents=True)
    FileKeyring.create(target / KEYRING, _FAR)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="strata-golden-")))
        hot = start_redis(folder / "redis")
        stack.callback(hot.stop)
        warm = start_postgres(folder / "postgres", options=["-c", "fsync=off"])
        stack.callback(warm.stop)
        cold = start_s3(folder / "s3")
        stack.callback(cold.stop)
        cold.make_bucket(_BUCKET)
        client = boto3.client(
            "s3",
            endpoint_url=cold.endpoint,
            aws_access_key_id=cold.access_key,
            aws_secret_access_key=cold.secret_key,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}),
        )
        fill_hot(hot.url, 0)
        with redis_database(hot.url, 3) as other:
            other.set("account", "of another database")
        _fill_warm(warm.url)
        for name, body, arguments in _objects():
            client.put_object(Bucket=_BUCKET, Key=_PREFIX + name, Body=body, **arguments)
        settings = Settings(
            hot_url=SecretStr(hot.url.removesuffix("/0") + "/0,3"),
            warm_url=SecretStr(warm.url),
            warm_tables=("state_warm", "audit"),
            cold_url=f"s3://{_BUCKET}/{_PREFIX}",
            cold_endpoint=cold.endpoint,
            cold_region="us-east-1",
            cold_access_key_id=cold.access_key,
            cold_secret_access_key=SecretStr(cold.secret_key),
            local_url=(folder / STORE).as_uri(),
            spool_url=(folder / "spool").as_uri(),
            keyring_file=target / KEYRING,
            segment_bytes=2 << 20,
        )
        back_up(settings, BACKUP_ID)
        shutil.copytree(folder / STORE, target / STORE)
        held = [
            *held_by_hot(hot.url, (0, 3)),
            *_held_by_warm(warm.url),
            *_held_by_cold(client),
        ]
    (target / EXPECTED).write_text(json.dumps(in_order(held), indent=1) + "\n")


def in_order(records: Iterable[Listed]) -> list[Listed]:
    """The records by tier, namespace and key."""
    return sorted(records, key=lambda one: (one["tier"], one["namespace"], one["key"]))


if __name__ == "__main__":
    make(Path(sys.argv[1]))
