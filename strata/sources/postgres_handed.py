"""The structure that a handed-over document claims for WARM: data to be checked, never a program to be run.

A backup of a live database keeps statements as PostgreSQL printed them, and a restore into an empty one executes them.
A document may come from anywhere. Its statements are dropped; tables are rebuilt from fields that can hold nothing
else: names become quoted identifiers, types and constants must be of a grammar without calls, numbers must be numbers.
What is lost by it (checks, indexes, foreign keys, defaults and generated columns that compute, domains, extensions) is
said where a backup says what it does not hold. A restore into tables that are there needs none of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from psycopg import sql

from strata.errors import IntegrityError, SettingError
from strata.model.record import NOT_HELD
from strata.sources import postgres_ddl as ddl
from strata.sources.postgres_table import Column, Description, NamedType, Table
from strata.sources.postgres_table import Sequence as Counter

STRUCTURE: Final = "structure"
"""The description's member that says what became of a document's structure."""

_WORD: Final = r'(?:[a-z_][a-z0-9_$]*|"(?:[^"\0]|"")+")'
_NAME: Final = rf"{_WORD}(?:\.{_WORD})?"
_OF_TIME: Final = r"(?:timestamp|time)(?:\([0-9]\))? with(?:out)? time zone"
_SPAN: Final = r"interval(?: (?:year|month|day|hour|minute|second)(?: to (?:month|hour|minute|second))?)?(?:\([0-9]\))?"
_SIZED: Final = r"(?:\((?:-?[0-9]+|[A-Za-z]+)(?:,-?[0-9]+)*\))?"
_TYPE: Final = rf"(?:double precision|{_OF_TIME}|{_SPAN}|(?:character varying|bit varying|{_NAME}){_SIZED})(?:\[\])*"
_TEXT: Final = r"'(?:[^'\\\0]|'')*'"
_CONSTANT: Final = re.compile(
    rf"(?:-?[0-9]+(?:\.[0-9]+)?|true|false|NULL|{_TEXT})(?:::{_TYPE})?|now\(\)|CURRENT_(?:TIMESTAMP|DATE)"
)
_COUNTS: Final = re.compile(
    r"START WITH -?[0-9]+ INCREMENT BY -?[0-9]+ MINVALUE -?[0-9]+ MAXVALUE -?[0-9]+ CACHE [0-9]+ (?:NO )?CYCLE"
)
_IDENTITIES: Final = {"", "always", "by default"}
_GENERATED: Final = {"", "stored", "virtual"}
_RELATIONS: Final = {"identity", "owned", "used"}
_INTEGERS: Final = {"smallint", "integer", "bigint"}
_HINT: Final = "Correct the document; strata export writes one of this shape."


def rebuilt(described: Mapping[str, Any]) -> dict[str, Any]:
    """The description with nothing in it that a restore would execute as it stands; SettingError for one that lies.

    What describes no tables is left as it is: a restore refuses it.
    """
    if "tables" not in described:
        return dict(described)
    given = _read(described)
    for table in given.tables:
        _check_table(table)
    enums = tuple(_enum(one) for one in given.types if one.labels)
    lost = [said for table in given.tables for said in _lost(table)]
    lost += [
        f"type {one.name} is not an enum, and is not taken from a document" for one in given.types if not one.labels
    ]
    lost += [f"extension {_quoted(name)} is not taken from a document" for name, _ in given.extensions]
    kept = replace(given, tables=tuple(map(_table, given.tables)), types=enums, extensions=())
    return {**kept.to_json(), STRUCTURE: "columns, types and keys of a document", NOT_HELD: lost}


def trusted(described: Mapping[str, Any]) -> dict[str, Any]:
    """The description as the document has it, its statements too: whoever hands it over vouches for them."""
    if "tables" not in described:
        return dict(described)
    return {**_read(described).to_json(), STRUCTURE: "the statements of a document, taken by --trust-structure"}


def _read(described: Mapping[str, Any]) -> Description:
    try:
        given = Description.from_json(described)
    except IntegrityError:
        raise _wrong("it cannot be read") from None
    texts = (given.server, given.encoding, given.database)
    plain = isinstance(given.server_version_num, int) and all(isinstance(text, str) for text in texts)
    if not plain:
        raise _wrong("the server, its encoding or its database is not named")
    return given


def _check_table(table: Table) -> None:
    """Raise for a table whose fields are not what they must be, or contradict each other."""
    lists = (table.key, table.copied, table.ddl, table.ddl_after, table.ddl_links)
    if not all(isinstance(one, tuple) for one in lists) or not isinstance(table.estimated_rows, int):
        raise _wrong("a table has a list or a number that is none")
    if not _are_texts(table.name, table.schema, table.table) or _parts(table.name) != [table.schema, table.table]:
        raise _wrong("a table's name is not that of its schema and table")
    columns = [column.name for column in table.columns]
    plain = [column.name for column in table.columns if not column.generated]
    if not _are_texts(*columns, *table.key) or len(set(columns)) != len(columns):
        raise _wrong(f"the columns of {table.name} are not named, or one is named twice")
    rest = [name for name in plain if name not in table.key]
    if not set(table.key) <= set(plain) or list(table.copied) != [*table.key, *rest]:
        raise _wrong(f"the key or the copied columns of {table.name} are not its columns")
    if table.partition_of is not None and not _are_texts(table.partition_of):
        raise _wrong(f"what {table.name} is a part of is not named")
    for column in table.columns:
        _check_column(table, column)
    for counter in table.sequences:
        _check_sequence(table, counter)


def _check_column(table: Table, column: Column) -> None:
    whole = _is(_TYPE, column.type) and (column.collation is None or _is(_NAME, column.collation))
    known = column.identity in _IDENTITIES and column.generated in _GENERATED and isinstance(column.not_null, bool)
    if not whole or not known or not isinstance(column.default, str | None):
        raise _wrong(f"a column of {table.name} has a type, a collation or a property that is none")


def _check_sequence(table: Table, counter: Counter) -> None:
    of_table = counter.column in {column.name for column in table.columns} and counter.relation in _RELATIONS
    named = _is(_NAME, counter.name) and counter.type in _INTEGERS and _matches(_COUNTS, counter.options)
    position = type(counter.last_value) is int and -(1 << 63) <= counter.last_value < 1 << 63
    plain = position and type(counter.is_called) is bool and type(counter.ascending) is bool
    if not of_table or not named or not plain:
        raise _wrong(f"a sequence of {table.name} is not one that counts a column")


def _table(table: Table) -> Table:
    """The table with statements made here; without any where it cannot be created from what is known of it."""
    columns = tuple(replace(column, default=_default(table, column)) for column in table.columns)
    bare = replace(table, columns=columns, foreign_keys=(), ddl=(), ddl_after=(), ddl_links=())
    if table.partition_of or _computed(table):
        return bare
    name = table.sql.as_string(None)
    key = [f"ALTER TABLE {name} ADD PRIMARY KEY ({', '.join(map(_quoted, table.key))})"] if table.key else []
    creation = ddl.Creation(name, columns, (), (), table.sequences, unlogged=False, options=None)
    return replace(bare, ddl=creation.before(), ddl_after=(*key, *creation.after()))


def _default(table: Table, column: Column) -> str | None:
    """What the column defaults to: its sequence's next value or a constant; nothing that computes."""
    counted = [one for one in table.sequences if one.column == column.name and one.relation != "identity"]
    if counted and column.default is not None:
        return f"nextval({sql.Literal(counted[0].name).as_string(None)}::regclass)"
    return column.default if _matches(_CONSTANT, column.default) else None


