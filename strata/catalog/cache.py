"""A local copy of what catalogues say, so that a listing reads only what is new.

One SQLite file for each store and keyring, in a folder of mode 0700. Manifests and notes never change: what was
verified when it entered stays, as long as the store lists an object of that name, size and time. All that it holds is
sealed by a sum that takes the keyring to make, so that a bit that differs is found. The cache may be lost, damaged,
locked or not be writable at any time: then the store is read, and a note says why it takes longer.
Nothing is restored or removed by what it says: whoever does that reads the store.
"""

from __future__ import annotations

import json
import marshal
import sqlite3
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from blake3 import blake3

from strata.catalog.notes import Note, NoteKind
from strata.catalog.row import Entered, Kept, LayerFacts, Row, Stamp
from strata.catalog.signed import Signer
from strata.errors import KeyringError
from strata.model.backup_type import BackupType
from strata.model.coverage import Coverage, Parts, SourceKind
from strata.model.manifest import FORMAT_VERSION
from strata.model.tier import Tier

_VERSION: Final = 8
_DOMAIN: Final = b"strata cache v0\n"
_SEAL_DOMAIN: Final = b"strata cache seal v0\n"
_BUSY_SECONDS: Final = 1.0
_BROKEN: Final = (sqlite3.Error, OSError, ValueError, LookupError, TypeError, AttributeError)
"""What reading a file that anything may have happened to can raise."""

_NOT_NOW: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}
"""Errors that say nothing of what is in the file."""

_SCHEMA: Final = f"""
PRAGMA user_version = {_VERSION};
CREATE TABLE store (url TEXT NOT NULL, seal BLOB);
CREATE TABLE part (number INTEGER PRIMARY KEY, parts TEXT NOT NULL UNIQUE);
CREATE TABLE layer (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, bytes INTEGER, begun TEXT);
CREATE TABLE manifest (
    name TEXT PRIMARY KEY, size INTEGER, modified INTEGER, key_id TEXT, backup_id TEXT, type TEXT, generation INTEGER,
    created_at TEXT, recorded_at TEXT, parent TEXT, covers TEXT, records INTEGER, logical INTEGER, added INTEGER,
    stacked INTEGER, store_id TEXT, installation TEXT, sealed_by TEXT, layers BLOB, lenders INTEGER
) WITHOUT ROWID;
CREATE TABLE note (
    name TEXT PRIMARY KEY, size INTEGER, modified INTEGER, key_id TEXT, kind TEXT, subject TEXT, at TEXT, body TEXT,
    store TEXT
) WITHOUT ROWID;
"""


_SEALED: Final = ("layer", "manifest", "note", "part")
_Tables = list[list[tuple[Any, ...]]]
"""The rows of each of them."""

_PLAIN: Final = 2
"""The version of marshal's format that writes equal values as equal bytes."""


class CacheState(NamedTuple):
    """What one file of the cache holds; sizes in bytes."""

    store_url: str
    backups: int
    notes: int
    size: int


