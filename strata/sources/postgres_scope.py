"""A scope's glob patterns as a condition that PostgreSQL evaluates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from psycopg import sql

from strata.model.scope import Scope

_TOKEN: Final = re.compile(r"\\(?P<escaped>.)|\[(?P<inverse>\^?)(?P<set>(?:\\.|[^\]\\])+)\]|(?P<other>.)", re.DOTALL)
_ANY: Final = {"*": ".*", "?": "."}


def regex_of(pattern: str) -> str:
    """The PostgreSQL regular expression that matches what the glob (`*`, `?`, `[...]`, backslash) matches.

    `?` stands for one character here, where Redis takes one byte.
    """
    return f"^{''.join(_piece(token) for token in _TOKEN.finditer(pattern))}$"


def key_condition(key: Sequence[str], scope: Scope, alias: str = "") -> sql.Composable:
    """True for rows whose key the scope covers: the text of the key's columns, joined by tabs.

    A table without a key has no key that could match; a scope of everything covers it all the same.
    """
    if scope.is_everything:
        return sql.SQL("true")
    if not key or not scope.patterns:
        return sql.SQL("false")
    columns = [sql.Identifier(alias, name) if alias else sql.Identifier(name) for name in key]
    text = sql.SQL(" || E'\\t' || ").join(sql.SQL("{}::text").format(column) for column in columns)
    matches = [
        # Collation C: a nondeterministic one would refuse regular expressions.
        sql.SQL('(({}) COLLATE "C") ~ {}').format(text, sql.Literal(regex_of(pattern)))
        for pattern in scope.patterns
    ]
    return sql.SQL("({})").format(sql.SQL(" OR ").join(matches))


def _piece(token: re.Match[str]) -> str:
    if token["escaped"] is not None:
        return _literal(token["escaped"])
    if token["set"] is not None:
        return f"[{token['inverse']}{_members(token['set'])}]"
    return _ANY.get(token["other"]) or _literal(token["other"])


def _members(text: str) -> str:
    """The members of a bracket expression, with every one that is special there escaped."""
    members = re.findall(r"\\.|.", text, re.DOTALL)
    last = len(members) - 1
    return "".join(
        one if one == "-" and 0 < at < last else "\\" + one[-1] if not one[-1].isalnum() else one[-1]
        for at, one in enumerate(members)
    )


def _literal(character: str) -> str:
    return character if character.isalnum() or character == "_" else "\\" + character