def _lost(table: Table) -> list[str]:
    """What of a table is not taken, as sentences that name it."""
    said = [
        f"the default of column {_quoted(column.name)} of {table.name} computes, and is not taken from a document"
        for column in table.columns
        if column.default is not None and not column.generated and _default(table, column) is None
    ]
    said += [
        f"{table.name} cannot be created from a document: its column {name} is computed" for name in _computed(table)
    ]
    if _has_more(table) and not table.partition_of:
        said.append(f"checks, indexes and foreign keys of {table.name} are not taken from a document")
    return said


def _has_more(table: Table) -> bool:
    """Whether the statements, which are only looked at, seem to do more than what is rebuilt."""
    remade = bool(table.key) + sum(one.relation == "owned" for one in table.sequences)
    more = len(table.ddl_after) > remade or bool(table.ddl_links)
    return more or any(" CONSTRAINT " in str(text) for text in table.ddl)


def _computed(table: Table) -> list[str]:
    return [_quoted(column.name) for column in table.columns if column.generated]


def _enum(one: NamedType) -> NamedType:
    if not _is(_NAME, one.name) or not all(isinstance(label, str) and "\0" not in label for label in one.labels):
        raise _wrong("an enum has a name or a label that is none")
    return NamedType(one.name, ddl.create_type(one.name, "e", one.labels, "", None, None, None, ()), one.labels)


def _parts(name: str) -> list[str]:
    """The identifiers of a qualified name as SQL has it."""
    if not _is(_NAME, name):
        return []
    return [word[1:-1].replace('""', '"') if word[0] == '"' else word for word in re.findall(_WORD, name)]


def _are_texts(*values: object) -> bool:
    return all(isinstance(value, str) and value and "\0" not in value for value in values)


def _is(grammar: str, text: object) -> bool:
    return isinstance(text, str) and re.fullmatch(grammar, text) is not None


def _matches(pattern: re.Pattern[str], text: object) -> bool:
    return isinstance(text, str) and pattern.fullmatch(text) is not None


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string(None)


def _wrong(what: str) -> SettingError:
    return SettingError(f"the source of warm in the document does not describe tables: {what}", hint=_HINT)
