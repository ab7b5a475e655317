"""Which row versions a parent backup holds already: those older than every transaction that was open at its cut.

A row shows the transaction that wrote it (xmin). Where that one is older than the parent's snapshot's xmin, it was
over at the parent's cut; the version is visible now, so it was committed, and nobody has deleted it since: the parent
saw this very version. Any other row may be new and is read. The bound is the snapshot's xmin, not its xmax with the
list of what was running (xip): ids of subtransactions are not in that list, and on a standby it is empty.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from psycopg import sql

from strata.sources.port import Baseline, Reading
from strata.sources.postgres_continuity import Continuity

_SNAPSHOT: Final = re.compile(r"(\d+):(\d+):[\d,]*")
_IDS: Final = 1 << 32
_FIRST_NORMAL: Final = 3
_FURTHEST: Final = 1 << 30
"""How many ids may have been given out since: rows keep 32 bits, which order right over 2^31; half of it is margin."""


@dataclass(frozen=True)
class Watermark:
    """The snapshot xmin of a parent, and the tables (by namespace) whose older rows are as the parent has them."""

    xmin: int
    tables: frozenset[str]
    reading: Reading

    @property
    def changed(self) -> sql.Composable:
        """True for rows that the parent may not have as they are."""
        return sql.SQL("age(xmin) <= {} AND age(xmin) >= 0").format(self._age)

    @property
    def unchanged(self) -> sql.Composable:
        """True for all others.

        Of 32 bits, those of a row frozen more than 2^31 ids ago lie ahead of us, at a negative age. Nobody has written
        such a row since the parent; to read them would be right, too, but on a busy server half of all old rows.
        """
        return sql.SQL("(age(xmin) > {} OR age(xmin) < 0)").format(self._age)

    @property
    def _age(self) -> sql.Composed:
        """Counted from the same id as the rows' ages are; as a subquery, so once and not for every row."""
        return sql.SQL("(SELECT age({}::xid))").format(sql.Literal(str(self.xmin % _IDS)))


def watermark(baseline: Baseline, cut: Mapping[str, Any], here: Continuity) -> Watermark | None:
    """What this session, at its cut, may believe of the parent's rows; None where that is nothing."""
    then, now = _snapshot(baseline.cut), _snapshot(cut)
    kept = Continuity.from_json(baseline.description.get("continuity"))
    if then is None or now is None or kept.server != here.server:
        return None
    forward = then[0] <= now[0] and then[1] <= now[1] and now[1] - then[0] < _FURTHEST
    if not forward or then[0] % _IDS < _FIRST_NORMAL:
        return None
    same = frozenset(name for name, digest in here.tables.items() if kept.tables.get(name) == digest)
    return Watermark(then[0], same, baseline.reading)


def _snapshot(cut: Mapping[str, Any]) -> tuple[int, int] | None:
    """The xmin and xmax of a cut's snapshot, 64 bits each."""
    found = _SNAPSHOT.fullmatch(str(cut.get("xids")))
    return (int(found[1]), int(found[2])) if found else None
