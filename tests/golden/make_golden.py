"""Makes the golden store: real bytes of one format version, and what is in them by other means than Strata's.

Four backups: a full one, an incremental one with what changed, came and went in every tier, a full one that lies on
both, and a snapshot of some keys that stands apart and borrows chunks.

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
import pytest
import redis
from botocore.config import Config
from pydantic import SecretStr

from strata.catalog.metadata import BackupMetadataManager
from strata.catalog.notes import NoteBook, NoteKind
from strata.catalog.readings import Reading
from strata.content import compact
from strata.engine.failures import FailureLog
from strata.engine.local import backup_here
from strata.model.backup_type import BackupType
from strata.model.manifest import BackupMetadata
from strata.model.run import Run, RunKind, RunState
from strata.seal.keyring import FileKeyring
from strata.settings import Settings
from strata.storage.filesystem import FilesystemStore
from strata.testing import SettableClock
from strata.wiring import Wiring
from workers.local_stack.servers import start_postgres, start_redis, start_s3

KEYRING: Final = "test-keyring-no-secret.json"
EXPECTED: Final = "expected.json"
STORE: Final = "store"
BACKUP_ID: Final = "20250102-030405-full-601d00"
INCREMENTAL: Final = "20250102-031905-incremental-601d01"
SYNTHETIC: Final = "20250103-030405-full-601d02"
SNAPSHOT: Final = "20250103-030406-snapshot-601d03"
FAILED: Final = "20250104-050607-full-601d04"
REASON: Final = "HOT (Redis) does not answer"
PATTERNS: Final = ("position:*", "candles*", "order*")
"""What the snapshot covers."""

_TICKS: Final = 60
"""Rows of a table of small rows; a segment of half as many is to be compact here."""

_FAR: Final = datetime(2100, 1, 1, tzinfo=UTC)
_BUCKET: Final = "golden"
_PREFIX: Final = "bot/"

Listed = dict[str, Any]
"""One record as expected.json lists it."""


def back_up(settings: Settings, backup_id: str, backup_type: BackupType = BackupType.FULL) -> BackupMetadata:
    """A backup by the real pipeline, in this process."""
    return backup_here(Wiring(settings).local_manager, backup_type, backup_id)


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


def change_hot(url: str, database: int) -> None:
    """Values, an expiry and a hash that change, keys that come, and keys that go."""
    with redis_database(url, database) as client:
        client.set("position:BTC", '{"size": "0.50", "entry": "63000"}')
        client.set("position:ETH", '{"size": "2", "entry": "3100"}')
        client.hset("portfolio", "cash", "900.00")
        client.set("empty", b"", pxat=_FAR)
        client.delete("session:a", "history:6", b"\x00\xff\nbinary\t\x80")


def change_hot_again(url: str, database: int) -> None:
    """A key that comes back as it was, one that changes once more, and another that goes."""
    with redis_database(url, database) as client:
        client.set("session:a", "gone in 2100", pxat=_FAR)
        client.set("position:BTC", '{"size": "0.75", "entry": "63500"}')
        client.delete("history:5")


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
        connection.execute("CREATE TABLE tick (id bigint PRIMARY KEY, price smallint)")
        connection.execute(f"INSERT INTO tick SELECT i, i * i % 97 FROM generate_series(1, {_TICKS}) i")


def _change_warm(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE state_warm SET body = '{\"side\": \"sell\"}' WHERE name = 'order'")
        connection.execute("DELETE FROM state_warm WHERE name = '\u00e9t\u00e9'")
        connection.execute("INSERT INTO state_warm (name, raw) VALUES ('order', '\\x01')")
        connection.execute("INSERT INTO audit VALUES ('stopped')")
        connection.execute("UPDATE tick SET price = 98 WHERE id = 7")
        connection.execute("DELETE FROM tick WHERE id = 8")


def _change_warm_again(url: str) -> None:
    """Small rows alone: all of them begin with their keys."""
    with psycopg.connect(url, autocommit=True) as connection:
        last = _TICKS * 5 // 3
        connection.execute(f"INSERT INTO tick SELECT i, i % 97 FROM generate_series({_TICKS + 1}, {last}) i")


def _held_by_warm(url: str) -> Iterator[Listed]:
    """What COPY gives: of state_warm the key is its first two fields, of tick its first, audit's rows are counted."""
    tables = (("state_warm", "name, id, body, raw", 2), ("tick", "id, price", 1), ("audit", "line", 0))
    with psycopg.connect(url) as connection:
        for table, columns, fields in tables:
            with connection.cursor().copy(f"COPY {table} ({columns}) TO STDOUT".encode()) as copy:
                lines = b"".join(map(bytes, copy)).splitlines(keepends=True)
            for number, line in enumerate(lines):
                key = b"\t".join(line.rstrip(b"\n").split(b"\t")[:fields]) if fields else b"0:%d" % number
                yield listed("warm", f"public.{table}", key, line, "pg/copy-text")


