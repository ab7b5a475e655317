"""What a backup knows of a table, as JSON-able values; no input or output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from psycopg import sql

from strata.errors import IntegrityError


@dataclass(frozen=True)
class Column:
    """One column; `identity` is "", "always" or "by default", `generated` is "", "stored" or "virtual"."""

    name: str
    type: str
    collation: str | None = None
    not_null: bool = False
    default: str | None = None
    identity: str = ""
    generated: str = ""

    @property
    def kind(self) -> str:
        """What must be equal in the backup and in the target, as a person reads it."""
        return f"{self.type} generated" if self.generated else self.type


@dataclass(frozen=True)
class Sequence:
    """A sequence that fills a column, with its position at the cut.

    `relation` to the column is "identity", "owned" (as serial columns own theirs) or "used" in its default.
    """

    name: str
    column: str
    relation: str
    type: str
    options: str
    ascending: bool
    last_value: int
    is_called: bool


@dataclass(frozen=True)
class Table:
    """An ordinary table: its columns, its key, and how to create it.

    `name` is schema and table quoted for SQL where that is needed; records carry it as their namespace. `copied` are
    the columns of a record's value in their order: the key's first, generated ones left out. `ddl` creates the table,
    `ddl_after` completes it once its rows are there, `ddl_links` adds the foreign keys when all tables are complete.
    """

    name: str
    schema: str
    table: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    copied: tuple[str, ...]
    estimated_rows: int
    partition_of: str | None = None
    sequences: tuple[Sequence, ...] = ()
    foreign_keys: tuple[str, ...] = ()
    ddl: tuple[str, ...] = ()
    ddl_after: tuple[str, ...] = ()
    ddl_links: tuple[str, ...] = ()

    @property
    def sql(self) -> sql.Identifier:
        """The table's name for a statement."""
        return sql.Identifier(self.schema, self.table)

    def to_json(self) -> dict[str, Any]:
        """This table as a description keeps it."""
        return asdict(self)

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Table:
        """The table a description keeps."""
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in kept.items()
        }
        fields["columns"] = tuple(Column(**column) for column in kept["columns"])
        fields["sequences"] = tuple(Sequence(**sequence) for sequence in kept["sequences"])
        return cls(**fields)


@dataclass(frozen=True)
class NamedType:
    """An enum or a domain that columns of the tables use; `labels` are an enum's, in order."""

    name: str
    ddl: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Description:
    """What a restore must know of the database besides the rows."""

    server: str
    server_version_num: int
    encoding: str
    database: str
    tables: tuple[Table, ...]
    types: tuple[NamedType, ...] = ()
    extensions: tuple[tuple[str, str], ...] = ()
    """Extensions (name, schema) that the columns' types come from."""

    def to_json(self) -> dict[str, Any]:
        """The description as the manifest keeps it."""
        return asdict(self)

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Description:
        """Read a description back, whether or not it went through JSON."""
        try:
            return cls(
                server=kept["server"],
                server_version_num=kept["server_version_num"],
                encoding=kept["encoding"],
                database=kept["database"],
                tables=tuple(Table.from_json(table) for table in kept["tables"]),
                types=tuple(NamedType(one["name"], one["ddl"], tuple(one["labels"])) for one in kept["types"]),
                extensions=tuple((name, schema) for name, schema in kept["extensions"]),
            )
        except (KeyError, TypeError, ValueError):
            raise IntegrityError("the backup's description of WARM (PostgreSQL) cannot be read") from None
