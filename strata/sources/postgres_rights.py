"""What the role of WARM may do with its tables besides reading them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from strata.sources.port import Right
from strata.sources.postgres_connect import Connection

_NAMED: Final = 3

_RIGHTS: Final = """
SELECT format('%%I.%%I', n.nspname, c.relname), pg_is_in_recovery(), coalesce(array_to_string(ARRAY(
    SELECT p FROM unnest(ARRAY['INSERT', 'UPDATE', 'DELETE']) p WHERE NOT has_table_privilege(c.oid, p)
), ', '), '')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY(%(oids)s) ORDER BY 1
"""


def write_right(connection: Connection, oids: Sequence[int]) -> Right:
    """Whether a restore could write these tables."""
    rows = connection.execute(_RIGHTS, {"oids": list(oids)}).fetchall()
    if any(standby for _, standby, _ in rows):
        return Right("restore", "", "it is a standby, so nothing can be restored into it", "Restore into its primary.")
    lacking = [f"{table} ({rights})" for table, _, rights in rows if rights]
    if not lacking:
        return Right("restore", "takes writes")
    more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
    named = ", ".join(lacking[:_NAMED])
    return Right(
        "restore",
        "",
        f"its role may not write {named}{more}, so these cannot be restored by it",
        "Grant it the rights, or restore with another role.",
    )
