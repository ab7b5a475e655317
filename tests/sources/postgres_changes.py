"""What a reading since a parent must come to: with the parent's records, exactly what a whole reading gives."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from strata.model.record import Claimed, SourceItem, Unchanged
from strata.model.scope import Scope
from strata.sources.port import Reading, Session
from tests.sources.postgres_database import EVERYTHING, Backup, Database

Records = dict[str, dict[bytes, bytes]]
"""Key and value by namespace."""


@dataclass(frozen=True)
class Parent:
    """Implements Baseline by what a session said."""

    cut: dict[str, Any]
    description: dict[str, Any]
    reading: Reading = Reading.CHANGES

    def marks(self, namespace: str, keys: pa.Array) -> pa.FixedSizeBinaryArray:
        """WARM has none."""
        raise NotImplementedError


@dataclass(frozen=True)
class Changes:
    """What was read since a parent, and the backup that a whole reading at the same cut gives."""

    read: Records
    unchanged: dict[str, set[bytes]]
    claimed: Records
    backup: Backup

    def keys(self, table: str = "public.t") -> list[bytes]:
        """The keys that were read, in order."""
        return sorted(self.read.get(table, {}))

    def kept(self, table: str = "public.t") -> list[bytes]:
        """The keys that were called unchanged, in order."""
        return sorted(self.unchanged.get(table, ()))


def parent_of(backup: Backup, reading: Reading = Reading.CHANGES) -> Parent:
    """A backup as the baseline of the next one."""
    return Parent(json.loads(json.dumps(backup.cut)), backup.description, reading)


def since(database: Database, parent: Backup, *tables: str, scope: Scope = EVERYTHING) -> Changes:
    """Read what changed since a backup, in both ways and whole at one cut, and prove that the three agree."""
    with database.source(*tables).connect() as session:
        cut = session.cut()
        changes = _changes(session, parent_of(parent), scope)
        claims = _changes(session, parent_of(parent, Reading.EVERYTHING), scope)
        batches = [item for item in session.read(scope) if isinstance(item, pa.RecordBatch)]
        backup = Backup(cut, json.loads(json.dumps(session.describe())), batches)
    names = {table["name"] for table in backup.description["tables"]}
    for name in names:
        _agree(name, parent, backup, changes, claims)
    return replace(changes, claimed=claims.claimed, backup=backup)


def _agree(name: str, parent: Backup, backup: Backup, changes: Changes, claims: Changes) -> None:
    whole, read, kept = backup.rows(name), changes.read.get(name, {}), changes.unchanged.get(name, set())
    before = parent.rows(name)
    assert kept <= before.keys(), "a key is called unchanged that the parent does not hold"
    assert not kept & read.keys(), "a key is read and called unchanged"
    assert {**{key: before[key] for key in kept}, **read} == whole
    assert claims.read.get(name, {}) == read
    assert claims.claimed.get(name, {}) == {key: whole[key] for key in kept}


def _changes(session: Session, parent: Parent, scope: Scope) -> Changes:
    read: Records = defaultdict(dict)
    claimed: Records = defaultdict(dict)
    unchanged: dict[str, set[bytes]] = defaultdict(set)
    for item in session.read(scope, parent):
        if isinstance(item, Unchanged):
            _add_once(unchanged[item.namespace], item.keys.to_pylist())
        else:
            _add_rows(claimed if isinstance(item, Claimed) else read, item)
    return Changes(read, unchanged, claimed, Backup({}, {}, []))


def _add_rows(into: Records, item: SourceItem) -> None:
    batch = item.item if isinstance(item, Claimed) else item
    assert isinstance(batch, pa.RecordBatch)
    for row in batch.select(["namespace", "key", "value"]).to_pylist():
        assert row["key"] not in into[row["namespace"]], "a key was read twice"
        into[row["namespace"]][row["key"]] = row["value"]


def _add_once(into: set[bytes], keys: Iterable[bytes]) -> None:
    for key in keys:
        assert key not in into, "a key was named twice"
        into.add(key)
