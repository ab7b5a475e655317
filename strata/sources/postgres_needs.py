"""What tables need and a backup of them does not hold: it could not come back into an empty database.

PostgreSQL's own record of dependencies says it, so nothing is parsed: what a default, a generated column, a check, an
index, a domain or a column's type refers to. What every database has is not recorded there, or lies in pg_catalog.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from strata.sources.postgres_catalog import USED_TYPES, Found
from strata.sources.postgres_connect import Connection
from strata.sources.postgres_table import Description

_NEEDS: Final = """
, parts(classid, objid) AS (
    SELECT 'pg_class'::regclass::oid, unnest(%(oids)s::oid[])
  UNION ALL SELECT 'pg_class'::regclass, indexrelid FROM pg_index WHERE indrelid = ANY(%(oids)s)
  UNION ALL SELECT 'pg_attrdef'::regclass, oid FROM pg_attrdef WHERE adrelid = ANY(%(oids)s)
  UNION ALL SELECT 'pg_constraint'::regclass, oid FROM pg_constraint WHERE conrelid = ANY(%(oids)s)
  UNION ALL SELECT 'pg_constraint'::regclass, c.oid FROM pg_constraint c JOIN used u ON c.contypid = u.oid
  UNION ALL SELECT 'pg_type'::regclass, t.oid FROM used u JOIN pg_type t ON t.oid = u.oid AND t.typtype = 'd'),
wanted AS (
    SELECT DISTINCT d.classid, d.objid, d.objsubid, d.refclassid, d.refobjid
    FROM parts p JOIN pg_depend d ON (d.classid, d.objid) = (p.classid, p.objid)
    WHERE d.deptype <> 'e' AND d.refclassid <> ALL(ARRAY['pg_namespace', 'pg_constraint', 'pg_am']::regclass[])
      AND NOT (d.refclassid = 'pg_class'::regclass
               AND (d.refobjid = ANY(%(oids)s) OR d.refobjid = ANY(%(sequences)s::regclass[])
                    OR EXISTS (SELECT FROM pg_index i WHERE i.indexrelid = d.refobjid AND i.indrelid = ANY(%(oids)s))))
      AND NOT EXISTS (SELECT FROM pg_type t LEFT JOIN pg_type m ON m.oid = t.typelem
                      WHERE d.refclassid = 'pg_type'::regclass AND t.oid = d.refobjid
                        AND (t.typrelid = ANY(%(oids)s) OR coalesce(nullif(m.typtype, 'b'), t.typtype) IN ('e', 'd')))),
named AS (
    SELECT w.*, (pg_identify_object(w.classid, w.objid, w.objsubid)) AS part, x.extname,
           (pg_identify_object(w.refclassid, w.refobjid, 0)) AS needed
    FROM wanted w
    LEFT JOIN pg_depend e ON (e.classid, e.objid) = (w.refclassid, w.refobjid) AND e.deptype = 'e'
    LEFT JOIN pg_extension x ON x.oid = e.refobjid)
SELECT DISTINCT (part).type || ' ' || (part).identity || ' needs '
       || coalesce('extension ' || quote_ident(extname), (needed).type || ' ' || (needed).identity)
FROM named
WHERE coalesce((needed).schema, '') NOT IN ('pg_catalog', 'information_schema')
  AND coalesce(extname <> ALL(%(extensions)s::text[]), true)
ORDER BY 1
"""


def not_held(connection: Connection, tables: Sequence[Found], description: Description) -> list[str]:
    """A sentence for each thing that needs another which the backup does not hold."""
    asked = {
        "oids": [one.oid for one in tables],
        "sequences": [one.name for table in description.tables for one in table.sequences],
        "extensions": [name for name, _ in description.extensions],
    }
    rows = connection.execute((USED_TYPES + _NEEDS).encode(), asked).fetchall()
    return [said.replace("pg_catalog.", "") for (said,) in rows]
