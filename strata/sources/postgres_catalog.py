"""What is in a database: its tables with columns, keys, sequences and types, read from the system catalogue.

Every query runs with an empty search_path, so that the catalogue's functions qualify the names they print.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence as ListOf
from dataclasses import dataclass
from typing import Any, Final

from psycopg import sql

from strata.errors import SourceError
from strata.sources import postgres_ddl as ddl
from strata.sources.postgres_connect import Connection
from strata.sources.postgres_names import Candidate
from strata.sources.postgres_table import Column, Description, NamedType, Sequence, Table

_CANDIDATES: Final = """
SELECT c.oid, n.nspname, c.relname, c.relkind = 'p',
       EXISTS (SELECT FROM pg_depend d
               WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'),
       ARRAY(SELECT a.relid::oid FROM pg_partition_ancestors(c.oid) a WHERE a.relid <> c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
"""

_TABLES: Final = """
SELECT c.oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname), n.nspname, c.relname,
       greatest(c.reltuples, 0)::bigint, CASE WHEN c.relispartition THEN i.inhparent::regclass::text END,
       c.relpersistence = 'u', array_to_string(c.reloptions, ', '), c.relkind::text,
       coalesce(am.amname = 'heap', false), pg_relation_size(c.oid), pg_table_size(c.oid),
       pg_has_role(c.relowner, 'USAGE')
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_am am ON am.oid = c.relam
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid AND c.relispartition
WHERE c.oid = ANY(%(oids)s) ORDER BY n.nspname, c.relname
"""

_COLUMNS: Final = """
SELECT a.attrelid, a.attname, format_type(a.atttypid, a.atttypmod),
       CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text END,
       a.attnotnull, pg_get_expr(d.adbin, d.adrelid),
       CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'by default' ELSE '' END,
       CASE a.attgenerated WHEN 's' THEN 'stored' WHEN 'v' THEN 'virtual' ELSE '' END
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = ANY(%(oids)s) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum
"""

# The operator that the key's index calls equal; with an empty search_path `=` may be another one (citext).
_KEYS: Final = """
SELECT i.indrelid, a.attname, coalesce(format('OPERATOR(%%I.%%s)', n.nspname, p.oprname), 'OPERATOR(pg_catalog.=)')
FROM pg_index i
CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, place)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
JOIN pg_class x ON x.oid = i.indexrelid
JOIN pg_am am ON am.oid = x.relam
JOIN pg_opclass o ON o.oid = (i.indclass::oid[])[k.place - 1]
LEFT JOIN pg_amop m ON m.amopfamily = o.opcfamily AND m.amoplefttype = o.opcintype
                   AND m.amoprighttype = o.opcintype AND m.amopstrategy = 3 AND am.amname = 'btree'
LEFT JOIN pg_operator p ON p.oid = m.amopopr
LEFT JOIN pg_namespace n ON n.oid = p.oprnamespace
WHERE i.indrelid = ANY(%(oids)s) AND i.indisprimary AND k.place <= i.indnkeyatts
ORDER BY i.indrelid, k.place
"""

_CONSTRAINTS: Final = """
SELECT c.conrelid, quote_ident(c.conname), c.contype::text, pg_get_constraintdef(c.oid),
       CASE WHEN c.contype = 'f' THEN c.confrelid::regclass::text END
FROM pg_constraint c
WHERE c.conrelid = ANY(%(oids)s) AND c.contype IN ('c', 'p', 'u', 'x', 'f') ORDER BY c.conrelid, c.conname
"""

_INDEXES: Final = """
SELECT i.indrelid, pg_get_indexdef(i.indexrelid)
FROM pg_index i
WHERE i.indrelid = ANY(%(oids)s)
  AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid AND c.contype IN ('p', 'u', 'x'))
ORDER BY i.indrelid, i.indexrelid
"""

_SEQUENCES: Final = """
SELECT u.relid, n.nspname, c.relname, q.seqrelid::regclass::text, a.attname, u.how, format_type(q.seqtypid, NULL),
       q.seqstart, q.seqincrement, q.seqmin, q.seqmax, q.seqcache,
       CASE WHEN q.seqcycle THEN 'CYCLE' ELSE 'NO CYCLE' END
