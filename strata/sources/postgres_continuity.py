"""What must be as it was for a row version that nobody touched to print as it did.

A row's text comes from more than the row: from the columns (one added with a default fills rows that are not
rewritten), from types (labels of an enum, attributes of a composite) and for some types from other catalogues (a
`regclass` prints a name). And a transaction id means the same only in one history of one server.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from typing import Any, Final

from strata.sources.postgres_catalog import Found
from strata.sources.postgres_connect import Connection

# The start tells servers, copies of them and restarts apart: after a crash ids can be given out again that were
# finished, but not yet in the log. The statistics begin anew when the server gets over a crash without a restart.
_SERVER: Final = """
SELECT pg_postmaster_start_time()::text, pg_stat_get_bgwriter_stat_reset_time()::text, oid::bigint, encoding
FROM pg_database WHERE datname = current_database()
"""

# Numbers of attributes, for a column that was dropped and added again has the same name and other values.
_COLUMNS: Final = """
SELECT attrelid::bigint, attnum, attname::text, atttypid::bigint, atttypmod FROM pg_attribute
WHERE attrelid = ANY(%(oids)s) AND attnum > 0 AND NOT attisdropped ORDER BY attrelid, attnum
"""

# Every type a table's text is made of, with what its own part of the text depends on. Not steady are those that print
# names of other catalogues, and base types that neither PostgreSQL nor an extension answers for. A range's multirange
# is found by the row's JSON, as the column is there since PostgreSQL 14 only.
_TYPES: Final = """
WITH RECURSIVE used(relid, oid) AS (
    SELECT a.attrelid, a.atttypid FROM pg_attribute a
    WHERE a.attrelid = ANY(%(oids)s) AND a.attnum > 0 AND NOT a.attisdropped
  UNION
    SELECT u.relid, x.oid FROM used u JOIN pg_type t ON t.oid = u.oid
    CROSS JOIN LATERAL (
        SELECT unnest(ARRAY[t.typelem, t.typbasetype])
      UNION ALL
        SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
      UNION ALL
        SELECT r.rngsubtype FROM pg_range r
        WHERE r.rngtypid = t.oid OR to_jsonb(r) ->> 'rngmultitypid' = t.oid::text
    ) x(oid) WHERE x.oid <> 0)
SELECT u.relid::bigint, t.oid::bigint, e.version,
       ARRAY(SELECT concat_ws(' ', l.oid, l.enumlabel) FROM pg_enum l WHERE l.enumtypid = t.oid ORDER BY l.oid),
       ARRAY(SELECT concat_ws(' ', a.attnum, a.atttypid, a.atttypmod, a.attisdropped) FROM pg_attribute a
             WHERE a.attrelid = t.typrelid AND a.attnum > 0 ORDER BY a.attnum),
       CASE WHEN t.typtype = 'p' THEN false
            WHEN t.typtype <> 'b' OR t.typoutput = 'array_out'::regproc THEN true
            WHEN t.oid < 16384 THEN t.typname NOT LIKE 'reg%%' AND t.typname <> 'aclitem'
            ELSE e.version IS NOT NULL END
FROM used u JOIN pg_type t ON t.oid = u.oid
LEFT JOIN LATERAL (
    SELECT concat_ws(' ', x.oid, x.extversion) AS version FROM pg_depend d JOIN pg_extension x ON x.oid = d.refobjid
    WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e') e ON true
ORDER BY u.relid, t.oid
"""


@dataclass(frozen=True)
class Continuity:
    """The server's history, and for each table a digest of what its rows' text depends on besides the rows.

    Tables whose rows cannot be recognised are not in it: without a primary key, not of PostgreSQL's heap, or with a
    column whose text can change by itself.
    """

    server: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """This as a description keeps it."""
        return asdict(self)

    @classmethod
    def from_json(cls, kept: object) -> Continuity:
        """What a description keeps; nothing where it keeps none, as those of older versions do."""
        if not isinstance(kept, Mapping):
            return cls()
        server, tables = kept.get("server"), kept.get("tables")
        return cls(server, tables) if isinstance(server, Mapping) and isinstance(tables, Mapping) else cls()


def continuity(connection: Connection, tables: Iterable[Found]) -> Continuity:
    """What a later session of this database has to find the same."""
    known = {one.oid: one for one in tables if one.heap and one.table.key}
    ((started, statistics, database, encoding),) = connection.execute(_SERVER).fetchall()
    server = {
        "started": started,
        "statistics": statistics,
        "database": database,
        "encoding": encoding,
        "version": connection.info.server_version,
    }
    asked = {"oids": list(known)}
    facts: dict[int, list[Any]] = {oid: [oid, one.table.key, one.table.copied] for oid, one in known.items()}
    for relid, *column in connection.execute(_COLUMNS, asked).fetchall():
        facts[relid].append(column)
    for relid, *kind, steady in connection.execute(_TYPES, asked).fetchall():
        if steady and relid in facts:
            facts[relid].append(kind)
        else:
            facts.pop(relid, None)
    return Continuity(server, {known[oid].table.name: _digest(said) for oid, said in facts.items()})


def _digest(facts: list[Any]) -> str:
    return blake2b(json.dumps(facts).encode(), digest_size=16).hexdigest()