class CatalogueCache:
    """The cache in a folder; `tell` hears why it was done without."""

    def __init__(self, folder: Path, signer: Signer, tell: Callable[[str], None] = lambda _: None) -> None:
        self._folder, self._signer, self._tell = folder, signer, tell

    def load(self, url: str) -> Kept:
        """What is known of a store; nothing where there is no cache that can be read."""
        path = self._path(url)
        if path is None or not path.exists():
            return Kept({}, {}, {})
        try:
            _refuse_link(path)
            with _opened(path) as database:
                database.execute("BEGIN")  # one moment for all that is read
                version = database.execute("PRAGMA user_version").fetchone()[0]
                if version == _VERSION:
                    return self._trusted(_read(self._sealed(database, url)))
            if version:
                self._tell(
                    "the catalogue's cache was written by another version of Strata: the stores are read once instead"
                )
                _discard(path)
        except _BROKEN as error:
            if getattr(error, "sqlite_errorcode", None) in _NOT_NOW:
                self._tell(f"the catalogue's cache could not be used ({error}): the store is read instead")
            else:
                self._tell(f"the catalogue's cache is damaged ({_reason(error)}): the store is read instead")
                _discard(path)
        return Kept({}, {}, {})

    def recall(self, url: str) -> Mapping[str, int]:
        """The backups that the store was seen to hold, with their generations."""
        return {
            one.value.backup_id: one.value.generation
            for one in self.load(url).rows.values()
            if isinstance(one.value, Row)
        }

    def save(self, url: str, new: Kept, gone: Iterable[str]) -> None:
        """Add what was verified just now, and forget the names that are gone."""
        path = self._path(url)
        if path is None:
            return
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _refuse_link(path)
            with _opened(path) as database, database:
                database.execute("BEGIN IMMEDIATE")
                if not database.execute("PRAGMA user_version").fetchone()[0]:
                    _create(database, url)
                _write(database, new, list(gone))
                database.execute("UPDATE store SET seal = ?", [self._seal(_tables(database), url)])
            path.chmod(0o600)
        except _BROKEN as error:
            self._tell(f"the catalogue's cache could not be written ({_reason(error)}): nothing else depends on it")

    def forget(self, url: str) -> None:
        """Drop what is known of a store."""
        if path := self._path(url):
            _discard(path)

    def states(self) -> list[CacheState]:
        """What is in it, by store; files that cannot be read are left out."""
        found: list[CacheState] = []
        for path in sorted(self._folder.glob("*.sqlite")):
            with suppress(*_BROKEN), _opened(path) as database:
                (url,) = database.execute("SELECT url FROM store").fetchone()
                (backups,) = database.execute("SELECT count(*) FROM manifest").fetchone()
                (notes,) = database.execute("SELECT count(*) FROM note").fetchone()
                found.append(CacheState(url, backups, notes, path.stat().st_size))
        return sorted(found)

    def _path(self, url: str) -> Path | None:
        """The file of a store, and of the keyring that vouches for what enters: another keyring has another one."""
        try:
            _, signature = self._signer.sign(_DOMAIN + url.encode())
        except KeyringError:
            return None
        return self._folder / f"{blake3(signature).hexdigest()[:32]}.sqlite"

    def _sealed(self, database: sqlite3.Connection, url: str) -> _Tables:
        """All that it holds, as it was written; ValueError where it is not that."""
        tables = _tables(database)
        if database.execute("SELECT seal FROM store").fetchone() != (self._seal(tables, url),):
            raise ValueError("it does not hold what was written")
        return tables

    def _seal(self, tables: _Tables, url: str) -> bytes:
        """The sum of all that it holds: 15 ms for 10,000 backups."""
        _, signature = self._signer.sign(_SEAL_DOMAIN + url.encode())
        return bytes(blake3(marshal.dumps(tables, _PLAIN), key=blake3(signature).digest()).digest())

    def _trusted(self, kept: Kept) -> Kept:
        """Without what was signed by keys that the keyring does not hold any more."""
        key_ids = {one.key_id for entries in (kept.rows, kept.notes) for one in entries.values()}
        lost = {key_id for key_id in key_ids if not _held(self._signer, key_id)}
        if not lost:
            return kept
        return Kept(_without(kept.rows, lost), _without(kept.notes, lost), kept.layers)


def generations(kept: Kept) -> dict[str, int]:
    """The backups that are known of a store, with their generations."""
    rows = (one.value for one in kept.rows.values())
    return {row.backup_id: row.generation for row in rows if isinstance(row, Row)}


def _without(entries: dict[str, Entered], key_ids: set[str]) -> dict[str, Entered]:
    return {name: one for name, one in entries.items() if one.key_id not in key_ids}


def _held(signer: Signer, key_id: str) -> bool:
    try:
        signer.check(key_id, b"", b"")
    except KeyringError:
        return False
    except Exception:  # noqa: BLE001 - the signature is none: only whether the key is there was asked
        return True
    return True


