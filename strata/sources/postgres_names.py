"""Which tables a setting such as `state_warm`, `bot_*`, `audit.*` or `"Odd Name"."x.y"` means."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from typing import Final

from strata.errors import SettingError, SourceError

SETTING: Final = "STRATA_WARM_TABLES"
_PART: Final = re.compile(r'"((?:[^"]|"")+)"|([^".\s]+)')
_PLAIN: Final = re.compile(r"[a-z_][a-z0-9_]*")
_MOST_PARTS: Final = 2  # schema and table
_GLOB: Final = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Candidate:
    """A table of the database: ordinary, or partitioned (then it holds no rows of its own)."""

    oid: int
    schema: str
    table: str
    partitioned: bool = False
    of_extension: bool = False
    ancestors: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Schema and table, each quoted unless it is of lower-case letters, digits and underscores."""
        return f"{_quoted(self.schema)}.{_quoted(self.table)}"


@dataclass(frozen=True)
class _Name:
    """One part of a pattern; unquoted letters fold to lower case, as in SQL."""

    text: str
    glob: bool

    def matches(self, name: str) -> bool:
        return re.match(translate(self.text), name) is not None if self.glob else name == self.text


@dataclass(frozen=True)
class TablePattern:
    """One entry of the setting: a table's name, with or without schema, either may be a glob."""

    text: str
    schema: _Name | None
    table: _Name

    @property
    def names_one(self) -> bool:
        """Whether this is a name, so that a table must be there."""
        return not self.table.glob and not (self.schema is not None and self.schema.glob)

    def chosen(self, candidates: Sequence[Candidate], search_path: Sequence[str]) -> list[Candidate]:
        """The candidates that match; a bare name is the first hit on the search path."""
        hits = [one for one in candidates if self._covers(one, search_path)]
        if not self.names_one:
            return [one for one in hits if not one.of_extension]
        return sorted(hits, key=lambda one: search_path.index(one.schema))[:1] if self.schema is None else hits

    def _covers(self, one: Candidate, search_path: Sequence[str]) -> bool:
        here = one.schema in search_path if self.schema is None else self.schema.matches(one.schema)
        return here and self.table.matches(one.table)


def parse_pattern(text: str) -> TablePattern:
    """Read one entry of the setting; `*` alone means every table of every schema."""
    stripped = text.strip()
    parts = list(_PART.finditer(stripped))
    if not 1 <= len(parts) <= _MOST_PARTS or ".".join(part.group() for part in parts) != stripped:
        raise SettingError(
            f"{text!r} is not the name of a table",
            hint=f'Write table, schema.table, a glob, or "Odd Name"."x.y" in {SETTING}.',
        )
    if stripped == "*":
        return TablePattern(stripped, _Name("*", glob=True), _Name("*", glob=True))
    *schema, table = map(_name, parts)
    return TablePattern(stripped, schema[0] if schema else None, table)


def choose_tables(
    patterns: Sequence[TablePattern], candidates: Sequence[Candidate], search_path: Sequence[str]
) -> list[Candidate]:
    """The ordinary tables the patterns mean, partitions also by the name of a table they are part of.

    A name that matches nothing is an error, and so are globs that pass over every table there is: a backup of nothing
    would look like a backup of empty tables. A database that holds no table is a state like any other.
    """
    chosen: dict[int, Candidate] = {}
    for pattern in patterns:
        hits = {one.oid for one in pattern.chosen(candidates, search_path)}
        if not hits and pattern.names_one:
            raise SourceError(
                f"there is no table {pattern.text} to back up",
                hint=f"Correct {SETTING}, or create the table; names with capitals need double quotes.",
            )
        chosen |= {one.oid: one for one in candidates if one.oid in hits or hits.intersection(one.ancestors)}
    tables = [one for one in chosen.values() if not one.partitioned]
    if not chosen and not all(one.of_extension for one in candidates):
        raise SourceError(
            f"no table matches {', '.join(pattern.text for pattern in patterns)}, so there is nothing to back up",
            hint=f"Correct {SETTING}; `*` is every table.",
        )
    return sorted(tables, key=lambda one: (one.schema, one.table))


def parts_of(chosen: Sequence[Candidate], candidates: Sequence[Candidate]) -> list[list[str]]:
    """The chosen tables as parts (`PARTS`), in the order of their names.

    A partitioned table of which every partition is chosen is one part: partitions come and go, and it stays. One that
    is chosen without others is a part within its table's.
    """
    by_oid, oids = {one.oid: one for one in candidates}, {one.oid for one in chosen}
    partial = {_root(one, by_oid).oid for one in candidates if not one.partitioned and one.oid not in oids}
    found = {_path(one, _root(one, by_oid), partial) for one in chosen}
    return [list(path) for path in sorted(found)]


def _path(one: Candidate, root: Candidate, partial: Collection[int]) -> tuple[str, ...]:
    if one is root:
        return (one.name,)
    return (root.name, one.name) if root.oid in partial else (root.name,)


def _root(one: Candidate, by_oid: Mapping[int, Candidate]) -> Candidate:
    """The outermost table that a table is a partition of, or itself."""
    return next((by_oid[oid] for oid in one.ancestors if oid in by_oid and not by_oid[oid].ancestors), one)


def _quoted(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def _name(part: re.Match[str]) -> _Name:
    if part.group(1) is not None:
        return _Name(part.group(1).replace('""', '"'), glob=False)
    return _Name(part.group(2).lower(), glob=_GLOB.search(part.group(2)) is not None)
