"""Whether the rows of a backup can be written to this database; decided before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from strata.errors import SchemaMismatch, SourceError
from strata.sources import postgres_catalog as catalog
from strata.sources.postgres_connect import Connection, Server
from strata.sources.postgres_table import Description, NamedType, Table

Targets = Mapping[str, catalog.Found]
"""By the name the backup has for a table, the one of this database; missing ones are not in it."""

_KINDS: Final = {"p": "a partitioned table", "v": "a view", "m": "a materialized view", "f": "a foreign table"}

_RELATIONS: Final = """
SELECT w.name, c.oid
FROM unnest(%(names)s::text[], %(schemas)s::text[], %(tables)s::text[]) w(name, schema, relation)
JOIN pg_namespace n ON n.nspname = w.schema
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.relation
"""

_LABELS: Final = """
SELECT w.name, ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = to_regtype(w.name))
FROM unnest(%(names)s::text[]) w(name) WHERE to_regtype(w.name) IS NOT NULL
"""

_MAY_WRITE: Final = """
SELECT c.oid, array_to_string(ARRAY(
    SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) p WHERE NOT has_table_privilege(c.oid, p)
), ', ') FROM pg_class c WHERE c.oid = ANY(%(oids)s)
"""

_MAY_CREATE: Final = """
SELECT w.name, CASE WHEN n.oid IS NULL THEN has_database_privilege(current_database(), 'CREATE')
                    ELSE has_schema_privilege(n.oid, 'CREATE') END
FROM unnest(%(names)s::text[], %(schemas)s::text[]) w(name, schema) LEFT JOIN pg_namespace n ON n.nspname = w.schema
"""

_SERVER: Final = """
SELECT pg_is_in_recovery(), has_database_privilege(current_database(), 'TEMP'), current_user
"""


def targets(connection: Connection, description: Description) -> dict[str, catalog.Found]:
    """The relations of this database that have the names of the backup's tables."""
    asked = {
        "names": [one.name for one in description.tables],
        "schemas": [one.schema for one in description.tables],
        "tables": [one.table for one in description.tables],
    }
    names = {oid: name for name, oid in connection.execute(_RELATIONS, asked).fetchall()}
    return {names[one.oid]: one for one in catalog.find(connection, list(names))}


def confirm(server: Server, connection: Connection, description: Description, found: Targets) -> None:
    """Raise unless every row of the backup has a place here: same encoding, columns, keys, labels; and the right."""
    here = connection.info.parameter_status("server_encoding")
    if here != description.encoding:
        raise SchemaMismatch(
            f"{server.label} keeps text as {here}, the backup holds {description.encoding}",
            hint=f"Restore into a database created with ENCODING '{description.encoding}'.",
        )
    said = [sentence for table in description.tables for sentence in _differences(table, found.get(table.name))]
    said += _missing_labels(connection, description.types)
    if said:
        raise SchemaMismatch(
            f"{server.label} does not fit the backup: {'; '.join(said)}. Nothing was written",
            hint="Bring these tables to that shape first (the application's migrations make them), then restore again.",
        )
    _confirm_rights(server, connection, description, found)


def _differences(table: Table, found: catalog.Found | None) -> list[str]:
    """What stands in the way of this table's rows, as sentences that name its columns."""
    if found is None:
        part = f"{table.name} is missing here, and being a part of {table.partition_of} it cannot be created alone"
        unknown = f"{table.name} is missing here, and the backup does not know enough of it to create it"
        return [part] if table.partition_of else [] if table.ddl else [unknown]
    if found.kind != "r":
        return [f"{table.name} is {_KINDS.get(found.kind, 'not a table')} here"]
    kept = {column.name: column.kind for column in table.columns}
    here = {column.name: column.kind for column in found.table.columns}
    said = [f"column {name} is missing here" for name in kept if name not in here]
    said += [f"column {name} is not in the backup" for name in here if name not in kept]
    said += [
        f"column {name} is {kind} in the backup, {here[name]} here"
        for name, kind in kept.items()
        if name in here and here[name] != kind
    ]
    if table.key != found.table.key:
        said += [f"the primary key is {_listed(table.key)} in the backup, {_listed(found.table.key)} here"]
    return [f"table {table.name}: {', '.join(said)}"] if said else []


def _missing_labels(connection: Connection, types: Iterable[NamedType]) -> list[str]:
    kept = {one.name: one.labels for one in types if one.labels}
    rows = connection.execute(_LABELS, {"names": list(kept)}).fetchall()
    lacking = {name: [label for label in kept[name] if label not in here] for name, here in rows}
    return [
        f"enum {name} lacks {len(labels)} of the backup's labels here" for name, labels in lacking.items() if labels
    ]


def _confirm_rights(server: Server, connection: Connection, description: Description, found: Targets) -> None:
    ((recovering, temporary, role),) = connection.execute(_SERVER).fetchall()
    if recovering:
        raise SourceError(f"{server.label} is a standby and takes no writes", hint="Restore into its primary.")
    said = [] if temporary else ["may not create temporary tables"]
    rows = connection.execute(_MAY_WRITE, {"oids": [one.oid for one in found.values()]}).fetchall()
    names = {one.oid: one.table.name for one in found.values()}
    said += [f"lacks {rights} on {names[oid]}" for oid, rights in rows if rights]
    missing = [one for one in description.tables if one.name not in found]
    asked = {"names": [one.name for one in missing], "schemas": [one.schema for one in missing]}
    rows = connection.execute(_MAY_CREATE, asked).fetchall()
    said += [f"may not create {name}" for name, allowed in rows if not allowed]
    if said:
        raise SourceError(f"{server.label}: the role {role} {', '.join(said)}. Nothing was written")


def _listed(names: Iterable[str]) -> str:
    return f"({', '.join(names)})" if names else "none"