_Objects = dict[str, tuple[bytes, dict[str, Any]]]
"""Bodies and arguments of the PUT, by names below the prefix."""


def _candles() -> bytes:
    """A large body that compresses well."""
    return "".join(f"{n:07d},BTC-USD,{(n // 16) ** 2 % 9973:04d}\n" for n in range(130_000)).encode()


def _objects() -> _Objects:
    """Two are large and equal."""
    return {
        "config.json": (b'{"risk": 0.02}', {"ContentType": "application/json", "Metadata": {"author": "tests"}}),
        "models/\u00e9toile.bin": (bytes(4096), {"ContentType": "application/octet-stream"}),
        "nothing": (b"", {"ContentType": "text/plain"}),
        "candles.csv": (_candles(), {"ContentType": "text/csv"}),
        "candles-copy.csv": (_candles(), {"ContentType": "text/csv"}),
    }


def _changed_objects() -> _Objects:
    """A large one that differs at its end, a body, metadata alone, a new name, and two that are no more."""
    kept = {name: put for name, put in _objects().items() if name not in {"nothing", "models/\u00e9toile.bin"}}
    return kept | {
        "config.json": (b'{"risk": 0.03}', {"ContentType": "application/json", "Metadata": {"author": "tests"}}),
        "candles-copy.csv": (_candles()[:-22] + b"0129999,BTC-USD,0000\n", {"ContentType": "text/csv"}),
        "note.txt": (b"new", {"ContentType": "text/plain", "CacheControl": "no-cache"}),
    }


def _objects_again() -> _Objects:
    """A large one under another name."""
    changed = _changed_objects()
    return {name: put for name, put in changed.items() if name != "candles.csv"} | {
        "candles-old.csv": changed["candles.csv"]
    }


def _put(client: Any, before: _Objects, now: _Objects) -> None:
    """Make the bucket hold what it shall; what stays as it was is not touched."""
    for name in before.keys() - now.keys():
        client.delete_object(Bucket=_BUCKET, Key=_PREFIX + name)
    for name, (body, arguments) in now.items():
        if before.get(name) != (body, arguments):
            client.put_object(Bucket=_BUCKET, Key=_PREFIX + name, Body=body, **arguments)


def _held_by_cold(client: Any, objects: _Objects) -> Iterator[Listed]:
    names = {"content_type": "ContentType", "content_encoding": "ContentEncoding", "cache_control": "CacheControl"}
    for name, (body, _) in objects.items():
        answer = client.head_object(Bucket=_BUCKET, Key=_PREFIX + name)
        attrs = {kept: answer[header] for kept, header in names.items() if answer.get(header)}
        modified = round(answer["LastModified"].timestamp() * 1000)
        attrs["storage_class"] = answer.get("StorageClass", "STANDARD")
        if answer["Metadata"]:
            attrs["metadata"] = {name.lower(): text for name, text in answer["Metadata"].items()}
        yield listed("cold", "", name.encode(), body, "s3/object", modified_at=modified, attrs=attrs)


