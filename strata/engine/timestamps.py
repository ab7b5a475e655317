"""An extra filter, where it is configured: the application's own word that a record has not changed since the parent.

Only rows that look changed are asked, and only those whose key the parent holds: a new key is always kept. A full
backup does not believe the word: it stores what differs and reports it as drift.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa

_MILLISECONDS: Final = 100_000_000_000
"""A number above this counts milliseconds: as seconds it would be in the year 5138."""


class OldByTimestamp:
    """Tells rows whose timestamp is not later than a moment (ms since 1970).

    The timestamp is the first member of one of the names in a JSON value (or in a row's JSON column), or else the
    column of that name in a table: ISO 8601 (UTC where it does not say), or seconds or milliseconds since 1970.
    """

    def __init__(self, names: Sequence[str], since_ms: float, description: Mapping[str, Any]) -> None:
        listed = b"|".join(re.escape(name.encode()) for name in names)
        self._member = re.compile(rb'"(?:%b)"\s*:\s*(?:"([^"\\]*)"|(-?[0-9.]+))' % listed)
        self._columns = {
            table["name"]: table["copied"].index(name)
            for table in description.get("tables", ())
            for name in reversed(names)
            if name in table["copied"]
        }
        self._since = since_ms

    def rows(self, records: pa.Table) -> list[bool]:
        """Which of the records say that they are old; one that says nothing is not."""
        pairs = zip(records["namespace"].to_pylist(), records["value"].to_pylist(), strict=True)
        return [value is not None and self._is_old(namespace, value) for namespace, value in pairs]

    def _is_old(self, namespace: str, value: bytes) -> bool:
        text = self._text(namespace, value)
        moment = _milliseconds(text) if text else None
        return moment is not None and moment <= self._since

    def _text(self, namespace: str, value: bytes) -> bytes | None:
        if found := self._member.search(value):
            return found[1] or found[2]
        column = self._columns.get(namespace)
        return None if column is None else value.rstrip(b"\n").split(b"\t")[column]


def _milliseconds(text: bytes) -> float | None:
    """A moment as milliseconds since 1970; None where it is none that is known."""
    try:
        number = float(text)
    except ValueError:
        pass
    else:
        return number if number > _MILLISECONDS else number * 1000
    try:
        moment = datetime.fromisoformat(text.decode())
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000