FROM (SELECT d.refobjid AS relid, d.refobjsubid::int AS attnum, d.objid AS seqid,
             CASE d.deptype WHEN 'i' THEN 'identity' ELSE 'owned' END AS how
      FROM pg_depend d
      WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
        AND d.refobjid = ANY(%(oids)s) AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
      UNION
      SELECT f.adrelid, f.adnum, d.refobjid, 'used'
      FROM pg_depend d JOIN pg_attrdef f ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
      WHERE d.refclassid = 'pg_class'::regclass AND f.adrelid = ANY(%(oids)s)) u
JOIN pg_sequence q ON q.seqrelid = u.seqid
JOIN pg_class c ON c.oid = q.seqrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = u.relid AND a.attnum = u.attnum
ORDER BY q.seqrelid, u.how = 'used', u.relid
"""

USED_TYPES: Final = """
WITH RECURSIVE used(oid) AS (
    SELECT a.atttypid FROM pg_attribute a
    WHERE a.attrelid = ANY(%(oids)s) AND a.attnum > 0 AND NOT a.attisdropped
  UNION
    SELECT x.oid FROM used u JOIN pg_type t ON t.oid = u.oid
    CROSS JOIN LATERAL (VALUES (nullif(t.typelem, 0)), (nullif(t.typbasetype, 0))) x(oid) WHERE x.oid IS NOT NULL)
"""

_EXTENSIONS: Final = """
SELECT DISTINCT e.extname, n.nspname FROM used u
JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = u.oid AND d.deptype = 'e'
JOIN pg_extension e ON e.oid = d.refobjid JOIN pg_namespace n ON n.oid = e.extnamespace ORDER BY 1
"""

# Enums come before domains, which may be over them; a domain's own order is that of creation.
_TYPES: Final = """
SELECT format_type(t.oid, NULL), t.typtype::text,
       ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder),
       format_type(t.typbasetype, t.typtypmod),
       CASE WHEN t.typcollation <> b.typcollation THEN t.typcollation::regcollation::text END,
       pg_get_expr(t.typdefaultbin, 0), CASE WHEN t.typnotnull THEN 'NOT NULL' END,
       ARRAY(SELECT 'CONSTRAINT ' || quote_ident(c.conname) || ' ' || pg_get_constraintdef(c.oid)
             FROM pg_constraint c WHERE c.contypid = t.oid AND c.contype = 'c' ORDER BY c.conname)