def _refuse_link(path: Path) -> None:
    """ValueError where a link, a pipe or a folder lies in the place of the file: it is not ours."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise ValueError("it is no file")


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)) as database:
        yield database


def _create(database: sqlite3.Connection, url: str) -> None:
    for statement in filter(str.strip, _SCHEMA.split(";")):
        database.execute(statement)
    database.execute("INSERT INTO store VALUES (?, NULL)", (url,))


def _tables(database: sqlite3.Connection) -> _Tables:
    """Every row of the tables that are sealed."""
    return [database.execute(f"SELECT * FROM {table}").fetchall() for table in _SEALED]  # noqa: S608 - constants


def _read(tables: _Tables) -> Kept:
    layer_rows, manifest_rows, note_rows, part_rows = tables
    layers: dict[int, str] = {}
    moment = datetime.fromisoformat
    facts: dict[str, LayerFacts] = {}
    for number, layer_id, count, begun in layer_rows:
        layers[number], facts[layer_id] = layer_id, LayerFacts(count, moment(begun))
    types, covered = {kind.value: kind for kind in BackupType}, _Covered(dict(part_rows))
    rows: dict[str, Entered] = {}
    for (
        name, size, modified, key_id, backup_id, kind, generation, created, recorded, parent, covers, records, logical,
        added, stacked, store_id, installation, sealed_by, numbers, lenders,
    ) in manifest_rows:  # fmt: skip
        packed = array("I", numbers)
        row = Row(
            backup_id, types[kind], generation, moment(created), moment(recorded), parent, covered(covers), records,
            logical, added, stacked, store_id, installation, sealed_by, tuple([layers[number] for number in packed]),
            lenders,
        )  # fmt: skip
        rows[name] = Entered(Stamp(size, modified), key_id, row)
    kinds = {kind.value: kind for kind in NoteKind}
    notes: dict[str, Entered] = {}
    for name, size, modified, key_id, kind, subject, at, body, store in note_rows:
        note = Note.model_construct(
            format=FORMAT_VERSION, store=store, kind=kinds[kind], subject=subject, at=moment(at), body=json.loads(body)
        )
        notes[name] = Entered(Stamp(size, modified), key_id, note)
    return Kept(rows, notes, facts)


def _write(database: sqlite3.Connection, new: Kept, gone: list[str]) -> None:
    database.executemany("DELETE FROM manifest WHERE name = ?", [(name,) for name in gone])
    database.executemany("DELETE FROM note WHERE name = ?", [(name,) for name in gone])
    if gone:
        _forget_layers(database)
    database.executemany(
        "INSERT OR IGNORE INTO layer (id, bytes, begun) VALUES (?, ?, ?)",
        [(layer_id, one.stored_bytes, one.begun.isoformat()) for layer_id, one in new.layers.items()],
    )
    numbers = dict(database.execute("SELECT id, number FROM layer"))
    parts = _part_numbers(database, new)
    database.executemany(
        f"INSERT OR REPLACE INTO manifest VALUES ({', '.join('?' * 20)})",  # noqa: S608 - question marks
        [(name, *one.stamp, one.key_id, *_columns(one.value, numbers, parts)) for name, one in new.rows.items()],
    )
    database.executemany(
        "INSERT OR REPLACE INTO note VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(name, *one.stamp, one.key_id, *_note_columns(one.value)) for name, one in new.notes.items()],
    )


def _forget_layers(database: sqlite3.Connection) -> None:
    """Drop the layers that no manifest names any more."""
    named: set[int] = set()
    for (numbers,) in database.execute("SELECT layers FROM manifest"):
        named.update(array("I", numbers))
    known = [number for (number,) in database.execute("SELECT number FROM layer")]
    database.executemany("DELETE FROM layer WHERE number = ?", [(one,) for one in known if one not in named])


def _columns(row: Row | Note, numbers: dict[str, int], parts: dict[str, int]) -> tuple[Any, ...]:
    assert isinstance(row, Row)
    return (
        row.backup_id,
        row.backup_type.value,
        row.generation,
        row.created_at.isoformat(),
        row.recorded_at.isoformat(),
        row.parent,
        _covers_text(row.covers, parts),
        row.records,
        row.logical_bytes,
        row.added_bytes,
        row.stacked_bytes,
        row.store_id,
        row.installation,
        row.sealed_by,
        array("I", [numbers[layer_id] for layer_id in row.layers]).tobytes(),
        row.lenders,
    )


def _note_columns(note: Row | Note) -> tuple[str, ...]:
    assert isinstance(note, Note)
    return note.kind.value, note.subject, note.at.isoformat(), json.dumps(note.body), note.store


def _part_numbers(database: sqlite3.Connection, new: Kept) -> dict[str, int]:
    """The numbers of the lists of parts: thousands of backups have the same."""
    rows = (one.value for one in new.rows.values())
    texts = {_parts_text(one.parts) for row in rows if isinstance(row, Row) for one in row.covers}
    database.executemany("INSERT OR IGNORE INTO part (parts) VALUES (?)", [(text,) for text in sorted(texts)])
    return dict(database.execute("SELECT parts, number FROM part"))


def _parts_text(parts: Parts) -> str:
    return json.dumps([parts.key, *parts.marks])


def _covers_text(covers: Iterable[Coverage], parts: dict[str, int]) -> str:
    return json.dumps(
        [
            [
                one.tier,
                one.source,
                one.records,
                one.torn,
                one.late,
                one.half,
                parts[_parts_text(one.parts)],
                *one.patterns,
            ]
            for one in covers
        ]
    )


class _Covered:
    """Reads what backups cover; equal scopes and parts become one object, as thousands of backups have the same."""

    def __init__(self, parts: Mapping[int, str]) -> None:
        self._parts = {number: Parts(key, tuple(marks)) for number, (key, *marks) in _loaded(parts)}
        self._tiers = {tier.value: tier for tier in Tier}
        self._sources = {source.value: source for source in SourceKind}
        self._patterns: dict[tuple[str, ...], tuple[str, ...]] = {}

    def __call__(self, text: str) -> tuple[Coverage, ...]:
        return tuple([self._one(*one) for one in json.loads(text)])

    def _one(
        self, tier: str, source: str, records: int | None, torn: str, late: int, half: str, parts: int, *patterns: str
    ) -> Coverage:
        same = self._patterns.setdefault(patterns, patterns)
        return Coverage(self._tiers[tier], self._sources[source], same, records, torn, late, half, self._parts[parts])


def _loaded(parts: Mapping[int, str]) -> Iterator[tuple[int, list[str]]]:
    for number, text in parts.items():
        yield number, json.loads(text)


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _discard(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)
