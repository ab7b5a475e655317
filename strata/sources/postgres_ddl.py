"""Statements that create what a backup describes, on the day its database is gone.

They create what rows need: types, sequences, tables, defaults, constraints, indexes and foreign keys. Functions,
triggers, policies, privileges and comments are not rows and belong to the application's own migrations.
"""

from __future__ import annotations

from collections.abc import Sequence as ListOf
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from strata.sources.postgres_table import Column, Sequence


@dataclass(frozen=True)
class Creation:
    """The parts of one table as the catalogue prints them; `constraints` are (name, kind, definition, referenced)."""

    name: str
    columns: ListOf[Column]
    constraints: ListOf[tuple[Any, ...]]
    indexes: ListOf[tuple[Any, ...]]
    sequences: ListOf[Sequence]
    unlogged: bool
    options: str | None

    def before(self) -> tuple[str, ...]:
        """The table with its columns and check constraints; its sequences come with their own statements."""
        identities = {one.column: one for one in self.sequences if one.relation == "identity"}
        lines = [_column(column, identities.get(column.name)) for column in self.columns]
        lines += [f"CONSTRAINT {name} {text}" for name, kind, text, _ in self.constraints if kind == "c"]
        kind = "UNLOGGED TABLE" if self.unlogged else "TABLE"
        options = f" WITH ({self.options})" if self.options else ""
        return (f"CREATE {kind} {self.name} ({', '.join(lines)}){options}",)

    def after(self) -> tuple[str, ...]:
        """What is quicker to make once the rows are there: keys, unique constraints, indexes."""
        constraints = [self._add(*one) for one in self.constraints if one[1] in {"p", "u", "x"}]
        owned = [
            f"ALTER SEQUENCE {one.name} OWNED BY {self.name}.{_quoted(one.column)}"
            for one in self.sequences
            if one.relation == "owned"
        ]
        return (*constraints, *(text for (text,) in self.indexes), *owned)

    def links(self) -> tuple[str, ...]:
        """The foreign keys."""
        return tuple(self._add(*one) for one in self.constraints if one[1] == "f")

    def _add(self, name: str, _kind: str, text: str, _referenced: str | None) -> str:
        return f"ALTER TABLE {self.name} ADD CONSTRAINT {name} {text}"


def sequence_options(start: int, step: int, low: int, high: int, cache: int, cycle: str) -> str:
    """The options that make a sequence count as it does; `cycle` is CYCLE or NO CYCLE."""
    return f"START WITH {start} INCREMENT BY {step} MINVALUE {low} MAXVALUE {high} CACHE {cache} {cycle}"


def create_sequence(one: Sequence) -> str:
    """The statement that creates a sequence."""
    return f"CREATE SEQUENCE {one.name} AS {one.type} {one.options}"


def create_type(
    name: str,
    kind: str,
    labels: ListOf[str],
    base: str,
    collation: str | None,
    default: str | None,
    not_null: str | None,
    checks: ListOf[str],
) -> str:
    """The statement that creates an enum (kind "e") or a domain (kind "d")."""
    if kind == "e":
        return f"CREATE TYPE {name} AS ENUM ({', '.join(map(_literal, labels))})"
    parts = [f"CREATE DOMAIN {name} AS {base}"]
    parts += [f"COLLATE {collation}"] if collation else []
    parts += [f"DEFAULT {default}"] if default is not None else []
    parts += [not_null] if not_null else []
    return " ".join([*parts, *checks])


def _column(column: Column, identity: Sequence | None) -> str:
    parts = [_quoted(column.name), column.type]
    parts += [f"COLLATE {column.collation}"] if column.collation else []
    parts += [_filling(column, identity)]
    parts += ["NOT NULL"] if column.not_null else []
    return " ".join(filter(None, parts))


def _filling(column: Column, identity: Sequence | None) -> str:
    """What fills the column where a row does not say."""
    if column.generated:
        return f"GENERATED ALWAYS AS ({column.default}) {column.generated.upper()}"
    if column.identity:
        options = f" (SEQUENCE NAME {identity.name} {identity.options})" if identity else ""
        return f"GENERATED {column.identity.upper()} AS IDENTITY{options}"
    return "" if column.default is None else f"DEFAULT {column.default}"


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string(None)


def _literal(text: str) -> str:
    return sql.Literal(text).as_string(None)