FROM used u JOIN pg_type t ON t.oid = u.oid LEFT JOIN pg_type b ON b.oid = t.typbasetype
WHERE t.typtype IN ('e', 'd') AND t.typnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
  AND NOT EXISTS (SELECT FROM pg_depend d
                  WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e')
ORDER BY t.typtype DESC, t.oid
"""


@dataclass(frozen=True)
class Found:
    """A relation of this database as it is now: the table, and what a backup of it does not keep."""

    oid: int
    table: Table
    kind: str
    heap: bool
    main_bytes: int
    """Bytes of its own pages, which ctid ranges divide."""
    all_bytes: int
    """Bytes with its large values."""
    owned: bool
    """Whether the role may alter it."""
    equality: tuple[str, ...]
    """For each column of the key, the operator that compares it."""


def candidates(connection: Connection) -> list[Candidate]:
    """Every table a backup could choose; no views, foreign or temporary tables."""
    rows = connection.execute(_CANDIDATES).fetchall()
    return [
        Candidate(oid, schema, name, parted, member, tuple(above)) for oid, schema, name, parted, member, above in rows
    ]


def find(connection: Connection, oids: ListOf[int]) -> list[Found]:
    """The relations of these ids, in the order of their names."""
    columns = {relid: [Column(*row) for row in rows] for relid, rows in _grouped(connection, _COLUMNS, oids).items()}
    keys = _grouped(connection, _KEYS, oids)
    parts = _Parts(
        constraints=_grouped(connection, _CONSTRAINTS, oids),
        indexes=_grouped(connection, _INDEXES, oids),
        sequences=_sequences(connection, oids),
    )
    rows = _rows(connection, _TABLES, oids)
    return [_found(row, columns.get(row[0], []), keys.get(row[0], []), parts) for row in rows]


def describe(connection: Connection, tables: ListOf[Found]) -> Description:
    """The description of a backup of these tables."""
    oids = [one.oid for one in tables]
    types = _rows(connection, USED_TYPES + _TYPES, oids)
    extensions = _rows(connection, USED_TYPES + _EXTENSIONS, oids)
    info = connection.info
    return Description(
        server=info.parameter_status("server_version") or "",
        server_version_num=info.server_version,
        encoding=info.parameter_status("server_encoding") or "",
        database=info.dbname,
        tables=tuple(one.table for one in tables),
        types=tuple(NamedType(row[0], ddl.create_type(*row), tuple(row[2])) for row in types),
        extensions=tuple((name, schema) for name, schema in extensions),
    )


@dataclass(frozen=True)
class _Parts:
    constraints: dict[int, list[tuple[Any, ...]]]
    indexes: dict[int, list[tuple[Any, ...]]]
    sequences: dict[int, list[Sequence]]


def _found(row: tuple[Any, ...], columns: list[Column], key: list[tuple[Any, ...]], parts: _Parts) -> Found:
    oid, name, schema, table, rows, partition_of, unlogged, options, kind, heap, main_bytes, all_bytes, owned = row
    generated = {column.name for column in columns if column.generated}
    names = tuple(column for column, _ in key)
    if generated.intersection(names):  # a key that is computed is not among the copied columns
        key, names = [], ()
    constraints, indexes = parts.constraints.get(oid, []), parts.indexes.get(oid, [])
    sequences = tuple(parts.sequences.get(oid, []))
    creation = ddl.Creation(name, columns, constraints, indexes, sequences, unlogged, options)
    kept = Table(
        name=name,
        schema=schema,
        table=table,
        columns=tuple(columns),
        key=names,
        copied=(*names, *(one.name for one in columns if one.name not in names and not one.generated)),
        estimated_rows=rows,
        partition_of=partition_of,
        sequences=sequences,
        foreign_keys=tuple(sorted({one[3] for one in constraints if one[3]})),
        ddl=() if partition_of else creation.before(),
        ddl_after=() if partition_of else creation.after(),
        ddl_links=() if partition_of else creation.links(),
    )
    return Found(oid, kept, kind, heap, main_bytes, all_bytes, owned, tuple(operator for _, operator in key))


def _sequences(connection: Connection, oids: ListOf[int]) -> dict[int, list[Sequence]]:
    """The sequences of each table; one that several tables use belongs to the table that owns it."""
    found: dict[int, list[Sequence]] = defaultdict(list)
    seen = set()
    for relid, schema, sequence, name, column, relation, kind, *shape in _rows(connection, _SEQUENCES, oids):
        if name not in seen:
            seen.add(name)
            options = ddl.sequence_options(*shape)
            position = _position(connection, sql.Identifier(schema, sequence))
            found[relid].append(Sequence(name, column, relation, kind, options, shape[1] > 0, *position))
    return found


def _position(connection: Connection, sequence: sql.Identifier) -> tuple[int, bool]:
    row = connection.execute(sql.SQL("SELECT last_value, is_called FROM {}").format(sequence)).fetchone()
    if row is None:
        raise SourceError("a sequence of WARM (PostgreSQL) has no position")
    return row[0], row[1]


def _rows(connection: Connection, query: str, oids: ListOf[int]) -> list[tuple[Any, ...]]:
    return connection.execute(query.encode(), {"oids": list(oids)}).fetchall()


def _grouped(connection: Connection, query: str, oids: ListOf[int]) -> dict[int, list[tuple[Any, ...]]]:
    """The rows by their first column, a table's id."""
    rows: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
    for relid, *rest in _rows(connection, query, oids):
        rows[relid].append(tuple(rest))
    return rows