def tell_more(folder: Path, keyring: FileKeyring) -> None:
    """What is learned and decided later: a proof, a pin in the same second as another, and a run that failed."""
    store, now = FilesystemStore(folder), datetime(2025, 1, 4, 5, 6, 7, 890000, tzinfo=UTC)
    notes = NoteBook(store, keyring)
    read = Reading.of_backup(BackupMetadataManager(store, keyring).load(BACKUP_ID), now)
    notes.add(NoteKind.VERIFIED, BACKUP_ID, now, {"objects": 12, **read.body})
    for reason in ("audit of \u00e9t\u00e9", "audit of autumn"):
        notes.add(NoteKind.PINNED, BACKUP_ID, now, {"reason": reason})
    failed = Run(
        run_id=FAILED,
        kind=RunKind.BACKUP,
        state=RunState.FAILED,
        reason=REASON,
        code="source-unavailable",
        created_at=now,
        updated_at=now,
    )
    FailureLog(store, keyring, SettableClock(now)).keep(failed)


def covered(records: Iterable[Listed]) -> list[Listed]:
    """The records that the snapshot covers."""
    starts = tuple(pattern.removesuffix("*").encode() for pattern in PATTERNS)
    return [record for record in records if bytes.fromhex(record["key"]).startswith(starts)]


def make(target: Path) -> None:
    """Fill real servers, back them up into `target`, and write down what is in them."""
    target.mkdir(parents=True)
    FileKeyring.create(target / KEYRING, _FAR)
    with ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setattr(compact, "FEWEST_ROWS", _TICKS // 2)
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
        settings = Settings(
            hot_url=SecretStr(hot.url.removesuffix("/0") + "/0,3"),
            warm_url=SecretStr(warm.url),
            warm_tables=("state_warm", "tick", "audit"),
            cold_url=f"s3://{_BUCKET}/{_PREFIX}",
            cold_endpoint=cold.endpoint,
            cold_region="us-east-1",
            cold_access_key_id=cold.access_key,
            cold_secret_access_key=SecretStr(cold.secret_key),
            local_url=(folder / STORE).as_uri(),
            spool_url=(folder / "spool").as_uri(),
            keyring_file=target / KEYRING,
            patterns={BackupType.SNAPSHOT: PATTERNS},
            rebase_dead_share=0.9,
            segment_bytes=2 << 20,
        )

        def held(objects: _Objects) -> list[Listed]:
            return in_order([*held_by_hot(hot.url, (0, 3)), *_held_by_warm(warm.url), *_held_by_cold(client, objects)])

        fill_hot(hot.url, 0)
        with redis_database(hot.url, 3) as other:
            other.config_set("repl-diskless-sync-delay", 0)  # so that its stream is read, where all keys are
            other.set("account", "of another database")
        _fill_warm(warm.url)
        _put(client, {}, _objects())
        back_up(settings, BACKUP_ID)
        states = {BACKUP_ID: held(_objects())}

        change_hot(hot.url, 0)
        _change_warm(warm.url)
        _put(client, _objects(), _changed_objects())
        back_up(settings, INCREMENTAL, BackupType.INCREMENTAL)
        states[INCREMENTAL] = held(_changed_objects())

        change_hot_again(hot.url, 0)
        _change_warm_again(warm.url)
        _put(client, _changed_objects(), _objects_again())
        back_up(settings, SYNTHETIC)
        states[SYNTHETIC] = held(_objects_again())
        back_up(settings, SNAPSHOT, BackupType.SNAPSHOT)
        states[SNAPSHOT] = covered(states[SYNTHETIC])
        tell_more(folder / STORE, FileKeyring.load(target / KEYRING))
        shutil.copytree(folder / STORE, target / STORE)
    (target / EXPECTED).write_text(_as_text(states))


def _as_text(states: dict[str, list[Listed]]) -> str:
    """One record a line, so that versions can be compared."""
    backups = (
        f"{json.dumps(backup_id)}: [\n " + ",\n ".join(map(json.dumps, records)) + "\n]"
        for backup_id, records in states.items()
    )
    return "{\n" + ",\n".join(backups) + "\n}\n"


def in_order(records: Iterable[Listed]) -> list[Listed]:
    """The records by tier, namespace and key."""
    return sorted(records, key=lambda one: (one["tier"], one["namespace"], one["key"]))


if __name__ == "__main__":
    make(Path(sys.argv[1]))
