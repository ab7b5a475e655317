"""What must stand still while rows are put back: triggers, rules, and the order that foreign keys ask for.

All of it happens inside the restore's transaction: nobody else ever sees a trigger disabled, and a rollback brings
everything back by itself. Foreign keys among the restored tables are checked once, at the end, whatever the order in
which rows come back and even where the tables refer to each other in a circle.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from strata.errors import SourceError
from strata.sources.postgres_catalog import Found
from strata.sources.postgres_connect import Connection, execute_text

_SET_OFF: Final = """
SELECT c.oid, c.oid::regclass::text, w.kind, w.name, w.enabled
FROM pg_class c JOIN (
    SELECT tgrelid AS relid, 'TRIGGER' AS kind, quote_ident(tgname) AS name, tgenabled::text AS enabled
    FROM pg_trigger WHERE NOT tgisinternal
  UNION ALL
    SELECT ev_class, 'RULE', quote_ident(rulename), ev_enabled::text FROM pg_rewrite WHERE rulename <> '_RETURN'
) w ON w.relid = c.oid
WHERE c.oid = ANY(%(oids)s) AND w.enabled IN ('O', 'A')
"""

# A partition's foreign key can be altered only where it was declared: follow it to its origin.
_IMMEDIATE_KEYS: Final = """
WITH RECURSIVE up AS (
    SELECT c.* FROM pg_constraint c
    WHERE c.contype = 'f' AND NOT c.condeferrable AND c.conrelid = ANY(%(oids)s) AND c.confrelid = ANY(%(oids)s)
  UNION
    SELECT c.* FROM pg_constraint c JOIN up ON c.oid = up.conparentid
)
SELECT up.conrelid::regclass::text, quote_ident(up.conname), pg_has_role(r.relowner, 'USAGE')
FROM up JOIN pg_class r ON r.oid = up.conrelid WHERE up.conparentid = 0
"""

_FOLLOWERS: Final = """
SELECT DISTINCT c.confrelid, c.conrelid::regclass::text, c.conrelid = ANY(%(oids)s)
FROM pg_constraint c WHERE c.contype = 'f' AND c.confdeltype IN ('c', 'n', 'd') AND c.confrelid = ANY(%(oids)s)
ORDER BY 1, 2
"""


@dataclass(frozen=True)
class Follower:
    """A table whose rows change or go when rows of `referenced` are deleted, by its foreign key's ON DELETE."""

    referenced: int
    name: str
    restored: bool


@dataclass(frozen=True)
class Guards:
    """Statements that make the tables stand still, those that set them going again, and who follows deletions."""

    disarm: tuple[str, ...]
    rearm: tuple[str, ...]
    followers: tuple[Follower, ...]

    def followers_of(self, oid: int) -> list[Follower]:
        """Who follows deletions in this table."""
        return [one for one in self.followers if one.referenced == oid]

    def hold(self, connection: Connection) -> None:
        """From here on no trigger or rule of the tables acts, and foreign keys wait."""
        for statement in (*self.disarm, "SET CONSTRAINTS ALL DEFERRED"):
            execute_text(connection, statement)

    def check(self, connection: Connection) -> None:
        """Check everything that waited."""
        execute_text(connection, "SET CONSTRAINTS ALL IMMEDIATE")

    def release(self, connection: Connection) -> None:
        """Bring triggers, rules and foreign keys back to what they were."""
        for statement in self.rearm:
            execute_text(connection, statement)


def guards_for(connection: Connection, tables: Iterable[Found]) -> Guards:
    """What holding these tables still takes; an error where the role may not."""
    oids = {one.oid: one for one in tables}
    asked = {"oids": list(oids)}
    disarm, rearm, barred = [], [], set()
    for oid, table, kind, name, enabled in connection.execute(_SET_OFF, asked).fetchall():
        disarm.append(f"ALTER TABLE {table} DISABLE {kind} {name}")
        rearm.append(f"ALTER TABLE {table} ENABLE {'ALWAYS ' if enabled == 'A' else ''}{kind} {name}")
        barred |= set() if oids[oid].owned else {table}
    for table, name, owned in connection.execute(_IMMEDIATE_KEYS, asked).fetchall():
        disarm.append(f"ALTER TABLE {table} ALTER CONSTRAINT {name} DEFERRABLE INITIALLY DEFERRED")
        rearm.append(f"ALTER TABLE {table} ALTER CONSTRAINT {name} NOT DEFERRABLE")
        barred |= set() if owned else {table}
    _refuse(sorted(barred))
    followers = [Follower(*row) for row in connection.execute(_FOLLOWERS, asked).fetchall()]
    return Guards(tuple(disarm), tuple(rearm), tuple(followers))


def _refuse(barred: Sequence[str]) -> None:
    if barred:
        raise SourceError(
            f"WARM (PostgreSQL): only the owner of {', '.join(barred)} can restore into it: its triggers, rules or "
            "foreign keys have to stand still meanwhile",
            hint="Restore as the role that owns the tables, or as a member of it.",
        )
